package api

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"owl/archive/store"
)

const (
	// MaxBody is how many octets a request may have, unless [Options] say otherwise.
	// A bulk request with what one session has measured has some thousand.
	MaxBody = 16 << 20
	// MaxPoints is how many points one request may have.
	MaxPoints = 100_000
	// compressors is how many answers are compressed at the same time, each of which
	// needs a megabyte. Others go as they are.
	compressors = 8
)

// A Resolver finds the addresses of a host; [*net.Resolver] is one. The network
// is ip4 or ip6.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options of the interface. The zero value is good.
type Options struct {
	// Now is the time by which the last day is meant; nil: the clock's.
	Now func() time.Time
	// Resolver finds the hosts that searches name; nil: the system's.
	Resolver Resolver
	// Log has a line for each request that fails by the archive's own fault; nil:
	// nobody wants to know.
	Log *slog.Logger
	// Prefixes are the paths of the archive, with slashes around them; nil: esmond's
	// two.
	Prefixes []string
	// AllowWrite are networks from which a write needs no key, but for pages in a
	// browser. The client's address is RemoteAddr of the request: whoever is in
	// front sees to it that it is, and that it is nobody's claim.
	AllowWrite []netip.Prefix
	// MaxBody is how many octets a request may have; 0: [MaxBody].
	MaxBody int64
}

type handler struct {
	store *store.Store
	Options
	compressors chan *gzip.Writer // those that nobody uses; nil: it is yet to be made
}

// New returns what serves an archive at its paths, and its description at
// /openapi.json. What bounds the number of requests and how long they last is
// to be in front of it.
func New(s *store.Store, o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Prefixes == nil {
		o.Prefixes = []string{"/esmond/perfsonar/archive/", "/perfsonar/archive/"}
	}
	if o.MaxBody == 0 {
		o.MaxBody = MaxBody
	}
	h := &handler{store: s, Options: o, compressors: make(chan *gzip.Writer, compressors)}
	for range compressors {
		h.compressors <- nil
	}
	return h
}

// A request is one that is being answered.
type request struct {
	*http.Request
	target
	handler *handler
	answer  *answer
	query   query
	format  format
	who     writer
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{Request: r, handler: h, answer: newAnswer(w, r, h.compressors)}
	defer q.answer.release()
	if err := q.serve(); err != nil && !errors.Is(err, errEnough) {
		q.fail(err)
	}
	q.answer.end()
}

// serve answers a request, or returns why not. It looks at what may be wrong in
// esmond's order: the URL, the form of the answer, who asks, the method, and then
// all else.
func (q *request) serve() error {
	var err error
	if q.target, err = q.handler.find(q.URL); err != nil {
		return err
	}
	q.answer.w.Header().Set("Allow", strings.Join(methodsOf[q.resource], ", "))
	if q.query, err = parseQuery(q.URL.RawQuery); err != nil {
		return err
	}
	if err = q.negotiate(); err != nil {
		return err
	}
	if q.who, err = q.handler.authorize(q.Request); err != nil {
		return err
	}
	switch q.Method {
	case http.MethodGet, http.MethodHead:
		return q.read()
	case http.MethodOptions:
		return q.describe()
	}
	if !q.who.may {
		return q.who.unauthorized("Authentication credentials were not provided.")
	}
	if q.takes(q.Method) {
		return q.write()
	}
	return refuse(http.StatusMethodNotAllowed, "Method %q not allowed.", q.Method)
}

// read answers GET, and HEAD, of which the server leaves the body out.
func (q *request) read() error {
	switch q.resource {
	case isRoot:
		return q.answerJSON(http.StatusOK, fmt.Appendf(nil, `{"archive":%s}`, quoted(q.origin()+q.base)))
	case isArchive:
		return q.search()
	case isMetadata:
		return q.readMetadata()
	case isEvent:
		return q.readEvent()
	case isData:
		return q.readData()
	default:
		return q.answerJSON(http.StatusOK, openAPI)
	}
}

// write answers POST and PUT of who may write.
func (q *request) write() error {
	switch q.resource {
	case isArchive:
		return q.register()
	case isMetadata:
		return q.writeBulk()
	case isData:
		return q.writePoint()
	default:
		// esmond takes JSON for an event type, and does nothing with it.
		if _, err := q.payload(); err != nil {
			return err
		}
		return q.done()
	}
}

// describe answers OPTIONS with what esmond says there that clients can use.
func (q *request) describe() error {
	return q.answerJSON(http.StatusOK, fmt.Appendf(nil, `{"name":%s,"renders":["application/json"],"parses":["application/json"]}`, quoted(routeNames[q.resource])))
}
