package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
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
	"owl/owamp/control"
	"owl/owamp/owp"
	"owl/owamp/schedule"
	"owl/probe"
	"owl/sessions/internal/memwire"
	"owl/sessions/policy"
	"owl/sessions/ports"
	"owl/sessions/server"
)

// A world is a server and the network that clients reach it by.
type world struct {
	*memwire.Listener
	*server.Server
	t      *testing.T
	net    *memwire.Network
	on     net.Listener // what the server accepts from
	data   string
	cancel context.CancelFunc
	ended  chan error

	mu  sync.Mutex
	log bytes.Buffer
}

// Write takes the log.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

// logged returns the lines that were logged.
func (w *world) logged() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(strings.Lines(w.log.String()))
}

// serve starts a server, to which change may do something before.
func serve(t *testing.T, change func(*world, *server.Config)) *world {
	t.Helper()
	return serveIn(t, t.TempDir(), change)
}

// serveIn is serve with a certain data directory.
func serveIn(t *testing.T, data string, change func(*world, *server.Config)) *world {
	t.Helper()
	w := &world{
		Listener: memwire.NewListener(netip.AddrPortFrom(there, 861)),
		t:        t,
		net:      new(memwire.Network),
		data:     data,
		ended:    make(chan error, 1),
	}
	cfg := server.Config{
		Clock:    new(memwire.Clock),
		Prober:   w.net,
		Random:   memwire.Random("server"),
		Log:      slog.New(slog.NewTextHandler(w, nil)),
		Settings: server.Settings{EndDelay: time.Second},
	}
	w.on = w.Listener
	if change != nil {
		change(w, &cfg)
	}
	if cfg.Store == nil {
		cfg.Store = openStore(t, w.data, w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	w.Server = server.New(cfg)
	go func() {
		err := w.Serve(ctx, w.on)
		w.ended <- errors.Join(err, cfg.Store.Close())
	}()
	return w
}

// openStore opens the store in dir, which logs to w.
func openStore(t *testing.T, dir string, w io.Writer) *server.Store {
	t.Helper()
	store, err := server.OpenStore(dir, slog.New(slog.NewTextHandler(w, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// stop ends the server, which may take no longer than clients have to say
// goodbye.
func (w *world) stop() {
	w.t.Helper()
	begin := time.Now()
	w.cancel()
	if err := <-w.ended; err != nil {
		w.t.Errorf("server ended with %v", err)
	}
	if took := time.Since(begin); took > 300*time.Millisecond {
		w.t.Errorf("server ended in %v, want at most 300ms", took)
	}
	time.Sleep(time.Minute)
	if n := w.net.Ports(); n != 0 {
		w.t.Errorf("%d test ports are open at the end", n)
	}
	if n := w.Conns(); n != 0 {
		w.t.Errorf("%d connections exist at the end", n)
	}
	used := w.Used("")
	if used.Disk = 0; used != (policy.Request{}) {
		w.t.Errorf("%+v is reserved at the end", used)
	}
}

// limits makes limits of the lines of a file.
func limits(t testing.TB, lines ...string) *policy.Limits {
	t.Helper()
	l, err := policy.Parse("limits", strings.NewReader(strings.Join(lines, "\n")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// connect returns a client of the server.
func (w *world) connect() *control.Client {
	w.t.Helper()
	return w.connectFrom(here)
}

// connectFrom returns a client that has another address.
func (w *world) connectFrom(a netip.Addr) *control.Client {
	w.t.Helper()
	conn, err := w.Dial(w.t.Context(), netip.AddrPortFrom(a, 50000))
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := control.Connect(w.t.Context(), conn, control.ClientConfig{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// port opens a test port of the client.
func (w *world) port() ports.Port {
	w.t.Helper()
	p, err := w.net.Listen(probe.PortConfig{Addr: here})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// fromServer asks for n packets to the client's port, one each 100 ms from in
// a second on.
func fromServer(n uint32, to netip.AddrPort) owamp.SessionSpec {
	return owamp.SessionSpec{
		ConfSender: true,
		Slots:      []owamp.Slot{{Type: owamp.SlotFixed, Parameter: owamp.IntervalOf(100 * time.Millisecond)}},
		Packets:    n,
		Sender:     netip.AddrPortFrom(there, 0),
		Receiver:   to,
		SID:        owamp.SID{byte(to.Port() >> 8), byte(to.Port()), byte(n)},
		Start:      owamp.FromTime(time.Now().Add(time.Second)),
		Timeout:    2 << 32,
	}
}

// toServer is the other direction.
func toServer(n uint32, from netip.AddrPort) owamp.SessionSpec {
	s := fromServer(n, from)
	s.ConfSender, s.ConfReceiver = false, true
	s.Sender, s.Receiver, s.SID = from, netip.AddrPortFrom(there, 0), owamp.SID{}
	return s
}

// request asks for one session.
func (w *world) request(c *control.Client, spec owamp.SessionSpec) owamp.Accepted {
	w.t.Helper()
	answers, err := c.Request(w.t.Context(), []owamp.SessionSpec{spec})
	if err != nil {
		w.t.Fatal(err)
	}
	return answers[0]
}

// send sends the session that was accepted as a from port.
func (w *world) send(port ports.Port, spec owamp.SessionSpec, a owamp.Accepted) ports.Sending {
	w.t.Helper()
	gen, err := schedule.New(a.SID, spec.Slots)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := port.Send(probe.SendSpec{
		Remote: netip.AddrPortFrom(there, a.Port), Start: spec.Start, Schedule: gen, Packets: spec.Packets, Timeout: spec.Timeout, SID: a.SID,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// record has the server receive a session of n packets, from begin to end.
func (w *world) record(c *control.Client, n uint32) owamp.SID {
	w.t.Helper()
	port := w.port()
	defer port.Close()
	spec := toServer(n, port.Addr())
	a := w.request(c, spec)
	if err := c.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	sending := w.send(port, spec, a)
	if _, err := c.Await(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if _, err := c.Stop(w.t.Context(), []owamp.SendReport{sending.Stop()}); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	return a.SID
}

// stored returns what the server has kept of the session.
func (w *world) stored(sid owamp.SID) (*owp.Header, []owamp.Record) {
	w.t.Helper()
	link := filepath.Join(w.data, "catalog", sid.String()+".owp")
	target, err := os.Readlink(link)
	if err != nil {
		w.t.Fatal(err)
	}
	if want := filepath.Join(w.data, "hierarchy", "default", sid.String()+".owp"); target != want {
		w.t.Errorf("the catalog leads to %s, want %s", target, want)
	}
	r, err := owp.Open(link)
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
	return r.Header(), recs
}

// kept returns how many files there are in the store, and entries in its
// catalog.
func (w *world) kept() (files, entries int) {
	w.t.Helper()
	for dir, n := range map[string]*int{"hierarchy": &files, "catalog": &entries} {
		err := filepath.WalkDir(filepath.Join(w.data, dir), func(_ string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				*n++
			}
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return files, entries
}
