package result

import (
	"encoding/binary"
	"net/netip"
	"time"

	"owl/histogram"
	"owl/owamp"
)

// A Result says what was measured in some time, or that nothing was. Nobody
// changes it any more once it was handed over.
type Result struct {
	// ID is a UUID, of the run as pScheduler would say. It is made of what was
	// measured, so that the same told twice, before a crash and after it, has the
	// same one.
	ID        string
	Task      *Task
	Time      time.Time // the second that the result stands for, that of Start as a rule
	Made      time.Time
	Succeeded bool
	Error     string // why it has not; else empty

	// What came of the packets. A packet counts as sent if it was received or is
	// lost, and each once: copies beyond the first are Duplicates (RFC 5560).
	Sent, Received, Lost, Duplicates uint64
	Reordered                        uint64            // came after one that was sent later (RFC 4737 section 3)
	MaxError                         time.Duration     // the greatest sum of both stamps' errors among packets received
	Synced                           bool              // both clocks were synchronized to UTC for all packets; false without any
	Delays                           *histogram.Fixed  // of packets received; nil of a result that has not succeeded
	TTL                              *[256]uint64      // packets received by TTL; likewise
	LostBy                           map[string]uint64 // Lost by who lost them; nil: nobody knows

	SID              string         // of the session; empty without one
	Sender, Receiver netip.AddrPort // of the session
	Start, End       owamp.Timestamp
	Part             int    // the number of the part of the session, from 0; below 0: all of it
	Sessions         int    // how many results were merged to this one, itself included
	Packets          uint64 // that were scheduled
	NotSent          uint64 // of those the sender says that it skipped
	ClockSteps       uint64 // how often this host's clock was set meanwhile
	Gaps             []Gap  // that are over or began since the result before

	Scheduled, Measured time.Duration // how long it was meant to last, and how much of that was measured

	losses      losses
	delay, ipdv spread
	raw         []owamp.Record
	more        uint64 // packets that were received, or lost, and are not in raw
}

// A Gap is a time in which nothing was measured. A gap is told of with its length
// once: results that have not succeeded and were made while it lasted do not say
// how long it is.
type Gap struct {
	Reason string // as sessions.GapReason has it
	Start  owamp.Timestamp
	End    owamp.Timestamp
	Open   bool // it goes on: there is no End yet
}

// Length returns how long a gap was that is over, 0 of one that goes on.
func (g *Gap) Length() time.Duration {
	if g.Open {
		return 0
	}
	return max(g.End.Sub(g.Start), 0)
}

// Failed returns the result of the time at, within gap, which says why there is
// no other.
func Failed(task *Task, at owamp.Timestamp, gap Gap, why string, made time.Time) *Result {
	r := &Result{
		ID:       uuid("failure", []byte(task.id), binary.BigEndian.AppendUint64(nil, uint64(at))),
		Task:     task,
		Time:     at.Time().Truncate(time.Second),
		Made:     made,
		Error:    why,
		Start:    at,
		End:      at,
		Part:     -1,
		Sessions: 1,
		Gaps:     []Gap{gap},
	}
	if !gap.Open {
		r.End, r.Scheduled = gap.End, gap.Length()
	}
	return r
}

// RunHref returns the address of the run at a host, which may have a port; an
// empty one is the task's own.
func (r *Result) RunHref(host string) string { return r.Task.Href(host) + "/runs/" + r.ID }

// RawPackets returns how many packets the result has.
func (r *Result) RawPackets() int { return len(r.raw) }

// Completeness returns how much of its time was measured, from 0 to 1; ok is
// false where it had none.
func (r *Result) Completeness() (ratio float64, ok bool) {
	if r.Scheduled <= 0 {
		return 0, false
	}
	return min(float64(r.Measured)/float64(r.Scheduled), 1), true
}
