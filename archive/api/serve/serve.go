package serve

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"owl/archive/api"
	"owl/archive/api/ui"
	"owl/archive/store"
)

// Bounds that nobody needs to change.
const (
	headerTime  = 10 * time.Second // until the headers of a request are there, with a TLS handshake before them
	idleTime    = 2 * time.Minute  // of a connection without a request
	headerSize  = 32 << 10         // octets
	streams     = 64               // requests at once on one connection of HTTP/2
	drainTime   = 10 * time.Second // for the requests that are being answered at the end
	largeBody   = 1 << 20          // octets from which on a body is a large one
	largeAtOnce = 4                // requests with such a body that are answered at once
	readyTime   = 5 * time.Second  // for the archive to say that it is well
	readyAge    = time.Second      // during which what it said last is told again
)

// Options say how an archive is served. The zero value serves it to all who ask,
// over plain HTTP, and lets those write who have a key.
type Options struct {
	Certificate *Certificate   // nil: no TLS
	Connections int            // at once; 0: 1000
	Requests    int            // answered at once; 0: 128
	Origins     []string       // of pages that may use the REST interface, see [CheckOrigin]
	Proxies     []netip.Prefix // whose word for whom they ask is believed
	AllowWrite  []netip.Prefix // networks from which a write needs no key
	MaxBody     int64          // octets of a request; 0: the REST interface's own
	Live        ui.Live        // what is measured now; nil: nobody knows
	Resolver    api.Resolver   // of hosts in searches; nil: the system's
	Now         func() time.Time

	// Retention returns the rules that the archive is pruned by, for the forecast
	// among the metrics; nil: there are none.
	Retention func() []store.Rule

	Log      *slog.Logger          // nil: nobody wants to know
	Access   *slog.Logger          // gets a line for each request; nil: nobody wants to know
	Registry prometheus.Registerer // gets the server's own metrics; nil: nobody wants them
	Metrics  http.Handler          // at /metrics; nil: nothing is there
}

// A Server serves an archive, at any number of addresses.
type Server struct {
	options  Options
	check    func(context.Context) error
	handler  http.Handler
	counters *counters
	turns    *turns
	large    *turns // of requests with a large body, beside the others
	draining atomic.Bool

	mu     sync.Mutex
	crowds []*crowd

	asked sync.Mutex // held while the archive is asked whether it is well
	well  error
	at    time.Time
}

// New returns the server of an archive. Its only error is that of registering
// metrics which are there already.
func New(st *store.Store, o Options) (*Server, error) {
	rest := api.New(st, api.Options{Now: o.Now, Resolver: o.Resolver, Log: o.Log, AllowWrite: o.AllowWrite, MaxBody: o.MaxBody})
	page := ui.New(st, ui.Options{Now: o.Now, Live: o.Live, Log: o.Log})
	if o.Registry != nil {
		if err := registerAll(o.Registry, newCollector(st, o.Retention)); err != nil {
			return nil, err
		}
	}
	return newServer(rest, page, st.Check, o)
}

// newServer returns a server of a REST interface and a page, whose archive says
// by check what is wrong with it.
func newServer(rest, page http.Handler, check func(context.Context) error, o Options) (*Server, error) {
	o.Connections = cmp.Or(o.Connections, 1000)
	o.Requests = cmp.Or(o.Requests, 128)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{options: o, check: check, counters: newCounters(), turns: newTurns(o.Requests), large: newTurns(largeAtOnce)}
	if o.Registry != nil {
		if err := s.register(o.Registry); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	rest = share(o.Origins, s.bound(rest))
	for _, prefix := range []string{"/esmond/", "/esmond", "/perfsonar/", "/perfsonar", "/openapi.json"} {
		mux.Handle(prefix, rest)
	}
	mux.Handle("/", s.bound(page))
	// These have bounds of their own, and are there when all turns are taken.
	mux.Handle("/api/live", occupying(page))
	if o.Metrics != nil {
		mux.Handle("GET /metrics", occupying(o.Metrics))
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	s.handler = s.observe(mux)
	return s, nil
}

// occupying has the connections of requests stay while h answers.
func occupying(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer occupy(r.Context())()
		h.ServeHTTP(w, r)
	})
}

// bound has requests wait for their turn. Until then their connections are none
// that stay: there are more connections than turns.
func (s *Server) bound(h http.Handler) http.Handler {
	h = occupying(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Who waits for one of the few turns of large bodies keeps no other's meanwhile.
		var wanted []*turns
		if r.ContentLength < 0 || r.ContentLength >= largeBody { // what is not known may be large
			wanted = append(wanted, s.large)
		}
		wanted = append(wanted, s.turns)
		ctx, cancel := context.WithTimeout(r.Context(), patient)
		defer cancel()
		for _, t := range wanted {
			done, ok := t.take(ctx, site(visitOf(r.Context()).client))
			if !ok {
				s.counters.refused.Inc()
				w.Header().Set("Retry-After", "5")
				complain(w, http.StatusServiceUnavailable, "Too many requests at once.")
				return
			}
			defer done()
		}
		h.ServeHTTP(w, r)
	})
}

// ready answers whether requests are worth sending.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.draining.Load():
		say(w, http.StatusServiceUnavailable, "ending")
	case s.ask(r.Context()) != nil:
		say(w, http.StatusServiceUnavailable, "the archive does not answer; the log says why")
	default:
		say(w, http.StatusOK, "ok")
	}
}

// ask asks the archive whether it is well, or returns what it has just said.
func (s *Server) ask(ctx context.Context) error {
	s.asked.Lock()
	defer s.asked.Unlock()
	if time.Since(s.at) < readyAge {
		return s.well
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTime)
	defer cancel()
	if s.well = s.check(ctx); s.well != nil {
		s.options.Log.Error("the archive is not ready: " + s.well.Error())
	}
	s.at = time.Now()
	return s.well
}

// say answers with a line of text.
func say(w http.ResponseWriter, code int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	io.WriteString(w, line+"\n")
}

// connections returns how many there are, and how many had to go.
func (s *Server) connections() (now int, evicted uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.crowds {
		n, gone := c.count()
		now += n
		evicted += gone
	}
	return now, evicted
}

// ServeHTTP answers one request, as of this process's own.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Serve serves at l until ctx ends, and then until the requests that are being
// answered are, for ten seconds at most. It closes l. It returns nil if nothing
// else has ended it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	guests := newCrowd(l, s.options.Connections)
	s.mu.Lock()
	s.crowds = append(s.crowds, guests)
	s.mu.Unlock()
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerSize,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streams},
		ErrorLog:          slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug), // of peers' broken connections
		ConnContext:       remember,
		// Requests outlive ctx, but for those that would for ever.
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.WithoutCancel(ctx), endingKey{}, ctx)
		},
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		s.drain(context.WithoutCancel(ctx), srv)
	})
	var err error
	if s.options.Certificate == nil {
		err = srv.Serve(guests)
	} else {
		srv.TLSConfig = s.options.Certificate.config()
		err = srv.ServeTLS(guests, "", "")
	}
	if stop() { // something else has ended it
		return err
	}
	<-ended
	return nil
}

// drain ends srv when the requests that it answers are answered.
func (s *Server) drain(ctx context.Context, srv *http.Server) {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if err := srv.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		s.options.Log.Warn("requests were cut off at the end", "after", drainTime)
		srv.Close()
	}
}
