package server_test

import (
	"io"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
)

// What no host could do is refused; what lasts for ever, but costs little, is
// not, and both leave nothing behind.
func TestImmoderate(t *testing.T) {
	const years = owamp.Interval(1<<31) << 32 // 68
	for _, test := range []struct {
		name     string
		interval time.Duration
		timeout  owamp.Interval
		receive  owamp.Accept // of what the server receives
		send     owamp.Accept // of what it sends
	}{
		{"many packets", 100 * time.Millisecond, 2 << 32, owamp.AcceptOK, owamp.AcceptOK},
		{"many packets at once", 0, 2 << 32, owamp.AcceptPermanentLimit, owamp.AcceptPermanentLimit},
		{"fast", 10 * time.Microsecond, 60 << 32, owamp.AcceptPermanentLimit, owamp.AcceptOK},
		{"a year's time-out", 100 * time.Millisecond, (365 * 86400) << 32, owamp.AcceptPermanentLimit, owamp.AcceptOK},
		{"a life's time-out", 100 * time.Millisecond, years, owamp.AcceptPermanentLimit, owamp.AcceptOK},
		{"the longest time-out", 100 * time.Millisecond, math.MaxUint64, owamp.AcceptPermanentLimit, owamp.AcceptOK},
		{"a packet a year", 365 * 24 * time.Hour, 2 << 32, owamp.AcceptOK, owamp.AcceptOK},
		{"no time-out", 100 * time.Millisecond, 0, owamp.AcceptOK, owamp.AcceptOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := serve(t, nil)
				c := w.connect()
				before := memory()
				granted := 0
				for i, ask := range []func(uint32, netip.AddrPort) owamp.SessionSpec{toServer, fromServer} {
					spec := ask(math.MaxUint32, netip.AddrPortFrom(here, uint16(9000+i)))
					spec.Slots[0].Parameter = owamp.IntervalOf(test.interval)
					spec.Timeout = test.timeout
					want := []owamp.Accept{test.receive, test.send}[i]
					a := w.request(c, spec)
					if a.Accept != want {
						t.Errorf("%d: %v, want %v", i, a.Accept, want)
					}
					if a.Accept == owamp.AcceptOK {
						granted++
					}
				}
				if granted > 0 {
					if err := c.Start(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(5 * time.Second)
				}
				if now := memory(); now > before+16<<20 {
					t.Errorf("it takes %d MB of memory", (now-before)>>20)
				}
				w.serves()
				c.Close()
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if used := w.Used(""); used.Sessions != 0 || used.Bandwidth != 0 || w.net.Ports() != 0 {
					t.Errorf("%+v is reserved, %d ports are open", used, w.net.Ports())
				}
				w.stop()
			})
		})
	}
}

// Memory and files for what is recorded are bounded whoever asks, and nobody
// gets the last of them who has some.
func TestRoom(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		w.Narrow(16, 8000)
		greedy, other := w.connect(), w.connectFrom(elsewhere)
		ask := func(c *control.Client, n int, addr netip.Addr, packets uint32) (granted int) {
			for i := range n {
				spec := toServer(packets, netip.AddrPortFrom(addr, uint16(9000+w.net.Ports()*100+i)))
				spec.Timeout = 1000 << 32
				if a := w.request(c, spec); a.Accept == owamp.AcceptOK {
					granted++
				} else if a.Accept != owamp.AcceptTemporaryLimit {
					t.Errorf("answer %v", a.Accept)
				}
			}
			return granted
		}
		if n := ask(greedy, 20, here, 1); n != 14 {
			t.Errorf("%d sessions of 16 were granted to one host, want 14", n)
		}
		if n := ask(other, 2, elsewhere, 1); n != 1 { // the second would be its last but one
			t.Errorf("%d sessions of the last 2 were granted to another host, want 1", n)
		}
		greedy.Close()
		other.Close()
		time.Sleep(2 * time.Minute)
		greedy, other = w.connect(), w.connectFrom(elsewhere)
		if n := ask(greedy, 8, here, 1000); n != 7 {
			t.Errorf("%d sessions of 1000 packets were granted to one host, want 7", n)
		}
		if n := ask(other, 2, elsewhere, 1000); n != 1 {
			t.Errorf("%d sessions of 1000 packets were granted to another host, want 1", n)
		}
		greedy.Close()
		other.Close()
		time.Sleep(2 * time.Minute)
		if files, entries := w.Room(); files != 16 || entries != 8000 {
			t.Errorf("room for %d files and %d entries", files, entries)
		}
		w.untouched()
		w.stop()
	})
}

