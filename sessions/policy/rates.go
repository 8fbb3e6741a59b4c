package policy

import (
	"net/netip"
	"sync"
	"time"
)

// burst is how long a peer can save up what it may do.
const burst = 10 * time.Second

// Rates bounds how often each peer does something: a token bucket for each
// address that is full with ten seconds' worth. An IPv6 address counts with its
// /64, of which one host has all.
//
// What is remembered is bounded. Where there are more peers than fit, those
// that have not been heard of for longest are forgotten, which fills their
// buckets. Rates may be used by many goroutines at once.
type Rates struct {
	mu   sync.Mutex
	most int // in each of the two
	// A bucket is known by when it will be full. One that was used lately is
	// in recent; once recent is full it becomes older, and what was older is
	// forgotten.
	recent, older map[netip.Addr]time.Time
}

// NewRates returns a Rates that remembers up to peers of them, at least the
// last peers/2.
func NewRates(peers int) *Rates {
	return &Rates{most: max(peers/2, 1), recent: make(map[netip.Addr]time.Time)}
}

// HostOf returns the address that stands for all those that the host of addr
// has: its own in IPv4, the first of its /64 in IPv6.
func HostOf(addr netip.Addr) netip.Addr {
	addr = plain(addr)
	if net, err := addr.Prefix(64); err == nil && addr.Is6() {
		return net.Addr()
	}
	return addr
}

// Allow reports whether peer may do it once more at now, if it may do it so many
// times per second, and counts it if so; 0 is as often as it likes. now does not
// go back; the rate may be another each time.
func (r *Rates) Allow(peer netip.Addr, perSecond uint64, now time.Time) bool {
	if perSecond == 0 {
		return true
	}
	peer = HostOf(peer)
	cost := time.Second / time.Duration(min(perSecond, uint64(time.Second)))
	r.mu.Lock()
	defer r.mu.Unlock()
	full, ok := r.recent[peer]
	if !ok {
		full = r.older[peer]
		if len(r.recent) >= r.most {
			r.older, r.recent = r.recent, make(map[netip.Addr]time.Time)
		}
	}
	if full.Before(now) {
		full = now
	}
	allowed := full.Add(cost).Sub(now) <= burst
	if allowed {
		full = full.Add(cost)
	}
	// One who is denied is remembered as well, lest asking on be worth it.
	r.recent[peer] = full
	return allowed
}
