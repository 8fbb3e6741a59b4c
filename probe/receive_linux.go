package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/probe/clock"
	"owl/probe/stamp"
)

const (
	// readAtOnce is how many datagrams one system call reads.
	readAtOnce = 64
	// readsAtMost bounds one emptying of a socket whose packets arrive faster
	// than they are read.
	readsAtMost = 4096
)

// arrivals are the buffers of one recvmmsg call. Of a datagram they hold what
// comes before the padding; the kernel says how long it was (MSG_TRUNC).
type arrivals struct {
	headers  [readAtOnce]message
	vectors  [readAtOnce]unix.Iovec
	names    [readAtOnce]sockaddr
	data     [readAtOnce][owamp.SealedPacketSize]byte
	controls [readAtOnce][stamp.ControlSize]byte
	records  [readAtOnce]owamp.Record
}

// A message is a struct mmsghdr.
type message struct {
	header unix.Msghdr
	len    uint32
}

func newArrivals() *arrivals {
	b := new(arrivals)
	for i := range b.headers {
		b.vectors[i].Base = &b.data[i][0]
		b.vectors[i].SetLen(len(b.data[i]))
		h := &b.headers[i].header
		h.Name = (*byte)(unsafe.Pointer(&b.names[i].raw))
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = &b.controls[i][0]
	}
	return b
}

// read reads what has arrived, up to the capacity of b.
func (b *arrivals) read(fd int) (int, syscall.Errno) {
	for i := range b.headers {
		h := &b.headers[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(stamp.ControlSize)
	}
	// A raw system call, for it does not block.
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers)), readAtOnce,
		unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
	return int(n), errno
}

// A Receiving is a session that a [Port] receives. Its methods may be called by
// any goroutine, but not from within its [Batch].
type Receiving struct {
	port   *Port
	peer   peer
	opener *owamp.Opener
	size   int
	batch  Batch
	stats  ReceiveStats // guarded by port.mu
	closed bool         // guarded by port.mu
}

// Receive begins to receive a session: its records go to batch until the
// [Receiving] or the port is closed. It returns [ErrPairBusy] if another
// session on the port has the same peer.
func (p *Port) Receive(spec ReceiveSpec, batch Batch) (*Receiving, error) {
	fail := func(err error) (*Receiving, error) {
		return nil, fmt.Errorf("receiving from %v: %w", spec.Remote, err)
	}
	if spec.Opener == nil || batch == nil {
		return fail(errors.New("want an opener and a batch"))
	}
	addr, err := p.remote(spec.Remote)
	if err != nil {
		return fail(err)
	}
	r := &Receiving{port: p, peer: addr.key(), opener: spec.Opener, size: spec.Size, batch: batch}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkOpen(); err != nil {
		return fail(err)
	}
	if p.receiving[r.peer] != nil {
		return fail(ErrPairBusy)
	}
	if err := p.watch(); err != nil {
		return fail(err)
	}
	if len(p.receiving) == 0 {
		p.told = p.countDrops() // what was dropped until now was nobody's
	}
	p.receiving[r.peer] = r
	p.countSessions(1)
	return r, nil
}

