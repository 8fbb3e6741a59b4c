package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"
	"owl/probe"
	"owl/sessions/internal/memwire"
	"owl/sessions/server"
)

var (
	here  = netip.MustParseAddr("192.0.2.1") // the client
	there = netip.MustParseAddr("192.0.2.2") // the server
)

// What is asked for gets the right answer, and a line in the log if that is no.
func TestAnswers(t *testing.T) {
	at := netip.AddrPortFrom(here, 9000)
	to, from := fromServer, toServer
	changed := func(s owamp.SessionSpec, change func(*owamp.SessionSpec)) func() owamp.SessionSpec {
		return func() owamp.SessionSpec { change(&s); return s }
	}
	for _, test := range []struct {
		name   string
		spec   func() owamp.SessionSpec
		refuse error // of every port
		want   owamp.Accept
		why    string // in the log
	}{
		{name: "from the server", spec: func() owamp.SessionSpec { return to(10, at) }},
		{name: "to the server", spec: func() owamp.SessionSpec { return from(10, at) }},
		{name: "no packets", spec: func() owamp.SessionSpec { return to(0, at) }},
		{name: "third party", spec: func() owamp.SessionSpec { return to(10, netip.MustParseAddrPort("192.0.2.3:9000")) },
			want: owamp.AcceptReject, why: "class default: third_party = off: test to 192.0.2.3, want to 192.0.2.1"},
		{name: "to no port", spec: func() owamp.SessionSpec { return to(10, netip.AddrPortFrom(here, 0)) },
			want: owamp.AcceptReject, why: "test with 192.0.2.1:0: want an address and a port"},
		{name: "from no port", spec: func() owamp.SessionSpec { return from(10, netip.AddrPortFrom(here, 0)) },
			want: owamp.AcceptReject, why: "test with 192.0.2.1:0: want an address and a port"},
		{name: "from no address", spec: func() owamp.SessionSpec { return from(10, netip.MustParseAddrPort("0.0.0.0:9000")) },
			want: owamp.AcceptReject, why: "test with 0.0.0.0:9000: want an address and a port"},
		{name: "not an address of the server, sending", spec: func() owamp.SessionSpec { return to(10, at) }, refuse: syscall.EADDRNOTAVAIL,
			want: owamp.AcceptReject, why: "192.0.2.2 is not an address of this host"},
		{name: "not an address of the server, receiving", spec: func() owamp.SessionSpec { return from(10, at) }, refuse: syscall.EADDRNOTAVAIL,
			want: owamp.AcceptReject, why: "192.0.2.2 is not an address of this host"},
		{name: "no port", spec: func() owamp.SessionSpec { return to(10, at) }, refuse: fmt.Errorf("ports: %w", syscall.EADDRINUSE),
			want: owamp.AcceptTemporaryLimit, why: "address already in use"},
		{name: "no descriptor", spec: func() owamp.SessionSpec { return from(10, at) }, refuse: syscall.EMFILE,
			want: owamp.AcceptTemporaryLimit, why: "too many open files"},
		{name: "no network", spec: func() owamp.SessionSpec { return from(10, at) }, refuse: errors.New("broken"),
			want: owamp.AcceptInternalError, why: "broken"},
		{name: "rate", spec: changed(to(10, at), func(s *owamp.SessionSpec) { s.Slots[0].Parameter = 4294 }),
			want: owamp.AcceptPermanentLimit, why: "want 1 µs or more"},
		{name: "no time between packets", spec: changed(to(10, at), func(s *owamp.SessionSpec) { s.Slots[0].Parameter = 0 }),
			want: owamp.AcceptPermanentLimit, why: "want 1 µs or more"},
		{name: "one packet", spec: changed(to(1, at), func(s *owamp.SessionSpec) { s.Slots[0].Parameter = 0 })},
		{name: "padding", spec: changed(to(10, at), func(s *owamp.SessionSpec) { s.Padding = 65494 }),
			want: owamp.AcceptPermanentLimit, why: "padding of 65494 octets: want at most 65493"},
		{name: "most padding", spec: changed(to(10, at), func(s *owamp.SessionSpec) { s.Padding = 65493 })},
		{name: "window", spec: changed(from(1<<31, at), func(s *owamp.SessionSpec) { s.Timeout = 1 << 60 }),
			want: owamp.AcceptPermanentLimit, why: "packets within"},
		{name: "late", spec: changed(from(1<<31, at), func(s *owamp.SessionSpec) { s.Start = s.Start.AddDuration(-30 * 365 * 24 * time.Hour) }),
			want: owamp.AcceptPermanentLimit, why: "overdue: want at most 1048576"},
		{name: "late, sending", spec: changed(to(1<<32-1, at), func(s *owamp.SessionSpec) { s.Start = s.Start.AddDuration(-10 * 365 * 24 * time.Hour) }),
			want: owamp.AcceptPermanentLimit, why: "overdue: want at most 1048576"},
		{name: "in decades", spec: changed(from(1<<31, at), func(s *owamp.SessionSpec) { s.Start = s.Start.AddDuration(60 * 365 * 24 * time.Hour) }),
			want: owamp.AcceptPermanentLimit, why: "ahead: want at most 8760h0m0s"},
		{name: "in decades, sending", spec: changed(to(10, at), func(s *owamp.SessionSpec) { s.Start = s.Start.AddDuration(2 * 365 * 24 * time.Hour) }),
			want: owamp.AcceptPermanentLimit, why: "ahead: want at most 8760h0m0s"},
		{name: "in months", spec: changed(to(10, at), func(s *owamp.SessionSpec) { s.Start = s.Start.AddDuration(360 * 24 * time.Hour) })},
		{name: "a little late", spec: changed(from(1<<31, at), func(s *owamp.SessionSpec) { s.Start = s.Start.AddDuration(-time.Hour) })},
		{name: "long ago, but few", spec: changed(from(10, at), func(s *owamp.SessionSpec) { s.Start = s.Start.AddDuration(-30 * 365 * 24 * time.Hour) })},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := serve(t, nil)
				if test.refuse != nil {
					w.net.Refuse = func(probe.PortConfig) error { return test.refuse }
				}
				c := w.connect()
				// The specifications were made outside of the bubble.
				spec := test.spec()
				spec.Start = owamp.FromTime(time.Now()) + (spec.Start - owamp.FromTime(made))
				a := w.request(c, spec)
				if a.Accept != test.want {
					t.Errorf("answer %v, want %v", a.Accept, test.want)
				}
				if (a.Port != 0) != (test.want == owamp.AcceptOK) {
					t.Errorf("answer %+v", a)
				}
				lines := w.logged()
				if test.why == "" && len(lines) != 0 || test.why != "" && (len(lines) != 1 || !strings.Contains(lines[0], test.why)) {
					t.Errorf("logged %q, want a line about %q", lines, test.why)
				}
				c.Close()
				synctest.Wait()
				if files, entries := w.kept(); files+entries != 0 {
					t.Errorf("%d files and %d entries of sessions that never began", files, entries)
				}
				w.stop()
			})
		})
	}
}

