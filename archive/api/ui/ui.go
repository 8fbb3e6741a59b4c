// Package ui serves the page that shows what a measurement archive has, and the
// data that it draws:
//
//	/             the page, and /static/ what belongs to it
//	/api/grid     sources and destinations, and what was measured between them
//	/api/pair     two hosts, both directions, over time
//	/api/heatmap  how many packets had which delay, over time
//	/api/live     what is measured right now, as server-sent events
//
// The first three are JSON, and CSV with .csv behind the name. All times are in
// Unix seconds, all delays in milliseconds; a figure that is not known is null.
// Errors are an object whose member detail says what was expected.
//
// # Figures
//
// Quantiles are those of the histogram of all packets of a window, and never means
// of quantiles. The loss of a window is the quotient of the sums; the loss of its
// worst measurement stands beside it, so that a bad minute is seen in a week. A
// window in which nothing was measured is not there. It is a gap, with the reason
// that the archive has for it.
//
// # Bounds
//
// A request names at most [MaxSpan] of time, and gets at most so many points that
// a page can draw: the more time, the greater the windows. Beyond, it is told what
// was left out.
package ui

import (
	"embed"
	"io/fs"
	"net/http"
	"time"
)

// MaxSpan is the longest time that a request may name, in seconds: twenty years.
const MaxSpan = 20 * 366 * 86400

// Options of the page. The zero value is good.
type Options struct {
	// Now is the time up to which data are looked for; nil: the clock's.
	Now func() time.Time
	// Live tells what is measured right now; nil: nothing in this process is.
	Live Live
}

// A Store is what the page needs of an archive.
type Store interface{}

type handler struct {
	store Store
	Options
	mux  *http.ServeMux
	live *feed
}

// policy lets the page load what is its own, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

//go:embed static
var static embed.FS

// New returns what serves the page of an archive. What bounds the number of
// requests is to be in front of it; /api/live has a bound of its own.
func New(s Store, o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &handler{store: s, Options: o, mux: http.NewServeMux(), live: newFeed(o.Live)}
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // of a path that is constant
	}
	pages := http.FileServerFS(files)
	h.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "index.html") })
	h.mux.Handle("GET /static/", http.StripPrefix("/static", pages))
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
