package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"owl/archive/api/serve"
	"owl/archive/store"
	"owl/cmd/internal/archiving"
	"owl/internal/agentfile"
	"owl/internal/cli"
	"owl/sessions/metrics"
)

// An archiveHalf is the measurement archive in an agent: what owarchive is by
// itself.
type archiveHalf struct {
	store       *store.Store
	certificate *serve.Certificate           // nil: no TLS
	retention   atomic.Pointer[[]store.Rule] // what is kept for how long
}

// listenArchive opens the port of the archive half of cfg; nil: it has none.
func listenArchive(ctx context.Context, cfg *agentfile.Config) (net.Listener, error) {
	if cfg.Archive == nil {
		return nil, nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Archive.Listen)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return ln, nil
}

// startArchive opens the measurement archive that cfg describes, unless that is
// nil, and serves it at ln until the agent serves nobody any more.
func (a *agent) startArchive(cfg *agentfile.MeasurementArchive, ln net.Listener) error {
	if cfg == nil {
		return nil
	}
	h := new(archiveHalf)
	rules, err := readArchive(a.file, cfg)
	if err != nil {
		return err
	}
	h.retention.Store(&rules)
	if h.certificate, err = loadCertificate(cfg); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	if !store.IsURL(cfg.Store) {
		if err := os.MkdirAll(filepath.Dir(cfg.Store), 0o755); err != nil {
			return fmt.Errorf("archive: store: %w", err)
		}
	}
	if h.store, err = store.Open(a.life, cfg.Store, store.Options{Log: a.log, Await: true}); err != nil {
		return err // which says archive
	}
	a.archival = h
	o := serve.Options{
		Certificate: h.certificate,
		Origins:     cfg.CORS,
		AllowWrite:  cfg.AllowWrite,
		Proxies:     cfg.TrustProxy,
		Live:        newLiveFeed(a),
		Retention:   h.rules,
		Log:         a.log,
	}
	if a.registry != nil {
		o.Registry, o.Metrics = a.registry, metrics.Handler(a.registry)
	}
	server, err := serve.New(h.store, o)
	if err != nil {
		return err
	}
	scheme := "http"
	if h.certificate != nil {
		scheme = "https"
	}
	a.log.Info(fmt.Sprintf("archive: %v, its page is at %s://%s/", h.store, scheme, cli.Reachable(ln.Addr())))
	a.work.Go(func() {
		if err := server.Serve(a.serving, ln); err != nil {
			a.failed <- fmt.Errorf("archive: %w", err)
		}
	})
	a.work.Go(func() { h.store.KeepPruned(a.serving, h.rules) })
	a.work.Go(func() { a.warnName(a.serving) })
	return nil
}

// warnName says if this host's name, by which the archive is to know what it
// measures, does not say where it is.
func (a *agent) warnName(ctx context.Context) {
	named := func(s agentfile.Stream) bool { return archiving.LocalEnd(s.Client.Source) == "" }
	if !slices.ContainsFunc(a.first.Streams, named) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", a.first.Host)
	if ctx.Err() == nil && !slices.ContainsFunc(all, func(a netip.Addr) bool { return !a.Unmap().IsLoopback() }) {
		why := "has only addresses of loopback"
		if err != nil {
			why = "has no address: " + err.Error()
		}
		a.log.Warn(fmt.Sprintf("archive: %s, as this host is called, %s: want source in its streams, an address", a.first.Host, why))
	}
}

// rules returns what is kept for how long.
func (h *archiveHalf) rules() []store.Rule { return *h.retention.Load() }

// reloadArchive puts into force what the file says now of the archive half, whose
// rules of retention are rules, as far as that can be, and returns what is to be
// known of it.
func (a *agent) reloadArchive(cfg *agentfile.MeasurementArchive, rules []store.Rule) (told []string) {
	switch {
	case a.archival == nil && cfg == nil:
		return nil
	case a.archival == nil || cfg == nil:
		return []string{"archive: restart owagent for it to begin or to end"}
	}
	a.archival.retention.Store(&rules)
	if c := a.archival.certificate; c != nil {
		if err := c.Reload(); err != nil {
			told = append(told, "archive: the certificate stays what it was: "+err.Error())
		} else {
			told = append(told, "certificate of the archive reloaded")
		}
	}
	before, now := *a.first.Archive, *cfg
	before.Retention, now.Retention = nil, nil
	if !before.Equal(&now) {
		told = append(told, "archive: restart owagent for all but its retention to take effect")
	}
	return told
}

// close closes the store, when nobody needs it any more.
func (h *archiveHalf) close(log *slog.Logger) {
	if err := h.store.Close(); err != nil {
		log.Error("archive: " + err.Error())
	}
}

// readArchive reads what an archive half, which file tells of, names, and returns
// what it keeps for how long. It opens nothing.
func readArchive(file string, cfg *agentfile.MeasurementArchive) ([]store.Rule, error) {
	if cfg == nil {
		return nil, nil
	}
	var errs []error
	fail := func(err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: archive: %w", file, cfg.Line, err))
		}
	}
	rules, err := store.ParseRetention(strings.Join(cfg.Retention, "\n"))
	fail(err)
	_, err = loadCertificate(cfg)
	fail(err)
	for _, o := range cfg.CORS {
		fail(serve.CheckOrigin(o))
	}
	return rules, errors.Join(errs...)
}

// loadCertificate reads the certificate of an archive half; nil: it has none.
func loadCertificate(cfg *agentfile.MeasurementArchive) (*serve.Certificate, error) {
	if cfg.TLSCert == "" {
		return nil, nil
	}
	return serve.LoadCertificate(cfg.TLSCert, cfg.TLSKey)
}
