package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"owl/internal/agentfile"
	"owl/sessions"
	"owl/sessions/policy"
	"owl/sessions/server"
)

// dieBy is how long the server's sessions may take to end, as owampd has it.
const dieBy = 5 * time.Second

// A half is the server half of an agent: what owampd is by itself.
type half struct {
	server *server.Server
	store  *server.Store
}

// loadServer reads the files that the server half of cfg, if it has one, names.
func (a *agent) loadServer(cfg *agentfile.Config) (server.Settings, *policy.Limits, error) {
	settings, limits, notes, err := readServer(cfg.Server)
	for _, note := range notes {
		a.log.Warn(note)
	}
	return settings, limits, err
}

// readServer reads the files of a server half. Of none there are no limits. What others can
// read, too, is no error: notes say it.
func readServer(s *agentfile.Server) (st server.Settings, limits *policy.Limits, notes []string, err error) {
	st = server.Settings{EndDelay: time.Second, DiskFudge: 1, Passphrases: new(policy.Passphrases)}
	if s == nil {
		return st, nil, nil, nil
	}
	st.Ports = s.Ports
	var errs []error
	if s.Passphrases != "" {
		p, err := policy.LoadPassphrases(s.Passphrases)
		if err != nil {
			errs = append(errs, fmt.Errorf("server: passphrases: %w", err))
		} else if st.Passphrases = p; p.Exposed() != nil {
			notes = append(notes, p.Exposed().Error())
		}
	}
	if limits, err = readLimits(s.Limits); err != nil {
		errs = append(errs, fmt.Errorf("server: limits: %w", err))
	} else if err := limits.CheckUsers(st.Passphrases.Has); err != nil && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("server: limits: %w", err))
	}
	return st, limits, notes, errors.Join(errs...)
}

// readLimits reads a file of limits; without one there are none.
func readLimits(name string) (*policy.Limits, error) {
	if name == "" {
		return policy.Unlimited(), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return policy.Parse(name, f)
}

// listenServer opens the port of the server half of cfg; nil: it has none.
func listenServer(ctx context.Context, cfg *agentfile.Config) (net.Listener, error) {
	if cfg.Server == nil {
		return nil, nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Server.Listen)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	return ln, nil
}

// startServer starts the server half of cfg, if it has one, at ln, which goes on
// until the agent serves nobody any more.
func (a *agent) startServer(cfg *agentfile.Config, ln net.Listener) error {
	if ln == nil {
		return nil
	}
	settings, limits, err := a.loadServer(cfg)
	if err != nil {
		return err
	}
	h := &half{}
	if h.store, err = server.OpenStore(cfg.Server.Data, a.log); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	c := server.Config{
		Settings: settings,
		Modes:    cfg.Server.Modes,
		Clock:    a.clock,
		Host:     a.monitor,
		Prober:   a.prober,
		Random:   rand.Reader,
		Log:      a.log,
		Store:    h.store,
		Limits:   limits,
		Started:  a.started,
	}
	if a.collector != nil {
		c.Watch = a.watchPeer
	}
	h.server = server.New(c)
	a.server = h
	a.log.Info(fmt.Sprintf("server: listening on %v", ln.Addr()))
	a.work.Go(func() {
		defer h.store.Close()
		late := make(chan struct{})
		defer context.AfterFunc(a.serving, func() { time.AfterFunc(dieBy, func() { close(late) }) })()
		served := make(chan error, 1)
		go func() { served <- h.server.Serve(a.serving, ln) }()
		select {
		case err := <-served:
			if err != nil {
				a.failed <- fmt.Errorf("server: %w", err)
			}
		case <-late:
			a.log.Error(fmt.Sprintf("server: sessions have not ended within %v: leaving them", dieBy))
		}
	})
	return nil
}

// watchPeer shows what the server measures with a peer.
func (a *agent) watchPeer(p server.Peer, snapshot func() sessions.Snapshot) server.Watcher {
	return a.collector.Between(p.Sender, p.Receiver, p.Receiving, snapshot)
}

// needsRestart reports whether one of two servers cannot become the other.
func needsRestart(a, b *agentfile.Server) bool {
	if a == nil || b == nil {
		return a != b
	}
	return a.Listen != b.Listen || a.Data != b.Data || a.Modes != b.Modes
}
