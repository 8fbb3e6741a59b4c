package stats

import (
	"errors"
	"io"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
)

// model is a summary by its definition, with no thought for memory or time.
type model struct {
	sent, lost, dups uint32
	synced           bool
	maxError         float64
	min, max         float64
	bins             map[int32]uint64
	ttl              [256]uint64
	reordering       []uint32
}

func modelOf(recs []owamp.Record, first, last uint32, skips []owamp.SkipRange, width float64) model {
	m := model{synced: true, min: math.NaN(), max: math.NaN(), bins: make(map[int32]uint64)}
	copies := make(map[uint32]int)
	var order []uint32
	for _, r := range recs {
		if r.Seq < first || r.Seq >= last || slices.ContainsFunc(skips, func(s owamp.SkipRange) bool { return s.First <= r.Seq && r.Seq <= s.Last }) {
			continue
		}
		e := errorSeconds(r.RecvErr)
		m.synced = m.synced && r.RecvErr.Synchronized() && (r.Lost() || r.SentErr.Synchronized())
		if copies[r.Seq]++; copies[r.Seq] == 1 {
			m.sent++
		}
		if r.Lost() {
			m.lost++
			m.maxError = max(m.maxError, e)
			continue
		}
		m.maxError = max(m.maxError, e+errorSeconds(r.SentErr))
		d := delay(&r)
		if !(m.min <= d) {
			m.min = d
		}
		if !(m.max >= d) {
			m.max = d
		}
		for n := 0; n < len(order) && r.Seq < order[len(order)-1-n]; n++ {
			if n == len(m.reordering) {
				m.reordering = append(m.reordering, 0)
			}
			m.reordering[n]++
		}
		order = append(order, r.Seq)
		if copies[r.Seq] > 1 {
			m.dups++
			continue
		}
		b := math.Ceil(math.Abs(d / width))
		m.bins[int32(math.Copysign(b, d))]++
		m.ttl[r.TTL]++
	}
	return m
}

func (m model) compare(t *testing.T, s *Summary) {
	t.Helper()
	same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
	if s.Sent != m.sent || s.Lost != m.lost || s.Duplicates != m.dups || s.Synced != m.synced {
		t.Errorf("sent %d, lost %d, duplicates %d, synced %v, want %d, %d, %d, %v", s.Sent, s.Lost, s.Duplicates, s.Synced, m.sent, m.lost, m.dups, m.synced)
	}
	if s.MaxError != m.maxError || !same(s.Min, m.min) || !same(s.Max, m.max) {
		t.Errorf("error %g, minimum %g, maximum %g, want %g, %g, %g", s.MaxError, s.Min, s.Max, m.maxError, m.min, m.max)
	}
	if got := maps.Collect(s.Delays.Bins()); !maps.Equal(got, m.bins) {
		t.Errorf("bins (-want +got):\n%s", cmp.Diff(m.bins, got))
	}
	if s.TTL != m.ttl {
		t.Errorf("TTLs (-want +got):\n%s", cmp.Diff(m.ttl, s.TTL))
	}
	if !slices.Equal(s.Reordering, m.reordering) {
		t.Errorf("reordering %v, want %v", s.Reordering, m.reordering)
	}
}

func TestSummarizeAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 40 {
		s, times := newSession(t, 1+rng.Uint32N(400))
		recs := arrivals(rng, times, s.Spec.Timeout)
		if rng.IntN(2) == 0 {
			a := rng.Uint32N(s.Spec.Packets)
			s.Skips = []owamp.SkipRange{{First: a, Last: a + 5}, {First: a / 2, Last: a/2 + 2}, {First: a, Last: a + 3}}
		}
		sum, err := Summarize(s, yield(recs), Options{})
		if err != nil {
			t.Fatal(err)
		}
		modelOf(recs, 0, s.Spec.Packets, s.Skips, DefaultBucketWidth).compare(t, sum)
		if sum.Start != times[0] || sum.End != times[len(times)-1] || sum.First != 0 || sum.Last != s.Spec.Packets || sum.Next != -1 {
			t.Errorf("packets %d to %d from %v to %v, next record %d", sum.First, sum.Last, sum.Start, sum.End, sum.Next)
		}
	}
}

