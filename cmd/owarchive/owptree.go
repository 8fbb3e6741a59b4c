package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"owl/archive"
	"owl/archive/dest/esmond"
	"owl/archive/store"
	"owl/internal/command"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/sessions/result"
)

// treeOptions say what the files of a tree do not: how powstream's command line
// would have called the hosts. Without names they are called by their addresses.
type treeOptions struct {
	Source, Destination string
	// Agent is the host that has measured; empty: the end that had the file made,
	// which the file tells.
	Agent string
}

const (
	// treeParallel is how many results are on their way to the store at once.
	treeParallel = 16
	// treeProgress is how often progress is told.
	treeProgress = 5 * time.Second
	// maxBadFiles bounds how many bad files are named.
	maxBadFiles = 100
	// maxSumHead is where in a summary its keys end, at the latest.
	maxSumHead = 4096
)

// importTree brings the sessions of all .owp files below root, as powstream
// writes them, into s: the same measurements and values that powstream's own
// results of them become there, so that it does no harm to do it again, or to
// sessions that are there already. Say is told how far it is, and of each file that
// is skipped, which the error counts. An archive that fails ends the import.
func importTree(ctx context.Context, s *store.Store, root string, o treeOptions, say func(line string)) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	t := &tree{store: s, options: o, say: say, told: time.Now(), pairs: make(map[pair]archive.Opened), work: make(chan *treeResult)}
	var workers sync.WaitGroup
	for range treeParallel {
		workers.Go(func() {
			for r := range t.work {
				switch err := r.to.Deliver(ctx, &archive.Item{ID: r.result.ID, Payload: r.payload}); {
				case err == nil:
					t.count(func() { t.sessions += r.result.Sessions })
				case archive.IsFinal(err):
					t.failed(r.path, err)
				default: // it is not the file
					end(fmt.Errorf("%s: %w", r.path, err))
				}
			}
		})
	}
	// A link to a directory is one, which WalkDir takes for a file by its bare name.
	start := strings.TrimRight(root, string(filepath.Separator)) + string(filepath.Separator)
	err := filepath.WalkDir(start, func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && path == start:
			return err
		case err != nil:
			t.failed(path, err)
		case e.Type().IsRegular() && strings.HasSuffix(e.Name(), ".owp") && !strings.HasPrefix(e.Name(), "."):
			t.file(path)
		}
		return nil
	})
	t.flush()
	close(t.work)
	workers.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	say(fmt.Sprintf("%s: %d files, %d sessions imported", root, t.files, t.sessions))
	switch {
	case t.files == 0:
		return fmt.Errorf("%s: want a tree with .owp files: there are none", root)
	case t.bad > 0:
		return fmt.Errorf("%s: %d of %d files were not imported", root, t.bad, t.files)
	}
	return nil
}

// A tree is an import that goes on.
type tree struct {
	store   *store.Store
	options treeOptions
	pairs   map[pair]archive.Opened
	work    chan *treeResult
	held    *treeResult // the last one: the next may be of the same second

	mu                   sync.Mutex // guards what follows, and say
	say                  func(string)
	told                 time.Time // when progress was told last
	files, sessions, bad int
}

// A pair is what a session is between.
type pair struct{ sender, receiver netip.Addr }

// A treeResult is the result of a file, or of several of one second.
type treeResult struct {
	path    string
	result  *result.Result
	payload []byte
	to      archive.Opened
}

// count changes what is counted, and tells of it now and then.
func (t *tree) count(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
	if now := time.Now(); now.Sub(t.told) >= treeProgress {
		t.told = now
		t.say(fmt.Sprintf("%d files read, %d sessions imported", t.files, t.sessions))
	}
}

// failed notes a file that was not imported.
func (t *tree) failed(path string, err error) {
	if !strings.HasPrefix(err.Error(), path) && !strings.Contains(err.Error(), " "+path+":") {
		err = fmt.Errorf("%s: %w", path, err)
	}
	t.count(func() {
		switch t.bad++; {
		case t.bad <= maxBadFiles:
			t.say("not imported: " + err.Error())
		case t.bad == maxBadFiles+1:
			t.say("not imported: others, too, which are counted")
		}
	})
}

