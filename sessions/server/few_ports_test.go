package server_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/probe"
	"owl/sessions/ports"
	"owl/sessions/server"
)

// One port serves all sessions that differ in the peer's address or port. A
// triple that is in use, or was a moment ago, is refused.
func TestOnePort(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		only := probe.PortRange{Low: 8760, High: 8760}
		w := serve(t, func(_ *world, c *server.Config) { c.Ports = only })
		c := w.connect()
		var mu sync.Mutex
		got := make(map[uint16]int)
		var sessions []func()
		var ours []ports.Port
		for i := range uint32(4) {
			port := w.port()
			ours = append(ours, port)
			in, out := toServer(10+i, port.Addr()), fromServer(20+i, port.Addr())
			spec := out
			if i%2 == 0 {
				spec = in
			}
			a := w.request(c, spec)
			if a.Accept != owamp.AcceptOK || a.Port != 8760 {
				t.Fatalf("session %d: %+v", i, a)
			}
			// The same port of the same peer has a session already.
			if b := w.request(c, fromServer(30+i, port.Addr())); b.Accept != owamp.AcceptTemporaryLimit {
				t.Errorf("the triple of session %d again: %v, want %v", i, b.Accept, owamp.AcceptTemporaryLimit)
			}
			if i%2 == 0 {
				sessions = append(sessions, func() { w.send(port, in, a) })
				continue
			}
			r, err := port.Receive(probe.ReceiveSpec{Remote: netip.AddrPortFrom(there, 8760)}, func(recs []owamp.Record) {
				mu.Lock()
				defer mu.Unlock()
				got[port.Addr().Port()] += len(recs)
			})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
		}
		for _, line := range w.logged() {
			if !strings.Contains(line, "ports 8760 to 8760 of 192.0.2.2: address already in use") {
				t.Errorf("logged %s", line)
			}
		}
		if n := w.net.Ports(); n != 5 {
			t.Errorf("%d ports are open, want the server's and four of the client", n)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, send := range sessions {
			send()
		}
		if _, err := c.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Stop(t.Context(), nil); err != nil && !strings.Contains(fmt.Sprint(err), "report") {
			t.Fatal(err)
		}
		synctest.Wait()
		mu.Lock()
		total := 0
		for _, n := range got {
			total += n
		}
		if total != 21+23 {
			t.Errorf("received %v, want 21 and 23", got)
		}
		mu.Unlock()
		c.Close()

		// A triple is free again when its time-out has passed, and at once if its
		// session was not begun.
		at := netip.AddrPortFrom(here, 7000)
		for i, wait := range []time.Duration{0, 0, time.Second, time.Second + 10*time.Millisecond} {
			time.Sleep(wait)
			c := w.connect()
			a := w.request(c, fromServer(10, at))
			if want := wait != time.Second; (a.Accept == owamp.AcceptOK) != want {
				t.Errorf("after %v more: %v", wait, a.Accept)
			}
			if i == 1 {
				if err := c.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
			synctest.Wait()
		}
		for _, p := range ours {
			p.Close()
		}
		w.stop()
	})
}
