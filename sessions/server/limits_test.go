package server_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
	"owl/probe"
	"owl/sessions/policy"
	"owl/sessions/server"
)

// What does not fit in the limits is refused, and the log says which.
func TestLimits(t *testing.T) {
	// 10 packets a second of 14 octets, and 28 of headers: 3360 bit/s.
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(here, port) }
	for _, test := range []struct {
		name   string
		limits []string
		ask    []func(uint32, netip.AddrPort) owamp.SessionSpec
		want   []owamp.Accept
		why    string
	}{
		{
			name:   "bandwidth",
			limits: []string{"limit root with bandwidth=7k"},
			ask:    []func(uint32, netip.AddrPort) owamp.SessionSpec{fromServer, toServer, fromServer},
			want:   []owamp.Accept{owamp.AcceptOK, owamp.AcceptOK, owamp.AcceptReject},
			why:    "ResReq DENIED: root:request:bandwidth = 3360 (result = 6720, limit = 7000)",
		},
		{
			name:   "up the tree",
			limits: []string{"limit root with bandwidth=4k", "limit low with parent=root, bandwidth=1g", "assign net 192.0.2.0/24 low"},
			ask:    []func(uint32, netip.AddrPort) owamp.SessionSpec{fromServer, fromServer},
			want:   []owamp.Accept{owamp.AcceptOK, owamp.AcceptReject},
			why:    "ResReq DENIED: root:request:bandwidth = 3360 (result = 3360, limit = 4000)",
		},
		{
			name:   "disk",
			limits: []string{"limit root with disk=700"},
			ask:    []func(uint32, netip.AddrPort) owamp.SessionSpec{toServer, fromServer, toServer},
			want:   []owamp.Accept{owamp.AcceptOK, owamp.AcceptOK, owamp.AcceptReject},
			why:    "ResReq DENIED: root:request:disk = 450 (result = 450, limit = 700)",
		},
		{
			name:   "sessions",
			limits: []string{"limit root with test_sessions=2"},
			ask:    []func(uint32, netip.AddrPort) owamp.SessionSpec{toServer, fromServer, toServer},
			want:   []owamp.Accept{owamp.AcceptOK, owamp.AcceptOK, owamp.AcceptReject},
			why:    "ResReq DENIED: root:request:test_sessions = 1 (result = 2, limit = 2)",
		},
		{
			name:   "packets a second",
			limits: []string{"limit root with packet_rate=25"},
			ask:    []func(uint32, netip.AddrPort) owamp.SessionSpec{toServer, fromServer, fromServer, fromServer},
			want:   []owamp.Accept{owamp.AcceptOK, owamp.AcceptOK, owamp.AcceptOK, owamp.AcceptReject},
			why:    "ResReq DENIED: root:request:packet_rate = 10 (result = 20, limit = 25)",
		},
		{
			name:   "requests a second",
			limits: []string{"limit root with request_rate=1"},
			ask: []func(uint32, netip.AddrPort) owamp.SessionSpec{
				fromServer, fromServer, fromServer, fromServer, fromServer, fromServer, fromServer, fromServer, fromServer, fromServer, fromServer,
			},
			want: []owamp.Accept{10: owamp.AcceptTemporaryLimit}, // ten seconds' worth is saved up
			why:  "class root: request_rate = 1 is used up",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := serve(t, func(_ *world, c *server.Config) { c.Limits = limits(t, test.limits...) })
				c := w.connect()
				for i, ask := range test.ask {
					if a := w.request(c, ask(10, at(9000+uint16(i)))); a.Accept != test.want[i] {
						t.Errorf("session %d: %v, want %v", i, a.Accept, test.want[i])
					}
				}
				lines := w.logged()
				if len(lines) != 1 || !strings.Contains(lines[0], "Test not allowed") || !strings.Contains(lines[0], test.why) {
					t.Errorf("logged %q, want %q", lines, test.why)
				}
				// When they are over there is room again.
				c.Close()
				time.Sleep(time.Minute)
				again := w.connect()
				if a := w.request(again, test.ask[0](10, at(9000))); a.Accept != owamp.AcceptOK {
					t.Errorf("later: %v", a.Accept)
				}
				again.Close()
				w.stop()
				if used := w.Used(""); used != (policy.Request{}) {
					t.Errorf("%+v is reserved at the end", used)
				}
			})
		})
	}
}

