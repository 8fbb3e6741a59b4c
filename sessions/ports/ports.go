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
	Drained() owamp.Timestamp
	Close()
	Stats() probe.ReceiveStats
	Incidents(from, to owamp.Timestamp) probe.Incidents
}

// A Sending is the sending half of a session; see probe.Sending.
type Sending interface {
	Stop() owamp.SendReport
	Progress() probe.SendProgress
	Incidents(from, to owamp.Timestamp) probe.Incidents
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
	few    map[netip.Addr]float64 // what a port takes of sessions with peers whose ports have collided; see crowd
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
	with    map[netip.Addr]int           // sessions by peer: those of busy, and leases whose peer's port is not known yet
	keep    time.Time                    // without a lease the port is closed then
	busy    map[netip.AddrPort]time.Time // zero: leased; else reserved until then
	sweepAt time.Time                    // when it is looked again which of busy have rested
}

// NewPool returns a pool that opens ports in the given range, bound to device
// if that is not empty.
func NewPool(p Prober, ports probe.PortRange, device string) *Pool {
	return &Pool{prober: p, ports: ports, device: device, open: make(map[netip.Addr][]*shared), few: make(map[netip.Addr]float64)}
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
// Where the peer's port is known the first port does that is free for it. Where
// it is not, the first port that has few sessions with that peer, see crowd: n
// sessions between two hosts take about √n ports at either end then, and there
// is no better way to have few sockets at both.
//
// Who knows the peer's port chooses last, and may be told of the end of another
// session with these ports a little earlier than the peer, which would have to
// ask again. So it takes two ports that have just become free only if there are
// no others.
func (p *Pool) Lease(local netip.Addr, remote netip.AddrPort, not ...Port) (*Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("test ports of %v: %w", local, ErrNoPort)
	}
	open := p.open[local]
	if remote.Port() == 0 && len(not) > 0 {
		p.collided(open, remote.Addr(), not[len(not)-1])
	}
	most := p.crowd(len(open), remote.Addr())
	if len(not) > 0 {
		most = 1 // no further trials
	}
	var second *shared // best, if there is no other port
	least := 0
	for _, s := range open {
		if !p.ports.Contains(s.port.Addr().Port()) || slices.Contains(not, s.port) {
			continue
		}
		s.sweep()
		n := s.with[remote.Addr()]
		_, taken := s.busy[remote]
		switch {
		case remote.Port() == 0 && n < most, remote.Port() != 0 && !taken:
			return p.lease(s, remote), nil
		case remote.Port() == 0 && (second == nil || n < least), remote.Port() != 0 && s.free(remote):
			second, least = s, n
		}
	}
	port, err := p.prober.Listen(probe.PortConfig{Addr: local, Ports: p.ports, Device: p.device})
	switch {
	case err != nil && second != nil:
		return p.lease(second, remote), nil
	case err != nil:
		return nil, err
	}
	s := &shared{
		local: local,
		port:  port,
		with:  make(map[netip.Addr]int),
		busy:  make(map[netip.AddrPort]time.Time),
	}
	p.open[local] = append(open, s)
	return p.lease(s, remote), nil
}

const (
	// crowdAtLeast is how many sessions with a peer a port has at least before
	// there is another port for them.
	crowdAtLeast = 16
	// recovery is by how much more a port takes of a peer after each session
	// without a collision.
	recovery = 1.0 / 256
	// rest is for how long a triple is remembered that is over.
	rest = 2 * time.Second
	// sweepEvery bounds how often it is looked which are to be forgotten.
	sweepEvery = 100 * time.Millisecond
)

// crowd returns at how many sessions with peer a port is full, if the peer
// chooses its own ports: at as many as there are ports, so that with n sessions
// there are √n of them. The peer then needs about as many: one for each of the
// sessions that a port has.
//
// A peer with fewer ports collides, and tells by that how many it has.
func (p *Pool) crowd(open int, peer netip.Addr) int {
	most := max(crowdAtLeast, open)
	if few, known := p.few[peer]; known {
		most = min(most, int(few))
	}
	return most
}

// collided learns from a collision of peer's ports on at, where a session waits
// that could not be had.
func (p *Pool) collided(open []*shared, peer netip.Addr, at Port) {
	i := slices.IndexFunc(open, func(s *shared) bool { return s.port == at })
	if i < 0 {
		return
	}
	few := open[i].with[peer] - 1 // the others
	if most := p.crowd(len(open), peer); most > crowdAtLeast {
		// Of so many sessions some collide by bad luck, for each end knows by its
		// own clock when a triple is over.
		few = max(few, most/2)
	}
	p.few[peer] = float64(max(1, few))
}

// fitted learns from a session whose ports did not collide.
func (p *Pool) fitted(local, peer netip.Addr) {
	few, known := p.few[peer]
	if !known {
		return
	}
	if few += recovery; few < float64(max(crowdAtLeast, len(p.open[local]))) {
		p.few[peer] = few
	} else {
		delete(p.few, peer)
	}
}

// free reports whether no session has remote, nor had it just now.
func (s *shared) free(remote netip.AddrPort) bool {
	until, taken := s.busy[remote]
	return !taken || over(until)
}

// count counts n more sessions with peer.
func (s *shared) count(peer netip.Addr, n int) {
	if s.with[peer] += n; s.with[peer] == 0 {
		delete(s.with, peer)
	}
}

// over reports whether a reservation has ended.
func over(until time.Time) bool { return !until.IsZero() && !time.Now().Before(until) }

// reserve keeps remote from others until then, or, with the zero Time, until
// it is reserved again.
func (s *shared) reserve(remote netip.AddrPort, until time.Time) {
	if _, known := s.busy[remote]; !known {
		s.count(remote.Addr(), 1)
	}
	s.busy[remote] = until
	s.sweep()
}

// sweep forgets the triples that have been over for a while.
func (s *shared) sweep() {
	now := time.Now()
	if now.Before(s.sweepAt) {
		return
	}
	s.sweepAt = now.Add(sweepEvery)
	maps.DeleteFunc(s.busy, func(remote netip.AddrPort, until time.Time) bool {
		if until.IsZero() || now.Sub(until) < rest {
			return false
		}
		s.count(remote.Addr(), -1)
		return true
	})
}

func (p *Pool) lease(s *shared, remote netip.AddrPort) *Lease {
	s.leases++
	if remote.Port() == 0 {
		s.count(remote.Addr(), 1)
	} else {
		s.reserve(remote, time.Time{})
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
		l.shared.count(l.remote.Addr(), -1)
		l.pool.fitted(l.shared.local, l.remote.Addr())
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
		s.count(l.remote.Addr(), -1)
	} else {
		s.reserve(l.remote, until)
	}
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
