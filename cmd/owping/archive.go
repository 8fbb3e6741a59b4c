package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"owl/archive"
	"owl/archive/queue"
	"owl/cmd/internal/archiving"
	"owl/internal/cli"
	"owl/internal/command"
	"owl/owamp/owp"
	"owl/sessions/ping"
	"owl/sessions/result"
)

// queuePatience is how long another owping is waited for that delivers results.
const queuePatience = time.Minute

// results are those of a test, which go to archives.
type results struct {
	*options
	specs []*archive.Spec
	cfg   ping.ResultConfig
	all   []*result.Result
}

// newResults returns nil if results are to go nowhere.
func (p *pinger) newResults() (*results, error) {
	if !p.archive.Wanted() {
		return nil, nil
	}
	specs, err := p.archive.Specs()
	if err != nil {
		return nil, err
	}
	// What is wrong in directories is told of when results go there.
	more, _ := archiving.ReadDirectories(p.archive.Defaults)
	own, err := os.Hostname()
	if err != nil {
		own = "localhost"
	}
	host, _, _ := cli.ParseHostPort(p.test, cli.DefaultPort)
	return &results{options: p.options, specs: specs, cfg: ping.ResultConfig{
		BucketWidth: p.report.BucketWidth,
		Raw:         p.archive.Raw || archiving.AnyRaw(specs) || archiving.AnyRaw(more),
		Task: result.TaskConfig{
			Tool:        program.Name,
			ToolVersion: command.Version,
			Host:        own,
			Local:       archiving.LocalEnd(p.conn.Source),
			Remote:      host,
			ControlPort: archiving.ControlPort(p.server, p.test),
			DataPorts:   [2]uint16{p.ports.Low, p.ports.High},
			IPVersion:   int(p.conn.Family),
		},
	}}, nil
}

// add takes the result of one direction of the test of cfg, whose file r reads.
func (r *results) add(cfg *ping.Config, receives bool, file *owp.Reader) error {
	if r == nil {
		return nil
	}
	res, err := ping.Result(cfg, &r.cfg, receives, file)
	if err == nil {
		r.all = append(r.all, res)
	}
	return err
}

// fail takes that a direction of the test has no result, and why.
func (r *results) fail(cfg *ping.Config, receives, begun bool, why error) error {
	if r == nil {
		return nil
	}
	res, err := ping.Failed(cfg, &r.cfg, receives, begun, why)
	if err == nil {
		r.all = append(r.all, res)
	}
	return err
}

// failAll takes that no direction has a result.
func (r *results) failAll(cfg *ping.Config, begun bool, why error) (err error) {
	for _, direction := range []struct{ tested, receives bool }{{cfg.To, false}, {cfg.From != nil, true}} {
		if direction.tested {
			err = errors.Join(err, r.fail(cfg, direction.receives, begun, why))
		}
	}
	return err
}

// queuePath returns where results wait: a file of this user's, which all calls of
// the program share.
func (r *results) queuePath(getenv func(string) string) (string, error) {
	if r.archive.Queue != "" {
		return r.archive.Queue, nil
	}
	state := getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("queue: %w: want --queue", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "owl", "owping-queue.db"), nil
}

// deliver brings the results to the archives: those that are not delivered within
// some seconds wait for the next call.
func (p *pinger) deliver(ctx context.Context) error {
	r := p.results
	if r == nil || len(r.all) == 0 {
		return nil
	}
	path, err := r.queuePath(p.getenv)
	if err != nil {
		return err
	}
	a, err := openQueue(ctx, archiving.Config{
		Queue:    queue.Config{Path: path, Log: p.log},
		Specs:    r.specs,
		Defaults: r.archive.Defaults,
		Log:      p.log,
	})
	if err != nil {
		return err
	}
	defer a.Close()
	for _, res := range r.all {
		if err := a.Put(ctx, res); err != nil {
			return err
		}
	}
	return nil
}

// openQueue waits for another process that has the queue.
func openQueue(ctx context.Context, cfg archiving.Config) (*archiving.Archiver, error) {
	ctx, cancel := context.WithTimeout(ctx, queuePatience)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		a, err := archiving.Open(context.WithoutCancel(ctx), cfg)
		if err == nil || !errors.Is(err, queue.ErrBusy) {
			return a, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}