// made is when this test binary began.
var made = time.Now()

// A client that waits with Start-Sessions until too much is overdue is refused
// then.
func TestLateStart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		c := w.connect()
		spec := fromServer(1<<31, netip.AddrPortFrom(here, 9000))
		spec.Slots[0].Parameter = owamp.IntervalOf(time.Millisecond)
		if a := w.request(c, spec); a.Accept != owamp.AcceptOK {
			t.Fatalf("answer %v", a.Accept)
		}
		time.Sleep(25 * time.Minute)
		denied, ok := errors.AsType[*control.DeniedError](c.Start(t.Context()))
		if !ok || denied.Accept != owamp.AcceptPermanentLimit {
			t.Errorf("start: %v, want %v", denied, owamp.AcceptPermanentLimit)
		}
		c.Close()
		w.stop()
		if lines := w.logged(); len(lines) != 1 || !strings.Contains(lines[0], "overdue") {
			t.Errorf("logged %q", lines)
		}
	})
}

// Several sessions of one connection, in both directions, run to their end; the
// connection can then be used again.
func TestBothDirections(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		c := w.connect()
		port := w.port()
		defer port.Close()
		for range 2 {
			out := []owamp.SessionSpec{fromServer(20, port.Addr()), fromServer(30, port.Addr())}
			in := toServer(25, port.Addr())
			answers, err := c.Request(t.Context(), []owamp.SessionSpec{out[0], in, out[1]})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range answers {
				if a.Accept != owamp.AcceptOK {
					t.Fatalf("answers %+v", answers)
				}
			}
			if answers[0].Port == answers[2].Port {
				t.Errorf("two sessions with one peer's port have port %d", answers[0].Port)
			}
			var mu sync.Mutex
			got := make(map[uint16]int)
			for _, a := range []owamp.Accepted{answers[0], answers[2]} {
				r, err := port.Receive(probe.ReceiveSpec{Remote: netip.AddrPortFrom(there, a.Port)}, func(recs []owamp.Record) {
					mu.Lock()
					defer mu.Unlock()
					got[a.Port] += len(recs)
				})
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
			}
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			sending := w.send(port, in, answers[1])
			reports, err := c.Await(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// A second's lead, 3 s of packets, the time-out, and the end delay.
			if took := time.Since(began); took < 7*time.Second || took > 7*time.Second+time.Second {
				t.Errorf("the server is done after %v, want 7s", took)
			}
			if len(reports) != 2 {
				t.Fatalf("reports %+v", reports)
			}
			for _, r := range reports {
				if want := uint32(r.SID[2]); r.NextSeq != want || len(r.Skips) != 0 {
					t.Errorf("report %+v, want %d packets", r, want)
				}
			}
			if _, err := c.Stop(t.Context(), []owamp.SendReport{sending.Stop()}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			mu.Lock()
			if got[answers[0].Port] != 20 || got[answers[2].Port] != 30 {
				t.Errorf("received %v", got)
			}
			mu.Unlock()
			head, recs := w.stored(answers[1].SID)
			if head.Finished != owp.Normal || head.NextSeq != 25 || len(recs) != 25 || head.Spec.Sender != port.Addr() {
				t.Errorf("kept %d records, finished %v before %d, of %v", len(recs), head.Finished, head.NextSeq, head.Spec.Sender)
			}
		}
		c.Close()
		port.Close()
		w.stop()
		if lines := w.logged(); len(lines) != 0 {
			t.Errorf("logged %q", lines)
		}
	})
}

