package probe

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/probe/capture"
	"owl/probe/stamp"
)

const (
	// ringSize holds what arrives on an interface while nobody reads: 0.2 s of
	// 400,000 test packets a second.
	ringSize = 16 << 20
	// ringRetire is how long the kernel keeps packets before they can be read.
	// As many blocks as the ring has may be retired while nobody reads, so that
	// with few packets it is this time that says how long that may be: 2 s.
	ringRetire = 16 * time.Millisecond
)

// rings are the packet rings of an engine, one for each interface that packets
// to its ports come over.
type rings struct {
	engine *Engine
	mu     sync.Mutex
	open   map[capture.Interface]*tap
}

// A tap is the ring of one interface, and the ports whose packets it brings.
type tap struct {
	engine *Engine
	iface  capture.Interface
	users  int // guarded by rings.mu

	// sessions are received from here; what is dropped is theirs.
	sessions atomic.Int64
	untold   atomic.Uint64 // drops that no session has counted

	mu        sync.Mutex // guards all below; held before that of a port
	closed    bool
	ring      *capture.Ring
	ports     map[netip.AddrPort]*Port // addresses without zone
	addrs     map[netip.Addr]int       // how many ports each has
	numbers   portCounts
	checked   owamp.Timestamp // when the ring was last asked for its drops
	certain   owamp.Timestamp // what had arrived by then has been delivered
	mark      owamp.Timestamp // what had arrived by then is so when markBlock has been read
	markBlock uint64
	frame     capture.Frame
	packet    capture.Packet
	assembler capture.Assembler
	records   [readAtOnce]owamp.Record
}

// portCounts are how many ports have each number.
type portCounts struct {
	count  map[uint16]int
	sorted []uint16 // the keys of count
}

func (c *portCounts) add(n uint16) {
	if c.count == nil {
		c.count = make(map[uint16]int)
	}
	if c.count[n]++; c.count[n] == 1 {
		i, _ := slices.BinarySearch(c.sorted, n)
		c.sorted = slices.Insert(c.sorted, i, n)
	}
}

func (c *portCounts) remove(n uint16) {
	if c.count[n]--; c.count[n] == 0 {
		delete(c.count, n)
		i, _ := slices.BinarySearch(c.sorted, n)
		c.sorted = slices.Delete(c.sorted, i, i+1)
	}
}

// take makes the rings of the interfaces over which packets to p come bring
// them. Its socket, which gets none, is there so that the host knows that somebody
// listens.
func (r *rings) take(p *Port) error {
	var err error
	if p.scope, err = scopeOf(p.addr.Addr()); err != nil {
		return err
	}
	interfaces, err := capture.Interfaces(p.addr.Addr(), p.device)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, iface := range interfaces {
		t := r.open[iface]
		if t == nil {
			if t, err = r.engine.openTap(iface); err != nil {
				return err
			}
			r.open[iface] = t
		}
		t.users++
		p.taps = append(p.taps, t)
		if err := t.add(p); err != nil {
			return err
		}
	}
	return nil
}

// release ends what take began, even if that has failed.
func (r *rings) release(p *Port) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, t := range p.taps {
		errs = append(errs, t.remove(p))
		if t.users--; t.users == 0 {
			delete(r.open, t.iface)
			errs = append(errs, t.close())
		}
	}
	return errors.Join(errs...)
}

// openTap opens the ring of an interface and has it read.
func (e *Engine) openTap(iface capture.Interface) (*tap, error) {
	none, err := capture.Filter(nil, false)
	if err != nil {
		return nil, err
	}
	ring, err := capture.OpenRing(capture.RingConfig{Interface: iface, Filter: none, Size: ringSize, Retire: ringRetire})
	if err != nil {
		return nil, err
	}
	t := &tap{
		engine:  e,
		iface:   iface,
		ring:    ring,
		ports:   make(map[netip.AddrPort]*Port),
		addrs:   make(map[netip.Addr]int),
		checked: e.clock.Now(),
		certain: e.clock.Now(),
		mark:    e.clock.Now(),
	}
	if err := e.addSource(ring.FD(), t); err != nil {
		return nil, errors.Join(err, ring.Close())
	}
	return t, nil
}

// close closes the ring, whose ports are gone.
func (t *tap) close() error {
	t.engine.removeSource(t.ring.FD())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return t.ring.Close()
}

// key returns the port's address in the ring, whose interface is its zone.
func (p *Port) key() netip.AddrPort {
	return netip.AddrPortFrom(p.addr.Addr().WithZone(""), p.addr.Port())
}

func (t *tap) add(p *Port) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ports[p.key()] = p
	t.addrs[p.key().Addr()]++
	t.numbers.add(p.addr.Port())
	return t.setFilter()
}

func (t *tap) remove(p *Port) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ports[p.key()] == p {
		delete(t.ports, p.key())
	}
	if addr := p.key().Addr(); t.addrs[addr] > 1 {
		t.addrs[addr]--
	} else {
		delete(t.addrs, addr)
	}
	t.numbers.remove(p.addr.Port())
	return t.setFilter()
}

// setFilter makes the ring take the packets to all ports that there are. One
// filter follows the other between two packets, so that those to other ports go
// on to come. t.mu is held.
func (t *tap) setFilter() error {
	filter, err := capture.Filter(t.numbers.sorted, false)
	if err != nil {
		return err
	}
	return t.ring.SetFilter(filter)
}

