package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"owl/internal/aside"
	"owl/internal/cli"
	"owl/internal/command"
	"owl/owamp"
	"owl/probe/clock"
	"owl/probe/host"
	"owl/sessions"
	"owl/sessions/metrics"
	"owl/sessions/ports"
	"owl/sessions/server"
)

const (
	pidName  = "owamp-server.pid"
	infoName = "owamp-server.info"
)

// A daemon is a server with all that it needs.
type daemon struct {
	log      *slog.Logger
	clock    *clock.Clock
	monitor  *host.Monitor
	engine   *cli.Engine
	listener net.Listener
	store    *server.Store
	server   *server.Server
	pid      *os.File      // locked
	dieBy    time.Duration // how long sessions may take to end; 0: as long as they like
}

// start prepares the daemon of the options: afterwards it listens. What needs
// privileges, as the files that a service manager looks for may, comes first;
// then they are dropped.
func start(ctx context.Context, o *options, log *slog.Logger, getenv func(string) string) (_ *daemon, err error) {
	id, err := o.identify(os.Geteuid())
	if err != nil {
		return nil, err
	}
	if o.unreadable != nil {
		return nil, o.unreadable
	}
	if err := o.checkUsers(); err != nil {
		return nil, err
	}
	for _, remark := range o.remarks {
		log.Warn(remark)
	}
	cli.SaveMemory(getenv)
	d := &daemon{log: log, dieBy: o.dieBy}
	if d.clock, err = o.clock.Open(getenv, log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.engine, err = o.engine.Open(d.clock, log); err != nil {
		return nil, err
	}
	if d.pid, err = lockPID(o.varDir); err != nil {
		return nil, err
	}
	if d.listener, err = listen(ctx, o.listen); err != nil {
		return nil, err
	}
	cfg := server.Config{
		Settings: o.settings(),
		Modes:    o.wanted(),
		Clock:    d.clock,
		Random:   rand.Reader,
		Log:      log,
		Limits:   o.limits,
		Started:  d.clock.Now(),
	}
	if err := d.tell(o.varDir, cfg.Started); err != nil {
		return nil, err
	}
	if err := id.Become(o.engine.Needs()); err != nil {
		return nil, err
	}
	o.warnUnreadable(log)

	d.monitor = host.New(host.Config{Now: d.clock.Now})
	cfg.Host = d.monitor
	if o.metrics != "" {
		if cfg.Watch, err = d.serveMetrics(ctx, o.metrics); err != nil {
			return nil, err
		}
	}
	if d.store, err = server.OpenStore(o.dataDir, log); err != nil {
		return nil, err
	}
	cfg.Store = d.store
	cfg.Prober = ports.Engine(d.engine.Engine)
	d.server = server.New(cfg)
	cli.WarnClock(d.clock.State().Synchronized, log)
	log.Info(fmt.Sprintf("listening on %v", d.listener.Addr()))
	return d, nil
}

// warnUnreadable says which files could be read with the privileges that are
// gone, but not again at a hangup.
func (o *options) warnUnreadable(log *slog.Logger) {
	names := []string{confName, limitsName}
	if o.keysFile != "" {
		names = append(names, keysName)
	}
	for _, name := range names {
		f, err := os.Open(o.path(name))
		if err == nil {
			f.Close()
		} else if errors.Is(err, fs.ErrPermission) {
			log.Warn(fmt.Sprintf("%v: cannot be reloaded at SIGHUP", err))
		}
	}
}

// listen opens the control port. A wildcard address serves IPv6 and IPv4.
func listen(ctx context.Context, node string) (net.Listener, error) {
	host, port, err := cli.ParseHostPort(node, cli.DefaultPort)
	if err != nil {
		return nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("listening for clients: %w", err)
	}
	return ln, nil
}

// lockPID locks the pid file, so that there is one owampd for a directory.
func lockPID(dir string) (*os.File, error) {
	name := filepath.Join(dir, pidName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s: a symbolic link: want a file of its own", name)
	}
	if err != nil {
		return nil, err
	}
	if err := ownFile(f); err != nil {
		f.Close()
		return nil, err
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		f.Close()
		return nil, fmt.Errorf("Unable to lock file %s: %w", name, err) //nolint:staticcheck // the C suite's words
	}
	return f, nil
}

// ownFile returns an error unless f is a file that has no other name. The
// directory may be that of a user who is not trusted, and root is about to write.
func ownFile(f *os.File) error {
	var info unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &info); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if info.Mode&unix.S_IFMT != unix.S_IFREG || info.Nlink != 1 {
		return fmt.Errorf("%s: no regular file, or one with several names: want a file of its own", f.Name())
	}
	return nil
}

// tell tells other programs which process this is and when it began, as
// Server-Start does.
func (d *daemon) tell(dir string, started owamp.Timestamp) error {
	err := d.pid.Truncate(0)
	if err == nil {
		_, err = d.pid.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	if err != nil {
		return err
	}
	info, err := aside.Create(dir, "owampd")
	if err != nil {
		return err
	}
	defer info.Close()
	if _, err := fmt.Fprintf(info, "START=%020d\nPID=%d\n", uint64(started), os.Getpid()); err != nil {
		return err
	}
	_, err = info.CommitAs(infoName)
	return err
}

// serveMetrics serves metrics at addr, among them those of the peers that the
// server tells of by what is returned.
func (d *daemon) serveMetrics(ctx context.Context, addr string) (func(server.Peer, func() sessions.Snapshot) server.Watcher, error) {
	reg, c, err := metrics.NewRegistry(command.Version)
	if err != nil {
		return nil, err
	}
	if err := metrics.Process(reg, d.engine, d.clock.State, d.monitor.Latest); err != nil {
		return nil, err
	}
	url, err := cli.ServeMetrics(ctx, addr, metrics.Handler(reg))
	if err != nil {
		return nil, err
	}
	d.log.Info("metrics are at " + url)
	return func(p server.Peer, snapshot func() sessions.Snapshot) server.Watcher {
		return c.Between(p.Sender, p.Receiver, p.Receiving, snapshot)
	}, nil
}

// serve serves until ctx is done, and calls reload at each hangup.
func (d *daemon) serve(ctx context.Context, hangup <-chan struct{}, reload func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() { d.clock.Run(ctx) })
	work.Go(func() { d.monitor.Run(ctx) })
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(ctx, d.listener) }()
	for {
		select {
		case <-hangup:
			reload()
		case err := <-served:
			return err
		case <-ctx.Done():
			d.log.Info("owampd: exiting...")
			return await(served, d.dieBy)
		}
	}
}

// await waits for the end of a server that has been told to end, for at most
// dieBy if that is not 0.
func await(served <-chan error, dieBy time.Duration) error {
	var late <-chan time.Time
	if dieBy > 0 {
		late = time.After(dieBy)
	}
	select {
	case err := <-served:
		return err
	case <-late:
		return fmt.Errorf("sessions have not ended within %v (dieby): leaving them", dieBy)
	}
}

// close gives everything back.
func (d *daemon) close() {
	if d.engine != nil {
		if err := d.engine.Close(); err != nil {
			d.log.Error(err.Error())
		}
	}
	if d.store != nil {
		d.store.Close()
	}
	if d.listener != nil {
		d.listener.Close()
	}
	if d.pid != nil {
		d.pid.Close()
	}
}
