package owp

import (
	"fmt"
	"time"

	"owl/owamp"
	"owl/owamp/schedule"
)

const (
	// span is how far packets may stray from the one with the greatest number so
	// far: as many as a receiver keeps in mind, and half of what a timetable
	// does.
	span = 1 << 22
	// unrecorded is how many packets without a record a timetable is computed
	// for: less than a second.
	unrecorded = 1 << 24
	// tolerance is what clocks that are adjusted make of a time, beyond what a
	// session's time-out allows.
	tolerance = time.Second
)

// A timetable tells which records a session can have, by when its packets are
// due.
type timetable struct {
	spec  *owamp.SessionSpec
	slack owamp.Interval // what is farther than this from a packet's time is not its
	gen   *schedule.Generator
	due   []owamp.Timestamp // a ring: the time of packet n is at n modulo its length, a power of 2
	known uint64            // the times of packets below are computed
	last  owamp.Timestamp   // the one that was computed last
	next  uint64            // one more than the greatest packet of a record that can be right

	came, lost tally // of packets that arrived, and that did not
}

// A tally counts records that can be right, and those that can be but for when
// their packets were due.
type tally struct{ right, stray uint64 }

func newTimetable(spec *owamp.SessionSpec) (*timetable, error) {
	gen, err := schedule.New(spec.SID, spec.Slots)
	if err != nil {
		return nil, err
	}
	// A packet is sent and arrives within a time-out from when it is due.
	const most = 1 << 62
	return &timetable{
		spec:  spec,
		slack: min(spec.Timeout, most/4)*2 + owamp.IntervalOf(tolerance),
		gen:   gen,
		due:   make([]owamp.Timestamp, 1024),
		last:  spec.Start,
	}, nil
}

// check reports why r is no record of the session. After one that is, others are
// looked for in its neighbourhood.
func (t *timetable) check(r *owamp.Record) error {
	if r.Seq >= t.spec.Packets {
		return fmt.Errorf("record of packet %d: want one below %d", r.Seq, t.spec.Packets)
	}
	due, err := t.at(uint64(r.Seq))
	if err != nil {
		return err
	}
	switch {
	case r.Lost() && r.Sent != due:
		if !t.far(r.Sent, due) {
			t.lost.stray++
		}
		return fmt.Errorf("packet %d lost at %v: want %v, when it was due", r.Seq, r.Sent.Time(), due.Time())
	case r.Lost():
		t.lost.right++
	case t.far(r.Sent, due) || t.far(r.Recv, due):
		if !t.far(r.Sent, r.Recv) {
			t.came.stray++
		}
		return fmt.Errorf("packet %d sent at %v and received at %v: want times near %v, when it was due", r.Seq, r.Sent.Time(), r.Recv.Time(), due.Time())
	default:
		t.came.right++
	}
	t.next = max(t.next, uint64(r.Seq)+1)
	return nil
}

// verdict reports why the timetable is not that of the records: most of those
// that would be right at another time are not at this one.
func (t *timetable) verdict() error {
	if t.came.stray > t.came.right {
		return fmt.Errorf("its schedule is that of %d packets that arrived, and not that of %d: want more that it fits", t.came.right, t.came.stray)
	}
	// The time of a lost packet is exact. A single one may be damaged itself.
	if t.lost.stray > t.lost.right+1 {
		return fmt.Errorf("its schedule is that of %d packets that were lost, and not that of %d: want more that it fits", t.lost.right, t.lost.stray)
	}
	return nil
}

// far reports whether two times are too far apart.
func (t *timetable) far(a, b owamp.Timestamp) bool {
	d := int64(a - b)
	return owamp.Interval(max(d, -d)) > t.slack // the least int64 is, too, as an Interval
}

// at returns when packet n is due.
func (t *timetable) at(n uint64) (owamp.Timestamp, error) {
	if most := min(t.next+span, t.came.right+t.lost.right+unrecorded); n >= most {
		return 0, fmt.Errorf("record of packet %d: want one below %d, not so far ahead of those before it", n, most)
	}
	if n+span < t.next {
		return 0, fmt.Errorf("record of packet %d: want one from %d on, not so far behind those before it", n, t.next-span)
	}
	for t.known <= n {
		if t.known >= uint64(len(t.due)) && len(t.due) < 2*span {
			t.grow()
		}
		t.last = t.last.Add(t.gen.Next())
		t.due[t.known%uint64(len(t.due))] = t.last
		t.known++
	}
	return t.due[n%uint64(len(t.due))], nil
}

// grow doubles the ring before it overwrites something.
func (t *timetable) grow() {
	due := make([]owamp.Timestamp, 2*len(t.due))
	for n := t.known - uint64(len(t.due)); n < t.known; n++ {
		due[n%uint64(len(due))] = t.due[n%uint64(len(t.due))]
	}
	t.due = due
}
