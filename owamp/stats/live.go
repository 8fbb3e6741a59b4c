package stats

import (
	"time"

	"owl/histogram"
	"owl/owamp"
)

// recent is how many sequence numbers back a delay is remembered for delay
// variation: packets that are displaced farther have none.
const recent = 256

// A Live folds the records of a stream as they come, received ones in order of
// arrival and lost ones when they are declared lost. All arithmetic is exact, in
// nanoseconds. The zero Live is ready; it has one owner.
type Live struct {
	totals    Totals
	delay     histogram.Live
	ipdv      histogram.Live
	next      uint64 // one more than the greatest sequence number that has come
	afterLost uint64 // one more than the one that was declared lost last
	burst     uint64 // how long the burst of losses is that ends there
	recent    [recent]arrived
}

type arrived struct {
	next  uint64 // one more than the sequence number, 0: none
	delay int64
}

// Totals are counts of packets, and what else is known of them.
type Totals struct {
	Received   uint64 // without duplicates
	Lost       uint64 // declared lost; packets that the sender skipped count until it says so
	Duplicates uint64 // copies beyond the first (RFC 5560)
	Reordered  uint64 // came after a packet sent later (RFC 4737 section 3, Type-P-Reordered)

	// Bursts counts the loss periods of RFC 3357, runs of lost packets;
	// LongestBurst is the packets of the longest.
	Bursts, LongestBurst uint64

	// Of the packets received, all 0 without one:
	MinTTL, MaxTTL, LastTTL uint8
	Last                    owamp.Timestamp // when the last one came
	Synced                  bool            // both clocks said so for the last one
	MaxError                time.Duration   // the greatest sum of both stamps' errors
}

// Observe folds a record in, without allocating. Its sequence number counts
// from base: a stream's sessions each begin at 0, so their bases are the packets
// scheduled before them.
func (l *Live) Observe(base uint64, r *owamp.Record) {
	seq := base + uint64(r.Seq)
	switch {
	case r.Lost():
		l.lose(seq)
	case r.Flags&owamp.FlagDuplicate != 0:
		l.totals.Duplicates++
	default:
		l.receive(seq, r)
	}
}

func (l *Live) lose(seq uint64) {
	t := &l.totals
	t.Lost++
	if l.burst == 0 || seq != l.afterLost {
		t.Bursts++
		l.burst = 0
	}
	l.burst++
	l.afterLost = seq + 1
	t.LongestBurst = max(t.LongestBurst, l.burst)
}

func (l *Live) receive(seq uint64, r *owamp.Record) {
	t := &l.totals
	if t.Received == 0 {
		t.MinTTL, t.MaxTTL = r.TTL, r.TTL
	}
	t.Received++
	t.MinTTL, t.MaxTTL, t.LastTTL = min(t.MinTTL, r.TTL), max(t.MaxTTL, r.TTL), r.TTL
	t.Last = r.Recv
	t.Synced = r.SentErr.Synchronized() && r.RecvErr.Synchronized()
	t.MaxError = max(t.MaxError, sum(r.SentErr.Duration(), r.RecvErr.Duration()))
	if seq < l.next {
		t.Reordered++
	} else {
		l.next = seq + 1
	}
	d := int64(r.Recv.Sub(r.Sent))
	l.delay.Insert(d)
	// Packets that were sent one after the other make a pair, whichever of
	// them comes first.
	if before := &l.recent[(seq-1)%recent]; seq > 0 && before.next == seq {
		l.ipdv.Insert(d - before.delay)
	}
	if after := &l.recent[(seq+1)%recent]; after.next == seq+2 {
		l.ipdv.Insert(after.delay - d)
	}
	l.recent[seq%recent] = arrived{next: seq + 1, delay: d}
}

// sum returns a+b, neither of which is negative, or the greatest Duration.
func sum(a, b time.Duration) time.Duration {
	if s := a + b; s >= 0 {
		return s
	}
	return 1<<63 - 1
}

// Totals returns the counts.
func (l *Live) Totals() Totals { return l.totals }

// Delay returns the one-way delays in nanoseconds. The histogram changes with
// the next record.
func (l *Live) Delay() *histogram.Live { return &l.delay }

// IPDV returns the inter-packet delay variation of RFC 5481 section 4.1 in
// nanoseconds: a packet's delay less that of the packet sent before it. The
// histogram changes with the next record.
func (l *Live) IPDV() *histogram.Live { return &l.ipdv }

// PDV returns the quantile q of the packet delay variation of RFC 5481 section
// 4.2: delay less the least delay. It is 0 as long as nothing has come.
func (l *Live) PDV(q float64) time.Duration {
	return time.Duration(l.delay.Quantile(q) - l.delay.Min())
}

// Reset forgets everything but where the stream stands: what comes next is
// reordered, or makes a pair, as it would be without.
func (l *Live) Reset() {
	l.totals = Totals{}
	l.delay.Reset()
	l.ipdv.Reset()
	l.burst = 0
}