// A long session, whose schedule is computed ahead, is summarized as a short one.
func TestSummarizeLong(t *testing.T) {
	const packets = waitsAhead + 3*waitsAtOnce/2
	s, times := newSession(t, packets)
	recs := arrivals(rand.New(rand.NewPCG(8, 8)), times, s.Spec.Timeout)
	sum, err := Summarize(s, yield(recs), Options{})
	if err != nil {
		t.Fatal(err)
	}
	modelOf(recs, 0, packets, nil, DefaultBucketWidth).compare(t, sum)
	if sum.End != times[packets-1] || sum.EndEstimated {
		t.Errorf("end %v, want %v", sum.End, times[packets-1])
	}
	// What was never recorded has a schedule all the same.
	if sum, err = Summarize(s, yield(recs[:10]), Options{}); err != nil || sum.End != times[packets-1] {
		t.Errorf("of ten records: end %v, %v, want %v", sum.End, err, times[packets-1])
	}
}

// Records that are placed one by one, and those that are placed many at a time
// because they come in order, make the same summary.
func TestInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for range 100 {
		s, times := newSession(t, 1+rng.Uint32N(2000))
		recs := arrivals(rng, times, s.Spec.Timeout)
		for range rng.IntN(4) { // and what no receiver writes
			i := rng.IntN(len(recs))
			recs[i].Recv += owamp.Timestamp(rng.Uint64N(5<<32)) * owamp.Timestamp(rng.IntN(2))
		}
		first := rng.Uint32N(s.Spec.Packets)
		last := first + 1 + rng.Uint32N(s.Spec.Packets-first)
		summarize := func(skips []owamp.SkipRange) (*Summary, []owamp.Record, []RecordError) {
			var seen []owamp.Record
			var refused []RecordError
			o := Options{
				First: first, Last: last,
				Each:    func(r *owamp.Record) { seen = append(seen, *r) },
				Refused: func(e *RecordError) { refused = append(refused, *e) },
			}
			f, err := newFold(s, o)
			if err != nil {
				t.Fatal(err)
			}
			f.skips = skips
			for some := range slices.Chunk(slices.Clone(recs), 1+rng.IntN(300)) {
				if more, err := f.add(some); err != nil {
					t.Fatal(err)
				} else if !more {
					break
				}
			}
			return f.finish(), seen, refused
		}
		// Where anything is skipped, records are placed one by one.
		want, wantSeen, wantRefused := summarize([]owamp.SkipRange{{First: math.MaxUint32, Last: math.MaxUint32}})
		got, gotSeen, gotRefused := summarize(nil)
		if got.Sent != want.Sent || got.Lost != want.Lost || got.Duplicates != want.Duplicates || got.End != want.End || got.Next != want.Next || got.Finite != want.Finite {
			t.Fatalf("packets %d to %d: %+v, want %+v", first, last, got, want)
		}
		if !slices.Equal(got.Reordering, want.Reordering) {
			t.Fatalf("reordering %v, want %v", got.Reordering, want.Reordering)
		}
		if !slices.Equal(gotSeen, wantSeen) || !slices.Equal(gotRefused, wantRefused) {
			t.Fatalf("%d records count, %d are refused: %v; want %d and %d: %v", len(gotSeen), len(gotRefused), gotRefused, len(wantSeen), len(wantRefused), wantRefused)
		}
	}
}

// Parts summarized one after the other, each reading on where the part before
// says, are what they are each by itself.
func TestSummarizeParts(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 20 {
		s, times := newSession(t, 600)
		recs := arrivals(rng, times, s.Spec.Timeout)
		var before *Summary
		rest := recs
		for first := uint32(0); first < s.Spec.Packets; first += 70 {
			last := min(first+70, s.Spec.Packets)
			var read int
			records := func(y func([]owamp.Record, error) bool) {
				yield(rest)(func(recs []owamp.Record, err error) bool { read += len(recs); return y(recs, err) })
			}
			sum, err := Summarize(s, records, Options{First: first, Last: last, After: before, BucketWidth: 0.0005})
			if err != nil {
				t.Fatal(err)
			}
			modelOf(recs, first, last, nil, 0.0005).compare(t, sum)
			if sum.Start != times[first] || sum.End != times[last-1] {
				t.Errorf("from %v to %v, want %v to %v", sum.Start, sum.End, times[first], times[last-1])
			}
			// 70 packets take 0.7 s, and 3 time-outs more are waited for.
			if read > 900 {
				t.Errorf("%d records read for the packets %d to %d", read, first, last)
			}
			next := slices.IndexFunc(rest, func(r owamp.Record) bool { return r.Seq >= last })
			if sum.Next != int64(next) {
				t.Errorf("the next part's records begin at %d, want %d", sum.Next, next)
			}
			rest = rest[max(0, sum.Next):]
			before = sum
		}
		if want := int64(len(recs)) - countLost(recs); before.received != want {
			t.Errorf("%d arrivals since the first part, want %d", before.received, want)
		}
	}
}

