package probe

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/probe/clock"
	"owl/probe/stamp"
)

// A packet is stamped before it is handed to the kernel, so it leaves later than
// its stamp says, and what lies between counts as delay. The kernel knows when a
// packet leaves. The lane asks it about a sample of the packets and reads what it
// has said when there is nothing else to do: a thread that waited for the reports
// would be woken by each, and that before the packet is away.
const (
	// askEvery is of how many packets one is asked about, and askAfter how long
	// after the last one the next is in any case.
	askEvery = 128
	askAfter = 5 * time.Second
	// asksAtOnce bounds the packets whose reports have not been read.
	asksAtOnce = 32
	// reportWithin is how long a report may take.
	reportWithin = time.Second
	// longestGap is more than any packet waits for a device.
	longestGap = time.Second
	// idleTime is how long the lane must have nothing to do to read reports,
	// and unreadTime how long it may leave them unread if it always has.
	idleTime   = 20 * time.Microsecond
	unreadTime = 100 * time.Millisecond
)

// A reporter is a socket about whose packets the kernel can be asked.
type reporter struct {
	fd      int
	once    sync.Once
	enabled bool        // the lane's, once there is something to send
	card    *stamp.Card // that stamps what leaves; nil: none does
	// polled says that the engine's reader waits for the socket, whom a report
	// would wake.
	polled atomic.Bool
	next   uint32 // the number of the next report where the kernel counts them
}

// enable gets the socket ready to be asked. If it cannot be, nothing is known of
// its packets.
func (r *reporter) enable(e *Engine, card *stamp.Card) {
	if e.kernel && e.stamps.Departures.Err == nil {
		r.once.Do(func() {
			if card != nil && card.Sends {
				r.card = card
			}
			r.enabled = stamp.EnableReports(r.fd, card != nil) == nil
		})
	}
}

// An ask is a packet about which the kernel was asked; with a nil reporter there
// is none.
type ask struct {
	reporter *reporter
	id       uint32
	sent     owamp.Timestamp
	session  *Sending
}

// departures learn how long after their stamps packets leave.
type departures struct {
	clock   *clock.Clock
	own     bool // reports have the numbers that we give them
	every   int  // askEvery, but in measurements
	gaps    meter
	asked   atomic.Uint64
	missing atomic.Uint64 // asks without an answer that makes sense
	cards   atomic.Uint64 // answers of network cards
	waiting atomic.Int32  // asks without an answer yet
	high    atomic.Int64  // what few gaps exceed; 0: unknown

	// The lane's own.
	since   int             // packets since the last ask
	last    owamp.Timestamp // when that was
	slot    int             // where the next one goes
	id      uint32
	header  unix.Msghdr
	vector  unix.Iovec
	request *stamp.Request
	control [stamp.ReportSize]byte

	// mu is only ever held shortly. The lane does not wait for it; it asks, or
	// reads, another time.
	mu     sync.Mutex
	asks   [asksAtOnce]ask
	recent recentGaps
	streak int // of missing reports
}

func newDepartures(c *clock.Clock, own bool) *departures {
	d := &departures{
		clock:   c,
		own:     own,
		every:   askEvery,
		last:    c.Now().AddDuration(-askAfter), // whenever it was, it is long ago
		request: stamp.NewRequest(own, unix.CmsgSpace(4)),
	}
	d.header.Namelen = unix.SizeofSockaddrInet6
	d.header.Iov = &d.vector
	d.header.SetIovlen(1)
	return d
}

// begin makes s ask about the packet that it sends next, if it is one to be asked
// about. [departures.end] must follow. d.mu is held in between, so that nobody
// reads the report before the ask is noted.
func (d *departures) begin(s *Sending) {
	if d.since++; d.since < d.every && s.at.Sub(d.last) < askAfter {
		return
	}
	r := s.reporter()
	if r == nil || !r.enabled || r.polled.Load() || !d.mu.TryLock() {
		return
	}
	if !d.own && d.streak >= enoughGaps { // perhaps we count otherwise than the kernel
		d.restart(r)
	}
	if d.slot = d.free(s.at); d.slot < 0 {
		d.mu.Unlock()
		return
	}
	id := d.id
	if !d.own {
		id = r.next
	}
	control := d.request.Control(id, r.card != nil, s.message(&d.header, &d.vector))
	d.header.Control = &control[0]
	d.header.SetControllen(len(control))
	d.asks[d.slot] = ask{reporter: r, id: id}
	s.asking = &d.header
}

// free returns a place for an ask, -1 if all are taken. A lane that is never idle
// has to read reports all the same, now and then. d.mu is held.
func (d *departures) free(now owamp.Timestamp) int {
	for range 2 {
		for i := range d.asks {
			if d.asks[i].reporter == nil {
				return i
			}
		}
		if now.Sub(d.last) < unreadTime {
			break
		}
		d.read(now)
	}
	return -1
}

// end notes what became of the packet that [departures.begin] was called for.
func (d *departures) end(s *Sending, sent owamp.Timestamp, errno syscall.Errno) {
	if s.asking == nil {
		return
	}
	defer d.mu.Unlock()
	s.asking = nil
	a := &d.asks[d.slot]
	r := a.reporter
	if errno != 0 || r != s.reporter() { // sent after all, but without asking
		*a = ask{}
		if !d.own { // who knows whether the kernel has counted this one
			d.restart(r)
		}
		return
	}
	a.sent, a.session = sent, s
	d.asked.Add(1)
	d.waiting.Add(1)
	d.since, d.last = 0, sent
	d.id++
	r.next++
}

