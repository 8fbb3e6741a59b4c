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
	"path/filepath"
	"sync"

	"owl/archive"
	archivemetrics "owl/archive/metrics"
	"owl/archive/queue"
	"owl/cmd/internal/archiving"
	"owl/internal/cli"
	"owl/internal/command"
	"owl/internal/hostname"
	"owl/owamp"
	"owl/owamp/stats"
	"owl/probe/clock"
	"owl/probe/host"
	"owl/sessions"
	"owl/sessions/metrics"
	"owl/sessions/ports"
	"owl/sessions/result"
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
	log        *slog.Logger
	clock      *clock.Clock
	monitor    *host.Monitor
	passphrase passphrase
	dir        *sessions.Directory
	engine     *cli.Engine
	stream     *sessions.Stream
	archiver   *archiving.Archiver // nil: no results go anywhere
	metrics    *metrics.Stream     // nil: nobody wants them
}

// prepare makes the stream of the options. What can be wrong with them is
// found here, before anything is sent; a mere check leaves nothing behind.
func prepare(ctx context.Context, o *options, log *slog.Logger, getenv func(string) string, written func(path string)) (_ *measurement, err error) {
	dialer, err := o.conn.Dialer(net.DefaultResolver, o.test, o.server)
	if err != nil {
		return nil, err
	}
	specs, err := o.archive.Specs()
	if err != nil {
		return nil, err
	}
	m := &measurement{log: log, passphrase: passphrase{conn: &o.conn}}
	if m.clock, err = o.clock.Open(getenv, log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if o.check {
		err = o.engine.Check()
	} else {
		m.engine, err = o.engine.Open(m.clock, log)
	}
	if err != nil {
		return nil, err
	}
	cfg := o.stream()
	cfg.Clock = m.clock
	cfg.Random = rand.Reader
	m.monitor = host.New(host.Config{Now: m.clock.Now})
	cfg.Host = m.monitor
	cfg.Log = log
	if !o.check || o.conn.KeyFile != "" { // a check asks nobody
		if cfg.Control, err = m.passphrase.config(ctx, log); err != nil {
			return nil, err
		}
	}
	names := hostname.NewCache(net.DefaultResolver, getenv("OWL_NUMERIC") == "1")
	cfg.Dial = func(ctx context.Context) (sessions.Path, error) {
		c, err := dialer.Dial(ctx)
		if err != nil {
			return sessions.Path{}, fmt.Errorf("OWPControlOpen(%s): %w", o.serverName(), err)
		}
		names.Prefetch(c.Peer, c.Local)
		return sessions.Path{Conn: c.Conn, Local: c.Local, Peer: c.Peer}, nil
	}
	// A summary written at the end does not wait for DNS.
	cfg.Names = func(sender, receiver netip.Addr) stats.Names { return names.NamesContext(ctx, sender, receiver) }
	cfg.Written = written
	cfg.Seen = func(recs []owamp.Record) {
		if m.metrics != nil {
			m.metrics.Observe(recs)
		}
	}
	if o.check {
		if m.stream, err = sessions.NewStream(cfg); err != nil {
			return nil, err
		}
		return m, takesFiles(o.dir)
	}

	if m.dir, err = lock(o.dir, log); err != nil {
		return nil, err
	}
	cfg.Directory = m.dir
	if o.archive.Wanted() {
		if m.archiver, err = o.openArchiver(ctx, specs, log); err != nil {
			return nil, err
		}
		cfg.Sink = m.archiver
		cfg.Raw = cfg.Raw || m.archiver.Raw()
	}
	cfg.Prober = ports.Engine(m.engine.Engine)
	if m.stream, err = sessions.NewStream(cfg); err != nil {
		return nil, err
	}
	if o.metrics != "" {
		err = m.serveMetrics(ctx, o, dialer.Test)
	}
	return m, err
}

// stream returns what the options say of the stream.
func (o *options) stream() sessions.StreamConfig {
	return sessions.StreamConfig{
		Ports:       o.ports,
		Device:      o.conn.Device,
		Send:        o.send,
		Packets:     o.packets,
		Slots:       []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalSeconds(o.interval)}},
		Timeout:     owamp.IntervalSeconds(o.timeout),
		Padding:     o.padding,
		DSCP:        o.dscp,
		Part:        o.part,
		Delay:       o.delay,
		EndDelay:    o.endDelay,
		RetryCap:    o.retry,
		BucketWidth: o.bucket,
		UnixTimes:   o.unix,
		Task:        o.task(),
		Each:        o.archive.Each,
		Raw:         o.archive.Raw,
	}
}