// Open mode is not offered where the class does not allow it, and one peer may
// not connect more often than it may.
func TestLimitsOfConnections(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, func(_ *world, c *server.Config) {
			c.Limits = limits(t, "limit root with connection_rate=1", "limit shut with parent=root, allow_open_mode=off", "assign net 192.0.2.9 shut")
		})
		dial := func(addr netip.Addr) error {
			conn, err := w.Dial(t.Context(), netip.AddrPortFrom(addr, 50000))
			if err != nil {
				t.Fatal(err)
			}
			c, err := control.Connect(t.Context(), conn, control.ClientConfig{})
			if err == nil {
				c.Close()
			}
			synctest.Wait()
			return err
		}
		if err := dial(elsewhere); !errors.Is(err, control.ErrNoCommonMode) {
			t.Errorf("connecting from a class without open mode: %v", err)
		}
		for i := range 12 {
			if err := dial(here); (err == nil) != (i < 10) {
				t.Errorf("connection %d: %v", i, err)
			}
		}
		time.Sleep(5 * time.Second)
		for i := range 7 {
			if err := dial(here); (err == nil) != (i < 5) {
				t.Errorf("connection %d after five seconds: %v", i, err)
			}
		}
		w.stop()
		const refused = `connection from 192.0.2.1:50000 refused: class root: connection_rate = 1 is used up`
		want := []string{`connection refused: class shut: allow_open_mode = off`, refused, refused, refused, refused}
		var got []string
		for _, line := range w.logged() {
			_, line, _ = strings.Cut(line, `msg="`)
			line, _, _ = strings.Cut(line, `"`)
			got = append(got, line)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("log (-want +got)\n%s", d)
		}
	})
}

// With third_party a test may go to another address than the client's.
func TestThirdParty(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, func(_ *world, c *server.Config) { c.Limits = limits(t, "limit root with third_party=on") })
		third, err := w.net.Listen(probe.PortConfig{Addr: elsewhere})
		if err != nil {
			t.Fatal(err)
		}
		c := w.connect()
		a := w.request(c, fromServer(10, third.Addr()))
		if a.Accept != owamp.AcceptOK {
			t.Fatalf("answer %v", a.Accept)
		}
		var got int
		r, err := third.Receive(probe.ReceiveSpec{Remote: netip.AddrPortFrom(there, a.Port)}, func(recs []owamp.Record) { got += len(recs) })
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Stop(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.Close()
		if got != 10 {
			t.Errorf("%d packets came, want 10", got)
		}
		c.Close()
		third.Close()
		w.stop()
	})
}