// When the connection breaks, what was recorded is kept, and sending ends.
func TestAbort(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		c := w.connect()
		port := w.port()
		in, out := toServer(100, port.Addr()), fromServer(100, port.Addr())
		a, b := w.request(c, in), w.request(c, out)
		var mu sync.Mutex
		var last time.Time
		r, err := port.Receive(probe.ReceiveSpec{Remote: netip.AddrPortFrom(there, b.Port)}, func([]owamp.Record) {
			mu.Lock()
			defer mu.Unlock()
			last = time.Now()
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		sending := w.send(port, in, a)
		time.Sleep(5050 * time.Millisecond)
		w.Cut()
		broke := time.Now()
		time.Sleep(5 * time.Second)
		head, recs := w.stored(a.SID)
		if head.Finished != owp.Incomplete || len(recs) != 40 {
			t.Errorf("kept %d records, finished %v; want 40 of an incomplete session", len(recs), head.Finished)
		}
		mu.Lock()
		if last.After(broke) {
			t.Errorf("sent %v after the connection broke", last.Sub(broke))
		}
		mu.Unlock()
		sending.Stop()
		r.Close()
		c.Close()
		port.Close()
		w.stop()
	})
}

// When the server is told to end, clients are told what it has sent; those that
// are mute do not keep it.
func TestShutdown(t *testing.T) {
	for _, mute := range []bool{false, true} {
		bubble.Test(t, func(t *testing.T) {
			w := serve(t, nil)
			c := w.connect()
			idle := w.connect()
			port := w.port()
			in, out := toServer(100, port.Addr()), fromServer(100, port.Addr())
			a, _ := w.request(c, in), w.request(c, out)
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			sending := w.send(port, in, a)
			go func() {
				if mute {
					return
				}
				c.Await(t.Context())
				c.Stop(t.Context(), []owamp.SendReport{sending.Stop()})
			}()
			time.Sleep(5050 * time.Millisecond)
			w.cancel()
			if err := <-w.ended; err != nil {
				t.Error(err)
			}
			synctest.Wait()
			reports, err := c.Await(t.Context())
			if err != nil || len(reports) != 1 || reports[0].NextSeq != 40 {
				t.Errorf("told %+v, %v, want 40 packets sent", reports, err)
			}
			head, recs := w.stored(a.SID)
			want, n := owp.Normal, 20 // less those that are younger than the time-out
			if mute {
				want, n = owp.Incomplete, 43 // with those that came while it was waited for
			}
			if head.Finished != want || len(recs) != n {
				t.Errorf("mute %v: kept %d records, finished %v, want %d, %v", mute, len(recs), head.Finished, n, want)
			}
			w.ended <- nil
			sending.Stop()
			c.Close()
			idle.Close()
			port.Close()
			w.stop()
		})
	}
}

