package ports_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/probe"
	"owl/sessions/internal/memwire"
	"owl/sessions/ports"
)

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2")
)

// unknown is the peer before its port is known.
var unknown = netip.AddrPortFrom(there, 0)

func newPool(low, high uint16) (*ports.Pool, *memwire.Network) {
	n := new(memwire.Network)
	return ports.NewPool(n, probe.PortRange{Low: low, High: high}, ""), n
}

// lease leases a port for a session with the port at of the peer, unless it is
// 0.
func lease(t *testing.T, p *ports.Pool, at uint16, not ...ports.Port) *ports.Lease {
	t.Helper()
	l, err := p.Lease(here, netip.AddrPortFrom(there, at), not...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Sessions share a port unless they have the same peer.
func TestShare(t *testing.T) {
	p, n := newPool(0, 0)
	defer p.Close()
	a, b := lease(t, p, 1000), lease(t, p, 1001)
	if a.Port != b.Port || n.Ports() != 1 {
		t.Errorf("two ports, %v and %v, for two peers", a.Port.Addr(), b.Port.Addr())
	}
	c := lease(t, p, 1000)
	if c.Port == a.Port || n.Ports() != 2 {
		t.Errorf("one port, %v, for one peer twice", c.Port.Addr())
	}
	if d := lease(t, p, 0); d.Port != a.Port || d.Remote() != unknown {
		t.Errorf("port %v for a peer that is not known, %v", d.Port.Addr(), d.Remote())
	}
	if d := lease(t, p, 0, a.Port, c.Port); d.Port == a.Port || d.Port == c.Port {
		t.Errorf("a port that was said not to do, %v", d.Port.Addr())
	}
	other, err := p.Lease(there, netip.AddrPortFrom(here, 1000))
	if err != nil || other.Port.Addr().Addr() != there {
		t.Errorf("lease of another address: %v, %v", other, err)
	}
}

// A peer with a single port makes each session with it take a port of its own,
// at the price of one collision each at most, and none once there are enough.
func TestSinglePeerPort(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const overlap, first, rest = 14, 2 * 14, 100
		p, n := newPool(9100, 9130)
		defer p.Close()
		collisions := 0
		setUp := func() *ports.Lease {
			var unfit []ports.Port
			for {
				l := lease(t, p, 0, unfit...)
				if l.Fix(1000) {
					return l
				}
				collisions++
				if unfit = append(unfit, l.Port); len(unfit) > 1 {
					t.Fatalf("%d ports do not do, of %d", len(unfit), n.Ports())
				}
				defer l.Release(0)
			}
		}
		var running []*ports.Lease
		for i := range first + rest {
			if i == first {
				collisions = 0
			}
			if len(running) == overlap {
				running[0].Release(time.Second)
				running = running[1:]
			}
			running = append(running, setUp())
			time.Sleep(time.Second)
		}
		if collisions > 0 {
			t.Errorf("%d collisions of %d sessions", collisions, rest)
		}
		if n.Ports() > overlap+1 {
			t.Errorf("%d ports are open for %d sessions", n.Ports(), overlap)
		}
	})
}

// When the range is used up, what there is is shared evenly.
func TestSpread(t *testing.T) {
	p, _ := newPool(9100, 9102)
	defer p.Close()
	sessions := map[uint16]int{}
	for i := range 3 * 20 {
		l := lease(t, p, 0)
		l.Fix(uint16(1001 + i))
		sessions[l.Port.Addr().Port()]++
	}
	for port := uint16(9100); port <= 9102; port++ {
		if n := sessions[port]; n != 20 {
			t.Errorf("sessions by port: %v, want 20 each", sessions)
		}
	}
	if l, err := p.Lease(here, unknown, portsOf(t, p)...); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("ports that do not do: %v, %v", l, err)
	}
}

// An end is one of two hosts between which there are many sessions.
type end struct {
	pool *ports.Pool
	addr netip.Addr
	net  *memwire.Network
}

func newEnd(addr netip.Addr) *end {
	e := &end{addr: addr, net: new(memwire.Network)}
	e.pool = ports.NewPool(e.net, probe.PortRange{}, "")
	return e
}

// A pair is a session's two ports.
type pair struct{ client, server *ports.Lease }

