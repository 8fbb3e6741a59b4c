package hostname

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp/stats"
)

type resolver func(ctx context.Context, addr string) ([]string, error)

func (r resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) { return r(ctx, addr) }

func TestName(t *testing.T) {
	answer := func(names ...string) resolver {
		return func(context.Context, string) ([]string, error) { return names, nil }
	}
	fail := func(err error) resolver {
		return func(context.Context, string) ([]string, error) { return nil, err }
	}
	for _, tt := range []struct {
		name     string
		resolver resolver
		addr     string
		want     string
	}{
		{"a name", answer("host.example."), "192.0.2.1", "host.example"},
		{"the first of several", answer("a.example.", "b.example."), "192.0.2.1", "a.example"},
		{"none", answer(), "192.0.2.1", "192.0.2.1"},
		{"no such name", fail(&net.DNSError{Err: "no such host", IsNotFound: true}), "2001:db8::1", "2001:db8::1"},
		{"mapped", answer(), "::ffff:192.0.2.1", "192.0.2.1"},
		{"scoped", answer(), "fe80::1%eth0", "fe80::1%eth0"},
		{"server failure", fail(&net.DNSError{Err: "server misbehaving", IsTemporary: true}), "192.0.2.1", "***"},
		{"other failure", fail(errors.New("no network")), "192.0.2.1", "***"},
		{"a line in a name", answer("a\nSENT\t0"), "192.0.2.1", "192.0.2.1"},
		{"a blank in a name, then a good one", answer("a b.", "c."), "192.0.2.1", "c"},
		{"a name too long", answer(strings.Repeat("a", 256)), "192.0.2.1", "192.0.2.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Name(t.Context(), tt.resolver, netip.MustParseAddr(tt.addr)); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	if got := Name(t.Context(), answer("a."), netip.Addr{}); got != Unknown {
		t.Errorf("the name of no address is %q, want %q", got, Unknown)
	}
}

func TestNameAsksForTheAddress(t *testing.T) {
	for addr, want := range map[string]string{"::ffff:192.0.2.1": "192.0.2.1", "fe80::1%eth0": "fe80::1"} {
		Name(t.Context(), resolver(func(_ context.Context, asked string) ([]string, error) {
			if asked != want {
				t.Errorf("the resolver was asked for %q, want %q", asked, want)
			}
			return nil, nil
		}), netip.MustParseAddr(addr))
	}
}

func TestNameWaitsForNobody(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		mute := resolver(func(context.Context, string) ([]string, error) {
			<-release
			return []string{"late."}, nil
		})
		addr := netip.MustParseAddr("192.0.2.1")
		start := time.Now()
		if got := Name(t.Context(), mute, addr); got != Unknown || time.Since(start) != Patience {
			t.Errorf("%q after %v, want %q after %v", got, time.Since(start), Unknown, Patience)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if got := Name(ctx, mute, addr); got != Unknown || time.Since(start) != time.Second {
			t.Errorf("%q after %v, want %q when the context ends after 1s", got, time.Since(start), Unknown)
		}
		close(release)
	})
}

func TestCache(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		c := NewCache(resolver(func(_ context.Context, addr string) ([]string, error) {
			asked.Add(1)
			time.Sleep(time.Second)
			return []string{"host-" + addr + "."}, nil
		}), false)
		a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		start := time.Now()
		want := stats.Names{From: "host-192.0.2.1", To: "host-192.0.2.2"}
		if got := c.Names(a, b); got != want || time.Since(start) != time.Second {
			t.Errorf("%v after %v, want %v after 1s", got, time.Since(start), want)
		}
		time.Sleep(24 * time.Hour)
		start = time.Now()
		if got := c.Names(a, b); got != want || time.Since(start) != 0 || asked.Load() != 2 {
			t.Errorf("%v after %v and %d questions, want %v at once after 2", got, time.Since(start), asked.Load(), want)
		}
	})
}

func TestCacheAsksAgainAfterFailure(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var up atomic.Bool
		c := NewCache(resolver(func(context.Context, string) ([]string, error) {
			if !up.Load() {
				time.Sleep(time.Hour)
			}
			return []string{"host."}, nil
		}), false)
		addr := netip.MustParseAddr("192.0.2.1")
		if got := c.Name(addr); got != Unknown {
			t.Errorf("%q of a mute resolver, want %q", got, Unknown)
		}
		up.Store(true)
		if got := c.Name(addr); got != Unknown {
			t.Errorf("%q directly after a failure, want %q", got, Unknown)
		}
		time.Sleep(keepFailure + time.Second)
		start := time.Now()
		if got := c.Name(addr); got != Unknown || time.Since(start) != 0 {
			t.Errorf("%q after %v while it is asked for again, want %q at once", got, time.Since(start), Unknown)
		}
		synctest.Wait()
		if got := c.Name(addr); got != "host" {
			t.Errorf("%q after the resolver has recovered, want host", got)
		}
		time.Sleep(2 * time.Hour) // the first question ends
	})
}

// TestCacheInHurry: who cannot wait any more gets the names that are known.
func TestCacheInHurry(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := NewCache(resolver(func(_ context.Context, addr string) ([]string, error) {
			time.Sleep(time.Second)
			return []string{"host-" + addr + "."}, nil
		}), false)
		known, unknown := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		c.Prefetch(known)
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		for wait, want := range []stats.Names{
			0: {From: "host-192.0.2.1", To: Unknown},
			1: {From: "host-192.0.2.1", To: "host-192.0.2.2"},
		} {
			if got := c.NamesContext(ctx, known, unknown); got != want {
				t.Errorf("after %d s: %v, want %v", wait, got, want)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestCacheNumeric(t *testing.T) {
	c := NewCache(nil, true)
	want := stats.Names{From: "192.0.2.1", To: "2001:db8::1"}
	if got := c.Names(netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("2001:db8::1")); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestCacheBounded(t *testing.T) {
	c := NewCache(resolver(func(context.Context, string) ([]string, error) { return nil, nil }), false)
	addr := netip.MustParseAddr("192.0.2.1")
	for range maxEntries + 10 {
		if got := c.Name(addr); got != addr.String() {
			t.Fatalf("%q, want %v", got, addr)
		}
		addr = addr.Next()
	}
	if n := len(c.entries); n > maxEntries {
		t.Errorf("%d entries, want at most %d", n, maxEntries)
	}
}
