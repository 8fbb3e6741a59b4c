// Package window tells of each packet of a session that this host receives
// whether it came, came again or is lost (RFC 4656 section 4.2).
//
// A [Window] knows the schedule, so it knows what ought to arrive when. It
// holds the packets whose time has not run out yet: those between "scheduled
// so long ago that it can only be lost" and "so far ahead that no valid packet
// can have it". Its size follows from the rate and the timeout, not from the
// length of the session.
//
// A window reads no clock: the receive stamps and the time that its owner
// hands in are all that it knows of time. One goroutine uses it at a time.
package window

import (
	"errors"
	"fmt"

	"owl/owamp"
	"owl/owamp/schedule"
)

// MaxEntries is how many packets a window holds at most.
const MaxEntries = 4 << 20

// ErrTooLarge says that a session would need a window of more than
// [MaxEntries], or one that stays open for decades: a permanent resource limit
// (Accept 4).
var ErrTooLarge = errors.New("too many packets within a timeout")

const (
	// maxTimeout, 17 years, and [schedule.Horizon] keep all that a window compares
	// well within the 68 years that two time stamps may be apart.
	maxTimeout owamp.Interval = 1 << 61

	minRing = 32
)

// keep is for how long a packet stays in the window after its time has run
// out: between the arrival of a Stop-Sessions and its settlement the window may
// have expired packets that, as of that arrival, are not covered.
const keep owamp.Interval = 1 << 32

// entry is a packet in the window. It has arrived when sent is not zero.
type entry struct{ scheduled, sent owamp.Timestamp }

// A Window is the receiver's view of one session. Make it with [New].
//
// The schedule falls into four parts. Packets below first have left the window
// and are known by number only. Of those in [first, open) it is settled whether
// they came or are lost; they are kept for Settle. Those in [open, next) may
// still arrive. When packet next or a later one is due has not been computed
// yet, but for next itself.
type Window struct {
	gen     schedule.Generator // has yielded the waiting time of packet next
	start   owamp.Timestamp
	elapsed owamp.Interval // from start to packet next
	packets uint32
	timeout owamp.Interval

	first, open, next uint32

	ring []entry // packet seq is at seq % len(ring), a power of two
	due  uint32  // all packets below it are due

	received, lost uint32 // distinct packets; lost are those declared
	left           uint32 // received packets below first
	seen           uint32 // one more than the greatest sequence number received
	settled        bool

	report owamp.Record // the loss that is being told
}

// New returns the window of a session of n packets that starts at start. g
// stands at the begin of the schedule; the window continues with a copy. A
// packet that has not come a timeout after it was due is lost.
//
// The error is [ErrTooLarge] if more than [MaxEntries] packets may be on their
// way at once: a packet may be sent up to a timeout early and be stamped up to
// a timeout earlier still, by a clock that is wrong, so three timeouts count.
func New(g *schedule.Generator, start owamp.Timestamp, n uint32, timeout owamp.Interval) (*Window, error) {
	if timeout >= maxTimeout {
		return nil, fmt.Errorf("timeout of %.0f s: want less than %.0f: %w", timeout.Seconds(), maxTimeout.Seconds(), ErrTooLarge)
	}
	if need := min(g.Within(3*timeout), uint64(n)); need > MaxEntries {
		return nil, fmt.Errorf("%d packets within 3 timeouts of %g s: want at most %d: %w", need, timeout.Seconds(), MaxEntries, ErrTooLarge)
	}
	w := &Window{gen: *g, start: start, packets: n, timeout: timeout}
	w.elapse()
	return w, nil
}

// elapse computes when packet next is due. A schedule that goes further than
// [schedule.Horizon] ends there.
func (w *Window) elapse() {
	w.elapsed += min(w.gen.Next(), schedule.Horizon-w.elapsed)
}

// ahead returns when packet next is due.
func (w *Window) ahead() owamp.Timestamp { return w.start.Add(w.elapsed) }

// enter takes packet next into the window and reports whether there was room.
func (w *Window) enter() bool {
	if int(w.next-w.first) == len(w.ring) {
		switch {
		case len(w.ring) < MaxEntries:
			w.grow()
		case w.first < w.open:
			w.leave()
		default:
			return false
		}
	}
	*w.at(w.next) = entry{scheduled: w.ahead()}
	w.next++
	w.elapse()
	return true
}

// leave drops packet first, which is settled.
func (w *Window) leave() {
	if w.at(w.first).sent != 0 {
		w.left++
	}
	w.first++
}

func (w *Window) grow() {
	old := *w
	w.ring = make([]entry, max(minRing, 2*len(w.ring)))
	for seq := w.first; seq < w.next; seq++ {
		*w.at(seq) = *old.at(seq)
	}
}

func (w *Window) at(seq uint32) *entry { return &w.ring[int(seq)&(len(w.ring)-1)] }

// A Verdict says what a window made of an arriving packet.
type Verdict uint8