// Drain empties the port's socket now, delivering what it finds, and returns
// the time up to which every packet that had arrived has been delivered: now,
// unless packets come faster than they can be read, or the port is closed. With
// CaptureRaw it is some 20 ms ago if a packet has just arrived, or longer if Drain
// was not called for longer: the kernel keeps packets for a while.
func (r *Receiving) Drain() owamp.Timestamp {
	p := r.port
	if p.engine.rings != nil {
		p.drainRings()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.engine.rings == nil {
		p.drain()
	}
	return p.drained
}

// freshFor is how long what Drained has to say is good enough.
const freshFor = 5 * time.Millisecond

// Drained is Drain for those who do not need to know to the millisecond: thousands
// of sessions that share a port and ask every second would otherwise do nothing
// but empty it. What was emptied just now it does not empty again.
func (r *Receiving) Drained() owamp.Timestamp {
	p := r.port
	p.mu.Lock()
	drained, fresh := p.drained, p.closed || time.Since(p.looked) < freshFor
	p.mu.Unlock()
	if fresh {
		return drained
	}
	return r.Drain()
}

// Stats returns what the session has counted so far.
func (r *Receiving) Stats() ReceiveStats {
	r.port.mu.Lock()
	defer r.port.mu.Unlock()
	if !r.closed {
		r.takeDrops()
	}
	return r.stats
}

// Incidents returns what this host did between two times, both inclusive, that
// may have cost packets of the session.
func (r *Receiving) Incidents(from, to owamp.Timestamp) Incidents {
	return r.port.incidents(from, to)
}

// takeDrops counts what the socket, or rings, have dropped and no session has
// counted. port.mu is held.
func (r *Receiving) takeDrops() {
	for _, t := range r.port.taps {
		r.stats.Drops += t.untold.Swap(0)
	}
	if r.port.engine.rings != nil {
		return
	}
	if drops := r.port.countDrops(); drops > r.port.told {
		r.stats.Drops += drops - r.port.told
		r.port.told = drops
	}
}

// Close ends the session: no batch is being delivered when it returns, nor will
// be. It may be called more than once.
func (r *Receiving) Close() {
	p := r.port
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.closed {
		return
	}
	r.takeDrops()
	p.tellMissed()
	r.closed = true
	if p.receiving[r.peer] == r {
		delete(p.receiving, r.peer)
		p.countSessions(-1)
		if len(p.receiving) == 0 {
			p.unwatch()
		}
	}
}

// nothing is a filter of sockets by which none gets anything.
var nothing = [1]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}

// deafen makes the socket take no packets, which nobody would read: they would
// fill its buffer, and the kernel has its reports wait in the same.
func (p *Port) deafen() error {
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", unix.SetsockoptSockFprog(p.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(nothing)), Filter: &nothing[0]}))
}

// watch makes the reader wait for the port's socket, which it does as long as
// there are sessions to receive from it. p.mu is held.
func (p *Port) watch() error {
	if p.watched || p.engine.rings != nil {
		return nil
	}
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
		return os.NewSyscallError("setsockopt SO_DETACH_FILTER", err)
	}
	if err := p.engine.addSource(p.fd, p); err != nil {
		return errors.Join(err, p.deafen())
	}
	// What the filter has refused until now was nobody's.
	if count, ok := p.askDrops(); ok {
		p.drops.skip(count, p.engine.clock.Now())
	}
	p.watched = true
	p.reports.polled.Store(true)
	return nil
}

// unwatch makes nobody wait for the socket, which is open. p.mu is held.
func (p *Port) unwatch() {
	if p.watched {
		p.watched = false
		_ = p.engine.poller.watch(p.fd, unix.EPOLL_CTL_DEL) // it was there
		p.engine.removeSource(p.fd)
		p.reports.polled.Store(false)
		// If there is no memory for it, what comes is read another time.
		if p.deafen() == nil {
			p.drain()
		}
	}
}

// readable empties the socket and asks to be told when there is more. It returns
// how many packets there were.
func (p *Port) readable() (packets int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || !p.watched {
		return 0
	}
	packets = p.drain()
	// The socket counts as readable as long as errors are queued, too.
	p.clearErrors()
	p.reports.polled.Store(true)
	if err := p.engine.poller.watch(p.fd, unix.EPOLL_CTL_MOD); err != nil && !p.engine.isClosed() {
		p.engine.log.Error("test port is no longer read", "port", p.addr, "error", err)
	}
	return packets
}

// drain delivers what has arrived and returns how many packets that was. p.mu is
// held.
func (p *Port) drain() (packets int) {
	if p.closed {
		return 0
	}
	b := p.engine.buffer.Get().(*arrivals)
	defer p.engine.buffer.Put(b)
	began := time.Now()
	p.looked = began
	for range readsAtMost {
		before := p.engine.clock.Now()
		n, errno := b.read(p.fd)
		switch errno {
		case 0:
			packets += n
			p.deliver(b, n, began)
		case unix.EAGAIN:
			p.drained = before
			return packets
		case unix.EINTR:
		default: // what became of an earlier packet that was sent from here
			p.clearErrors()
		}
	}
	return packets
}

// clearErrors throws away the errors that peers' hosts and routers have sent.
// They concern a packet that is gone, of a session that need not be the one
// which would trip over them. The kernel's reports, which come the same way, are
// taken note of.
func (p *Port) clearErrors() { p.engine.lane.left.clear(&p.reports) }

