package memwire

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A Listener is a TCP listener in memory, and the path to it.
type Listener struct {
	// Delay is how long octets are under way in one direction.
	Delay time.Duration

	at    netip.AddrPort
	conns chan net.Conn
	once  sync.Once
	quit  chan struct{}

	mu    sync.Mutex
	links []*link // in the order of their making
	mute  bool
}

// NewListener returns a listener at the address at.
func NewListener(at netip.AddrPort) *Listener {
	return &Listener{at: at, conns: make(chan net.Conn), quit: make(chan struct{})}
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.quit:
		return nil, net.ErrClosed
	}
}

// Close lets no new connection in, as a host without the server does.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.quit) })
	return nil
}

// Addr implements [net.Listener].
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// Conns returns how many connections exist.
func (l *Listener) Conns() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.links)
}

// Mute makes the path lose everything, the ends of connections too, or work
// again. What a connection has lost does not come any more.
func (l *Listener) Mute(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mute = on
}

func (l *Listener) muted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mute
}

// Cut breaks all connections.
func (l *Listener) Cut() {
	for range l.Conns() {
		l.CutOne(0)
	}
}

// CutOne breaks the i-th of the connections that exist, in the order of their
// making.
func (l *Listener) CutOne(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i >= len(l.links) {
		return
	}
	k := l.links[i]
	l.links = slices.Delete(l.links, i, i+1)
	k.client.Close()
	k.server.Close()
}

// Dial connects to the listener from the address from.
func (l *Listener) Dial(ctx context.Context, from netip.AddrPort) (net.Conn, error) {
	if err := l.trip(ctx); err != nil {
		return nil, err
	}
	a, client := net.Pipe()
	server, b := net.Pipe()
	select {
	case l.conns <- conn{b, l.at, from}:
	case <-l.quit:
		return nil, fmt.Errorf("connecting to %v: %w", l.at, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	k := &link{Listener: l, client: client, server: server}
	l.mu.Lock()
	l.links = append(l.links, k)
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { k.carry(client, server) })
	both.Go(func() { k.carry(server, client) })
	go func() {
		both.Wait()
		l.mu.Lock()
		l.links = slices.DeleteFunc(l.links, func(other *link) bool { return other == k })
		l.mu.Unlock()
	}()
	return conn{a, from, l.at}, nil
}

// trip waits for a round trip, for ever if the path is mute.
func (l *Listener) trip(ctx context.Context) error {
	wait := 2 * l.Delay
	if l.muted() {
		wait = 1 << 62
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("connecting to %v: %w", l.at, ctx.Err())
	}
}

// A link is the path of one connection: the far ends of two pipes.
type link struct {
	*Listener
	client, server net.Conn
}

// carry brings octets, and the end of them, from one end to the other.
func (k *link) carry(from, to net.Conn) {
	type burst struct {
		octets []byte
		at     time.Time
	}
	path := make(chan burst, 256)
	go func() {
		for {
			octets := make([]byte, 4096)
			n, err := from.Read(octets)
			path <- burst{octets[:n], time.Now().Add(k.Delay)}
			if err != nil {
				close(path)
				return
			}
		}
	}()
	var err error
	for b := range path {
		time.Sleep(time.Until(b.at))
		if err == nil && len(b.octets) > 0 && !k.muted() {
			_, err = to.Write(b.octets)
		}
	}
	if !k.muted() {
		to.Close()
	}
	from.Close()
}

// conn is one end of a pipe, with addresses.
type conn struct {
	net.Conn
	local, remote netip.AddrPort
}

func (c conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }
