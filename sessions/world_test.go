package sessions_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/stats"
	"owl/sessions"
	"owl/sessions/internal/memwire"
	"owl/sessions/server"
)

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2")
)

// A world is a stream, the host that it measures from, and the path between
// them, in the bubble of a test.
type world struct {
	t     *testing.T
	net   *memwire.Network
	clock *memwire.Clock // this host's
	dir   string
	data  string // the server's, whatever becomes of it

	mu      sync.Mutex
	peer    *memwire.Listener // nil: there is no such host
	dialled []time.Time
	written []string // names, in order
	log     bytes.Buffer

	stream *sessions.Stream
	cancel context.CancelFunc
	ended  chan struct{}
}

// config is a stream of sessions of n packets, one each mean in the mean.
func config(n uint32, mean, timeout time.Duration) sessions.StreamConfig {
	return sessions.StreamConfig{
		Packets: n,
		Slots:   []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalOf(mean)}},
		Timeout: owamp.IntervalOf(timeout),
	}
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, net: new(memwire.Network), clock: new(memwire.Clock), dir: directory(t), data: directory(t)}
	w.net.Clocks = map[netip.Addr]*memwire.Clock{here: w.clock, there: new(memwire.Clock)}
	return w
}

// directory returns a directory for the test: in memory where the system has
// that, because every file is synced.
func directory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "owl") //nolint:usetesting // that is not there
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Write takes the log.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func (w *world) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// listen makes the peer reachable; what answers is up to the caller.
func (w *world) listen(delay time.Duration) *memwire.Listener {
	ln := memwire.NewListener(netip.AddrPortFrom(there, 861))
	ln.Delay = delay
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peer = ln
	return ln
}

// A host is a server that runs.
type host struct {
	*memwire.Listener
	w      *world
	cancel context.CancelFunc
	ended  chan error
}

// serve starts a server, to which change may do something before.
func (w *world) serve(delay time.Duration, change func(*server.Config)) *host {
	w.t.Helper()
	ln := w.listen(delay)
	return w.serveOn(ln, ln, change)
}

// serveOn is serve where the server gets another listener, made of ln.
func (w *world) serveOn(ln *memwire.Listener, on net.Listener, change func(*server.Config)) *host {
	w.t.Helper()
	store, err := server.OpenStore(w.data, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := server.Config{
		Clock:    w.net.Clocks[there],
		Prober:   w.net,
		Random:   memwire.Random("server"),
		Log:      slog.New(slog.DiscardHandler),
		Store:    store,
		Settings: server.Settings{EndDelay: time.Second},
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	h := &host{Listener: ln, w: w, cancel: cancel, ended: make(chan error, 1)}
	go func() {
		err := server.New(cfg).Serve(ctx, on)
		store.Close()
		h.ended <- err
	}()
	return h
}

// kill makes the host go away without a word.
func (h *host) kill() {
	h.Close()
	h.Cut()
	synctest.Wait()
	h.stop()
}

func (h *host) stop() {
	h.w.t.Helper()
	h.cancel()
	if err := <-h.ended; err != nil && !errors.Is(err, net.ErrClosed) {
		h.w.t.Errorf("server ended with %v", err)
	}
}

// start completes cfg and begins to measure.
func (w *world) start(cfg sessions.StreamConfig) {
	w.t.Helper()
	var err error
	if cfg.Directory, err = sessions.OpenDirectory(w.dir); err != nil {
		w.t.Fatal(err)
	}
	w.startWith(cfg)
}

// startWith is start where cfg says where the files go.
func (w *world) startWith(cfg sessions.StreamConfig) {
	w.t.Helper()
	var err error
	if cfg.Dial == nil {
		cfg.Dial = w.dial
	}
	cfg.Clock = w.clock
	cfg.Prober = w.net
	cfg.Random = memwire.Random("stream")
	cfg.Log = w.logger(slog.LevelInfo)
	cfg.Names = func(from, to netip.Addr) stats.Names { return stats.Names{From: from.String(), To: to.String()} }
	cfg.Written = func(path string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, err := os.Stat(path); err != nil {
			w.t.Errorf("told of a file that is not there: %v", err)
		}
		w.written = append(w.written, filepath.Base(path))
	}
	if w.stream, err = sessions.NewStream(cfg); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.cancel = cancel
	w.ended = make(chan struct{})
	go func() {
		defer close(w.ended)
		if cfg.Directory != nil {
			defer cfg.Directory.Close()
		}
		w.stream.Run(ctx)
	}()
}

func (w *world) dial(ctx context.Context) (sessions.Path, error) {
	w.mu.Lock()
	peer := w.peer
	w.dialled = append(w.dialled, time.Now())
	w.mu.Unlock()
	if peer == nil {
		return sessions.Path{}, errors.New("no route to host")
	}
	conn, err := peer.Dial(ctx, netip.AddrPortFrom(here, 50000))
	return sessions.Path{Conn: conn, Local: here, Peer: there}, err
}

// dials returns when the stream dialled.
func (w *world) dials() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.dialled)
}