// task returns what the options say of the results of the stream.
func (o *options) task() result.TaskConfig {
	host, _, _ := cli.ParseHostPort(o.test, cli.DefaultPort)
	return result.TaskConfig{
		Tool:        program.Name,
		ToolVersion: command.Version,
		Host:        ownName(),
		Local:       archiving.LocalEnd(o.conn.Source),
		Remote:      host,
		ControlPort: archiving.ControlPort(o.server, o.test),
		DataPorts:   [2]uint16{o.ports.Low, o.ports.High},
		IPVersion:   int(o.conn.Family),
	}
}

// openArchiver opens what brings results to where the options say.
func (o *options) openArchiver(ctx context.Context, specs []*archive.Spec, log *slog.Logger) (*archiving.Archiver, error) {
	path := o.archive.Queue
	if path == "" {
		path = filepath.Join(o.dir, "."+queueName)
	}
	return archiving.Open(ctx, archiving.Config{
		Queue:    queue.Config{Path: path, Log: log},
		Specs:    specs,
		Defaults: o.archive.Defaults,
		Log:      log,
	})
}

// ownName returns this host's name.
func ownName() string {
	own, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return own
}

// serverName returns the control server as the command line has it.
func (o *options) serverName() string {
	if o.server != "" {
		return o.server
	}
	return o.test
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

// takesFiles checks that files can be written to a directory, which may be
// another process's.
func takesFiles(dir string) error {
	f, err := os.CreateTemp(dir, ".owl-check-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// written returns what prints the names of files: each in a write of its own,
// when the file is whole. Without a reader there is nobody to measure for: the
// reference dies of SIGPIPE then, and Owl ends with what there is written.
func (o *options) written(stdout io.Writer, end context.CancelCauseFunc) func(path string) {
	if !o.print {
		return nil
	}
	return func(path string) {
		if _, err := io.WriteString(stdout, path+"\n"); err != nil {
			end(fmt.Errorf("ending, for the names of files (-p) cannot be printed: %w", err))
		}
	}
}

// serveMetrics serves the metrics of the stream between this host and the host
// peer.
func (m *measurement) serveMetrics(ctx context.Context, o *options, peer string) error {
	reg, c, err := metrics.NewRegistry(command.Version)
	if err != nil {
		return err
	}
	if err := metrics.Process(reg, m.engine, m.clock.State, m.monitor.Latest); err != nil {
		return err
	}
	own := ownName()
	l := metrics.Labels{Source: peer, Destination: own, Direction: metrics.To, Stream: o.test}
	if o.send {
		l.Source, l.Destination, l.Direction = own, peer, metrics.From
	}
	m.metrics = c.Stream(l, m.stream.Snapshot)
	if m.archiver != nil {
		if err := archivemetrics.Register(reg, m.archiver.Queue().Stats, nil); err != nil {
			return err
		}
	}
	url, err := cli.ServeMetrics(ctx, o.metrics, metrics.Handler(reg))
	if err != nil {
		return err
	}
	m.log.Info("metrics are at " + url)
	return nil
}

// run measures until ctx is done.
func (m *measurement) run(ctx context.Context, hangup <-chan struct{}) {
	cli.WarnClock(m.clock.State().Synchronized, m.log)
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { m.clock.Run(ctx) })
	work.Go(func() { m.monitor.Run(ctx) })
	done := make(chan struct{})
	work.Go(func() {
		defer close(done)
		m.stream.Run(ctx)
	})
	for {
		select {
		case <-hangup:
			m.log.Info("SIGHUP: Re-opening connections.")
			m.passphrase.read(ctx, m.log)
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
		if err := m.engine.Close(); err != nil {
			m.log.Error(err.Error())
		}
	}
	if m.archiver != nil {
		m.archiver.Close()
	}
	if m.dir != nil {
		m.dir.Close()
	}
}