// deliver decodes n packets that came from the socket.
func (p *Port) deliver(b *arrivals, n int, began time.Time) {
	d := newDelivery(p.engine, &b.records, began)
	for i := range n {
		length := int(b.headers[i].len)
		a := stamp.Parse(b.controls[i][:min(int(b.headers[i].header.Controllen), stamp.ControlSize)])
		if d.take(p, b.names[i].key(), length, b.data[i][:min(length, len(b.data[i]))], a) {
			p.drops.observe(a.Drops, d.last())
		}
	}
	d.flush()
}

// A delivery decodes packets and hands over runs of those of one session. With
// stamps of our own the clock is read once for all of them: they have arrived
// since the reader began to wake up.
type delivery struct {
	clock              *clock.Clock
	kernel             bool
	now                owamp.Timestamp
	userErr, kernelErr owamp.ErrorEstimate
	session            *Receiving
	records            *[readAtOnce]owamp.Record
	run                int // records of session
	engine             *Engine
	cards              map[uint32]*stamp.Card
	byCard, byUs       uint64 // records that the card or we have stamped
}

func newDelivery(e *Engine, records *[readAtOnce]owamp.Record, began time.Time) delivery {
	return delivery{
		clock:  e.clock,
		kernel: e.kernel,
		now:    e.clock.Now(),
		// A goroutine is awake later than a thread, by about as much again.
		userErr:   e.clock.Error(2*e.stamps.Wake + time.Since(began)),
		kernelErr: e.clock.Error(e.stamps.Precision),
		records:   records,
		engine:    e,
		cards:     *e.cards.usable.Load(),
	}
}

// take decodes a packet of the given length, of which data is at least what
// comes before the padding, that came to p. It reports whether it was one of a
// session. p.mu is held, until the delivery has been flushed.
func (d *delivery) take(p *Port, from peer, length int, data []byte, a stamp.Arrival) bool {
	r := p.receiving[from]
	if r == nil {
		p.strangers++
		return false
	}
	if r != d.session || d.run == len(d.records) {
		d.flush()
		d.session = r
	}
	if length < r.size {
		r.stats.Short++
		return false
	}
	rec := &d.records[d.run]
	*rec = owamp.Record{}
	if !r.opener.Open(data, rec) {
		r.stats.Malformed++
		return false
	}
	rec.TTL = a.TTL
	if a.HasDSCP {
		rec.DSCP = a.DSCP
		rec.Flags |= owamp.FlagDSCP
	}
	d.stamp(rec, &a)
	d.run++
	return true
}

// stamp says when a packet arrived: by the network card if its clock is known, by
// the kernel, or by us.
func (d *delivery) stamp(rec *owamp.Record, a *stamp.Arrival) {
	if !d.kernel || a.Time == 0 {
		rec.Recv, rec.RecvErr = d.now, d.userErr
		rec.Flags |= owamp.FlagUserStamp
		d.byUs++
		return
	}
	if a.Card != 0 {
		if card := d.cards[a.Interface]; card != nil {
			if t, within, ok := card.Arrival(a); ok {
				rec.Recv, rec.RecvErr = d.clock.Adjust(t), d.clock.Error(within)
				rec.Flags |= owamp.FlagCardStamp
				d.byCard++
				return
			}
		}
	}
	rec.Recv, rec.RecvErr = d.clock.Adjust(a.Time), d.kernelErr
}

// last returns the time of the packet that was taken last.
func (d *delivery) last() owamp.Timestamp { return d.records[d.run-1].Recv }

// flush hands over what is left.
func (d *delivery) flush() {
	if d.run == 0 {
		return
	}
	d.session.deliver(d.records[:d.run])
	d.engine.received.count(d)
	d.run, d.byCard, d.byUs = 0, 0, 0
}

func (r *Receiving) deliver(recs []owamp.Record) {
	r.stats.Received += uint64(len(recs))
	r.batch(recs)
}

// remote returns the address of a peer. One that is link-local and has no zone
// is in the port's.
func (p *Port) remote(at netip.AddrPort) (sockaddr, error) {
	addr := at.Addr().Unmap()
	if at.Port() == 0 || addr.IsUnspecified() {
		return sockaddr{}, errors.New("want an address and a port")
	}
	if addr.IsLinkLocalUnicast() && addr.Zone() == "" {
		addr = addr.WithZone(p.addr.Addr().Zone())
	}
	return sockaddrOf(netip.AddrPortFrom(addr, at.Port()), p.ipv6)
}