// file reads a file. Results of the same second are one, as powstream merges
// them: an archive keeps one value of a second.
func (t *tree) file(path string) {
	t.count(func() { t.files++ })
	r, err := t.read(path)
	if err != nil {
		t.failed(path, err)
		return
	}
	if h := t.held; h != nil && h.result.Task.ID() == r.result.Task.ID() && h.result.Time.Equal(r.result.Time) && h.result.ID != r.result.ID {
		both, err := result.Merge(h.result, r.result)
		if err == nil {
			h.result = both
			return
		}
		t.failed(path, err)
		return
	}
	t.flush()
	t.held = r
}

// flush sends what is held on its way.
func (t *tree) flush() {
	r := t.held
	t.held = nil
	if r == nil {
		return
	}
	var err error
	if r.payload, err = payloadOf(r.result); err != nil {
		t.failed(r.path, err)
		return
	}
	t.work <- r
}

// payloadOf returns the document of a result, without the run, for there was none:
// nobody is to look for it.
func payloadOf(r *result.Result) ([]byte, error) {
	text, err := r.JSON("", false)
	if err != nil {
		return nil, err
	}
	var document map[string]json.RawMessage
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	delete(document, "run")
	return json.Marshal(document)
}

// read makes a result of a file.
func (t *tree) read(path string) (*treeResult, error) {
	f, err := owp.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := f.Header()
	switch {
	case h.Version < 2:
		return nil, fmt.Errorf("version %d says nothing of its session: want 2 or 3", h.Version)
	case h.Finished == owp.Failed:
		return nil, errors.New("the session has failed, and its records are not to be relied on")
	case h.Spec.Packets == 0 || len(h.Spec.Slots) == 0:
		return nil, errors.New("a session without packets")
	}
	task, err := t.task(&h.Spec)
	if err != nil {
		return nil, err
	}
	r, err := result.OfFile(task, f, result.FileOptions{BucketWidth: bucketWidth(path), Made: time.Now()})
	if err != nil {
		return nil, err
	}
	p := pair{h.Spec.Sender.Addr().Unmap(), h.Spec.Receiver.Addr().Unmap()}
	to, ok := t.pairs[p]
	if !ok {
		to = esmond.OpenStore(t.store, t.lookup(p))
		t.pairs[p] = to
	}
	return &treeResult{path: path, result: r, to: to}, nil
}

// task returns the task that powstream would have had, of which the session is.
func (t *tree) task(s *owamp.SessionSpec) (*result.Task, error) {
	source := cmp.Or(t.options.Source, s.Sender.Addr().Unmap().String())
	destination := cmp.Or(t.options.Destination, s.Receiver.Addr().Unmap().String())
	c := result.TaskConfig{
		Test:        result.LatencyBG,
		Tool:        "powstream",
		ToolVersion: command.Version,
		// The server was the sender, so that it was the receiver who measured.
		Receives: s.ConfSender,
		Local:    source,
		Remote:   destination,
		Packets:  s.Packets,
		Interval: s.MeanInterval(),
		Timeout:  s.Timeout,
		Padding:  s.Padding,
	}
	if c.Receives {
		c.Local, c.Remote = c.Remote, c.Local
	}
	c.Host = cmp.Or(t.options.Agent, c.Local)
	if dscp, ok := s.DSCP(); ok {
		c.TOS = dscp << 2
	}
	return result.NewTask(c)
}

// lookup returns what finds the addresses of hosts for sessions between p: those
// that the files have, whatever DNS says by now.
func (t *tree) lookup(p pair) func(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return func(ctx context.Context, network, host string) ([]netip.Addr, error) {
		switch host {
		case t.options.Source:
			return []netip.Addr{p.sender}, nil
		case t.options.Destination:
			return []netip.Addr{p.receiver}, nil
		}
		return net.DefaultResolver.LookupNetIP(ctx, network, host)
	}
}

// bucketWidth returns the width of the bins that the summary beside the file path
// has, in seconds; without one 0, for the usual one.
func bucketWidth(path string) float64 {
	f, err := os.Open(strings.TrimSuffix(path, ".owp") + ".sum")
	if err != nil {
		return 0
	}
	defer f.Close()
	head := make([]byte, maxSumHead)
	n, _ := f.Read(head) // of what cannot be read nothing is known
	for line := range strings.Lines(string(head[:n])) {
		if width, ok := strings.CutPrefix(line, "BUCKET_WIDTH\t"); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(width), 64)
			if err == nil && v > 0 && v < 1e9 {
				return v
			}
		}
	}
	return 0
}
