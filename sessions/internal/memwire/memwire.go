// Package memwire is a network in memory, for tests of what lasts longer than
// anybody wants to wait: under testing/synctest a day of test packets and of
// control connections goes by in seconds. Time is the time package's.
package memwire

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"owl/owamp"
	"owl/probe"
	"owl/probe/clock"
	"owl/sessions/ports"
)

// A Clock reads the time package's clock, which it may be told to misread, and
// is always sure of it.
type Clock struct {
	set   atomic.Int64
	steps atomic.Uint64
}

// Now returns the time.
func (c *Clock) Now() owamp.Timestamp { return owamp.FromTime(time.Now().Add(c.off())) }

// Set sets the clock forward by d, or back.
func (c *Clock) Set(d time.Duration) {
	c.set.Add(int64(d))
	c.steps.Add(1)
}

// Steps returns how often the clock was set, and by how much.
func (c *Clock) Steps() clock.Steps { return clock.Steps{Count: c.steps.Load(), Sum: c.off()} }

// off returns by how much the clock is fast. A nil Clock is right.
func (c *Clock) off() time.Duration {
	if c == nil {
		return 0
	}
	return time.Duration(c.set.Load())
}

// Error returns a microsecond and the error of the stamping.
func (c *Clock) Error(stamping time.Duration) owamp.ErrorEstimate {
	return owamp.NewErrorEstimate(time.Microsecond+stamping, true)
}

// A Network joins test ports. Its zero value has every address and delivers
// each packet once, after a millisecond.
type Network struct {
	// Fate says what becomes of a packet: for each copy that arrives, its
	// delay. It may be called by several sessions at a time. May be nil.
	Fate func(from, to netip.AddrPort, seq uint32) []time.Duration
	// GiveUp says that a session ends before a packet, for this host has skipped
	// more than it can note. May be nil.
	GiveUp func(from netip.AddrPort, seq uint32) bool
	// Refuse says why a port cannot be had, nil if it can. May be nil.
	Refuse func(probe.PortConfig) error
	// Incidents says what a host did to test packets. May be nil.
	Incidents func(at netip.Addr, from, to owamp.Timestamp) probe.Incidents
	// Clocks are the clocks of hosts; one that is not here is right.
	Clocks map[netip.Addr]*Clock

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
	if n.Refuse != nil {
		if err := n.Refuse(c); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports == nil {
		n.ports = make(map[netip.AddrPort]*port)
	}
	first, last := c.Ports.Low, c.Ports.High
	if last == 0 {
		n.last++
		first, last = 40000+n.last%20000, 65535
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

// now returns the time by the clock of the port's host.
func (p *port) now() owamp.Timestamp { return p.net.Clocks[p.at.Addr()].Now() }

func (p *port) Addr() netip.AddrPort { return p.at }

func (p *port) Close() error {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	delete(p.net.ports, p.at)
	return nil
}

// incidents returns what the port's host did.
func (p *port) incidents(from, to owamp.Timestamp) probe.Incidents {
	if p.net.Incidents == nil {
		return probe.Incidents{}
	}
	return p.net.Incidents(p.at.Addr(), from, to)
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

func (r *receiving) Drain() owamp.Timestamp { return r.port.now() }

func (r *receiving) Drained() owamp.Timestamp { return r.Drain() }

func (r *receiving) Incidents(from, to owamp.Timestamp) probe.Incidents {
	return r.port.incidents(from, to)
}

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

func (r *receiving) deliver(rec owamp.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.batch != nil {
		r.batch([]owamp.Record{rec})
	}
}

type sending struct {
	spec  probe.SendSpec
	port  *port
	quit  chan struct{}
	done  chan struct{}
	next  uint32
	skips []owamp.SkipRange
	once  sync.Once

	sent, skipped atomic.Uint32
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
	for s.next < s.spec.Packets && (s.port.net.GiveUp == nil || !s.port.net.GiveUp(s.port.at, s.next)) {
		due = due.Add(gen.Next())
		for s.port.now().Before(due) {
			timer.Reset(max(batchEvery, due.Sub(s.port.now())))
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

// send sends the packet that was due at due, or skips it.
func (s *sending) send(due owamp.Timestamp) {
	now := s.port.now()
	switch late := now.Sub(due); {
	case late > s.spec.Timeout.Duration():
		if n := len(s.skips); n > 0 && s.skips[n-1].Last+1 == s.next {
			s.skips[n-1].Last = s.next
		} else {
			s.skips = append(s.skips, owamp.SkipRange{First: s.next, Last: s.next})
		}
		s.skipped.Add(1)
		return
	case late > batchEvery:
		due = now
	}
	s.sent.Add(1)
	net, seq := s.port.net, s.next
	delays := []time.Duration{time.Millisecond}
	if net.Fate != nil {
		delays = net.Fate(s.port.at, s.spec.Remote, seq)
	}
	for _, d := range delays {
		// What others may overtake is under way for as long as it takes.
		if d > batchEvery {
			time.AfterFunc(d, func() { s.arrive(seq, due, d) })
		} else {
			s.arrive(seq, due, d)
		}
	}
}

func (s *sending) arrive(seq uint32, sent owamp.Timestamp, delay time.Duration) {
	n, from, to := s.port.net, s.port.at, s.spec.Remote
	n.mu.Lock()
	var r *receiving
	if p := n.ports[to]; p != nil {
		r = p.from[from]
	}
	n.mu.Unlock()
	if r == nil {
		return
	}
	delay += n.Clocks[to.Addr()].off() - n.Clocks[from.Addr()].off()
	precise := owamp.NewErrorEstimate(time.Microsecond, true)
	r.deliver(owamp.Record{Seq: seq, Sent: sent, SentErr: precise, Recv: sent.AddDuration(delay), RecvErr: precise, TTL: 250})
}

func (s *sending) Stop() owamp.SendReport {
	s.once.Do(func() { close(s.quit) })
	<-s.done
	return owamp.SendReport{SID: s.spec.SID, NextSeq: s.next, Skips: s.skips}
}

func (s *sending) Incidents(from, to owamp.Timestamp) probe.Incidents {
	return s.port.incidents(from, to)
}

func (s *sending) Progress() probe.SendProgress {
	return probe.SendProgress{Sent: s.sent.Load(), Skipped: s.skipped.Load()}
}