// request leases ports for a session as a client and its server do, and returns
// how many ports did not fit before.
func request(t *testing.T, client, server *end) (p pair, collisions int) {
	t.Helper()
	var unfit []ports.Port
	for {
		l, err := client.pool.Lease(client.addr, netip.AddrPortFrom(server.addr, 0), unfit...)
		if err != nil {
			t.Fatal(err)
		}
		r, err := server.pool.Lease(server.addr, l.Port.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if l.Fix(r.Port.Addr().Port()) {
			return pair{l, r}, len(unfit)
		}
		unfit = append(unfit, l.Port)
		r.Release(0)
		defer l.Release(0)
	}
}

// Ten thousand sessions between two hosts, which come and go, take
// some hundred sockets at each end, and collide hardly ever, although the two do
// not know exactly the same of when a triple is over. When most of them have
// gone, so have most of the sockets.
func TestTenThousandSessions(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const sessions, few, most = 10_000, 200, 170
		client, server := newEnd(here), newEnd(there)
		dice := rand.New(rand.NewPCG(1, 2))
		var running []pair
		end := func() {
			i := dice.IntN(len(running))
			p := running[i]
			running[i] = running[len(running)-1]
			running = running[:len(running)-1]
			p.server.Release(2 * time.Second)
			time.Sleep(time.Millisecond) // the client learns it later
			p.client.Release(2 * time.Second)
		}
		collisions := 0
		begin := func() {
			p, n := request(t, client, server)
			running = append(running, p)
			collisions += n
		}
		for range sessions {
			begin()
		}
		for range 3 * sessions {
			end()
			begin()
			time.Sleep(time.Duration(dice.IntN(5)) * time.Millisecond)
		}
		if c, s := client.net.Ports(), server.net.Ports(); c > most || s > most {
			t.Errorf("%d and %d ports for %d sessions, want at most %d", c, s, sessions, most)
		}
		if collisions > 10 {
			t.Errorf("%d collisions of %d sessions", collisions, 4*sessions)
		}
		for len(running) > few {
			end()
		}
		for range 20 * few {
			end()
			begin()
			time.Sleep(100 * time.Millisecond)
		}
		if c, s := client.net.Ports(), server.net.Ports(); c > 3*crowdAtLeast || s > 3*crowdAtLeast {
			t.Errorf("%d and %d ports for %d sessions, want some %d", c, s, few, crowdAtLeast)
		}
	})
}

// crowdAtLeast is how many sessions a port has before there is another one.
const crowdAtLeast = 16

// portsOf leases each port of p.
func portsOf(t *testing.T, p *ports.Pool) (all []ports.Port) {
	for range 3 {
		all = append(all, lease(t, p, 0, all...).Port)
	}
	return all
}

// A peer's port that becomes known later may turn out to be taken.
func TestFix(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, n := newPool(0, 0)
		a, b := lease(t, p, 0), lease(t, p, 0)
		if a.Port != b.Port {
			t.Fatal("two ports")
		}
		if !a.Fix(1000) || a.Remote().Port() != 1000 {
			t.Errorf("the first session with port 1000 has %v", a.Remote())
		}
		if b.Fix(1000) {
			t.Error("two sessions have the same triple")
		}
		if !b.Fix(1001) {
			t.Error("port 1001 is taken, too")
		}
		a.Release(5 * time.Second)
		c := lease(t, p, 0)
		if c.Fix(1000) {
			t.Error("port 1000 is free before the last packets can have come")
		}
		time.Sleep(5 * time.Second)
		if !c.Fix(1000) {
			t.Error("port 1000 is not free later")
		}
		b.Release(0)
		c.Release(0)
		if n.Ports() != 0 {
			t.Errorf("%d ports are open", n.Ports())
		}
	})
}

// A port is closed when the last session has left it and no packet of any can
// still come, not sooner and not later.
func TestLinger(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, n := newPool(0, 0)
		open := func(want int) {
			t.Helper()
			synctest.Wait()
			if got := n.Ports(); got != want {
				t.Errorf("%d ports are open, want %d", got, want)
			}
		}
		a := lease(t, p, 1000)
		a.Release(10 * time.Second)
		time.Sleep(5 * time.Second)
		b := lease(t, p, 1001)
		if a.Port != b.Port {
			t.Error("the port that is still open is not used")
		}
		b.Release(10 * time.Second) // until 15 s
		time.Sleep(6 * time.Second)
		open(1)
		if l := lease(t, p, 1001); l.Port == b.Port {
			t.Error("a triple is given out again within its time")
		} else {
			l.Release(0)
		}
		open(1)
		time.Sleep(5 * time.Second)
		open(0)

		// A lease that ends without lingering leaves the port to who lingers.
		a, b = lease(t, p, 1000), lease(t, p, 1001)
		a.Release(10 * time.Second)
		b.Release(0)
		time.Sleep(9 * time.Second)
		open(1)
		time.Sleep(2 * time.Second)
		open(0)

		// No packet is under way for longer than a minute.
		lease(t, p, 1000).Release(100 * 365 * 24 * time.Hour)
		open(1)
		time.Sleep(time.Minute)
		open(0)
	})
}