// began returns when the stream dialled first.
func (w *world) began() time.Time { return w.dials()[0] }

// end ends the stream, which may take no longer than 0.4 s, and checks that it
// has left nothing behind.
func (w *world) end() {
	w.t.Helper()
	begin := time.Now()
	w.cancel()
	<-w.ended
	if took := time.Since(begin); took > 400*time.Millisecond {
		w.t.Errorf("the stream ended in %v, want at most 400ms", took)
	}
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".i") {
			w.t.Errorf("%s is left", e.Name())
		}
	}
	if got := w.stream.Snapshot().State; got != sessions.StateStopped {
		w.t.Errorf("state %v, want stopped", got)
	}
}

// finish ends stream and server.
func (w *world) finish(h *host) {
	w.t.Helper()
	w.end()
	h.stop()
	time.Sleep(10 * time.Second) // octets that are under way
	if n := w.net.Ports(); n != 0 {
		w.t.Errorf("%d test ports are open at the end", n)
	}
	if n := h.Conns(); n != 0 {
		w.t.Errorf("%d connections exist at the end", n)
	}
}

// A span is what a file name covers.
type span struct{ start, end owamp.Timestamp }

func (s span) length() time.Duration { return s.end.Sub(s.start) }

// spans returns what the stream's files with that suffix cover, in order of
// time.
func (w *world) spans(suffix string) []span {
	w.t.Helper()
	names, err := filepath.Glob(filepath.Join(w.dir, "*"+suffix))
	if err != nil {
		w.t.Fatal(err)
	}
	var all []span
	for _, name := range names {
		all = append(all, w.span(filepath.Base(name)))
	}
	slices.SortFunc(all, func(a, b span) int {
		return cmp.Or(cmp.Compare(int64(a.start-all[0].start), int64(b.start-all[0].start)), cmp.Compare(int64(a.end-b.end), 0))
	})
	return all
}

func (w *world) span(name string) span {
	w.t.Helper()
	var s span
	if _, err := fmt.Sscanf(name, "%020d_%020d.", (*uint64)(&s.start), (*uint64)(&s.end)); err != nil {
		w.t.Fatalf("file name %s: %v", name, err)
	}
	return s
}

// wantChain says that each of spans begins where the one before it ends.
func wantChain(t *testing.T, spans []span) {
	t.Helper()
	for i := range spans[1:] {
		if spans[i].end != spans[i+1].start {
			t.Errorf("%d: ends at %d, the next begins at %d: %v later", i, spans[i].end, spans[i+1].start, spans[i+1].start.Sub(spans[i].end))
		}
	}
}

// session reads the file that covers s.
func (w *world) session(s span) (*owp.Header, []owamp.Record, []owamp.SkipRange) {
	w.t.Helper()
	r, err := owp.Open(filepath.Join(w.dir, sessions.FileName(s.start, s.end, ".owp")))
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	var recs []owamp.Record
	for rec, err := range r.Records() {
		if err != nil {
			w.t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	return r.Header(), recs, r.Skips()
}

// summary reads fields of a summary.
func (w *world) summary(s span) map[string]string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, sessions.FileName(s.start, s.end, ".sum")))
	if err != nil {
		w.t.Fatal(err)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			fields[name] = value
		}
	}
	return fields
}

// wantAccounted says that what the stream says of its time is what its files
// say: each moment of it is measured or a gap.
func (w *world) wantAccounted() {
	w.t.Helper()
	var measured time.Duration
	whole := w.spans(".owp")
	for _, s := range whole {
		measured += s.length()
	}
	// The parts of a session that was never fetched.
	for _, s := range w.spans(".sum") {
		if !slices.ContainsFunc(whole, func(of span) bool { return !s.start.Before(of.start) && !s.end.After(of.end) }) {
			measured += s.length()
		}
	}
	got := w.stream.Snapshot()
	var gaps time.Duration
	for _, g := range got.Gaps {
		gaps += g
	}
	// Each time stamp that is told as a duration is a nanosecond off at most.
	if d := (got.Elapsed - gaps - measured).Abs(); d > time.Microsecond {
		w.t.Errorf("files cover %v and gaps are %v: %v of %v are neither or both; %v", measured, gaps, got.Elapsed-gaps-measured, got.Elapsed, got.Gaps)
	}
	if got.LostBy.Total() != got.Lost {
		w.t.Errorf("lost %d packets, by cause %v", got.Lost, got.LostBy)
	}
	if want := max(got.Elapsed-gaps, 0); got.Measured != want {
		w.t.Errorf("measured %v, want %v", got.Measured, want)
	}
}

// random returns a number that depends on what is given alone.
func random(seed string, n ...uint64) uint64 {
	h := sha256.New()
	h.Write([]byte(seed))
	for _, v := range n {
		h.Write(binary.BigEndian.AppendUint64(nil, v))
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}