const (
	Recorded   Verdict = iota // the first with its sequence number
	Duplicate                 // another one with its sequence number
	Stale                     // too late, or its time stamp is not of its time: to be ignored
	OutOfRange                // its sequence number is not below the session's packets: to be ignored
)

func (v Verdict) String() string {
	switch v {
	case Recorded:
		return "recorded"
	case Duplicate:
		return "duplicate"
	case Stale:
		return "stale"
	case OutOfRange:
		return "out of range"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Arrive takes note of the packet r, of which Seq, Sent and Recv are set. A
// Duplicate gets [owamp.FlagDuplicate]. Packets are recorded up to and
// including a timeout after they were due, by their receive stamps, if none of
// send stamp, receive stamp and schedule is further than a timeout from the
// send stamp.
//
// In the steady state Arrive does not allocate.
func (w *Window) Arrive(r *owamp.Record) Verdict {
	if r.Seq >= w.packets {
		return OutOfRange
	}
	if r.Seq < w.open || r.Sent == 0 || w.apart(r.Sent, r.Recv) {
		return Stale
	}
	for r.Seq >= w.next {
		// Whoever sends a sequence number from the far end of the schedule must
		// not make us compute all of it.
		if w.ahead().After(r.Sent.Add(w.timeout)) || !w.enter() {
			return Stale
		}
	}
	e := w.at(r.Seq)
	if w.apart(r.Sent, e.scheduled) || r.Recv.After(e.scheduled.Add(w.timeout)) {
		return Stale
	}
	if e.sent != 0 {
		r.Flags |= owamp.FlagDuplicate
		return Duplicate
	}
	e.sent = r.Sent
	w.received++
	w.seen = max(w.seen, r.Seq+1)
	return Recorded
}

// apart reports whether more than a timeout lies between a and b.
func (w *Window) apart(a, b owamp.Timestamp) bool {
	if a.Before(b) {
		a, b = b, a
	}
	return owamp.Interval(a-b) > w.timeout
}

// Expire lets the packets that were due more than a timeout before now leave
// the window, and tells emit of each one that has not come, in the order of
// sequence numbers. now is a time up to which everything that arrived has been
// given to [Window.Arrive]. The record has the scheduled time in Sent and
// RecvErr zero, for the caller to fill; it is valid until emit returns.
//
// next is the earliest time at which Expire would have something to do again,
// or 0 when the window is done.
func (w *Window) Expire(now owamp.Timestamp, emit func(*owamp.Record)) (next owamp.Timestamp) {
	for w.open < w.packets {
		if w.open == w.next {
			w.enter()
		}
		e := w.at(w.open)
		deadline := e.scheduled.Add(w.timeout)
		if !deadline.Before(now) {
			return deadline + 1
		}
		if e.sent == 0 {
			w.lost++
			w.report = owamp.Record{Seq: w.open, Sent: e.scheduled, SentErr: owamp.UnknownError, TTL: 255}
			emit(&w.report)
		}
		w.open++
		for w.first < w.open && w.forgettable(w.at(w.first), now) {
			w.leave()
		}
	}
	return 0
}

// forgettable reports whether a settlement can no longer ask for e.
func (w *Window) forgettable(e *entry, now owamp.Timestamp) bool {
	old := now - owamp.Timestamp(w.timeout+keep)
	return e.scheduled.Before(old) && (e.sent == 0 || e.sent.Before(old))
}

// Done reports whether the time of the last packet has run out: nothing can
// arrive any more.
func (w *Window) Done() bool { return w.open == w.packets }

// End returns when the time of the last packet will have run out, or has, which
// is known while that packet is in the window.
func (w *Window) End() (at owamp.Timestamp, known bool) {
	if w.next < w.packets || w.first == w.next {
		return 0, false
	}
	return w.at(w.packets-1).scheduled.Add(w.timeout) + 1, true
}

// Open returns the number of the first packet that may still come in time: all
// below it have come or are lost.
func (w *Window) Open() uint32 { return w.open }

// Progress is the state of a session while it runs, in distinct packets.
type Progress struct {
	Due        uint32 // their scheduled time has come
	Received   uint32
	Lost       uint32 // declared lost so far
	Unresolved uint32 // due, received or not, of a session that is not settled
	Overdue    uint32 // of the unresolved, those whose timeout has passed without them
}

// Progress returns the state of the session at now. After [Window.Settle]
// nothing is unresolved or overdue any more.
func (w *Window) Progress(now owamp.Timestamp) Progress {
	for w.next < w.packets && !w.ahead().After(now) && w.enter() {
	}
	w.due = max(w.due, w.open)
	for w.due < w.next && !w.at(w.due).scheduled.After(now) {
		w.due++
	}
	p := Progress{Due: w.due, Received: w.received, Lost: w.lost}
	if w.settled {
		return p
	}
	p.Unresolved = w.due
	p.Overdue = w.lost
	for seq := w.open; seq < w.next && w.at(seq).scheduled.Add(w.timeout).Before(now); seq++ {
		if w.at(seq).sent == 0 {
			p.Overdue++
		}
	}
	return p
}