// More connections than are allowed are closed at once; when others have ended
// there is room again.
func TestMaxConnections(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, func(_ *world, c *server.Config) { c.MaxConnections = 2 })
		a, b := w.connect(), w.connect()
		conn, err := w.Dial(t.Context(), netip.AddrPortFrom(here, 50000))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 100)); err == nil {
			t.Errorf("a third connection got %d octets", n)
		}
		conn.Close()
		if lines := w.logged(); len(lines) != 1 || !strings.Contains(lines[0], "refused: 2 are open") {
			t.Errorf("logged %q", lines)
		}
		a.Close()
		synctest.Wait()
		time.Sleep(time.Second)
		w.connect().Close()
		b.Close()
		w.stop()
	})
}

// A connection is asked for more sessions than it may have.
func TestMaxSessions(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		c := w.connect()
		for i := range 65 {
			a := w.request(c, fromServer(10, netip.AddrPortFrom(here, uint16(9000+i))))
			if want := i < 64; (a.Accept == owamp.AcceptOK) != want {
				t.Errorf("session %d: %v", i, a.Accept)
			}
		}
		c.Close()
		w.stop()
	})
}

// A connection on which nothing comes ends.
func TestIdle(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, func(_ *world, c *server.Config) { c.IdleTimeout = time.Minute })
		c := w.connect()
		defer c.Close()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if n := w.Conns(); n != 0 {
			t.Errorf("%d connections", n)
		}
		w.stop()
	})
}

// Errors of the listener that pass do not end the server; its end does.
func TestAcceptErrors(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store, err := server.OpenStore(t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s := server.New(server.Config{
			Clock: new(memwire.Clock), Prober: new(memwire.Network), Store: store,
			Log: slog.New(slog.NewTextHandler(&log, nil)), Random: rand.NewChaCha8([32]byte{}),
		})
		begin := time.Now()
		err = s.Serve(t.Context(), &failing{errs: []error{syscall.EMFILE, syscall.ECONNABORTED, net.ErrClosed}})
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
		if took := time.Since(begin); took != 200*time.Millisecond {
			t.Errorf("took %v, want a pause after each error", took)
		}
		if n := strings.Count(log.String(), "accepting a connection"); n != 2 {
			t.Errorf("%d lines: %s", n, &log)
		}
	})
}

// A failing listener accepts nobody.
type failing struct{ errs []error }

func (f *failing) Accept() (net.Conn, error) {
	err := f.errs[0]
	f.errs = f.errs[1:]
	return nil, err
}

func (f *failing) Close() error { return nil }

func (f *failing) Addr() net.Addr { return nil }

// A store that cannot be made is one clear error.
func TestOpenStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := server.OpenStore(file, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

// A store is one server's, whatever the name of its directory.
func TestOpenStoreTwice(t *testing.T) {
	dir := t.TempDir()
	data, link := filepath.Join(dir, "data"), filepath.Join(dir, "link")
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	store := openStore(t, data, io.Discard)
	_, err := server.OpenStore(link, slog.New(slog.DiscardHandler))
	if want := "data directory " + link + ": in use by another server: want one of its own for each"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openStore(t, link, io.Discard).Close(); err != nil {
		t.Error(err)
	}
}
