package stats

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"sort"
	"time"

	"owl/histogram"
	"owl/owamp"
	"owl/owamp/schedule"
)

// DefaultBucketWidth is the width of a summary's bins in seconds where nobody
// says otherwise.
const DefaultBucketWidth = 0.0001

// A Session is what a summary has to know of a session beside its records.
type Session struct {
	Spec     owamp.SessionSpec
	Finished bool   // it ended normally
	NextSeq  uint32 // the first sequence number that was not considered for sending
	Skips    []owamp.SkipRange

	// ClockSteps is how often the clock of the host that measured is known to
	// have been set meanwhile, and ClockStep by how much in all.
	ClockSteps uint64
	ClockStep  time.Duration
}

// Options say what to summarize. The zero Options summarize all of a session.
type Options struct {
	// BucketWidth is the width of the delay histogram's bins in seconds; 0 is
	// DefaultBucketWidth.
	BucketWidth float64
	// Only the packets with sequence numbers in [First, Last) count. A Last of
	// 0 is the end of the session.
	First, Last uint32
	// After, if not nil, is the summary of the same session's packets that end
	// where this one's begin. It saves computing the schedule again, and the
	// report's reordering refers, as the reference's does, to all packets since
	// the first of such a chain.
	After *Summary
	// Each, if not nil, is told each record that counts, before the next one
	// is read. Copies beyond a packet's first have owamp.FlagDuplicate.
	Each func(*owamp.Record)
	// Refused, if not nil, is told each record that cannot be, and the summary
	// goes on without it.
	Refused func(*RecordError)
}

// A Summary is what is known of a session, or of a run of its packets. Seconds
// are those of the reference's arithmetic.
type Summary struct {
	Session     Session
	First, Last uint32          // the packets [First, Last)
	Start, End  owamp.Timestamp // scheduled times of the first and the last of them
	// EndEstimated says that End is what the mean interval makes of the last
	// packets, because so many of them have no record; see [MaxUnrecorded].
	EndEstimated bool

	Sent       uint32 // packets with a record, but for those that were skipped
	Lost       uint32
	Duplicates uint32  // copies beyond the first
	Synced     bool    // no record says that a clock was not synchronized
	MaxError   float64 // the greatest sum of both stamps' errors, s
	// Min and Max are the least and greatest delay in seconds, duplicates
	// included; NaN where there is none below the time-out.
	Min, Max   float64
	Finite     Finite           // the delays of first copies, exactly
	Delays     *histogram.Fixed // of first copies
	TTL        [256]uint64      // first copies by TTL on arrival
	Reordering []uint32         // Reordering[n-1] packets are n-reordered, up to the greatest n of any
	// Next is the index, among the records given, of the first one that
	// belongs to a later packet, -1 without one: the next part's records begin
	// there.
	Next int64

	depth    int64              // n-reordering is not known beyond
	received int64              // including copies, since the first summary of a chain
	schedule schedule.Generator // stands after the first packet
	ahead    schedule.Generator // stands after the last one
}

// MaxUnrecorded is for how many packets without a record a schedule is computed:
// a second or two. What claims more is no receiver's file, or that of a
// session that was meant to last until somebody ends it.
const MaxUnrecorded = 1 << 26

// A RecordError is a record that contradicts the ones before it or the
// session's schedule. No receiver writes such a record.
type RecordError struct {
	Index int64 // among the records given, from 0
	Seq   uint32
	What  string
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("record %d, of sequence number %d, is damaged: %s", e.Index, e.Seq, e.What)
}

// Summarize folds records, in the order of arrival, into a summary. It stops at
// an error that recs yields and returns it; a record that cannot be is a
// *RecordError, too, unless [Options] have a use for it.
//
// Memory is bounded by rate × time-out and by the number of distinct bins, not
// by the number of records, and time by the number of records, whatever the
// session claims; reading ends once everything that could still come belongs to
// later packets.
func Summarize(s *Session, recs iter.Seq2[owamp.Record, error], o Options) (*Summary, error) {
	f, err := newFold(s, o)
	if err != nil {
		return nil, err
	}
	var index int64
	var r owamp.Record // one for all: the loop's own would each escape to Each
	for rec, err := range recs {
		if err != nil {
			return nil, err
		}
		r = rec
		if r.Seq >= f.sum.Last {
			if f.sum.Next < 0 {
				f.sum.Next = index
			}
			if f.over(&r) {
				break
			}
		} else if r.Seq >= f.sum.First {
			if err := f.add(&r); err != nil {
				damaged := &RecordError{Index: index, Seq: r.Seq, What: err.Error()}
				if o.Refused == nil {
					return nil, damaged
				}
				o.Refused(damaged)
			}
		}
		index++
	}
	return f.finish(), nil
}

