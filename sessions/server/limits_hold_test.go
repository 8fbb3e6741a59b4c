package server_test

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
	"owl/sessions/policy"
	"owl/sessions/server"
)

// However many ask at once, and however their sessions end, what is granted
// never exceeds the limits, by the clients' account and by the server's, and
// nothing is left in the end but what is on disk.
func TestLimitsHold(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const each = 3360 // bits per second of a session
		l := limits(t,
			"limit root with bandwidth=100k, disk=20k, packet_rate=200",
			"limit low with parent=root, bandwidth=40k, disk=8k, test_sessions=3",
			"limit deep with parent=low, bandwidth=20k, disk=5k, test_sessions=2",
			"assign net 198.51.100.0/25 low", "assign net 198.51.100.128/25 deep")
		w := serve(t, func(_ *world, c *server.Config) { c.Limits = l })

		var mu sync.Mutex
		granted, refused := 0, 0
		running := make(map[*policy.Class]uint64) // by the clients' account
		var greatest policy.Request
		change := func(c *policy.Class, by uint64) {
			mu.Lock()
			defer mu.Unlock()
			for ; c != nil; c = c.Parent() {
				running[c] += by
				if running[c]*each > c.Bandwidth() {
					t.Errorf("class %s: %d sessions run", c.Name(), running[c])
				}
			}
			for _, c := range l.Classes() {
				used := w.Used(c.Name())
				if c.Bandwidth() < used.Bandwidth || c.Disk() < used.Disk || c.PacketRate() > 0 && c.PacketRate() < used.PacketRate {
					t.Errorf("class %s: %+v is granted", c.Name(), used)
				}
			}
			used := w.Used("root")
			greatest.Bandwidth, greatest.Disk = max(greatest.Bandwidth, used.Bandwidth), max(greatest.Disk, used.Disk)
			greatest.PacketRate = max(greatest.PacketRate, used.PacketRate)
		}
		var asking sync.WaitGroup
		for i := range 200 {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
			if i%3 == 0 {
				addr = here
			}
			class := l.Class(addr, "")
			asking.Go(func() {
				for round := range 4 {
					time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
					c := w.connectFrom(addr)
					mine := uint64(0)
					for j := range 4 {
						peer := netip.AddrPortFrom(addr, uint16(10000+100*round+10*j)+uint16(i)*211)
						spec := toServer(10+rng.Uint32N(20), peer)
						if rng.IntN(2) == 0 {
							spec = fromServer(10+rng.Uint32N(20), peer)
							spec.SID[5] = byte(j)
						}
						a := w.request(c, spec)
						if a.Accept == owamp.AcceptOK {
							mine++
							change(class, 1)
						}
						mu.Lock()
						if a.Accept == owamp.AcceptOK {
							granted++
						} else {
							refused++
						}
						mu.Unlock()
					}
					time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
					change(class, -mine)
					if mine > 0 {
						w.conclude(c, rng.IntN(4))
					}
					c.Close()
				}
			})
		}
		asking.Wait()
		w.stop()
		used := w.Used("")
		if disk := used.Disk; used != (policy.Request{Disk: disk}) || disk != w.octets() {
			t.Errorf("%+v is reserved at the end, want the %d octets that are on disk", used, w.octets())
		}
		if granted < 100 || refused < 100 || greatest.Bandwidth < 80e3 || greatest.PacketRate < 150 || greatest.Disk < 10e3 {
			t.Errorf("%d sessions were granted, %d refused, at most %+v at a time: the limits were hardly touched", granted, refused, greatest)
		}
	})
}

// octets returns how much disk the sessions in the store take.
func (w *world) octets() (sum uint64) {
	w.t.Helper()
	links, err := filepath.Glob(filepath.Join(w.data, "catalog", "*.owp"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, link := range links {
		info, err := os.Stat(link)
		if err != nil {
			w.t.Fatal(err)
		}
		sum += uint64(info.Size())
	}
	return sum
}

// conclude ends the sessions of c in one of several ways.
func (w *world) conclude(c *control.Client, how int) {
	switch how {
	case 0: // never started
	case 1: // broken off
		_ = c.Start(w.t.Context())
		time.Sleep(1500 * time.Millisecond)
	case 2: // stopped by the client
		if err := c.Start(w.t.Context()); err != nil {
			w.t.Error(err)
		}
		time.Sleep(1500 * time.Millisecond)
		_, _ = c.Stop(w.t.Context(), nil) // without the reports that it owes
	case 3: // run to its end
		if err := c.Start(w.t.Context()); err != nil {
			w.t.Error(err)
		}
		_, _ = c.Await(w.t.Context())
		_, _ = c.Stop(w.t.Context(), nil)
	}
}