func countLost(recs []owamp.Record) (n int64) {
	for _, r := range recs {
		if r.Lost() {
			n++
		}
	}
	return n
}

func TestSummarizeRefusesRecords(t *testing.T) {
	s, times := newSession(t, 100)
	for _, tt := range []struct {
		name string
		recs []owamp.Record
		want string
	}{
		{"lost after it came", []owamp.Record{record(3, times[3], 0.1), lostRecord(3, times[3])}, "record 1, of sequence number 3, is damaged: it says lost, but the packet had arrived"},
		{"lost twice", []owamp.Record{lostRecord(3, times[3]), lostRecord(3, times[3])}, "record 1, of sequence number 3, is damaged: it says lost, and so did one before"},
		{"came after it was lost", []owamp.Record{lostRecord(3, times[3]), record(3, times[3], 0.1)}, "record 1, of sequence number 3, is damaged: the packet arrives, but had been declared lost"},
		{"came after a later one was lost", []owamp.Record{lostRecord(3, times[3]), record(2, times[2], 0.1)}, "record 1, of sequence number 2, is damaged: the packet was overdue, or a later one had been declared lost"},
		{"came long after its time-out", []owamp.Record{record(0, times[0], 2.5)}, "record 0, of sequence number 0, is damaged: the packet was overdue, or a later one had been declared lost"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sum, err := Summarize(s, yield(tt.recs), Options{})
			damaged, ok := errors.AsType[*RecordError](err)
			if !ok || err.Error() != tt.want || sum != nil {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if damaged.Index != int64(len(tt.recs)-1) || damaged.Seq != tt.recs[len(tt.recs)-1].Seq {
				t.Errorf("record %d of %d", damaged.Index, damaged.Seq)
			}
		})
	}
}

// Records that cannot be are left out, if that is asked for.
func TestSummarizeWithoutRefusedRecords(t *testing.T) {
	s, times := newSession(t, 100)
	good := []owamp.Record{record(1, times[1], 0.1), lostRecord(3, times[3]), record(4, times[4], 0.2)}
	want, err := Summarize(s, yield(good), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var refused []RecordError
	got, err := Summarize(s, yield([]owamp.Record{good[0], good[1], good[1], record(3, times[3], 0.1), good[2], record(2, times[2], 0.1)}),
		Options{Refused: func(e *RecordError) { refused = append(refused, *e) }})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want.AppendMachine(nil, Names{}, true)), string(got.AppendMachine(nil, Names{}, true))); d != "" {
		t.Errorf("(-without +with):\n%s", d)
	}
	if d := cmp.Diff([]RecordError{
		{2, 3, "it says lost, and so did one before"},
		{3, 3, "the packet arrives, but had been declared lost"},
		{5, 2, "the packet was overdue, or a later one had been declared lost"},
	}, refused); d != "" {
		t.Errorf("refused (-want +got):\n%s", d)
	}
}

