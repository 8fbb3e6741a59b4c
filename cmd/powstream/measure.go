package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"owl/internal/cli"
	"owl/internal/hostname"
	"owl/owamp"
	"owl/probe"
	"owl/probe/clock"
	"owl/sessions"
	"owl/sessions/metrics"
	"owl/sessions/ports"
)

// logger returns the logger of the options.
func (o *options) logger(program string, stderr io.Writer) *slog.Logger {
	c := cli.LogConfig{Program: program, Stderr: stderr, Facility: o.facility, Level: o.level, Source: o.verbose > 1}
	if o.quiet {
		c.Stderr = nil
	}
	return cli.NewLogger(c)
}

// A measurement is a stream with all that it needs.
type measurement struct {
	stream  *sessions.Stream
	dir     *sessions.Directory
	clock   *clock.Clock
	engine  *probe.Engine
	metrics *metrics.Stream
}

// prepare makes the stream of the options. What can be wrong with them is
// found here, before anything is sent.
func prepare(ctx context.Context, o *options, log *slog.Logger, getenv func(string) string, stdout io.Writer) (_ *measurement, err error) {
	dialer, err := o.dialer()
	if err != nil {
		return nil, err
	}
	shift, err := cli.TimeShift(getenv)
	if err != nil {
		return nil, err
	}
	m := &measurement{}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if m.dir, err = lock(o.dir, log); err != nil {
		return nil, err
	}
	m.clock = clock.New(clock.Config{Shift: shift})
	cli.WarnClock(m.clock.State().Synchronized, log)
	if m.engine, err = probe.New(probe.Config{Clock: m.clock, Log: log}); err != nil {
		return nil, err
	}
	names := hostname.NewCache(net.DefaultResolver, getenv("OWL_NUMERIC") == "1")
	if spec := float64(o.packets) * o.interval; uint32(spec) < uint32(o.timeout)+1 {
		log.Debug(fmt.Sprintf("sessions of %g s with a time-out of %g s: several will overlap", spec, o.timeout))
	}
	m.stream, err = sessions.NewStream(sessions.StreamConfig{
		Dial: func(ctx context.Context) (sessions.Path, error) {
			c, err := dialer.Dial(ctx)
			if err != nil {
				return sessions.Path{}, fmt.Errorf("OWPControlOpen(%s): %w", o.serverName(), err)
			}
			return sessions.Path{Conn: c.Conn, Local: c.Local, Peer: c.Peer}, nil
		},
		Modes:       owamp.ModeOpen,
		Clock:       m.clock,
		Prober:      ports.Engine(m.engine),
		Ports:       o.ports,
		Device:      o.device,
		Random:      rand.Reader,
		Log:         log,
		Packets:     o.packets,
		Slots:       []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalSeconds(o.interval)}},
		Timeout:     owamp.IntervalSeconds(o.timeout),
		Padding:     o.padding,
		DSCP:        o.dscp,
		Part:        o.part,
		Delay:       o.delay,
		EndDelay:    o.endDelay,
		RetryCap:    o.retry,
		Directory:   m.dir,
		BucketWidth: o.bucket,
		UnixTimes:   o.unix,
		Names:       names.Names,
		Written:     o.written(stdout, log),
		Seen: func(recs []owamp.Record) {
			if m.metrics != nil {
				m.metrics.Observe(recs)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	if o.metrics != "" && !o.check {
		err = m.serveMetrics(ctx, o, log)
	}
	return m, err
}

// serverName returns the control server as the command line has it.
func (o *options) serverName() string {
	if o.server != "" {
		return o.server
	}
	return o.test
}

func (o *options) dialer() (*cli.Dialer, error) {
	test, port, err := cli.ParseHostPort(o.test, cli.DefaultPort)
	if err != nil {
		return nil, err
	}
	d := &cli.Dialer{
		Resolver: net.DefaultResolver,
		Server:   test,
		Port:     port,
		Test:     test,
		Family:   o.family,
		Source:   o.source,
		Device:   o.device,
	}
	if o.server != "" {
		if d.Server, d.Port, err = cli.ParseHostPort(o.server, cli.DefaultPort); err != nil {
			return nil, err
		}
	}
	if d.Server == "" || d.Test == "" {
		return nil, fmt.Errorf("address %q: want a host", o.serverName())
	}
	return d, nil
}

// lock opens the directory of the files and tidies up after a process that was
// killed.
func lock(path string, log *slog.Logger) (*sessions.Directory, error) {
	d, err := sessions.OpenDirectory(path)
	if held, ok := errors.AsType[*sessions.LockedError](err); ok && held.PID != 0 {
		return nil, fmt.Errorf("%w; possibly locked by pid(%d)", err, held.PID)
	}
	if err != nil {
		return nil, err
	}
	if err := d.Recover(log); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// written returns what prints the names of files: each in a write of its own,
// when the file is whole.
func (o *options) written(stdout io.Writer, log *slog.Logger) func(string) {
	if !o.print {
		return nil
	}
	failed := false
	return func(path string) {
		if _, err := io.WriteString(stdout, path+"\n"); err != nil && !failed {
			failed = true
			log.Error(fmt.Sprintf("printing the name of a file: %v", err))
		}
	}
}

func (m *measurement) serveMetrics(ctx context.Context, o *options, log *slog.Logger) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	c, err := metrics.New(reg, metrics.Version(cli.Version))
	if err != nil {
		return err
	}
	local, err := os.Hostname()
	if err != nil {
		local = "localhost"
	}
	m.metrics = c.Stream(metrics.Labels{
		Source:      o.test,
		Destination: local,
		Direction:   metrics.To,
		Stream:      o.test,
	}, m.stream.Snapshot)
	url, err := cli.ServeMetrics(ctx, o.metrics, metrics.Handler(reg))
	if err != nil {
		return err
	}
	log.Info("metrics are at " + url)
	return nil
}

// run measures until ctx is done.
func (m *measurement) run(ctx context.Context, hangup <-chan struct{}) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { m.clock.Run(ctx) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.stream.Run(ctx)
	}()
	for {
		select {
		case <-hangup:
			m.stream.Restart()
		case <-done:
			return
		}
	}
}

// close gives everything back.
func (m *measurement) close() {
	if m.metrics != nil {
		m.metrics.Close()
	}
	if m.engine != nil {
		m.engine.Close()
	}
	if m.dir != nil {
		m.dir.Close()
	}
}
