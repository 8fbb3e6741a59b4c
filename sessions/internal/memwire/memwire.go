// Package memwire is a network in memory, for tests of what lasts longer than
// anybody wants to wait: under testing/synctest a day of test packets and of
// control connections goes by in seconds. Time is the time package's.
package memwire

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"owl/owamp"
	"owl/probe"
	"owl/sessions/ports"
)

// A Clock reads the time package's clock and is always sure of it.
type Clock struct{}

func (Clock) Now() owamp.Timestamp { return now() }

func now() owamp.Timestamp { return owamp.FromTime(time.Now()) }

func (Clock) Error(stamping time.Duration) owamp.ErrorEstimate {
	return owamp.NewErrorEstimate(time.Microsecond+stamping, true)
}

// A Network joins test ports. Fate says what becomes of each packet; the zero
// Fate delivers all after a millisecond.
type Network struct {
	Fate func(from, to netip.AddrPort, seq uint32) (delay time.Duration, lost bool)

	mu    sync.Mutex
	ports map[netip.AddrPort]*port
	last  uint16
}

// Ports returns how many test ports are open.
func (n *Network) Ports() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.ports)
}

// Listen implements [ports.Prober].
func (n *Network) Listen(c probe.PortConfig) (ports.Port, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports == nil {
		n.ports = make(map[netip.AddrPort]*port)
		n.last = 40000
	}
	first, last := c.Ports.Low, c.Ports.High
	if last == 0 {
		n.last++
		first, last = n.last, 65535
	}
	for p := uint32(first); p <= uint32(last); p++ {
		at := netip.AddrPortFrom(c.Addr, uint16(p))
		if n.ports[at] == nil {
			n.ports[at] = &port{net: n, at: at, from: make(map[netip.AddrPort]*receiving)}
			return n.ports[at], nil
		}
	}
	return nil, fmt.Errorf("ports %d to %d of %v: %w", first, last, c.Addr, syscall.EADDRINUSE)
}

type port struct {
	net  *Network
	at   netip.AddrPort
	from map[netip.AddrPort]*receiving // guarded by net.mu
}

func (p *port) Addr() netip.AddrPort { return p.at }

func (p *port) Close() error {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	delete(p.net.ports, p.at)
	return nil
}

type receiving struct {
	port   *port
	remote netip.AddrPort
	mu     sync.Mutex
	batch  probe.Batch // nil: closed
}

func (p *port) Receive(s probe.ReceiveSpec, b probe.Batch) (ports.Receiving, error) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	if p.from[s.Remote] != nil {
		return nil, probe.ErrPairBusy
	}
	r := &receiving{port: p, remote: s.Remote, batch: b}
	p.from[s.Remote] = r
	return r, nil
}

func (r *receiving) Drain() owamp.Timestamp { return now() }

func (r *receiving) Stats() probe.ReceiveStats { return probe.ReceiveStats{} }

func (r *receiving) Close() {
	n := r.port.net
	n.mu.Lock()
	if r.port.from[r.remote] == r {
		delete(r.port.from, r.remote)
	}
	n.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batch = nil
}

func (r *receiving) deliver(recs []owamp.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.batch != nil {
		r.batch(recs)
	}
}

type sending struct {
	spec probe.SendSpec
	port *port
	quit chan struct{}
	done chan struct{}
	next uint32
	once sync.Once
}

// batchEvery is how often a sender looks what is due: packets have the stamps
// of their schedule all the same.
const batchEvery = 100 * time.Millisecond

func (p *port) Send(s probe.SendSpec) (ports.Sending, error) {
	snd := &sending{spec: s, port: p, quit: make(chan struct{}), done: make(chan struct{})}
	go snd.run()
	return snd, nil
}

func (s *sending) run() {
	defer close(s.done)
	gen := *s.spec.Schedule
	due := s.spec.Start
	timer := time.NewTimer(0)
	defer timer.Stop()
	for s.next < s.spec.Packets {
		due = due.Add(gen.Next())
		for now().Before(due) {
			timer.Reset(max(batchEvery, due.Sub(now())))
			select {
			case <-timer.C:
			case <-s.quit:
				return
			}
		}
		s.send(due)
		s.next++
	}
	if s.spec.Done != nil {
		go s.spec.Done()
	}
}

func (s *sending) send(due owamp.Timestamp) {
	n := s.port.net
	delay, lost := time.Millisecond, false
	if n.Fate != nil {
		delay, lost = n.Fate(s.port.at, s.spec.Remote, s.next)
	}
	if lost {
		return
	}
	n.mu.Lock()
	to := n.ports[s.spec.Remote]
	var r *receiving
	if to != nil {
		r = to.from[s.port.at]
	}
	n.mu.Unlock()
	if r == nil {
		return
	}
	precise := owamp.NewErrorEstimate(time.Microsecond, true)
	r.deliver([]owamp.Record{{
		Seq: s.next, Sent: due, SentErr: precise, Recv: due.AddDuration(delay), RecvErr: precise, TTL: 250,
	}})
}

func (s *sending) Stop() owamp.SendReport {
	s.once.Do(func() { close(s.quit) })
	<-s.done
	return owamp.SendReport{SID: s.spec.SID, NextSeq: s.next}
}

func (s *sending) Progress() probe.SendProgress { return probe.SendProgress{} }

// A Listener is a TCP listener in memory.
type Listener struct {
	at    netip.AddrPort
	conns chan net.Conn
	once  sync.Once
	quit  chan struct{}
}

// NewListener returns a listener at the address at.
func NewListener(at netip.AddrPort) *Listener {
	return &Listener{at: at, conns: make(chan net.Conn), quit: make(chan struct{})}
}

func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.quit:
		return nil, net.ErrClosed
	}
}

func (l *Listener) Close() error {
	l.once.Do(func() { close(l.quit) })
	return nil
}

func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// Dial connects to the listener from the address from.
func (l *Listener) Dial(ctx context.Context, from netip.AddrPort) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.conns <- conn{b, l.at, from}:
		return conn{a, from, l.at}, nil
	case <-l.quit:
		return nil, fmt.Errorf("connecting to %v: %w", l.at, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// conn is one end of a pipe, with addresses.
type conn struct {
	net.Conn
	local, remote netip.AddrPort
}

func (c conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }
