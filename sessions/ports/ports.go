// Package ports hands out UDP test ports to sessions. Many sessions share a
// port: what names a session on the wire is the triple of local port, peer
// address and peer port, and the pool sees to it that no two sessions have the
// same one, nor take it over before the last packet of the previous owner can
// have arrived.
package ports

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"owl/owamp"
	"owl/probe"
)

// A Prober opens test ports. [Engine] makes one of a *probe.Engine.
type Prober interface {
	Listen(probe.PortConfig) (Port, error)
}

// A Port is a bound test port; see probe.Port.
type Port interface {
	Addr() netip.AddrPort
	Receive(probe.ReceiveSpec, probe.Batch) (Receiving, error)
	Send(probe.SendSpec) (Sending, error)
	Close() error
}

// A Receiving is the receiving half of a session; see probe.Receiving.
type Receiving interface {
	Drain() owamp.Timestamp
	Close()
	Stats() probe.ReceiveStats
}

// A Sending is the sending half of a session; see probe.Sending.
type Sending interface {
	Stop() owamp.SendReport
	Progress() probe.SendProgress
}

// Engine returns e as a Prober.
func Engine(e *probe.Engine) Prober { return engine{e} }

type engine struct{ *probe.Engine }

func (e engine) Listen(c probe.PortConfig) (Port, error) {
	p, err := e.Engine.Listen(c)
	if err != nil {
		return nil, err
	}
	return port{p}, nil
}

type port struct{ *probe.Port }

func (p port) Receive(s probe.ReceiveSpec, b probe.Batch) (Receiving, error) {
	return orNil[Receiving](p.Port.Receive(s, b))
}

func (p port) Send(s probe.SendSpec) (Sending, error) {
	return orNil[Sending](p.Port.Send(s))
}

// orNil returns v as the interface I, and a nil I, not one that holds a nil
// pointer, beside an error.
func orNil[I any, T any](v *T, err error) (I, error) {
	if err != nil {
		var none I
		return none, err
	}
	return any(v).(I), nil
}

// ErrNoPort says that every port of the range is taken for that peer.
var ErrNoPort = errors.New("no test port is free")

// A Pool opens ports as sessions need them and closes those that none uses.
type Pool struct {
	prober Prober
	device string

	mu     sync.Mutex
	ports  probe.PortRange
	open   map[netip.Addr][]*shared
	few    map[netip.Addr]bool // peers with few ports: there was a collision
	closed bool
}

// maxLinger bounds how long a triple stays reserved after its session: longer
// than any packet stays in a network, whatever time-out a peer has asked for.
const maxLinger = time.Minute

// shared is an open port and the peers that it has sessions with.
type shared struct {
	local   netip.Addr
	port    Port
	leases  int
	pending map[netip.Addr]int           // leases of them whose peer's port is not known yet
	keep    time.Time                    // without a lease the port is closed then
	busy    map[netip.AddrPort]time.Time // zero: leased; else reserved until then
	sweepAt int                          // at so many of busy it is looked which are over
}

// NewPool returns a pool that opens ports in the given range, bound to device
// if that is not empty.
func NewPool(p Prober, ports probe.PortRange, device string) *Pool {
	return &Pool{prober: p, ports: ports, device: device, open: make(map[netip.Addr][]*shared), few: make(map[netip.Addr]bool)}
}

// SetRange makes the ports of r those that are leased from now on. Leases that
// exist keep theirs.
func (p *Pool) SetRange(r probe.PortRange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ports = r
}

// A Lease is the right of one session to use a port with one peer.
type Lease struct {
	Port   Port
	pool   *Pool
	shared *shared
	remote netip.AddrPort // port 0: not fixed
}

// Lease returns a port of the address local for a session with remote. Where
// the peer's port is 0, because it is not known yet, the caller says it with
// [Lease.Fix]; not are ports that would not do, which are leased meanwhile.
//
// A peer whose port is not known may have few. After the first collision its
// sessions are spread here: each has a port of its own as long as there are any,
// then the one with the fewest.
func (p *Pool) Lease(local netip.Addr, remote netip.AddrPort, not ...Port) (*Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("test ports of %v: %w", local, ErrNoPort)
	}
	if len(not) > 0 && remote.Port() == 0 {
		p.few[remote.Addr()] = true
	}
	spread := remote.Port() == 0 && p.few[remote.Addr()]
	var emptiest *shared
	least := 0
	for _, s := range p.open[local] {
		if !p.ports.Contains(s.port.Addr().Port()) || !s.free(remote) || slices.Contains(not, s.port) {
			continue
		}
		if !spread {
			return p.lease(s, remote), nil
		}
		if n := s.with(remote.Addr()); emptiest == nil || n < least {
			emptiest, least = s, n
		}
	}
	if emptiest != nil && least == 0 {
		return p.lease(emptiest, remote), nil
	}
	port, err := p.prober.Listen(probe.PortConfig{Addr: local, Ports: p.ports, Device: p.device})
	switch {
	case err != nil && emptiest != nil:
		return p.lease(emptiest, remote), nil
	case err != nil:
		return nil, err
	}
	s := &shared{
		local:   local,
		port:    port,
		pending: make(map[netip.Addr]int),
		busy:    make(map[netip.AddrPort]time.Time),
		sweepAt: minSweep,
	}
	p.open[local] = append(p.open[local], s)
	return p.lease(s, remote), nil
}

