package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"owl/archive"
	"owl/archive/dest"
	"owl/archive/queue"
	"owl/archive/transform"
	"owl/cmd/internal/archiving"
	"owl/histogram"
	"owl/internal/agentfile"
	"owl/internal/command"
	"owl/internal/table"
	"owl/owamp"
	"owl/sessions/result"
)

// checkTime bounds the check of one destination.
const checkTime = 30 * time.Second

// checkArchiving is the command check-archiving: it sends one result, which says
// that it is none, to each destination, and says what happened.
func checkArchiving(ctx context.Context, o *options, stdout io.Writer) error {
	host, err := o.hostName()
	if err != nil {
		return err
	}
	specs, dirs := []*archive.Spec(nil), o.archiving.Defaults
	own := false
	if o.archiving.Wanted() {
		specs, err = o.archiving.Specs()
	} else {
		var cfg *agentfile.Config
		if cfg, err = agentfile.Load(o.config, host); err == nil {
			host = cfg.Host
			specs, dirs, err = destinations(o.config, cfg)
			own = cfg.Archive != nil
		}
	}
	if err != nil {
		return err
	}
	more, err := archiving.ReadDirectories(dirs)
	specs = append(specs, more...)
	switch {
	case err != nil:
		return err
	case len(specs) == 0 && own:
		return errors.New("there are no archives to check but the agent's own, of which owagent status tells")
	case len(specs) == 0:
		return errors.New("there are no archives to check")
	}
	r, err := testResult(host, time.Now())
	if err != nil {
		return err
	}
	failed := 0
	for _, s := range specs {
		took, what, err := tryArchive(ctx, s, r)
		if err != nil {
			failed++
			what = err.Error()
		}
		fmt.Fprintf(stdout, "%s: %s (%v)\n", table.Plain(s.Name()), table.Plain(what), took.Round(time.Millisecond))
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d archives do not take results", failed, len(specs))
	}
	return nil
}

// tryArchive brings r to one destination, and says what became of it.
func tryArchive(ctx context.Context, s *archive.Spec, r *result.Result) (took time.Duration, what string, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	body, err := r.JSON("", s.Raw)
	if err != nil {
		return 0, "", err
	}
	begun := time.Now()
	err = archive.Try(ctx, dest.Open, s, &queue.Result{ID: r.ID, Succeeded: true, TaskHref: r.Task.Href(""), RunHref: r.RunHref(""), Body: body})
	took = time.Since(begun)
	if errors.Is(err, transform.ErrDiscarded) {
		return took, "the specification does not want the test result; nothing was sent", nil
	}
	return took, "delivered, result " + r.ID, err
}

// testResult returns a result of no measurement. Its name and its reference say
// so, and archives that keep series keep it in one of its own.
func testResult(host string, now time.Time) (*result.Result, error) {
	reference, err := json.Marshal(map[string]string{"owl": "check-archiving: a test of archiving, not a measurement"})
	if err != nil {
		return nil, err
	}
	task, err := result.NewTask(result.TaskConfig{
		Test:        result.LatencyBG,
		Tool:        "powstream",
		ToolVersion: command.Version,
		Name:        "check-archiving",
		Host:        host,
		Remote:      host,
		Reference:   reference,
		Added:       now,
		Packets:     10,
		Interval:    owamp.IntervalSeconds(0.1),
	})
	if err != nil {
		return nil, err
	}
	delays := histogram.NewFixed(0.0001)
	r := &result.Result{
		ID:        uuid.NewString(),
		Task:      task,
		Time:      now,
		Made:      now,
		Succeeded: true,
		Sent:      10,
		Received:  10,
		Packets:   10,
		Delays:    delays,
		TTL:       new([256]uint64),
		Start:     owamp.FromTime(now),
		End:       owamp.FromTime(now.Add(time.Second)),
		Part:      -1,
		Sessions:  1,
		Scheduled: time.Second,
		Measured:  time.Second,
	}
	packets := make([]owamp.Record, r.Received)
	for i := range packets {
		delays.Add(0.001)
		sent := now.Add(time.Duration(i) * 100 * time.Millisecond)
		packets[i] = owamp.Record{Seq: uint32(i), Sent: owamp.FromTime(sent), Recv: owamp.FromTime(sent.Add(time.Millisecond)), TTL: 64}
	}
	r.TTL[64] = r.Received
	return r.WithPackets(packets), nil
}