// The schedule is computed for some packets more than there are records, and
// from there on estimated.
func TestSummarizeBoundsTime(t *testing.T) {
	const packets, budget, n = 5000, 200, 10
	s, times := newSession(t, packets)
	var recs []owamp.Record
	for i := range uint32(n) {
		recs = append(recs, record(i, times[i], 0.001))
	}
	sum := func(recs []owamp.Record, budget int64) (*Summary, error) {
		f, err := newFold(s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		f.window.budget = budget
		if _, err := f.add(slices.Clone(recs)); err != nil {
			return nil, err
		}
		return f.finish(), nil
	}
	whole, err := sum(recs, packets)
	if err != nil || whole.End != times[packets-1] || whole.EndEstimated {
		t.Errorf("end %v, estimated: %v, %v; want %v", whole.End.Time(), whole.EndEstimated, err, times[packets-1].Time())
	}
	const known = budget + n
	want := times[known] + owamp.Timestamp(packets-1-known)*owamp.Timestamp(s.Spec.MeanInterval())
	part, err := sum(recs, budget)
	if err != nil || part.End != want || !part.EndEstimated {
		t.Errorf("end %v, estimated: %v, %v; want %v", part.End.Time(), part.EndEstimated, err, want.Time())
	}
	// Neither a loss nor a stamp of the far future makes it compute more.
	for _, r := range []owamp.Record{lostRecord(known+2, times[known+2]), record(known+2, times[packets-1], 1000)} {
		if _, err := sum(append(recs[:n:n], r), budget); err == nil || !strings.Contains(err.Error(), "before it have no record") {
			t.Errorf("record of packet %d: %v, want an error", r.Seq, err)
		}
	}
	// What is fixed costs nothing, and is known to the end.
	s.Spec.Slots[0].Type = owamp.SlotFixed
	fixed, err := sum(nil, 0)
	if want := s.Spec.Start.Add(packets * s.Spec.Slots[0].Parameter); err != nil || fixed.End != want || fixed.EndEstimated {
		t.Errorf("end %v, estimated: %v, %v; want %v", fixed.End.Time(), fixed.EndEstimated, err, want.Time())
	}
}

// Stamps that are out of order at the end of a time-out do no harm.
func TestSummarizeAtTheTimeout(t *testing.T) {
	s, times := newSession(t, 100)
	late, later := record(3, times[3], 1), record(4, times[4], 1)
	sum, err := Summarize(s, yield([]owamp.Record{later, late}), Options{})
	if err != nil || sum.Sent != 2 {
		t.Errorf("%v, want two packets", err)
	}
}

func TestSummarizeBoundsMemory(t *testing.T) {
	s, _ := newSession(t, 1)
	s.Spec.Packets = math.MaxUint32
	s.Spec.Slots = []owamp.Slot{{Type: owamp.SlotFixed, Parameter: 1}}
	far := owamp.Record{Seq: maxSpan, Sent: s.Spec.Start, Recv: s.Spec.Start}
	if _, err := Summarize(s, yield([]owamp.Record{far}), Options{Last: maxSpan + 1}); err == nil || !strings.Contains(err.Error(), "ahead of 0") {
		t.Errorf("a sequence number far ahead: %v, want an error", err)
	}
}

func TestSummarizeRefusesOptions(t *testing.T) {
	s, times := newSession(t, 100)
	sum, err := Summarize(s, yield(nil), Options{Last: 50})
	if err != nil {
		t.Fatal(err)
	}
	other := *s
	other.Spec.SID[0]++
	noSlots := *s
	noSlots.Spec.Slots = nil
	for _, tt := range []struct {
		name string
		s    *Session
		o    Options
		want string
	}{
		{"negative width", s, Options{BucketWidth: -1}, "bucket width -1: want"},
		{"no width", s, Options{BucketWidth: math.NaN()}, "bucket width NaN: want"},
		{"endless width", s, Options{BucketWidth: math.Inf(1)}, "bucket width +Inf: want"},
		{"end beyond the session", s, Options{Last: 101}, "packets 0 to 101: want a range within the session's 100"},
		{"begin after the end", s, Options{First: 9, Last: 8}, "packets 9 to 8: want"},
		{"after a gap", s, Options{First: 60, After: sum}, "does not end where this one begins"},
		{"after another session", &other, Options{First: 50, After: sum}, "does not end where this one begins"},
		{"no schedule", &noSlots, Options{}, "no slots"},
	} {
		if _, err := Summarize(tt.s, yield([]owamp.Record{record(0, times[0], 0)}), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

func TestSummarizePassesErrorsOn(t *testing.T) {
	s, times := newSession(t, 100)
	_, err := Summarize(s, func(yield func([]owamp.Record, error) bool) {
		_ = yield([]owamp.Record{record(0, times[0], 0.001)}, nil) && yield(nil, io.ErrUnexpectedEOF)
	}, Options{})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want the reader's error", err)
	}
}

func TestEach(t *testing.T) {
	s, times := newSession(t, 100)
	s.Skips = []owamp.SkipRange{{First: 4, Last: 4}}
	recs := []owamp.Record{record(5, times[5], 0.001), lostRecord(3, times[3]), record(5, times[5], 0.002), lostRecord(4, times[4]), record(40, times[40], 0.001)}
	var seen []owamp.Record
	if _, err := Summarize(s, yield(recs), Options{First: 3, Last: 10, Each: func(r *owamp.Record) { seen = append(seen, *r) }}); err != nil {
		t.Fatal(err)
	}
	recs[2].Flags = owamp.FlagDuplicate
	if !slices.Equal(seen, recs[:3]) {
		t.Errorf("%v, want the records of 5, 3 and 5", seen)
	}
}

// The distribution of the delays of first copies is that of their numbers.
// Sums of integers lose nothing, however great the delays are.
func TestFiniteExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 10))
	for range 50 {
		var f Finite
		n := 1 + rng.IntN(100)
		shift, delays := rng.IntN(64), make([]int64, n)
		mean := new(big.Rat)
		for i := range delays {
			delays[i] = int64(rng.Uint64()) >> shift
			if rng.IntN(50) == 0 {
				delays[i] = math.MinInt64
			}
			f.add(delays[i])
			mean.Add(mean, big.NewRat(delays[i], int64(n)))
		}
		variance := new(big.Rat)
		for _, d := range delays {
			off := new(big.Rat).Sub(new(big.Rat).SetInt64(d), mean)
			variance.Add(variance, off.Mul(off, off).Mul(off, big.NewRat(1, int64(n))))
		}
		m, _ := mean.Float64()
		v, _ := variance.Float64()
		if f.Mean() != m/two32 || f.StdDev() != math.Sqrt(v)/two32 {
			t.Fatalf("%v: mean %g, deviation %g, want %g, %g", delays, f.Mean(), f.StdDev(), m/two32, math.Sqrt(v)/two32)
		}
	}
}

