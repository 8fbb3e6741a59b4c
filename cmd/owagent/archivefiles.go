package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"owl/archive/queue"
	"owl/cmd/internal/archiving"
)

const (
	// filesQueue is where results of files wait unless --queue says so.
	filesQueue = ".owl-queue.db"
	// maxDocument bounds a result document, in octets.
	maxDocument = 64 << 20
	// patience is how long results are waited for whose destination has failed.
	patience = 5 * time.Second
	// lookTime is how often it is looked whether results have been delivered.
	lookTime = 50 * time.Millisecond
)

// archiveFiles is the command archive: it brings result documents, as pScheduler
// has them, to archives.
func archiveFiles(ctx context.Context, o *options, log *slog.Logger, stdin io.Reader, stdout io.Writer) (err error) {
	if !o.archiving.Wanted() {
		return errors.New("archive: want --archive, or --default-archives")
	}
	specs, err := o.archiving.Specs()
	if err != nil {
		return err
	}
	path := o.queue
	if path == "" {
		path = filesQueue
	}
	a, err := archiving.Open(ctx, archiving.Config{
		Queue:    queue.Config{Path: path, Log: log},
		Specs:    specs,
		Defaults: o.archiving.Defaults,
		Log:      log,
	})
	if err != nil {
		return err
	}
	defer a.Close()
	n := 0
	for _, file := range o.operands {
		more, err := archiveFile(ctx, a.Queue(), file, stdin)
		if n += more; err != nil {
			return fmt.Errorf("%s: after %d results: %w", file, more, err)
		}
	}
	stats, err := settle(ctx, a.Queue())
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d results read\n", n)
	if known := n - int(stats.Came); known > 0 {
		fmt.Fprintf(stdout, "%d of them were in %s already, and go only where they were to go then\n", known, path)
	}
	left := int64(0)
	for i := range stats.Lines {
		l := &stats.Lines[i]
		if !l.Used {
			continue
		}
		fmt.Fprintf(stdout, "%s: %d delivered, %d discarded, %d to be tried again, %d dead\n", l.Name, l.Delivered, l.Discarded, l.Queued+l.Waiting, l.Dead)
		left += l.Queued + l.Waiting + l.Dead
	}
	if left > 0 {
		return fmt.Errorf("%d deliveries are left in %s: the same command tries again those that wait, and owagent queue --queue %[2]s shows them", left, path)
	}
	return nil
}

// archiveFile puts the results of a file into the queue, - for those of stdin. It
// is one document after the other, those of RFC 7464 as well.
func archiveFile(ctx context.Context, q *queue.Queue, file string, stdin io.Reader) (n int, err error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		in = f
	}
	bounded := &boundedReader{in: &separated{in: bufio.NewReaderSize(in, 64<<10)}}
	dec := json.NewDecoder(bounded)
	for {
		bounded.left = maxDocument
		var document json.RawMessage
		switch err := dec.Decode(&document); {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, err
		}
		r, err := resultOf(document)
		if err != nil {
			return n, err
		}
		if err := q.Put(ctx, r); err != nil {
			return n, err
		}
		n++
	}
}

// resultOf returns what the queue takes of a document.
func resultOf(document json.RawMessage) (*queue.Result, error) {
	var d struct {
		ID     string `json:"id"`
		Result *struct {
			Succeeded *bool `json:"succeeded"`
		} `json:"result"`
		Task struct {
			Href string `json:"href"`
		} `json:"task"`
		Run struct {
			Href string `json:"href"`
		} `json:"run"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return nil, fmt.Errorf("want a result document of pScheduler: %w", err)
	}
	if d.Result == nil {
		return nil, errors.New("want a result document of pScheduler, with a member result")
	}
	if d.ID == "" {
		d.ID = fmt.Sprintf("%x", sha256.Sum256(document))
	}
	var body bytes.Buffer // without the line ends that files have
	if err := json.Compact(&body, document); err != nil {
		return nil, err
	}
	return &queue.Result{
		ID:        d.ID,
		Succeeded: d.Result.Succeeded == nil || *d.Result.Succeeded,
		TaskHref:  d.Task.Href,
		RunHref:   d.Run.Href,
		Body:      body.Bytes(),
	}, nil
}

// settle waits until results are delivered, and for a while for those whose
// destinations have failed.
func settle(ctx context.Context, q *queue.Queue) (queue.Stats, error) {
	ticker := time.NewTicker(lookTime)
	defer ticker.Stop()
	var tried time.Time // when there was nothing left that was not tried
	for {
		stats, err := q.Stats(ctx)
		if err != nil {
			return stats, err
		}
		queued, waiting := int64(0), int64(0)
		for i := range stats.Lines {
			if l := &stats.Lines[i]; l.Used {
				queued, waiting = queued+l.Queued, waiting+l.Waiting
			}
		}
		switch {
		case queued > 0:
			tried = time.Time{}
		case tried.IsZero():
			tried = time.Now()
		}
		if queued == 0 && (waiting == 0 || time.Since(tried) > patience) {
			return stats, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return stats, nil
		}
	}
}

// separated reads JSON without the separators of RFC 7464.
type separated struct{ in io.Reader }

func (r *separated) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	for i, rest := 0, p[:n]; ; {
		at := bytes.IndexByte(rest[i:], 0x1e)
		if at < 0 {
			return n, err
		}
		i += at
		rest[i] = ' '
	}
}

// boundedReader reads at most so many octets, until somebody says so many more.
type boundedReader struct {
	in   io.Reader
	left int
}

func (r *boundedReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, fmt.Errorf("a document of more than %d octets", maxDocument)
	}
	n, err := r.in.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}
