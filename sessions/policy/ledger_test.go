package policy

import (
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const tree = `limit root with bandwidth=1000, disk=10k, packet_rate=50
limit left with parent=root, bandwidth=700, disk=0
limit leaf with parent=left, bandwidth=400, disk=3k
limit right with parent=root, bandwidth=0, disk=8k
`

// Reserve is [Account.Reserve] for a control connection of its own, with a peer
// of class c.
func (g *Ledger) Reserve(c *Class, req Request) (*Reservation, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reserve(new(Account), g.current(c.name), req)
}

// held returns what r holds.
func (r *Reservation) held() Request {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	return r.req
}

func reserve(t *testing.T, g *Ledger, class string, req Request) *Reservation {
	t.Helper()
	r, err := g.Reserve(named(t, g, class), req)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func named(t *testing.T, g *Ledger, name string) *Class {
	t.Helper()
	return class(t, g.Limits(), name)
}

// denied expects err to deny what is said.
func denied(t *testing.T, err error, want DeniedError) {
	t.Helper()
	got, ok := errors.AsType[*DeniedError](err)
	if !ok {
		t.Errorf("got %v, want it denied: %v", err, &want)
	} else if diff := cmp.Diff(want, *got); diff != "" {
		t.Errorf("denied, -want +got:\n%s", diff)
	}
}

// used expects the classes to hold what is said, and the others nothing.
func used(t *testing.T, g *Ledger, want map[string]Request) {
	t.Helper()
	got := make(map[string]Request)
	for _, c := range g.Limits().Classes() {
		if u := g.Used(c); u != (Request{}) {
			got[c.Name()] = u
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("used, -want +got:\n%s", diff)
	}
}

func TestReserve(t *testing.T) {
	g := NewLedger(parse(t, tree))
	a := reserve(t, g, "leaf", Request{Bandwidth: 400, Disk: 3000, PacketRate: 10, Sessions: 1})
	b := reserve(t, g, "right", Request{Bandwidth: 500, Disk: 7000, Sessions: 1})
	all := map[string]Request{
		"root":  {Bandwidth: 900, Disk: 10_000, PacketRate: 10, Sessions: 2},
		"left":  {Bandwidth: 400, Disk: 3000, PacketRate: 10, Sessions: 1},
		"leaf":  {Bandwidth: 400, Disk: 3000, PacketRate: 10, Sessions: 1},
		"right": {Bandwidth: 500, Disk: 7000, Sessions: 1},
	}
	used(t, g, all)

	for _, tt := range []struct {
		class string
		req   Request
		want  DeniedError
	}{
		{"leaf", Request{Bandwidth: 1}, DeniedError{"leaf", "bandwidth", 1, 400, 400}},
		{"leaf", Request{Disk: 1}, DeniedError{"leaf", "disk", 1, 3000, 3000}},
		{"left", Request{Bandwidth: 101}, DeniedError{"root", "bandwidth", 101, 900, 1000}},
		{"left", Request{Bandwidth: 301}, DeniedError{"left", "bandwidth", 301, 400, 700}},
		{"left", Request{Bandwidth: 100, Disk: 1}, DeniedError{"root", "disk", 1, 10_000, 10_000}},
		{"right", Request{PacketRate: 41}, DeniedError{"root", "packet_rate", 41, 10, 50}},
		{"right", Request{Bandwidth: math.MaxUint64}, DeniedError{"right", "bandwidth", math.MaxUint64, 500, math.MaxUint64}},
		{"root", Request{Bandwidth: math.MaxUint64}, DeniedError{"root", "bandwidth", math.MaxUint64, 900, 1000}},
	} {
		_, err := g.Reserve(named(t, g, tt.class), tt.req)
		denied(t, err, tt.want)
	}
	used(t, g, all) // what is denied holds nothing at any level

	a.Release()
	a.Release()
	if a.held() != (Request{}) {
		t.Errorf("released, and holds %v", a.held())
	}
	used(t, g, map[string]Request{
		"root":  {Bandwidth: 500, Disk: 7000, Sessions: 1},
		"right": {Bandwidth: 500, Disk: 7000, Sessions: 1},
	})
	b.Release()
	used(t, g, map[string]Request{})
}

// Lines of a C owampd's log.
func TestDeniedText(t *testing.T) {
	g := NewLedger(parse(t, "limit root with bandwidth=5k"))
	_, err := g.Reserve(g.Limits().Root(), Request{Bandwidth: 33600})
	if err == nil || err.Error() != "ResReq DENIED: root:request:bandwidth = 33600 (result = 0, limit = 5000)" {
		t.Error(err)
	}
	g = NewLedger(parse(t, "limit root with test_sessions=1"))
	a := g.Account(Peer{})
	if _, err := a.Reserve(Request{Sessions: 1}); err != nil {
		t.Fatal(err)
	}
	_, err = a.Reserve(Request{Sessions: 1})
	if err == nil || err.Error() != "ResReq DENIED: root:request:test_sessions = 1 (result = 1, limit = 1)" {
		t.Error(err)
	}
}

func TestAccount(t *testing.T) {
	g := NewLedger(parse(t, `limit root with test_sessions=3
limit few with parent=root, test_sessions=2
limit more with parent=root, test_sessions=0
assign net 10.0.0.0/8 few
assign user joe more
`))
	one := Request{Sessions: 1}
	few, joe := g.Account(Peer{Addr: netip.MustParseAddr("10.0.0.1")}), g.Account(Peer{Addr: netip.MustParseAddr("10.0.0.1"), User: "joe"})
	if few.Class().Name() != "few" || joe.Class().Name() != "more" {
		t.Errorf("classes %s and %s, want few and more", few.Class().Name(), joe.Class().Name())
	}
	var held []*Reservation
	fill := func(a *Account, n int, want DeniedError) {
		t.Helper()
		for range n {
			r, err := a.Reserve(one)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, r)
		}
		_, err := a.Reserve(one)
		denied(t, err, want)
	}
	fill(few, 2, DeniedError{"few", "test_sessions", 1, 2, 2})
	fill(joe, 3, DeniedError{"root", "test_sessions", 1, 3, 3})
	// The limit is one of each connection, not of all together.
	fill(g.Account(Peer{Addr: netip.MustParseAddr("10.0.0.1")}), 2, DeniedError{"few", "test_sessions", 1, 2, 2})
	if _, err := g.Reserve(named(t, g, "few"), Request{Sessions: 3}); err == nil {
		t.Error("3 sessions at once: not denied")
	}
	used(t, g, map[string]Request{"root": {Sessions: 7}, "few": {Sessions: 4}, "more": {Sessions: 3}})

	held[0].Release() // one of few's
	fill(few, 1, DeniedError{"few", "test_sessions", 1, 2, 2})
	for _, r := range held {
		r.Release()
	}
	used(t, g, map[string]Request{})
}

func TestDisk(t *testing.T) {
	g := NewLedger(parse(t, tree))
	r := reserve(t, g, "leaf", Request{Bandwidth: 100, Disk: 2000, Sessions: 1})

	// No longer than asked for: always well.
	if err := r.AdjustDisk(1500, 1); err != nil {
		t.Fatal(err)
	}
	// Longer: up to the limit, or so many times the limit.
	if err := r.AdjustDisk(3000, 0); err != nil {
		t.Fatal(err)
	}
	denied(t, r.AdjustDisk(3001, 1), DeniedError{"leaf", "disk", 1, 3000, 3000})
	denied(t, r.AdjustDisk(3001, math.NaN()), DeniedError{"leaf", "disk", 1, 3000, 3000})
	denied(t, r.AdjustDisk(4501, 1.5), DeniedError{"leaf", "disk", 1501, 3000, 4500})
	if err := r.AdjustDisk(4500, 1.5); err != nil {
		t.Fatal(err)
	}
	above := reserve(t, g, "left", Request{Disk: 100})
	denied(t, above.AdjustDisk(10_501, 1.5), DeniedError{"root", "disk", 10_401, 4600, 15_000})
	above.Release()
	used(t, g, map[string]Request{
		"root": {Bandwidth: 100, Disk: 4500, Sessions: 1},
		"left": {Bandwidth: 100, Disk: 4500, Sessions: 1},
		"leaf": {Bandwidth: 100, Disk: 4500, Sessions: 1},
	})
	// More than the limit stays: nothing more fits then.
	_, err := g.Reserve(named(t, g, "leaf"), Request{Disk: 1})
	denied(t, err, DeniedError{"leaf", "disk", 1, 4500, 3000})

	// The session ends, the file stays.
	file := r.Keep()
	r.Release()
	if err := r.AdjustDisk(1<<40, 1); err != nil {
		t.Errorf("adjusted after its end: %v", err)
	}
	disk := Request{Disk: 4500}
	used(t, g, map[string]Request{"root": disk, "left": disk, "leaf": disk})
	if file.held() != disk || file.Class().Name() != "leaf" {
		t.Errorf("the file holds %v of %s, want %v of leaf", file.held(), file.Class().Name(), disk)
	}
	file.Release()
	used(t, g, map[string]Request{})

	// Files that were there before are counted, whatever the limits.
	old := g.Adopt("leaf", 50_000)
	_, err = g.Reserve(named(t, g, "right"), Request{Disk: 1})
	denied(t, err, DeniedError{"root", "disk", 1, 50_000, 10_000})
	old.Release()
	used(t, g, map[string]Request{})

	// So they are while their class is not there.
	old = g.Adopt("gone", 100)
	used(t, g, map[string]Request{"root": {Disk: 100}})
	g.Replace(parse(t, tree+"limit gone with parent=leaf\n"))
	used(t, g, map[string]Request{"root": {Disk: 100}, "left": {Disk: 100}, "leaf": {Disk: 100}, "gone": {Disk: 100}})
	old.Release()
	used(t, g, map[string]Request{})
}

func TestReplace(t *testing.T) {
	g := NewLedger(parse(t, tree))
	before := named(t, g, "leaf")
	leaf := reserve(t, g, "leaf", Request{Bandwidth: 300, Disk: 1000, Sessions: 1})
	right := reserve(t, g, "right", Request{Bandwidth: 200, Sessions: 1})
	a := g.Account(Peer{User: "right"})

	// leaf goes, right moves below a new class and gets a smaller limit.
	g.Replace(parse(t, `limit top with bandwidth=600
limit mid with parent=top
limit right with parent=mid, bandwidth=100
`))
	used(t, g, map[string]Request{
		"top":   {Bandwidth: 500, Disk: 1000, Sessions: 2},
		"mid":   {Bandwidth: 200, Sessions: 1},
		"right": {Bandwidth: 200, Sessions: 1},
	})
	if got := leaf.Class().Path(); got != "top" {
		t.Errorf("class of a session whose class is gone: %s, want top", got)
	}
	if got := a.Class().Path(); got != "top/mid/right" {
		t.Errorf("class of a running connection: %s, want top/mid/right", got)
	}
	_, err := a.Reserve(Request{Bandwidth: 1})
	denied(t, err, DeniedError{"right", "bandwidth", 1, 200, 100})
	// One that still has the former class is asked by the limits in force.
	_, err = g.Reserve(before, Request{Bandwidth: 101})
	denied(t, err, DeniedError{"top", "bandwidth", 101, 500, 600})

	// The former limits come back, and with them the former sums.
	g.Replace(parse(t, tree))
	used(t, g, map[string]Request{
		"root":  {Bandwidth: 500, Disk: 1000, Sessions: 2},
		"left":  {Bandwidth: 300, Disk: 1000, Sessions: 1},
		"leaf":  {Bandwidth: 300, Disk: 1000, Sessions: 1},
		"right": {Bandwidth: 200, Sessions: 1},
	})
	leaf.Release()
	right.Release()
	used(t, g, map[string]Request{})
}

// 200 connections ask and release at once, while the limits are read anew. An
// account of its own beside the ledger shows that no level is ever exceeded:
// it counts up only after a grant and down before the release, so that it never
// shows more than what is reserved.
func TestParallel(t *testing.T) {
	const connections, rounds = 200, 100
	l := parse(t, tree)
	g := NewLedger(l)
	granted := make(map[string]*[3]atomic.Uint64)
	for _, c := range l.Classes() {
		granted[c.Name()] = new([3]atomic.Uint64)
	}
	count := func(c *Class, req Request, sign uint64) {
		for ; c != nil; c = c.parent {
			for i, res := range resources {
				sum := granted[c.name][i].Add(sign * *res.amount(&req))
				if limit := res.limit(c); sign == 1 && limit != 0 && sum > limit {
					t.Errorf("class %s: %s of %d granted, limit %d", c.name, res.name, sum, limit)
				}
			}
		}
	}
	var grants, denials atomic.Int64
	var connected sync.WaitGroup
	for i := range connections {
		connected.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			c := l.classes[rng.IntN(len(l.classes))]
			for range rounds {
				req := Request{
					Bandwidth:  rng.Uint64N(200),
					Disk:       rng.Uint64N(2000),
					PacketRate: rng.Uint64N(20),
					Sessions:   1,
				}
				r, err := g.Reserve(c, req)
				if err != nil {
					denials.Add(1)
					continue
				}
				grants.Add(1)
				count(c, req, 1)
				var kept *Reservation
				switch rng.IntN(4) {
				case 0:
					kept = r.Keep()
				case 1:
					less := req
					less.Disk /= 2
					count(c, Request{Disk: req.Disk - less.Disk}, math.MaxUint64)
					if err := r.AdjustDisk(less.Disk, 1); err != nil {
						t.Error(err)
					}
					req = less
				case 2:
					if r.AdjustDisk(req.Disk+100, 1) == nil {
						count(c, Request{Disk: 100}, 1)
						req.Disk += 100
					}
				}
				count(c, req, math.MaxUint64)
				r.Release()
				if kept != nil {
					kept.Release()
				}
			}
		})
	}
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
				g.Replace(l)
			}
			for _, c := range l.Classes() {
				u := g.Used(c)
				for _, res := range resources {
					if limit := res.limit(c); limit != 0 && *res.amount(&u) > limit {
						t.Errorf("class %s: %s of %d used, limit %d", c.name, res.name, *res.amount(&u), limit)
					}
				}
			}
		}
	}()
	connected.Wait()
	close(stop)
	<-watched
	if grants.Load() == 0 || denials.Load() == 0 {
		t.Errorf("%d granted and %d denied: want some of both", grants.Load(), denials.Load())
	}
	used(t, g, map[string]Request{})
	if len(g.held) != 0 {
		t.Errorf("%d reservations left", len(g.held))
	}
}

func BenchmarkReserve(b *testing.B) {
	l := parse(b, tree)
	g := NewLedger(l)
	c := class(b, l, "leaf")
	b.ReportAllocs()
	for b.Loop() {
		r, err := g.Reserve(c, Request{Bandwidth: 100, Disk: 100, PacketRate: 1, Sessions: 1})
		if err != nil {
			b.Fatal(err)
		}
		r.Release()
	}
}
