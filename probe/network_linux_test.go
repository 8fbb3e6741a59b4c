package probe

import (
	"context"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"owl/internal/netlab"
	"owl/owamp"
	"owl/probe/clock"
)

// within runs f in the network of h.
func within(t *testing.T, h *netlab.Host, f func() error) {
	t.Helper()
	var err error
	if e := h.Do(func() { err = f() }); e != nil {
		t.Fatal(e)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func listenWithin(t *testing.T, e *Engine, h *netlab.Host, cfg PortConfig) (p *Port) {
	t.Helper()
	within(t, h, func() (err error) {
		p, err = e.Listen(cfg)
		return err
	})
	return p
}

// Over a path whose harm is known, the records say just that.
func TestKnownPath(t *testing.T) {
	path := netlab.Path{Delay: 20 * time.Millisecond, Hops: 3, Loss: 0.2, Duplicate: 0.1}
	a, b, wire := netlab.NewWire(t, 1, path)
	for name, addr := range map[string][2]netip.Addr{"IPv4": {a.Addr4, b.Addr4}, "IPv6": {a.Addr6, b.Addr6}} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, Config{})
			from := listenWithin(t, e, a, PortConfig{Addr: addr[0]})
			to := listenWithin(t, e, b, PortConfig{Addr: addr[1]})
			in := newInbox()
			r := receive(t, to, from.Addr(), 14, in.batch)
			before := wire.AB.Counts()
			const n = 300
			snd, done := start(t, from, spec(t, e, to.Addr(), n, time.Millisecond))
			await(t, "the sender", done)
			if p := snd.Progress(); p.Sent != n {
				t.Errorf("progress %+v, want %d sent", p, n)
			}
			counts := wire.AB.Counts()
			for deadline := time.Now().Add(20 * time.Second); counts.Packets-before.Packets < n; counts = wire.AB.Counts() {
				if time.Now().After(deadline) {
					t.Fatalf("%d packets came over the wire within 20 s, want %d", counts.Packets-before.Packets, n)
				}
				time.Sleep(time.Millisecond) // the last are on their way
			}
			lost := counts.Lost - before.Lost
			want := n - lost + counts.Duplicated - before.Duplicated
			seen := make(map[uint32]bool)
			for _, rec := range in.wait(t, want) {
				seen[rec.Seq] = true
				if d := rec.Recv.Sub(rec.Sent); d < path.Delay {
					t.Errorf("packet %d: delay %v, want at least %v", rec.Seq, d, path.Delay)
				}
				if rec.TTL != 252 {
					t.Errorf("packet %d: TTL %d after 3 hops, want 252", rec.Seq, rec.TTL)
				}
			}
			if len(seen) != n-lost {
				t.Errorf("%d different packets, want %d", len(seen), n-lost)
			}
			if st := r.Stats(); st != (ReceiveStats{Received: uint64(want)}) {
				t.Errorf("stats %+v, want %d received", st, want)
			}
		})
	}
}

// Link-local addresses have zones; the peer's may be left out.
func TestLinkLocal(t *testing.T) {
	a, b := netlab.NewVeth(t)
	for h, addr := range map[*netlab.Host]string{a: "fe80::a/64", b: "fe80::b/64"} {
		cmd := exec.CommandContext(t.Context(), "ip", strings.Fields("address add "+addr+" dev eth0 nodad")...)
		if _, err := h.Output(cmd); err != nil {
			t.Fatal(err)
		}
	}
	e := newEngine(t, Config{})
	from := listenWithin(t, e, a, PortConfig{Addr: netip.MustParseAddr("fe80::a%eth0"), Device: "eth0"})
	to := listenWithin(t, e, b, PortConfig{Addr: netip.MustParseAddr("fe80::b%eth0"), Device: "eth0"})
	in := newInbox()
	within(t, b, func() error {
		receive(t, to, netip.AddrPortFrom(netip.MustParseAddr("fe80::a"), from.Addr().Port()), 14, in.batch)
		return nil
	})
	s := spec(t, e, netip.AddrPortFrom(netip.MustParseAddr("fe80::b"), to.Addr().Port()), 20, time.Millisecond)
	within(t, a, func() error {
		start(t, from, s)
		return nil
	})
	in.wait(t, 20)
}

