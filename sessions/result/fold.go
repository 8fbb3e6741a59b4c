package result

import (
	"encoding/binary"
	"sync"
	"time"

	"owl/histogram"
	"owl/owamp"
	"owl/owamp/stats"
)

// MaxRaw is how many packets a result has at most, some 17 MB of JSON.
const MaxRaw = 100_000

// lives are folds' for another one: they are large.
var lives = sync.Pool{New: func() any { return new(stats.Live) }}

// A Fold takes in the records of a session, or of a part of it, while
// [stats.Summarize] does: [Fold.Observe] is an Each of its options. Then
// [Fold.Result] says what both have found. It is for one goroutine.
type Fold struct {
	live   *stats.Live
	losses losses
	keep   bool // packets
	raw    []owamp.Record
	more   uint64 // packets that were not kept
}

// NewFold returns a fold that has seen nothing. Raw says that the result is to
// have its packets, up to [MaxRaw] of them.
func NewFold(raw bool) *Fold {
	live := lives.Get().(*stats.Live)
	*live = stats.Live{}
	return &Fold{live: live, keep: raw}
}

// Observe takes in a record.
func (f *Fold) Observe(r *owamp.Record) {
	if r.Lost() {
		f.losses.lose(r.Seq)
	} else {
		f.live.Observe(0, r)
	}
	switch {
	case !f.keep:
	case len(f.raw) < MaxRaw:
		f.raw = append(f.raw, *r)
	default:
		f.more++
	}
}

// An Extent says what a result is about, beside the records.
type Extent struct {
	Part       int             // its number among the parts of the session, from 0; below 0: it is the whole
	Start, End owamp.Timestamp // of the session or the part, by its schedule
	Until      owamp.Timestamp // to where it was measured: End, unless it was cut
	Made       time.Time       // now
}

// Result returns the result of the records that sum and f have seen. It takes
// over what sum has; f is not used any more.
func (f *Fold) Result(task *Task, sum *stats.Summary, e Extent) *Result {
	f.losses.end()
	t := f.live.Totals()
	spec := &sum.Session.Spec
	r := &Result{
		ID:         measuredID(spec.SID, e),
		Task:       task,
		Time:       e.Start.Time().Truncate(time.Second),
		Made:       e.Made,
		Succeeded:  true,
		Sent:       uint64(sum.Sent),
		Received:   uint64(sum.Sent - sum.Lost),
		Lost:       uint64(sum.Lost),
		Duplicates: uint64(sum.Duplicates),
		Reordered:  t.Reordered,
		MaxError:   t.MaxError,
		Synced:     sum.Synced && sum.Sent > 0,
		Delays:     sum.Delays,
		TTL:        &sum.TTL,
		SID:        spec.SID.String(),
		Sender:     spec.Sender,
		Receiver:   spec.Receiver,
		Start:      e.Start,
		End:        e.Until,
		Part:       e.Part,
		Sessions:   1,
		Packets:    uint64(sum.Last - sum.First),
		NotSent:    min(skipped(&sum.Session, sum.First, sum.Last), uint64(sum.Last-sum.First-sum.Sent)),
		ClockSteps: sum.Session.ClockSteps,
		Scheduled:  max(e.End.Sub(e.Start), 0),
		Measured:   max(e.Until.Sub(e.Start), 0),
		losses:     f.losses,
		delay:      spreadOf(f.live.Delay()),
		ipdv:       spreadOf(f.live.IPDV()),
		raw:        f.raw,
		more:       f.more,
	}
	lives.Put(f.live)
	f.live = nil
	return r
}

// skipped returns how many of the packets [first, last) the sender says that it
// skipped. Those that it did not come to are not among them.
func skipped(s *stats.Session, first, last uint32) (n uint64) {
	if s.Finished {
		last = max(first, min(last, s.NextSeq))
	}
	for _, r := range s.Skips { // ascending
		if from, to := max(r.First, first), min(uint64(r.Last)+1, uint64(last)); uint64(from) < to {
			n += to - uint64(from)
		}
	}
	return n
}

// measuredID identifies what was measured of a session: told again, it is the
// same.
func measuredID(sid owamp.SID, e Extent) string {
	b := binary.BigEndian.AppendUint64(sid[:], uint64(e.Start))
	return uuid("result", binary.BigEndian.AppendUint64(b, uint64(int64(e.Part))))
}

// A spread says how delays, or their variations, are spread, in nanoseconds.
type spread struct {
	n                                         uint64
	least, p05, p25, p50, p75, p95, p99, most int64
	mean                                      int64
	code                                      []byte // all of it
}

func spreadOf(h *histogram.Live) spread {
	if h.Count() == 0 {
		return spread{}
	}
	code, _ := h.AppendBinary(nil) // never fails
	var q [6]int64
	h.Quantiles(q[:], 0.05, 0.25, 0.50, 0.75, 0.95, 0.99)
	return spread{
		n:     h.Count(),
		least: h.Min(),
		p05:   q[0],
		p25:   q[1],
		p50:   q[2],
		p75:   q[3],
		p95:   q[4],
		p99:   q[5],
		most:  h.Max(),
		mean:  h.Mean(),
		code:  code,
	}
}

// merge returns the spread of what is spread as s and as o.
func (s *spread) merge(o *spread) (spread, error) {
	if s.n == 0 {
		return *o, nil
	}
	if o.n == 0 {
		return *s, nil
	}
	var sum, more histogram.Live
	if err := sum.UnmarshalBinary(s.code); err != nil {
		return spread{}, err
	}
	if err := more.UnmarshalBinary(o.code); err != nil {
		return spread{}, err
	}
	sum.Merge(&more)
	return spreadOf(&sum), nil
}