func TestFinite(t *testing.T) {
	s, times := newSession(t, 100)
	recs := []owamp.Record{record(0, times[0], 0.5), record(1, times[1], -0.25), record(1, times[1], 0.75), lostRecord(2, times[2]), record(3, times[3], 0.125), record(4, times[4], 0.625)}
	sum, err := Summarize(s, yield(recs), Options{BucketWidth: 0.25})
	if err != nil {
		t.Fatal(err)
	}
	f := &sum.Finite
	if f.Len() != 4 || f.Min() != -0.25 || f.Max() != 0.625 || f.Mean() != 0.25 {
		t.Errorf("%d delays from %g to %g, mean %g; want 4, -0.25, 0.625, 0.25", f.Len(), f.Min(), f.Max(), f.Mean())
	}
	if want := math.Sqrt((0.0625 + 0.25 + 0.015625 + 0.140625) / 4); math.Abs(f.StdDev()-want) > 1e-12 {
		t.Errorf("standard deviation %g, want %g", f.StdDev(), want)
	}
	for alpha, want := range map[float64]float64{0: -0.25, 0.25: -0.25, 0.5: 0.25, 0.75: 0.5, 0.95: 0.75, 1: 0.75} {
		if got, ok := sum.FinitePercentile(alpha); !ok || got != want {
			t.Errorf("percentile %g: %g, %v; want %g", alpha, got, ok, want)
		}
	}
	none, err := Summarize(s, yield(nil), Options{})
	if err != nil || none.Finite.Len() != 0 {
		t.Errorf("%v, %+v", err, none.Finite)
	}
	if _, ok := none.FinitePercentile(0.5); ok {
		t.Error("nothing has a percentile")
	}
}

// The extents of packets in a reversed stream are found in linear time.
func TestReorderingReversed(t *testing.T) {
	const n = 300_000
	r := reordering{depth: 2 * n}
	for i := range uint32(n) {
		r.arrive(n-i, 0)
	}
	counts := r.counts()
	if len(counts) != n-1 || counts[0] != n-1 || counts[n-2] != 1 {
		t.Errorf("%d counts from %d to %d, want %d from %d to 1", len(counts), counts[0], counts[len(counts)-1], n-1, n-1)
	}
}

// What arrives in order costs memory only until it is settled.
func TestReorderingForgets(t *testing.T) {
	r := reordering{depth: 10}
	for i := range uint32(1_000_000) {
		r.arrive(i, max(i, 100)-100)
	}
	if cap(r.stack) > 1000 || len(r.counts()) != 0 {
		t.Errorf("%d arrivals are kept and %v reordered, want some hundred and none", cap(r.stack), r.counts())
	}
}

