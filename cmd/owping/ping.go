package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"owl/internal/aside"
	"owl/internal/cli"
	"owl/internal/hostname"
	"owl/internal/report"
	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"
	"owl/owamp/stats"
	"owl/sessions/fetch"
	"owl/sessions/ping"
	"owl/sessions/ports"
)

// A pinger makes the test of its options and reports on it.
type pinger struct {
	*options
	getenv func(string) string
	stdout io.Writer
	log    *slog.Logger
	failed bool // what has been logged is why the program fails

	client   *control.Client
	reporter *report.Reporter
	names    *hostname.Cache
	local    netip.Addr
	remote   string // the other host, as the command line has it
	cfg      ping.Config
	results  *results // nil: they go nowhere
}

// run makes the test, reports on it, and brings its results to archives. Early
// ends the test with what has been measured by then.
func (p *pinger) run(ctx context.Context, early <-chan struct{}) (err error) {
	if p.results, err = p.newResults(); err != nil {
		return err
	}
	err = p.measure(ctx, early)
	if ctx.Err() == nil {
		p.fail(p.deliver(ctx))
	}
	return err
}

// measure makes the test, and reports on it.
func (p *pinger) measure(ctx context.Context, early <-chan struct{}) error {
	dialer, err := p.conn.Dialer(net.DefaultResolver, p.test, p.server)
	if err != nil {
		return err
	}
	clock, err := new(cli.ClockOptions).Open(p.getenv, p.log)
	if err != nil {
		return err
	}
	engine, err := p.engine.Open(clock, p.log)
	if err != nil {
		return err
	}
	defer func() { p.fail(engine.Close()) }()
	setUp, cancel := until(ctx, early) // as long as there is nothing to report
	defer cancel()
	how, err := p.conn.Config(setUp, p.log)
	if err != nil {
		return unlessInterrupted(setUp, err)
	}
	cli.WarnClock(clock.State().Synchronized, p.log)
	var from *aside.File
	if p.from {
		if from, err = sessionFile(p.fromFile); err != nil {
			return err
		}
		defer from.Close()
	}

	var background sync.WaitGroup
	defer background.Wait()
	ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	background.Go(func() { clock.Run(ctx) })

	p.cfg = ping.Config{
		Clock:    clock,
		Prober:   ports.Engine(engine.Engine),
		Ports:    p.ports,
		Device:   p.conn.Device,
		Random:   rand.Reader,
		To:       p.to,
		Packets:  p.packets,
		Slots:    p.slots,
		Timeout:  owamp.IntervalSeconds(p.timeout),
		Padding:  p.padding,
		DSCP:     p.dscp,
		Delay:    p.delay,
		EndDelay: p.endDelay,
	}
	if from != nil {
		p.cfg.From = from.File
	}
	client, conn, err := dialer.Connect(setUp, how)
	if err != nil {
		return p.without(setUp, false, err)
	}
	defer client.Close()
	p.client, p.local, p.remote = client, conn.Local, dialer.Test
	p.names = hostname.NewCache(net.DefaultResolver, p.getenv("OWL_NUMERIC") == "1")
	p.reporter = report.New(ctx, "owping", &p.report, p.stdout)
	p.reporter.Note = func(line string) { p.log.Warn(line) }
	if p.reports() {
		go p.names.Name(p.local) // is known when it is needed
	}

	if p.cfg.Timeout == 0 {
		p.cfg.Timeout = owamp.IntervalOf(client.RTT() + 2*time.Second)
		if err := p.checkTimeout(p.cfg.Timeout.Duration().Seconds()); err != nil {
			return err
		}
	}
	p.cfg.Local, p.cfg.Peer = conn.Local, conn.Peer
	test, err := ping.Begin(setUp, client, p.cfg)
	if err != nil {
		return p.without(setUp, true, fmt.Errorf("Session Failed! %w", err)) //nolint:staticcheck // the C suite's words
	}
	defer test.Close()
	if !p.report.Quiet && !p.report.Raw && !p.report.JSON {
		fmt.Fprintf(p.stdout, "Approximately %.1f seconds until results available\n", test.Remaining().Seconds())
	}
	err = test.Run(ctx, early)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		p.fail(fmt.Errorf("Test session(s) Failed: %w", err)) //nolint:staticcheck // the C suite's words
	}
	// Without its connection there is no asking the peer for what it received.
	if spec := test.To(); spec != nil {
		if err == nil {
			err = p.reportTo(ctx, spec.SID)
			p.fail(err)
		}
		if err != nil {
			p.fail(p.results.fail(&p.cfg, false, true, err))
		}
	}
	if from != nil {
		p.fail(p.reportFrom(from))
	}
	p.fail(p.reporter.Close())
	return unlessInterrupted(ctx, nil)
}

// fail logs err, if it is one.
func (p *pinger) fail(err error) {
	if err != nil {
		p.failed = true
		p.log.Error(err.Error())
	}
}

// without returns why there is no test, and tells the archives.
func (p *pinger) without(ctx context.Context, begun bool, why error) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return errors.Join(why, p.results.failAll(&p.cfg, begun, why))
}

// reportTo fetches the session that the peer received, and reports on it.
func (p *pinger) reportTo(ctx context.Context, sid owamp.SID) error {
	if p.toFile == "" && !p.reports() && p.results == nil {
		return nil
	}
	f, err := sessionFile(p.toFile)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := fetch.Whole(ctx, p.client, sid, f); err != nil {
		return fmt.Errorf("Unable to fetch data for sid(%v): %w", sid, err) //nolint:staticcheck // the C suite's words
	}
	return p.reportOn(f, false, func(local string) report.Source {
		return report.Source{File: p.toFile, Direction: "to", Names: stats.Names{From: local, To: p.remote}}
	})
}

// reportFrom reports on the session that this host received.
func (p *pinger) reportFrom(f *aside.File) error {
	return p.reportOn(f, true, func(local string) report.Source {
		return report.Source{File: p.fromFile, Direction: "from", Names: stats.Names{From: p.remote, To: local}}
	})
}

// reportOn keeps a session's file, if that is wanted, reports on it, and makes a
// result of it. Source knows of it what the local host's name leaves to know.
func (p *pinger) reportOn(f *aside.File, receives bool, source func(local string) report.Source) error {
	if err := f.Commit(); err != nil {
		return err
	}
	if !p.reports() && p.results == nil {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r, err := owp.NewReader(f, info.Size())
	if err != nil {
		return err
	}
	err = p.results.add(&p.cfg, receives, r)
	if !p.reports() {
		return err
	}
	return errors.Join(err, p.reporter.Session(r, source(p.names.Name(p.local))), p.reporter.Flush())
}

// sessionFile begins a session's file, a temporary one without a path.
func sessionFile(path string) (*aside.File, error) {
	if path == "" {
		return aside.Nameless(os.TempDir(), "owping")
	}
	return aside.Replace(path, "owping")
}

// until returns a context that ends with ctx, or when done is closed.
func until(ctx context.Context, done <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// unlessInterrupted returns err, or, if ctx has ended, that this is why.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}