// minSweep is how many triples of a port are remembered before any is looked
// at again.
const minSweep = 64

// free reports whether no session has remote, nor had it just now.
func (s *shared) free(remote netip.AddrPort) bool {
	until, taken := s.busy[remote]
	return !taken || over(until)
}

// with returns how many sessions have a port of peer, or had one just now.
func (s *shared) with(peer netip.Addr) int {
	n := s.pending[peer]
	for remote, until := range s.busy {
		if remote.Addr() == peer && !over(until) {
			n++
		}
	}
	return n
}

// expect counts a lease whose peer's port is not known, or, with -1, is known
// now.
func (s *shared) expect(peer netip.Addr, n int) {
	if s.pending[peer] += n; s.pending[peer] == 0 {
		delete(s.pending, peer)
	}
}

// over reports whether a reservation has ended.
func over(until time.Time) bool { return !until.IsZero() && !time.Now().Before(until) }

// reserve keeps remote from others until then, or, with the zero Time, until
// it is reserved again.
func (s *shared) reserve(remote netip.AddrPort, until time.Time) {
	if remote.Port() == 0 {
		return
	}
	s.busy[remote] = until
	if len(s.busy) >= s.sweepAt {
		maps.DeleteFunc(s.busy, func(_ netip.AddrPort, until time.Time) bool { return over(until) })
		s.sweepAt = max(minSweep, 2*len(s.busy))
	}
}

func (p *Pool) lease(s *shared, remote netip.AddrPort) *Lease {
	s.leases++
	s.reserve(remote, time.Time{})
	if remote.Port() == 0 {
		s.expect(remote.Addr(), 1)
	}
	return &Lease{Port: s.port, pool: p, shared: s, remote: remote}
}

// Fix says which port the peer uses. It reports false where another session
// has that triple; the lease is then still to be released.
func (l *Lease) Fix(remotePort uint16) bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	remote := netip.AddrPortFrom(l.remote.Addr(), remotePort)
	if !l.shared.free(remote) {
		return false
	}
	if l.remote.Port() == 0 {
		l.shared.expect(l.remote.Addr(), -1)
	}
	l.shared.reserve(remote, time.Time{})
	l.remote = remote
	return true
}

// Remote returns the peer, its port 0 as long as it is not fixed.
func (l *Lease) Remote() netip.AddrPort { return l.remote }

// Release gives the port back, once. The triple stays reserved for linger, a
// minute at most, as long as packets of the session may still arrive.
func (l *Lease) Release(linger time.Duration) {
	p, s := l.pool, l.shared
	linger = min(linger, maxLinger)
	until := time.Now().Add(linger)
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.remote.Port() == 0 {
		s.expect(l.remote.Addr(), -1)
	}
	s.reserve(l.remote, until)
	if until.After(s.keep) {
		s.keep = until
	}
	if s.leases--; s.leases > 0 || p.closed {
		return
	}
	if !over(s.keep) {
		time.AfterFunc(time.Until(s.keep), func() { p.closeIdle(s) })
		return
	}
	p.drop(s)
}

// closeIdle closes a port that nobody has leased again.
func (p *Pool) closeIdle(s *shared) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.leases == 0 && over(s.keep) {
		p.drop(s)
	}
}

// drop closes a port. p.mu is held.
func (p *Pool) drop(s *shared) {
	i := slices.Index(p.open[s.local], s)
	if i < 0 {
		return
	}
	s.port.Close()
	p.open[s.local] = slices.Delete(p.open[s.local], i, i+1)
	if len(p.open[s.local]) == 0 {
		delete(p.open, s.local)
	}
}

// Close closes every port; sessions that still use one end without a packet.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for local, ports := range p.open {
		for _, s := range ports {
			s.port.Close()
		}
		delete(p.open, local)
	}
}