// What is sent before Start-Sessions is nobody's: it would take memory for as
// long as the client likes.
func TestEarlyPackets(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		c := w.connect()
		port := w.port()
		spec := toServer(60, port.Addr())
		a := w.request(c, spec)
		sending := w.send(port, spec, a)
		time.Sleep(4050 * time.Millisecond) // 30 packets
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Stop(t.Context(), []owamp.SendReport{sending.Stop()}); err != nil {
			t.Fatal(err)
		}
		_, recs := w.stored(a.SID)
		received := slices.DeleteFunc(recs, func(r owamp.Record) bool { return r.Lost() })
		if len(received) != 30 || received[0].Seq != 30 {
			t.Errorf("%d packets were received, want the 30 from packet 30 on", len(received))
		}
		c.Close()
		port.Close()
		w.stop()
	})
}

// A session that has nothing to send, and a time-out of decades, leaves nothing
// when it is stopped.
func TestLongWaits(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		c := w.connect()
		round := func() {
			var specs []owamp.SessionSpec
			for i := range 64 {
				spec := fromServer(0, netip.AddrPortFrom(here, uint16(9000+i)))
				spec.Timeout = math.MaxUint64
				specs = append(specs, spec)
			}
			if _, err := c.Request(t.Context(), specs); err != nil {
				t.Fatal(err)
			}
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if _, err := c.Stop(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute) // the ports stay reserved for a while
		}
		round()
		before := objects()
		const rounds = 100
		for range rounds {
			round()
		}
		if left := objects() - before; left > rounds*64/4 {
			t.Errorf("%d objects are left of %d sessions", left, rounds*64)
		}
		c.Close()
		w.stop()
	})
}

// objects returns how many there are in memory.
func objects() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapObjects)
}

// Strangers cannot fill the log, nor can those who ask for what they do not get;
// neither hides what concerns others.
func TestLogFlood(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		for i := range 100 {
			conn, err := w.Dial(t.Context(), netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 50000))
			if err != nil {
				t.Fatal(err)
			}
			w.expect(conn, owamp.ServerGreetingSize)
			w.write(conn, make([]byte, owamp.SetUpResponseSize))
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
			synctest.Wait()
		}
		c, other := w.connect(), w.connectFrom(elsewhere)
		for range 100 {
			w.request(c, fromServer(10, netip.AddrPortFrom(here, 0)))
		}
		w.request(other, fromServer(10, netip.AddrPortFrom(elsewhere, 0)))
		w.request(other, toServer(10, netip.AddrPortFrom(elsewhere, 9000)))
		other.Close()
		time.Sleep(2 * time.Second)
		w.request(c, fromServer(10, netip.AddrPortFrom(here, 0)))
		count := func(text string) (n int) {
			for _, line := range w.logged() {
				if strings.Contains(line, text) {
					n++
				}
			}
			return n
		}
		for text, want := range map[string]int{
			"Connection ended: reading Set-Up-Response: mode 0":                                10,
			"Test not allowed: refused: test with 192.0.2.1:0":                                 11,
			"want an address and a port (90 such lines were left out before)":                  1,
			"Test not allowed: refused: test with 192.0.2.9:0":                                 1,
			"Connection ended: reading a command: peer closed the connection\" peer=192.0.2.9": 1,
		} {
			if n := count(text); n != want {
				t.Errorf("%d lines about %q, want %d", n, text, want)
			}
		}
		c.Close()
		w.stop()
		if t.Failed() {
			t.Logf("logged\n%s", strings.Join(w.logged(), ""))
		}
	})
}
