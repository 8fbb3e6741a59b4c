package cli

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/net/netutil"
)

// maxScrapers bounds the connections that are served at once.
const maxScrapers = 64

const metricsIndex = `<!doctype html><title>Owl</title><h1>Owl</h1><p><a href="metrics">Metrics</a></p>
`

// CheckMetrics refuses what cannot be an address for [ServeMetrics].
func CheckMetrics(addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("metrics address %q: want host:port or :port", addr)
	}
	return nil
}

// ServeMetrics serves h at /metrics on addr, a "host:port" with an optional
// host, until ctx ends. It returns as soon as it listens, with the address that
// a scraper on this host can ask, or says why it cannot listen.
func ServeMetrics(ctx context.Context, addr string, h http.Handler) (url string, err error) {
	if err := CheckMetrics(addr); err != nil {
		return "", err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("metrics address %q: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", h)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, metricsIndex)
	})
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       30 * time.Second, // who asks no more keeps nobody out
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // scrapers' broken connections concern nobody
	}
	context.AfterFunc(ctx, func() { srv.Close() })
	go func() {
		// Serve fails when ctx has closed the listener; there is nothing to add.
		_ = srv.Serve(netutil.LimitListener(l, maxScrapers))
	}()
	return "http://" + Reachable(l.Addr()) + "/metrics", nil
}

// Reachable returns what to write for a listener's address: "localhost" stands
// for all addresses.
func Reachable(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil || !ap.Addr().IsUnspecified() {
		return a.String()
	}
	return fmt.Sprintf("localhost:%d", ap.Port())
}