// Limits and settings are reloaded while a session runs: it goes on, counts in
// the new ones, and what is asked for from now on has to fit in them.
func TestReload(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, func(_ *world, c *server.Config) {
			c.Limits = limits(t, "limit root with bandwidth=1g")
			c.Ports = probe.PortRange{Low: 8000, High: 8000}
		})
		c := w.connect()
		port := w.port()
		spec := toServer(50, port.Addr())
		a := w.request(c, spec)
		if a.Port != 8000 {
			t.Fatalf("answer %+v", a)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		sending := w.send(port, spec, a)
		time.Sleep(3 * time.Second)
		w.Reload(
			server.Settings{Ports: probe.PortRange{Low: 9000, High: 9000}, MaxConnections: 2},
			limits(t, "limit top with", "limit root with parent=top, bandwidth=5k", "assign default root"),
		)
		other := w.connect()
		if a := w.request(other, fromServer(10, netip.AddrPortFrom(here, 7000))); a.Accept != owamp.AcceptReject {
			t.Errorf("answer %v to a session beyond the new limits", a.Accept)
		}
		half := fromServer(10, netip.AddrPortFrom(here, 7000))
		half.Slots[0].Parameter *= 3
		if a := w.request(other, half); a.Accept != owamp.AcceptOK || a.Port != 9000 {
			t.Errorf("answer %+v to a session within the new limits, want port 9000", a)
		}
		conn, err := w.Dial(t.Context(), netip.AddrPortFrom(here, 50000))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 100)); err == nil {
			t.Errorf("a third connection got %d octets", n)
		}
		conn.Close()

		if _, err := c.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Stop(t.Context(), []owamp.SendReport{sending.Stop()}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, got, err := all(t, c, a.SID); err != nil || len(got) != 50 {
			t.Errorf("the session that ran: %d records, %v", len(got), err)
		}
		if used, want := w.Used("root"), (policy.Request{Bandwidth: 1120, Disk: 184 + 50*25, PacketRate: 4, Sessions: 1}); used != want {
			t.Errorf("in use %+v, want %+v", used, want)
		}
		c.Close()
		other.Close()
		port.Close()
		w.stop()
	})
}

// Duplicates make a file greater than what was asked for: as far as diskfudge
// allows.
func TestDiskFudge(t *testing.T) {
	for _, fudge := range []float64{0, 2} {
		bubble.Test(t, func(t *testing.T) {
			w := serve(t, func(w *world, c *server.Config) {
				c.Limits = limits(t, "limit root with disk=1500")
				c.DiskFudge = fudge
				w.net.Fate = func(_, _ netip.AddrPort, seq uint32) []time.Duration {
					return []time.Duration{time.Millisecond, 2 * time.Millisecond}
				}
			})
			c := w.connect()
			id := w.record(c, 50)
			_, got, err := all(t, c, id)
			if fudge == 0 {
				w.denied(err, owamp.AcceptReject, "there is no session")
				if lines := w.logged(); !strings.Contains(lines[0], id.String()+".owp Too large! Deleting... (See diskfudge): ResReq DENIED: root:request:disk = 1234 (result = 1450, limit = 1500)") {
					t.Errorf("logged %q", lines)
				}
				if used := w.Used("").Disk; used != 0 {
					t.Errorf("%d octets of disk are used", used)
				}
				if files, entries := w.kept(); files+entries != 0 {
					t.Errorf("%d files and %d entries", files, entries)
				}
			} else if err != nil || len(got) != 100 || w.Used("").Disk != 184+100*25 {
				t.Errorf("%d records, %v, %d octets of disk are used", len(got), err, w.Used("").Disk)
			}
			c.Close()
			w.stop()
		})
	}
}

// Disk that is used already counts after a restart, too.
func TestDiskAdopted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		limited := func(_ *world, c *server.Config) {
			c.Limits = limits(t, "limit root with delete_on_fetch=on", "limit a with parent=root, disk=900", "assign default a")
		}
		w := serve(t, limited)
		c := w.connect()
		id := w.record(c, 20) // 684 octets
		c.Close()
		w.stop()
		w = serveIn(t, w.data, limited)
		c = w.connect()
		if a := w.request(c, toServer(10, netip.AddrPortFrom(here, 9000))); a.Accept != owamp.AcceptReject {
			t.Errorf("answer %v", a.Accept)
		}
		if lines := w.logged(); len(lines) != 1 || !strings.Contains(lines[0], "ResReq DENIED: a:request:disk = 450 (result = 684, limit = 900)") {
			t.Errorf("logged %q", lines)
		}
		if _, _, err := all(t, c, id); err != nil { // which deletes it
			t.Error(err)
		}
		synctest.Wait()
		if a := w.request(c, toServer(10, netip.AddrPortFrom(here, 9000))); a.Accept != owamp.AcceptOK {
			t.Errorf("answer %v", a.Accept)
		}
		c.Close()
		w.stop()
	})
}