// When a range is exhausted, or nothing can be had for another reason, that is
// the error.
func TestExhausted(t *testing.T) {
	p, n := newPool(8760, 8761)
	lease(t, p, 1000)
	lease(t, p, 1000)
	if _, err := p.Lease(here, netip.AddrPortFrom(there, 1000)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("third lease of two ports: %v", err)
	}
	lease(t, p, 1001)
	n.Refuse = func(probe.PortConfig) error { return syscall.EADDRNOTAVAIL }
	if _, err := p.Lease(there, unknown); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("lease of an address that is not there: %v", err)
	}
}

// What a pool remembers of peers that are gone does not grow.
func TestForget(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, _ := newPool(0, 0)
		keep := lease(t, p, 1)
		for i := range 20000 {
			l := lease(t, p, uint16(2+i))
			l.Release(time.Second)
			time.Sleep(50 * time.Millisecond)
		}
		if n := ports.Remembered(keep); n > 200 {
			t.Errorf("%d triples are remembered, want at most those of three seconds and some more", n)
		}
		p.Close()
	})
}

func TestClose(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, n := newPool(0, 0)
		a, b := lease(t, p, 1000), lease(t, p, 1000)
		b.Release(time.Minute)
		p.Close()
		p.Close()
		if n.Ports() != 0 {
			t.Errorf("%d ports are open", n.Ports())
		}
		if _, err := p.Lease(here, unknown); !errors.Is(err, ports.ErrNoPort) {
			t.Errorf("lease of a closed pool: %v", err)
		}
		a.Release(time.Minute)
	})
}

// Whatever is leased, fixed and released, no two sessions have a triple at a
// time, and all is closed in the end.
func TestTriples(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, n := newPool(0, 0)
		taken := make(map[string]time.Time) // zero: leased; else until then
		var held []*ports.Lease
		for i := range 5000 {
			time.Sleep(time.Duration(i%7) * 10 * time.Millisecond)
			if len(held) > 20 || i%3 == 0 && len(held) > 0 {
				l := held[i%len(held)]
				held = append(held[:i%len(held)], held[i%len(held)+1:]...)
				linger := time.Duration(i%5) * 100 * time.Millisecond
				l.Release(linger)
				taken[name(l)] = time.Now().Add(linger)
				continue
			}
			port := uint16(1 + i*i%11)
			l := lease(t, p, port*uint16(i%2))
			if l.Remote().Port() == 0 && !l.Fix(port) {
				l.Release(0)
				continue
			}
			if until, ok := taken[name(l)]; ok && (until.IsZero() || time.Now().Before(until)) {
				t.Fatalf("%s is given out twice", name(l))
			}
			taken[name(l)] = time.Time{}
			held = append(held, l)
		}
		for _, l := range held {
			l.Release(time.Second)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n.Ports() != 0 {
			t.Errorf("%d ports are open at the end", n.Ports())
		}
	})
}

func name(l *ports.Lease) string { return fmt.Sprint(l.Port.Addr(), l.Remote()) }

// Ports of another range are leased from when it is set; leases go on.
func TestSetRange(t *testing.T) {
	p, n := newPool(5000, 5000)
	defer p.Close()
	a := lease(t, p, 1000)
	p.SetRange(probe.PortRange{Low: 6000, High: 6000})
	b := lease(t, p, 1001)
	if a, b := a.Port.Addr().Port(), b.Port.Addr().Port(); a != 5000 || b != 6000 {
		t.Errorf("ports %d and %d, want 5000 and 6000", a, b)
	}
	a.Release(0)
	if n.Ports() != 1 {
		t.Errorf("%d ports are open, want the new one", n.Ports())
	}
	p.SetRange(probe.PortRange{})
	if c := lease(t, p, 1002); c.Port != b.Port {
		t.Errorf("port %v, want the one that is open", c.Port.Addr())
	}
}
