// Package ports hands out UDP test ports to sessions. Many sessions share a
// port: what names a session on the wire is the triple of local port, peer
// address and peer port, and the pool sees to it that no two sessions have the
// same one, nor take it over before the last packet of the previous owner can
// have arrived.
package ports

import (
	"errors"
	"fmt"
	"net/netip"
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
	ports  probe.PortRange
	device string

	mu     sync.Mutex
	open   map[netip.Addr][]*shared
	closed bool
}

// shared is an open port and the peers that it has sessions with.
type shared struct {
	port   Port
	leases int
	busy   map[netip.AddrPort]time.Time // zero: leased; else reserved until then
}

// NewPool returns a pool that opens ports in the given range, bound to device
// if that is not empty.
func NewPool(p Prober, ports probe.PortRange, device string) *Pool {
	return &Pool{prober: p, ports: ports, device: device, open: make(map[netip.Addr][]*shared)}
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
// [Lease.Fix]; not is then a port that would not do, or nil.
func (p *Pool) Lease(local netip.Addr, remote netip.AddrPort, not Port) (*Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("test ports of %v: %w", local, ErrNoPort)
	}
	for _, s := range p.open[local] {
		if s.port != not && s.free(remote) {
			return p.lease(s, remote), nil
		}
	}
	port, err := p.prober.Listen(probe.PortConfig{Addr: local, Ports: p.ports, Device: p.device})
	if err != nil {
		return nil, err
	}
	s := &shared{port: port, busy: make(map[netip.AddrPort]time.Time)}
	p.open[local] = append(p.open[local], s)
	return p.lease(s, remote), nil
}

func (s *shared) free(remote netip.AddrPort) bool {
	until, taken := s.busy[remote]
	if taken && !until.IsZero() && !time.Now().Before(until) {
		delete(s.busy, remote)
		return true
	}
	return !taken
}

func (p *Pool) lease(s *shared, remote netip.AddrPort) *Lease {
	s.leases++
	if remote.Port() != 0 {
		s.busy[remote] = time.Time{}
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
	l.shared.busy[remote] = time.Time{}
	l.remote = remote
	return true
}

// Remote returns the peer, its port 0 as long as it is not fixed.
func (l *Lease) Remote() netip.AddrPort { return l.remote }

// Release gives the port back. The triple stays reserved for linger, as long
// as packets of the session may still arrive.
func (l *Lease) Release(linger time.Duration) {
	p := l.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	l.shared.leases--
	if l.remote.Port() != 0 {
		l.shared.busy[l.remote] = time.Now().Add(linger)
	}
	if l.shared.leases == 0 {
		if linger > 0 && !p.closed {
			time.AfterFunc(linger, func() { p.closeIdle(l.Port.Addr().Addr(), l.shared) })
		} else {
			p.drop(l.Port.Addr().Addr(), l.shared)
		}
	}
}

// closeIdle closes a port that nobody has leased again.
func (p *Pool) closeIdle(local netip.Addr, s *shared) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.leases == 0 {
		p.drop(local, s)
	}
}

// drop closes a port. p.mu is held.
func (p *Pool) drop(local netip.Addr, s *shared) {
	ports := p.open[local]
	for i := range ports {
		if ports[i] == s {
			p.open[local] = append(ports[:i:i], ports[i+1:]...)
			s.port.Close()
			break
		}
	}
	if len(p.open[local]) == 0 {
		delete(p.open, local)
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