// cancel ends what [departures.begin] began for a packet that is not sent.
func (d *departures) cancel(s *Sending) {
	if s.asking != nil {
		s.asking = nil
		d.asks[d.slot] = ask{}
		d.mu.Unlock()
	}
}

// restart makes the kernel count from 0 on. d.mu is held.
func (d *departures) restart(r *reporter) {
	d.drop(r)
	for {
		if _, _, errno := stamp.ReadReport(r.fd, d.control[:]); errno != 0 {
			break
		}
	}
	r.next, d.streak = 0, 0
	r.enabled = stamp.RestartIDs(r.fd, r.card != nil) == nil
}

// collect reads what the kernel has said. It is called by the lane when there is
// time for it.
func (d *departures) collect(now owamp.Timestamp) {
	if d.mu.TryLock() {
		d.read(now)
		d.mu.Unlock()
	}
}

// read reads reports, oldest first, and gives up those that are overdue. d.mu is
// held.
func (d *departures) read(now owamp.Timestamp) {
	var empty *reporter
	for i := range d.asks {
		a := &d.asks[i]
		for range readAtOnce {
			if a.reporter == nil || a.reporter == empty {
				break
			}
			r, ok, errno := stamp.ReadReport(a.reporter.fd, d.control[:])
			if errno != 0 {
				empty = a.reporter
			} else if ok {
				d.match(a.reporter, r)
			}
		}
		if a.reporter != nil && now.Sub(a.sent).Abs() > reportWithin { // or the clock was set back
			d.miss(a)
		}
	}
}

// clear empties the error queue of r. It may be called by any goroutine.
func (d *departures) clear(r *reporter) {
	var control [stamp.ReportSize]byte
	for range readAtOnce {
		report, ok, errno := stamp.ReadReport(r.fd, control[:])
		if errno != 0 {
			return
		}
		if ok {
			d.mu.Lock()
			d.match(r, report)
			d.mu.Unlock()
		}
	}
}

// forget gives up all reports about packets of r, whose socket is about to be
// closed.
func (d *departures) forget(r *reporter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(r)
}

// drop gives up all reports about packets of r. d.mu is held.
func (d *departures) drop(r *reporter) {
	for i := range d.asks {
		if a := &d.asks[i]; a.reporter == r {
			d.miss(a)
		}
	}
}

// match finds out which packet a report is about. d.mu is held.
func (d *departures) match(from *reporter, r stamp.Report) {
	for i := range d.asks {
		a := &d.asks[i]
		if a.reporter != from || a.id != r.ID || a.session == nil {
			continue
		}
		gap, ok := d.gap(a, r)
		if !ok {
			d.miss(a) // not of this packet, or a clock was set
			return
		}
		d.gaps.observe(gap)
		if r.Card != 0 {
			d.cards.Add(1) // after the gap, so that it is never more
		}
		d.recent.observe(gap)
		d.high.Store(int64(d.recent.high()))
		d.streak = 0
		a.session.gap.Store(int64(gap))
		*a = ask{}
		d.waiting.Add(-1)
		return
	}
}

// gap returns how long after its stamp the packet of a has left, at most, by its
// report. It reports false if that makes no sense.
func (d *departures) gap(a *ask, r stamp.Report) (time.Duration, bool) {
	left, within := r.Time, time.Duration(0)
	if r.Card != 0 {
		card := a.reporter.card
		if card == nil {
			return 0, false
		}
		var ok bool
		if left, within, ok = card.Wall(r.Card); !ok {
			return 0, false
		}
	}
	if left == 0 {
		return 0, false
	}
	gap := d.clock.Adjust(left).Sub(a.sent)
	return max(gap, 0) + within, gap >= -within && gap <= longestGap
}

// miss gives up an ask. Where none is answered any longer, nothing is known.
// d.mu is held.
func (d *departures) miss(a *ask) {
	*a = ask{}
	d.waiting.Add(-1)
	d.missing.Add(1)
	if d.streak++; d.streak >= enoughGaps {
		d.recent = recentGaps{}
		d.high.Store(0)
	}
}

func (d *departures) stats() TransmitStats {
	return TransmitStats{
		Gap:     d.gaps.distribution(),
		Asked:   d.asked.Load(),
		Missing: d.missing.Load(),
		High:    time.Duration(d.high.Load()),
	}
}

// message fills in what [Sending.transmit] would send, and returns the control
// messages that it would send along.
func (s *Sending) message(h *unix.Msghdr, v *unix.Iovec) (control []byte) {
	packet, to := s.packet, &s.to
	if s.raw != nil {
		packet, to = s.raw.datagram, &s.raw.to
	} else {
		control = s.control
	}
	v.Base = &packet[0]
	v.SetLen(len(packet))
	h.Name = (*byte)(unsafe.Pointer(&to.raw))
	h.Namelen = to.len
	return control
}

// reporter returns the socket that s sends from.
func (s *Sending) reporter() *reporter {
	if s.raw != nil {
		return &s.port.raw.reports
	}
	return &s.port.reports
}
