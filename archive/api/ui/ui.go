// Package ui serves the page that shows what a measurement archive has, and the
// data that it draws:
//
//	/             the page, and under /static/ what belongs to it
//	/api/grid     all pairs of hosts, and what was measured between them
//	/api/pair     two hosts, both directions, over time
//	/api/heatmap  how many packets had which delay, over time
//	/api/live     what is measured right now, as server-sent events
//
// The first three are JSON, and CSV with .csv behind the name. All times are Unix
// seconds, all delays milliseconds; a figure that is not known is null. An error is
// an object whose member detail says what was expected.
//
// # Figures
//
// Quantiles are those of the histogram of all packets of a window, never means of
// quantiles, and the greatest delay is the greatest of all. The loss of a window is
// the quotient of its sums; beside it is the loss of its worst measurement, so that
// a bad minute is seen in a month. A window in which nothing was measured is left
// out. It is part of a gap, which has the reason that the archive knows of. Where
// there are windows, those that overlap a span are looked at as a whole.
//
// # Bounds
//
// A request names at most [MaxSpan] of time, and gets at most so many points as can
// be drawn: the more time, the longer are the windows. What would take too many
// points nevertheless is left out, and the answer says so.
package ui

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"owl/archive/series"
	"owl/archive/store"
)

// MaxSpan is the longest time that a request may name, in seconds: twenty years.
const MaxSpan = 20 * 366 * 86400

// A Store is what the page needs of an archive; [*store.Store] is one.
type Store interface {
	Search(context.Context, *store.Filter) (page []*series.Metadata, total int, err error)
	Read(context.Context, store.Query) iter.Seq2[store.Reading, error]
}

// Options of the page. The zero value is good.
type Options struct {
	// Now is the clock by which data are up to date; nil: the system's.
	Now func() time.Time
	// Live tells what is measured right now; nil: nothing is, in this process.
	Live Live
	// Log has a line for each request that fails by the archive's fault; nil: nobody
	// reads it.
	Log *slog.Logger
}

type handler struct {
	store Store
	Options
	mux    *http.ServeMux
	assets map[string]asset
	feed   *feed
	grids  gridCache
}

// New returns what serves the page of an archive. What bounds the number of
// requests is to be in front of it, but for /api/live, which bounds itself.
func New(s Store, o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &handler{store: s, Options: o, mux: http.NewServeMux(), assets: assets(), feed: newFeed(o.Live)}
	h.mux.HandleFunc("GET /", h.servePage)
	for name, answer := range map[string]func(*http.Request) (table, error){"grid": h.grid, "pair": h.pair, "heatmap": h.heatmap} {
		h.mux.HandleFunc("GET /api/"+name, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, answer, writeJSON) })
		h.mux.HandleFunc("GET /api/"+name+".csv", func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, answer, writeCSV(name)) })
	}
	h.mux.HandleFunc("GET /api/live", h.serveLive)
	return h
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-cache")
	h.mux.ServeHTTP(w, r)
}