// A fold is a summary in the making.
type fold struct {
	sum         *Summary
	each        func(*owamp.Record)
	skips       []owamp.SkipRange // ascending, without overlap
	window      settling
	reordering  reordering
	unreachable float64
	least, most float64 // of the delays
}

func newFold(s *Session, o Options) (*fold, error) {
	width := o.BucketWidth
	if width == 0 {
		width = DefaultBucketWidth
	}
	if !(width > 0) || math.IsInf(width, 1) {
		return nil, fmt.Errorf("bucket width %g: want a number of seconds above 0", width)
	}
	last := o.Last
	if last == 0 {
		last = s.Spec.Packets
	}
	if o.First > last || last > s.Spec.Packets {
		return nil, fmt.Errorf("packets %d to %d: want a range within the session's %d", o.First, last, s.Spec.Packets)
	}
	sum := &Summary{
		Session: *s,
		First:   o.First,
		Last:    last,
		Synced:  true,
		Delays:  histogram.NewFixed(width),
		Next:    -1,
		depth:   depth(&s.Spec),
	}
	if err := sum.walk(o.After); err != nil {
		return nil, err
	}
	inf := unreachable(&s.Spec)
	return &fold{
		sum:   sum,
		each:  o.Each,
		skips: merged(s.Skips),
		window: settling{
			schedule: sum.schedule,
			timeout:  s.Spec.Timeout,
			base:     sum.First,
			due:      sum.Start,
			seen:     sum.First,
			budget:   MaxUnrecorded,
		},
		reordering:  reordering{depth: sum.depth},
		unreachable: inf,
		least:       inf,
		most:        -inf,
	}, nil
}

// walk advances the schedule to the summary's first packet and notes its time,
// and that of the last one if it is not the session's.
func (s *Summary) walk(after *Summary) error {
	skip := uint64(s.First)
	if after != nil {
		if after.Last != s.First || after.Last == after.First || after.Session.Spec.SID != s.Session.Spec.SID {
			return errors.New("the summary to go on from does not end where this one begins")
		}
		s.schedule, s.Start, s.received = after.ahead, after.End, after.received
		skip = 0
	} else {
		g, err := schedule.New(s.Session.Spec.SID, s.Session.Spec.Slots)
		if err != nil {
			return err
		}
		s.schedule, s.Start = *g, s.Session.Spec.Start
	}
	s.Start = s.Start.Add(s.schedule.Advance(skip + 1))
	s.ahead, s.End = s.schedule, s.Start
	if s.whole() {
		return nil
	}
	s.End = s.End.Add(s.ahead.Advance(uint64(s.Last - s.First - 1)))
	return nil
}

// whole reports whether the session's last packet is the summary's, too, so
// that no record can tell that its end is over. That packet's time is then
// computed when the records have shown how far the session went.
func (s *Summary) whole() bool { return s.Last == s.Session.Spec.Packets || s.Last == s.First }

// finishWalk notes the time of the session's last packet.
func (f *fold) finishWalk() {
	s, w := f.sum, &f.window
	rest := uint64(max(s.Last-s.First, 1) - 1)
	if walked := w.base - s.First; walked > 0 && uint64(walked) <= rest {
		// The window has been there.
		s.ahead, s.End = w.schedule, w.due
		rest -= uint64(walked)
	}
	known := min(rest, uint64(max(w.budget, 0)))
	if s.ahead.Fixed() {
		known = rest
	}
	s.End = s.End.Add(s.ahead.Advance(known))
	if known < rest {
		s.EndEstimated = true
		s.End = s.End.Add(owamp.Interval(rest-known) * s.Session.Spec.MeanInterval())
	}
}

