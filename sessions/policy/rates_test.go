package policy

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// allowed asks until it is denied, and returns how often it was not.
func allowed(t *testing.T, r *Rates, peer string, perSecond uint64, now time.Time) int {
	t.Helper()
	for n := range 1000 {
		if !r.Allow(netip.MustParseAddr(peer), perSecond, now) {
			return n
		}
	}
	t.Fatalf("%s: asked 1000 times, and never denied", peer)
	return 0
}

func TestRates(t *testing.T) {
	r := NewRates(100)
	steps := []struct {
		after     time.Duration
		perSecond uint64
		want      int
	}{
		{0, 2, 20},                     // a full bucket
		{0, 2, 0},                      // an empty one
		{499 * time.Millisecond, 2, 0}, //
		{time.Millisecond, 2, 1},       // the first drop
		{3 * time.Second, 2, 6},        //
		{time.Hour, 2, 20},             // no more than the bucket holds
		{2 * time.Second, 50, 100},     // the rate may change
		{time.Hour, 3, 30},             // one that does not divide a second
	}
	now := noon
	for i, s := range steps {
		now = now.Add(s.after)
		if got := allowed(t, r, "192.0.2.1", s.perSecond, now); got != s.want {
			t.Errorf("step %d: allowed %d times, want %d", i, got, s.want)
		}
	}
	// It is each address that has a bucket.
	if got := allowed(t, r, "192.0.2.2", 2, now); got != 20 {
		t.Errorf("another peer: allowed %d times, want 20", got)
	}
	if got := allowed(t, r, "::ffff:192.0.2.2", 2, now); got != 0 {
		t.Errorf("the same peer, mapped: allowed %d times, want 0", got)
	}
	if got := allowed(t, r, "2001:db8::1", 2, now); got != 20 {
		t.Errorf("an IPv6 peer: allowed %d times, want 20", got)
	}
	if got := allowed(t, r, "2001:db8::2:3:4:5", 2, now); got != 0 {
		t.Errorf("an IPv6 peer of the same /64: allowed %d times, want 0", got)
	}
	if got := allowed(t, r, "2001:db8:0:1::1", 2, now); got != 20 {
		t.Errorf("an IPv6 peer of another /64: allowed %d times, want 20", got)
	}
}

func TestRatesUnlimited(t *testing.T) {
	r := NewRates(1)
	for range 10_000 {
		if !r.Allow(netip.MustParseAddr("192.0.2.1"), 0, noon) {
			t.Fatal("denied without a limit")
		}
	}
	if len(r.recent)+len(r.older) != 0 {
		t.Error("remembers a peer without a limit")
	}
	for range 10_000 {
		if !r.Allow(netip.MustParseAddr("192.0.2.1"), 1<<63, noon) {
			t.Fatal("denied below the greatest rate")
		}
	}
}

// However many peers there are, few are remembered; one that keeps asking is,
// so that it gains nothing.
func TestRatesBounded(t *testing.T) {
	const peers = 64
	r := NewRates(peers)
	bold := "192.0.2.1"
	if got := allowed(t, r, bold, 1, noon); got != 10 {
		t.Fatalf("allowed %d times, want 10", got)
	}
	for i := range uint32(100_000) {
		var addr [4]byte
		binary.BigEndian.PutUint32(addr[:], 10<<24|i)
		if !r.Allow(netip.AddrFrom4(addr), 1, noon) {
			t.Fatalf("peer %d denied", i)
		}
		if n := len(r.recent) + len(r.older); n > peers {
			t.Fatalf("%d peers remembered, want at most %d", n, peers)
		}
		if i%(peers/4) == 0 && r.Allow(netip.MustParseAddr(bold), 1, noon) {
			t.Fatalf("after %d others: allowed once more", i)
		}
	}
	if got := allowed(t, r, "10.0.0.0", 1, noon); got != 10 {
		t.Errorf("one long forgotten: allowed %d times, want 10", got)
	}
}

func BenchmarkRates(b *testing.B) {
	r := NewRates(1 << 16)
	peer := netip.MustParseAddr("2001:db8::1")
	now := noon
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		r.Allow(peer, 1000, now)
	}
}