// What the socket drops is counted, once, and the rest is delivered.
func TestSocketDrops(t *testing.T) {
	e := newEngine(t, Config{Gather: time.Hour}) // nobody reads
	p := listen(t, e, loopback4)
	peer, from := raw(t, p)
	in := newInbox()
	r := receive(t, p, from, 14, in.batch)
	other := receive(t, p, netip.AddrPortFrom(from.Addr(), 1), 14, in.batch)
	const n = 50000
	for seq := range uint32(n) {
		peer.Write(packet(seq, 14))
	}
	r.Drain()
	st := r.Stats()
	if st.Drops == 0 || st.Received+st.Drops != n {
		t.Errorf("stats %+v, want received and drops to add up to %d", st, n)
	}
	// They are no other session's.
	if got := other.Stats(); got != (ReceiveStats{}) {
		t.Errorf("stats %+v of a session beside it, want zeros", got)
	}
	other.Close()
	r.Close()
	if got := r.Stats(); got != st {
		t.Errorf("stats %+v after Close, %+v before", got, st)
	}
	if got := receive(t, p, from, 14, in.batch).Stats(); got != (ReceiveStats{}) {
		t.Errorf("stats %+v of a new session, want zeros", got)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if got := p.Stats().Drops; got != st.Drops {
		t.Errorf("%d drops after the port was closed, want %d", got, st.Drops)
	}
}

// A step of the clock is noticed while the lane sleeps.
func TestClockStep(t *testing.T) {
	var offset atomic.Int64
	c := clock.New(clock.Config{Read: func() (clock.Kernel, error) {
		return clock.Kernel{Synchronized: true, Offset: time.Duration(offset.Load())}, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go c.Run(ctx)
	e := newEngine(t, Config{Clock: c})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	s := spec(t, e, to.Addr(), 1, time.Hour)
	_, done := start(t, from, s)
	offset.Store(int64(time.Hour))
	await(t, "a packet that is due in an hour, which passes in a second", done)
}

func TestReceivingAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	e := newEngine(t, Config{Gather: time.Hour})
	p := listen(t, e, loopback4)
	peer, from := raw(t, p)
	var n int
	r := receive(t, p, from, 14, func(recs []owamp.Record) { n += len(recs) })
	datagram := packet(0, 14)
	if allocs := testing.AllocsPerRun(50, func() {
		for range 100 {
			peer.Write(datagram)
		}
		r.Drain()
	}); allocs != 0 {
		t.Errorf("%v allocations for 100 packets, want none", allocs)
	}
	if n != 51*100 {
		t.Errorf("%d packets received, want 5100", n)
	}
}

func TestSendingAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	e := newEngine(t, Config{})
	p := listen(t, e, loopback4)
	_, sink := raw(t, p)
	mallocs := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.Mallocs
	}
	const n = 20000
	s := spec(t, e, sink, n, 0)
	before := mallocs()
	_, done := start(t, p, s)
	await(t, "the sender", done)
	if got := mallocs() - before; got > n/100 {
		t.Errorf("%d allocations for %d packets, want next to none", got, n)
	}
}

// A port that only sends takes no packets, so that nobody can fill its buffer, in
// which the kernel has its reports wait.
func TestPortThatOnlySends(t *testing.T) {
	e := newEngine(t, Config{})
	needReports(t, e)
	p, to := listen(t, e, loopback4), listen(t, e, loopback4)
	peer, from := raw(t, p)
	flood := func() {
		t.Helper()
		for seq := range uint32(50000) {
			peer.Write(packet(seq, 14))
		}
	}
	begin := e.clock.Now()
	flood()
	_, done := start(t, p, spec(t, e, to.Addr(), 10*askEvery, 20*time.Microsecond))
	await(t, "the sender", done)
	if st := e.Transmit(); st.Asked < 5 || st.Missing > 0 {
		t.Errorf("asked %d, missing %d, want some and none", st.Asked, st.Missing)
	}
	for range 2 {
		in := newInbox()
		r := receive(t, p, from, 14, in.batch)
		peer.Write(packet(7, 14))
		if recs := in.wait(t, 1); len(recs) != 1 || recs[0].Seq != 7 {
			t.Errorf("records %+v, want packet 7 alone, which was sent to a session", recs)
		}
		if st := r.Stats(); st != (ReceiveStats{Received: 1}) {
			t.Errorf("stats %+v, want 1 received", st)
		}
		if in := r.Incidents(begin, e.clock.Now()); in.Drops != 0 {
			t.Errorf("%d drops, want none: nobody received what the port did not take", in.Drops)
		}
		r.Close()
		flood()
	}
	if st := p.Stats(); st != (PortStats{}) {
		t.Errorf("port stats %+v, want zeros", st)
	}
}