func TestReorderingDepth(t *testing.T) {
	r := reordering{depth: 3}
	for _, seq := range []uint32{9, 8, 7, 6, 5, 4} {
		r.arrive(seq, 0)
	}
	// Extents 0, 1, 2, 3, 4 and 5, of which the last two count as 3.
	if got, want := r.counts(), []uint32{5, 4, 3}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestPercentile(t *testing.T) {
	s, times := newSession(t, 10)
	var recs []owamp.Record
	for i := range uint32(6) {
		recs = append(recs, record(i, times[i], float64(i+1)/1024))
	}
	for i := uint32(6); i < 10; i++ {
		recs = append(recs, lostRecord(i, times[i]))
	}
	sum, err := Summarize(s, yield(recs), Options{BucketWidth: 1.0 / 1024})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		alpha, want float64
		ok          bool
	}{{0, 1, true}, {0.1, 1, true}, {0.11, 2, true}, {0.5, 5, true}, {0.6, 6, true}, {0.61, 0, false}, {1, 0, false}} {
		if got, ok := sum.Percentile(tt.alpha); got != tt.want/1024 || ok != tt.ok {
			t.Errorf("percentile %g is %g, %v, want %g, %v", tt.alpha, got, ok, tt.want/1024, tt.ok)
		}
	}
	if v, ok := sum.Variation(); ok {
		t.Errorf("a variation of %g with 40 %% lost, want none", v)
	}
}

func FuzzSummarize(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0, 0, 0x80, 1, 250, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 255, 0, 0, 0}, uint16(0), uint16(5))
	f.Add([]byte("\x00\x05\x00\x00\x00\x00\x80\x01\xfa\x01\x00\x09\x00\x02\x00\x00\x00\x00\x80\x01\xfa\x01\x00\xff"), uint16(1), uint16(70))
	s, times := newSession(f, 200)
	s.Skips = []owamp.SkipRange{{First: 7, Last: 9}}
	f.Fuzz(func(t *testing.T, b []byte, first, last uint16) {
		recs := decodeRecords(b, times)
		o := Options{First: uint32(first), Last: uint32(last)}
		sum, err := Summarize(s, yield(recs), o)
		if err != nil {
			return
		}
		if sum.Sent-sum.Lost != uint32(sum.Delays.Count()) || int64(sum.Duplicates)+int64(sum.Delays.Count()) != sum.received {
			t.Fatalf("sent %d, lost %d, duplicates %d, but %d delays and %d arrivals", sum.Sent, sum.Lost, sum.Duplicates, sum.Delays.Count(), sum.received)
		}
		if sum.Next < 0 {
			// Everything was read.
			modelOf(recs, sum.First, sum.Last, s.Skips, DefaultBucketWidth).compareCounts(t, sum)
		}
		sum.AppendMachine(nil, Names{}, true)
		sum.AppendReport(nil, Names{}, ReportOptions{})
	})
}

// compareCounts leaves out what the arithmetic of absurd records may differ in.
func (m model) compareCounts(t *testing.T, s *Summary) {
	t.Helper()
	if s.Sent != m.sent || s.Lost != m.lost || s.Duplicates != m.dups || s.Synced != m.synced {
		t.Fatalf("sent %d, lost %d, duplicates %d, synced %v, want %d, %d, %d, %v", s.Sent, s.Lost, s.Duplicates, s.Synced, m.sent, m.lost, m.dups, m.synced)
	}
	if !slices.Equal(s.Reordering, m.reordering) {
		t.Fatalf("reordering %v, want %v", s.Reordering, m.reordering)
	}
}

func TestFoldAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	s, times := newSession(t, 20000)
	recs := arrivals(rand.New(rand.NewPCG(3, 3)), times, s.Spec.Timeout)
	f, err := newFold(s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.add(recs[:10000]); err != nil {
		t.Fatal(err)
	}
	for bin := range int32(2000) {
		f.sum.Delays.AddBin(bin-1000, 1)
	}
	i := 10000
	if n := testing.AllocsPerRun(5000, func() {
		if _, err := f.add(recs[i : i+1]); err != nil {
			t.Fatal(err)
		}
		i++
	}); n != 0 {
		t.Errorf("%g allocations a record, want 0", n)
	}
}

func BenchmarkSummarize(b *testing.B) {
	s, times := newSession(b, 100_000)
	recs := arrivals(rand.New(rand.NewPCG(4, 4)), times, s.Spec.Timeout)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Summarize(s, yield(recs), Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(recs))*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
