package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// A crowd are the connections of a listener, so many at most; see the package's
// comment for who has to go when there are more.
type crowd struct {
	net.Listener
	most int

	mu      sync.Mutex
	all     map[*guest]struct{}
	from    map[netip.Addr]int // how many there are, by address
	evicted uint64
}

func newCrowd(l net.Listener, most int) *crowd {
	return &crowd{Listener: l, most: most, all: make(map[*guest]struct{}), from: make(map[netip.Addr]int)}
}

// A guest is a connection of a crowd.
type guest struct {
	net.Conn
	crowd *crowd
	from  netip.Addr
	leave sync.Once

	busy  int       // requests that are being answered; guarded by the crowd's mutex
	since time.Time // when it was busy last, or came; likewise
}

// Accept implements [net.Listener]. Where the process may have no more descriptors
// than it has, somebody goes as if there were too many connections.
func (c *crowd) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	for errors.Is(err, syscall.EMFILE) {
		gone := c.evict()
		if gone == nil {
			return nil, err // package http tries again in a while
		}
		gone.Close()
		conn, err = c.Listener.Accept()
	}
	if err != nil {
		return nil, err
	}
	g := &guest{Conn: conn, crowd: c, from: site(remote(conn.RemoteAddr())), since: time.Now()}
	if gone := c.admit(g); gone != nil {
		gone.Close()
	}
	return g, nil
}

// admit takes g in and returns who has to go for that, nil if nobody; it may be
// g itself.
func (c *crowd) admit(g *guest) (gone *guest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[g] = struct{}{}
	c.from[g.from]++
	if len(c.all) <= c.most {
		return nil
	}
	if gone = c.choose(g); gone == nil {
		gone = g
	}
	c.evicted++
	return gone
}

// evict returns who has to go, nil if everybody is busy.
func (c *crowd) evict() *guest {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone := c.choose(nil)
	if gone != nil {
		c.evicted++
	}
	return gone
}

// choose returns who goes first, other than g; nil if everybody is busy. The caller
// holds the mutex.
func (c *crowd) choose(g *guest) (gone *guest) {
	for x := range c.all {
		if x.busy == 0 && x != g && (gone == nil || c.before(x, gone)) {
			gone = x
		}
	}
	return gone
}

// before reports whether x goes rather than y.
func (c *crowd) before(x, y *guest) bool {
	if n, m := c.from[x.from], c.from[y.from]; n != m {
		return n > m
	}
	return x.since.Before(y.since)
}

// Close implements [net.Conn].
func (g *guest) Close() error {
	g.leave.Do(func() {
		c := g.crowd
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.all, g)
		if c.from[g.from]--; c.from[g.from] == 0 {
			delete(c.from, g.from)
		}
	})
	return g.Conn.Close()
}

// count returns how many connections there are, and how many had to go.
func (c *crowd) count() (now int, evicted uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all), c.evicted
}

type guestKey struct{}

// remember notes the connection that requests with ctx come by.
func remember(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if g, ok := conn.(*guest); ok {
		return context.WithValue(ctx, guestKey{}, g)
	}
	return ctx
}

// occupy says that a request with ctx is being answered, until done is called.
func occupy(ctx context.Context) (done func()) {
	g, ok := ctx.Value(guestKey{}).(*guest)
	if !ok {
		return func() {}
	}
	change := func(by int) {
		g.crowd.mu.Lock()
		defer g.crowd.mu.Unlock()
		g.busy += by
		g.since = time.Now()
	}
	change(1)
	return func() { change(-1) }
}

// remote returns the address of a peer.
func remote(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{} // of a test, or of a Unix socket
}

// site returns what stands for an address where shares are counted: the /64 of
// an IPv6 address, any of whose addresses its host may take.
func site(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is4() || !a.IsValid() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64) // of an IPv6 address there is always one
	return p.Addr()
}
