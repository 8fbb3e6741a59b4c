package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"owl/archive/api/serve"
	"owl/archive/atfile"
	"owl/archive/store"
	"owl/internal/cli"
	"owl/internal/command"
	"owl/sessions/metrics"
)

// A service is an archive that is being served.
type service struct {
	options *options
	log     *slog.Logger
	store   *store.Store
	cert    *serve.Certificate // nil: no TLS
	access  *accessLog         // nil: nobody wants it
	rules   atomic.Pointer[[]store.Rule]
}

// serve is the program without a command.
func (o *options) serve(ctx context.Context, hangup <-chan struct{}, log *slog.Logger, stderr io.Writer) error {
	s := &service{options: o, log: log}
	// What cannot be is refused before anything is made.
	if err := s.readRules(); err != nil {
		return err
	}
	var err error
	if o.cert != "" {
		if s.cert, err = serve.LoadCertificate(o.cert, o.certKey()); err != nil {
			return err
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("option --listen: %w", err)
	}
	defer l.Close()
	if s.access, err = openAccessLog(o.access, stderr); err != nil {
		return err
	}
	defer s.access.Close()
	if s.store, err = o.open(ctx, log); err != nil {
		return err
	}
	defer s.store.Close()
	server, err := s.server()
	if err != nil {
		return err
	}
	if err := s.announce(ctx, l.Addr()); err != nil {
		return err
	}

	running, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	work.Go(func() { s.store.KeepPruned(running, s.kept) })
	work.Go(func() {
		for {
			select {
			case <-hangup:
				s.reload()
			case <-running.Done():
				return
			}
		}
	})
	if err := server.Serve(ctx, l); err != nil {
		return err
	}
	log.Info("SIGTERM/SIGINT Caught: Exiting.")
	return nil
}

// server returns the server of the archive.
func (s *service) server() (*serve.Server, error) {
	reg, _, err := metrics.NewRegistry(command.Version)
	if err != nil {
		return nil, err
	}
	return serve.New(s.store, serve.Options{
		Certificate: s.cert,
		Connections: s.options.connections,
		Origins:     s.options.origins,
		Proxies:     s.options.proxies,
		AllowWrite:  s.options.allow,
		Retention:   s.kept,
		Log:         s.log,
		Access:      s.access.logger(),
		Registry:    reg,
		Metrics:     metrics.Handler(reg),
	})
}

// announce says where the archive is, and what keeps it from being of use.
func (s *service) announce(ctx context.Context, at net.Addr) error {
	scheme := "http"
	if s.cert != nil {
		scheme = "https"
	}
	s.log.Info(fmt.Sprintf("the archive %v is at %s://%s/", s.store, scheme, cli.Reachable(at)))
	keys, err := s.store.Keys(ctx)
	if err != nil {
		return err
	}
	if len(keys) == 0 && len(s.options.allow) == 0 {
		named := s.options.store
		if store.IsURL(named) { // which may have a password in it
			named = s.store.String()
		}
		s.log.Warn(fmt.Sprintf("nobody may write yet: owarchive --store %s key add NAME makes a key", named))
	}
	a, err := netip.ParseAddrPort(at.String())
	if err == nil && !a.Addr().Unmap().IsLoopback() && s.cert == nil && len(s.options.proxies) == 0 {
		s.log.Warn("keys come over the network for all to read: want --tls-cert, or a proxy with TLS in front and --trust-proxy")
	}
	return nil
}

// readRules puts the rules of retention in force.
func (s *service) readRules() error {
	rules, err := s.options.rules()
	if err == nil {
		s.rules.Store(&rules)
	}
	return err
}

// rules returns what is kept for how long.
func (o *options) rules() ([]store.Rule, error) {
	text, err := atfile.Read(o.retention)
	if err != nil {
		return nil, fmt.Errorf("option --retention: %w", err)
	}
	rules, err := store.ParseRetention(text)
	if err != nil {
		return nil, fmt.Errorf("option --retention: %w", err)
	}
	return rules, nil
}

// kept returns the rules of retention that are in force.
func (s *service) kept() []store.Rule { return *s.rules.Load() }

// reload reads again what is in files. What cannot be read stays as it was.
func (s *service) reload() {
	try := func(what string, again func() error) {
		if err := again(); err != nil {
			s.log.Error("not reloaded, what was in force stays: " + err.Error())
			return
		}
		s.log.Info("reloaded " + what)
	}
	if s.cert != nil {
		try("the certificate", s.cert.Reload)
	}
	if s.options.retention != "" {
		try("the retention", s.readRules)
	}
	if s.access.reopens() {
		try("the access log", s.access.Reopen)
	}
}

// certKey returns the file of the certificate's key.
func (o *options) certKey() string {
	if o.key != "" {
		return o.key
	}
	return o.cert
}

// open opens the archive. Only what has something to put there makes one that
// does not exist.
func (o *options) open(ctx context.Context, log *slog.Logger) (*store.Store, error) {
	address, err := atfile.Read(o.store)
	if err != nil {
		return nil, fmt.Errorf("option --store: %w", err)
	}
	makes := o.command == "" || o.command == "import" || o.command == "key" && o.operands[0] == "add"
	if !makes && !store.IsURL(address) {
		if _, err := os.Stat(address); err != nil {
			return nil, fmt.Errorf("option --store: %w", err)
		}
	}
	return store.Open(ctx, address, store.Options{Log: log})
}