// merged returns ranges in ascending order, with those that touch made one.
func merged(ranges []owamp.SkipRange) []owamp.SkipRange {
	var out []owamp.SkipRange
	for _, r := range slices.SortedFunc(slices.Values(ranges), func(a, b owamp.SkipRange) int { return cmp.Compare(a.First, b.First) }) {
		switch n := len(out); {
		case r.First > r.Last:
		case n > 0 && r.First <= out[n-1].Last:
			out[n-1].Last = max(out[n-1].Last, r.Last)
		default:
			out = append(out, r)
		}
	}
	return out
}

// skipped reports whether seq was never sent.
func (f *fold) skipped(seq uint32) bool {
	i := sort.Search(len(f.skips), func(i int) bool { return f.skips[i].Last >= seq })
	return i < len(f.skips) && f.skips[i].First <= seq
}

// over reports whether a record of a later packet is late enough to say that
// no more records come of packets before it: a receiver keeps none that is
// farther than a time-out from its schedule.
func (f *fold) over(r *owamp.Record) bool {
	if f.sum.whole() {
		return false
	}
	t := r.Recv
	if r.Lost() {
		t = r.Sent.Add(f.window.timeout)
	}
	return t.After(f.sum.End.Add(f.window.timeout).Add(f.window.timeout).Add(f.window.timeout))
}

// add counts the record of a packet in the range.
func (f *fold) add(r *owamp.Record) error {
	settle := f.window.settleUntil
	if r.Lost() {
		settle = f.window.settleBefore
	}
	if err := settle(r); err != nil {
		return err
	}
	if r.Seq < f.window.base {
		return errors.New("the packet was overdue, or a later one had been declared lost")
	}
	if len(f.skips) > 0 && f.skipped(r.Seq) {
		return nil
	}
	fate, err := f.window.fate(r.Seq)
	if err != nil {
		return err
	}
	if r.Lost() {
		switch *fate {
		case received:
			return errors.New("it says lost, but the packet had arrived")
		case lost:
			return errors.New("it says lost, and so did one before")
		}
		f.lose(r, fate)
	} else {
		if *fate == lost {
			return errors.New("the packet arrives, but had been declared lost")
		}
		f.receive(r, fate)
	}
	if f.each != nil {
		f.each(r)
	}
	return nil
}

// lose counts a lost packet.
func (f *fold) lose(r *owamp.Record, fate *fate) {
	*fate = lost
	f.sum.Sent++
	f.sum.Lost++
	if !r.RecvErr.Synchronized() {
		f.sum.Synced = false
	}
	f.sum.MaxError = max(f.sum.MaxError, errorSeconds(r.RecvErr))
}

// receive counts an arrival.
func (f *fold) receive(r *owamp.Record, fate *fate) {
	s := f.sum
	f.reordering.arrive(r.Seq, f.window.base)
	if !r.SentErr.Synchronized() || !r.RecvErr.Synchronized() {
		s.Synced = false
	}
	s.MaxError = max(s.MaxError, errorSeconds(r.SentErr)+errorSeconds(r.RecvErr))
	d := delay(r)
	f.least, f.most = min(f.least, d), max(f.most, d)
	if *fate == received {
		r.Flags |= owamp.FlagDuplicate
		s.Duplicates++
		return
	}
	*fate = received
	s.Sent++
	s.Finite.add(int64(r.Recv - r.Sent))
	s.Delays.Add(d)
	s.TTL[r.TTL]++
}

// finish returns the summary.
func (f *fold) finish() *Summary {
	s := f.sum
	s.Min, s.Max = math.NaN(), math.NaN()
	if f.least < f.unreachable {
		s.Min = f.least
	}
	if f.most > -f.unreachable {
		s.Max = f.most
	}
	if s.whole() {
		f.finishWalk()
	}
	s.Reordering = f.reordering.counts()
	s.received += f.reordering.received
	return s
}

// Percentile returns the delay in seconds that the share alpha, from 0 to 1, of
// all packets sent did not exceed, as the far border of a bin; ok is false where
// so many were lost that there is none.
func (s *Summary) Percentile(alpha float64) (delay float64, ok bool) {
	return percentile(s.Delays, alpha, uint64(s.Sent))
}

// Variation returns the delay variation that the reference calls PDV or
// jitter, the 95th percentile less the median, in seconds; ok is false where one
// of them does not exist.
func (s *Summary) Variation() (variation float64, ok bool) {
	return pdv(s.Delays, s.Sent)
}