// readable reads what the ring has and asks to be told when there is more. It
// always returns 0: however many packets there were, the ring has room for more
// than will come until the next time.
func (t *tap) readable() (packets int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 0
	}
	if t.read() == 0 {
		// The ring counts as readable until the error has been asked for.
		if err := t.ring.Failure(); err != nil {
			t.engine.log.Warn("no packets come from the interface", "interface", t.iface.Name, "error", err)
		}
	}
	if err := t.engine.poller.watch(t.ring.FD(), unix.EPOLL_CTL_MOD); err != nil && !t.engine.isClosed() {
		t.engine.log.Error("ring is no longer read", "interface", t.iface.Name, "error", err)
	}
	return 0
}

// read delivers what the kernel has handed over and returns how many packets
// that was. t.mu is held.
func (t *tap) read() (packets int) {
	if t.closed {
		return 0
	}
	var port *Port
	before := t.engine.clock.Now()
	// The kernel may have kept packets for that long before anybody could read
	// them, which is a part of the error of stamps of our own.
	d := newDelivery(t.engine, &t.records, time.Now().Add(-ringRetire))
	// While it is read the ring is filled; so once around is enough.
	for end := t.ring.Taken() + uint64(t.ring.Blocks()); t.ring.Taken() < end && t.ring.Next(&t.frame); packets++ {
		p := t.receive()
		if p == nil {
			continue
		}
		if p != port {
			t.leave(port, &d)
			port = p
			port.mu.Lock()
		}
		t.deliver(port, &d)
	}
	t.leave(port, &d)
	if packets > 0 {
		t.checkDrops()
	}
	t.note(before)
	return packets
}

// note finds out up to when packets have been delivered after the ring was read,
// which began at the given time. The block that the kernel fills cannot be read;
// but if that is empty, or another one than once, it is known what it does not
// have.
func (t *tap) note(before owamp.Timestamp) {
	quiet, taken := t.ring.Quiet(), t.ring.Taken()
	switch {
	case quiet:
		t.certain = before
	case taken > t.markBlock:
		t.certain = t.mark
	default:
		return
	}
	t.mark, t.markBlock = before, taken
}

// receive returns the port that the frame completes a datagram for; nil: none.
func (t *tap) receive() *Port {
	p := &t.packet
	switch p.Parse(&t.frame) {
	case capture.Datagram:
	case capture.Fragment:
		if t.addrs[p.Destination.Addr()] == 0 || !t.assembler.Add(p) {
			return nil
		}
	default:
		return nil
	}
	return t.ports[p.Destination]
}

// deliver hands the datagram to the port, whose lock is held.
func (t *tap) deliver(port *Port, d *delivery) {
	if port.closed {
		return
	}
	port.brought = true
	p := &t.packet
	a := stamp.Arrival{Time: p.Time, TTL: p.TTL, DSCP: p.DSCP, HasDSCP: true}
	d.take(port, port.peerOf(p.Source), p.Length, p.Payload, a)
}

// leave ends the delivery to a port, if there is one.
func (t *tap) leave(port *Port, d *delivery) {
	if port == nil {
		return
	}
	d.flush()
	d.session = nil
	port.mu.Unlock()
}

// checkDrops takes notice of the packets that the ring has had no room for since
// it was last asked. t.mu is held.
func (t *tap) checkDrops() {
	from := t.checked
	t.checked = t.engine.clock.Now()
	s, err := t.ring.Stats()
	if err != nil || s.Drops == 0 {
		return
	}
	if t.sessions.Load() > 0 { // else they were nobody's
		t.untold.Add(s.Drops)
	}
	for _, p := range t.ports {
		p.mu.Lock()
		p.drops.timeline.note(from, t.checked, s.Drops, 0)
		p.mu.Unlock()
	}
}

// peerOf returns the peer that a packet came from. One that is link-local has
// the scope of the port.
func (p *Port) peerOf(from netip.AddrPort) (k peer) {
	if addr := from.Addr(); addr.Is4() {
		octets := addr.As4()
		copy(k[:], octets[:])
	} else {
		octets := addr.As16()
		copy(k[:], octets[:])
		if addr.IsLinkLocalUnicast() {
			binary.NativeEndian.PutUint32(k[16:], p.scope)
		}
	}
	binary.BigEndian.PutUint16(k[20:], from.Port())
	return k
}

// drainRings delivers what the kernel has handed over for the port.
func (p *Port) drainRings() {
	var certain owamp.Timestamp
	began := time.Now()
	for i, t := range p.taps {
		t.mu.Lock()
		t.read()
		if i == 0 || t.certain.Before(certain) {
			certain = t.certain
		}
		t.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looked = began
	if !p.closed && p.drained.Before(certain) {
		p.drained = certain
	}
}

// tellMissed says in the log, once, that packets come to the port and no ring brings
// any: they come over another interface than the one that has the port's address.
// The socket knows, whose filter has refused them. p.mu is held.
func (p *Port) tellMissed() {
	if p.closed || p.engine.rings == nil || p.brought || p.missed {
		return
	}
	if n, ok := p.askDrops(); ok && n > 0 {
		p.missed = true
		p.engine.log.Warn("packets come to the test port over an interface that has not its address, whose ring is not read; udp sockets would get them", "port", p.addr, "packets", n)
	}
}

// countSessions tells the rings of the port how many more sessions it receives.
func (p *Port) countSessions(n int) {
	for _, t := range p.taps {
		t.sessions.Add(int64(n))
	}
}
