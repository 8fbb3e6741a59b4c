package hostname

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"owl/owamp/stats"
)

const (
	// keepFailure is how long a failure is believed.
	keepFailure = time.Minute
	// maxEntries bounds a cache: a server's peers may be many.
	maxEntries = 4096
)

// A Cache remembers names. Only the first question about an address is waited
// for; where the resolver failed it is asked again later, behind the back of
// those who want the name. A Cache may be used from several goroutines.
type Cache struct {
	resolver Resolver
	numeric  bool

	mu      sync.Mutex
	entries map[netip.Addr]*entry
}

type entry struct {
	known chan struct{} // closed when name is valid
	name  string        // guarded by Cache.mu once known is closed
	again time.Time     // when to ask again; zero: never
}

// NewCache returns a cache of what r answers, or, if numeric is set, one that
// asks nobody and knows all hosts by their addresses.
func NewCache(r Resolver, numeric bool) *Cache {
	return &Cache{resolver: r, numeric: numeric, entries: make(map[netip.Addr]*entry)}
}

// Prefetch has the names of hosts looked up that will be asked for later.
func (c *Cache) Prefetch(addrs ...netip.Addr) {
	for _, a := range addrs {
		c.find(a)
	}
}

// Names returns the names of a session's sender and receiver, for which it
// waits at most [Patience].
func (c *Cache) Names(sender, receiver netip.Addr) stats.Names {
	return c.NamesContext(context.Background(), sender, receiver)
}

// NamesContext is [Cache.Names] for those who cannot wait once ctx is done: a
// name that is not known then is [Unknown].
func (c *Cache) NamesContext(ctx context.Context, sender, receiver netip.Addr) stats.Names {
	c.Prefetch(receiver) // so that both are looked up at once
	return stats.Names{From: c.name(ctx, sender), To: c.name(ctx, receiver)}
}

// Name returns the name of addr as [Name] does.
func (c *Cache) Name(addr netip.Addr) string { return c.name(context.Background(), addr) }

func (c *Cache) name(ctx context.Context, addr netip.Addr) string {
	e := c.find(addr)
	if e == nil {
		return addr.Unmap().String()
	}
	select {
	case <-e.known:
	default:
		select {
		case <-e.known:
		case <-ctx.Done():
			return Unknown
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return e.name
}

// find returns addr's entry, for which it has the resolver asked if need be;
// nil without a resolver.
func (c *Cache) find(addr netip.Addr) *entry {
	if c.numeric {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[addr]
	switch {
	case e == nil:
		if len(c.entries) >= maxEntries {
			clear(c.entries)
		}
		e = &entry{known: make(chan struct{})}
		c.entries[addr] = e
		go c.ask(addr, e, e.known)
	case !e.again.IsZero() && time.Now().After(e.again):
		e.again = time.Time{}
		go c.ask(addr, e, nil)
	}
	return e
}

// ask fills an entry and, the first time, says so.
func (c *Cache) ask(addr netip.Addr, e *entry, known chan struct{}) {
	name := Name(context.Background(), c.resolver, addr)
	c.mu.Lock()
	e.name = name
	if name == Unknown {
		e.again = time.Now().Add(keepFailure)
	}
	c.mu.Unlock()
	if known != nil {
		close(known)
	}
}
