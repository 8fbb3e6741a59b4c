package stats

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"sort"

	"owl/histogram"
	"owl/owamp"
)

// Summarize folds records, in the order of arrival, into a summary. It stops at
// an error that recs yields and returns it; a record that cannot be is a
// *RecordError, too, unless [Options] have a use for it. Summarize may change the
// records that it is given.
//
// Memory is bounded by rate × time-out and by the number of distinct bins, not
// by the number of records, and time by the number of records, whatever the
// session claims; reading ends once everything that could still come belongs to
// later packets.
func Summarize(s *Session, recs iter.Seq2[[]owamp.Record, error], o Options) (*Summary, error) {
	f, err := newFold(s, o)
	if err != nil {
		return nil, err
	}
	defer f.window.waits.close()
	for some, err := range recs {
		if err != nil {
			return nil, err
		}
		more, err := f.add(some)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	return f.finish(), nil
}

// A fold is a summary in the making.
type fold struct {
	sum         *Summary
	each        func(*owamp.Record)
	refused     func(*RecordError)
	index       int64             // of the next record
	skips       []owamp.SkipRange // ascending, without overlap
	window      settling
	reordering  reordering
	unreachable float64
	least, most float64 // of the delays
	judged      judged  // the error estimates that were judged last
}

// judged are the error estimates of any record; as a rule the next one has the
// same.
type judged struct {
	sent, recv owamp.ErrorEstimate
	lost, any  bool
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
		sum:     sum,
		each:    o.Each,
		refused: o.Refused,
		skips:   merged(s.Skips),
		window: settling{
			waits:   newWaits(&sum.schedule, last-o.First),
			timeout: s.Spec.Timeout,
			base:    sum.First,
			due:     sum.Start,
			seen:    sum.First,
			budget:  MaxUnrecorded,
		},
		reordering:  reordering{depth: sum.depth},
		unreachable: inf,
		least:       inf,
		most:        -inf,
	}, nil
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

// add counts the records of packets in the range, and reports whether any more
// may come.
func (f *fold) add(recs []owamp.Record) (more bool, err error) {
	counting, more, err := f.order(recs)
	if err == nil {
		f.measure(counting)
	}
	return more, err
}

// order looks at what the sequence numbers of recs say. It returns those that
// count, with copies marked, at the begin of recs, and whether any more may come.
func (f *fold) order(recs []owamp.Record) (counting []owamp.Record, more bool, err error) {
	n := 0
	for i := 0; i < len(recs); i++ {
		if usual := f.inOrder(recs[i:]); usual > 0 {
			if n < i {
				copy(recs[n:], recs[i:i+usual])
			}
			n += usual
			i += usual - 1
			continue
		}
		r := &recs[i]
		if r.Seq >= f.sum.Last {
			if f.sum.Next < 0 {
				f.sum.Next = f.index + int64(i)
			}
			if f.over(r) {
				return recs[:n], false, nil
			}
			continue
		}
		if r.Seq < f.sum.First {
			continue
		}
		counts, err := f.place(r)
		if err != nil {
			damaged := &RecordError{Index: f.index + int64(i), Seq: r.Seq, What: err.Error()}
			if f.refused == nil {
				return nil, false, damaged
			}
			f.refused(damaged)
			continue
		}
		if !counts {
			continue
		}
		if f.each != nil {
			f.each(r)
		}
		if n < i {
			recs[n] = *r
		}
		n++
	}
	f.index += int64(len(recs))
	return recs[:n], true, nil
}

// inOrder places the records that recs begins with as long as they arrive one
// after the other, as nearly all do, and returns how many those are.
func (f *fold) inOrder(recs []owamp.Record) int {
	if len(f.skips) > 0 {
		return 0
	}
	first := f.window.seen
	n := f.window.inOrder(recs, f.sum.Last)
	if n == 0 {
		return 0
	}
	f.reordering.arrive(first, f.window.base)
	f.reordering.goOn(uint32(n-1), f.window.base)
	if f.each != nil {
		for i := range recs[:n] {
			f.each(&recs[i])
		}
	}
	return n
}

// place gives the record of a packet in the range its place among the others,
// and reports whether it counts.
func (f *fold) place(r *owamp.Record) (counts bool, err error) {
	w := &f.window
	if r.Lost() {
		err = w.settleBefore(r)
	} else {
		err = w.settleUntil(r)
	}
	if err != nil {
		return false, err
	}
	if r.Seq < w.base {
		return false, errors.New("the packet was overdue, or a later one had been declared lost")
	}
	if len(f.skips) > 0 && f.skipped(r.Seq) {
		return false, nil
	}
	fate, err := w.fate(r.Seq)
	if err != nil {
		return false, err
	}
	if r.Lost() {
		switch *fate {
		case received:
			return false, errors.New("it says lost, but the packet had arrived")
		case lost:
			return false, errors.New("it says lost, and so did one before")
		}
		*fate = lost
		return true, nil
	}
	switch *fate {
	case lost:
		return false, errors.New("the packet arrives, but had been declared lost")
	case received:
		r.Flags |= owamp.FlagDuplicate
	}
	*fate = received
	f.reordering.arrive(r.Seq, w.base)
	return true, nil
}

// measure counts what recs, which order has let through, say apart from their
// sequence numbers.
func (f *fold) measure(recs []owamp.Record) {
	s := f.sum
	for i := range recs {
		r := &recs[i]
		lost := r.Lost()
		if this := (judged{r.SentErr, r.RecvErr, lost, true}); this != f.judged {
			f.judge(this)
		}
		if lost {
			s.Sent++
			s.Lost++
			continue
		}
		d := delay(r)
		if d < f.least {
			f.least = d
		}
		if d > f.most {
			f.most = d
		}
		if r.Flags&owamp.FlagDuplicate != 0 {
			s.Duplicates++
			continue
		}
		s.Sent++
		s.Finite.add(int64(r.Recv - r.Sent))
		s.Delays.Add(d)
		s.TTL[r.TTL]++
	}
}

// judge takes note of what error estimates say.
func (f *fold) judge(e judged) {
	s := f.sum
	f.judged = e
	if !e.recv.Synchronized() || !e.lost && !e.sent.Synchronized() {
		s.Synced = false
	}
	seconds := errorSeconds(e.recv)
	if !e.lost {
		seconds = errorSeconds(e.sent) + seconds
	}
	s.MaxError = max(s.MaxError, seconds)
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

// finishWalk notes the time of the session's last packet.
func (f *fold) finishWalk() {
	s, w := f.sum, &f.window
	if s.First == s.Last {
		return
	}
	if w.base == s.Last { // one too far
		s.End = w.due - owamp.Timestamp(w.wait)
		return
	}
	rest := uint64(s.Last - 1 - w.base)
	known := min(rest, uint64(max(w.budget, 0)))
	if s.schedule.Fixed() {
		known = rest
	}
	s.End = w.due.Add(w.waits.sum(known))
	if known < rest {
		s.EndEstimated = true
		s.End = s.End.Add(owamp.Interval(rest-known) * s.Session.Spec.MeanInterval())
	}
}
