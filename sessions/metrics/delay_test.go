package metrics

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"owl/owamp"
	"owl/sessions"
)

// nativeCounts returns the count of each bucket that is not empty, the negative
// ones under their sign and index, and the sum of all.
func nativeCounts(h *dto.Histogram) (counts map[[2]int]int64, sum uint64) {
	counts = make(map[[2]int]int64)
	unpack := func(sign int, spans []*dto.BucketSpan, deltas []int64) {
		k, n := 0, int64(0)
		for _, s := range spans {
			k += int(s.GetOffset())
			for range s.GetLength() {
				n += deltas[0]
				deltas = deltas[1:]
				if n != 0 {
					counts[[2]int{sign, k}] = n
				}
				sum += uint64(n)
				k++
			}
		}
	}
	unpack(1, h.PositiveSpan, h.PositiveDelta)
	unpack(-1, h.NegativeSpan, h.NegativeDelta)
	return counts, sum + h.GetZeroCount()
}

func observed(t testing.TB, recs []owamp.Record) *dto.Histogram {
	t.Helper()
	reg, c := newCollector(t)
	c.Stream(Labels{"a", "b", To, ""}, fixed(sessions.Snapshot{})).Observe(recs)
	return histograms(t, reg)[0].Histogram
}

// The client library's own histogram is the oracle.
func TestSameAsClientLibrary(t *testing.T) {
	random := rand.New(rand.NewPCG(4656, 7679))
	var delays []time.Duration
	for _, b := range classicBounds {
		delays = append(delays, b-1, b, b+1)
	}
	for e := range 62 { // the native bounds, and what a Timestamp can hold
		delays = append(delays, 1<<e, 1<<e-1, 1<<e+1, -1<<e, time.Duration(math.Exp2(float64(e)/8)*1e9))
	}
	for range 20_000 {
		d := time.Duration(math.Exp(random.Float64()*42.2) * 1)
		if random.IntN(5) == 0 {
			d = -d
		}
		delays = append(delays, d)
	}
	bounds := make([]float64, len(classicBounds))
	for i, b := range classicBounds {
		bounds[i] = b.Seconds()
	}
	oracle := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "x", Buckets: bounds, NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: math.Exp2(-30),
	})
	recs := received(delays...)
	for _, r := range recs {
		oracle.Observe(float64(r.Recv.Sub(r.Sent)) / 1e9)
	}
	var m dto.Metric
	if err := oracle.Write(&m); err != nil {
		t.Fatal(err)
	}
	want, got := m.Histogram, observed(t, recs)

	wantCounts, _ := nativeCounts(want)
	gotCounts, n := nativeCounts(got)
	if d := cmp.Diff(wantCounts, gotCounts); d != "" {
		t.Errorf("native buckets (-client library +got):\n%s", d)
	}
	if n != uint64(len(recs)) || got.GetSampleCount() != n {
		t.Errorf("native buckets hold %d, the histogram %d, want %d", n, got.GetSampleCount(), len(recs))
	}
	if got.GetSchema() != want.GetSchema() || got.GetZeroThreshold() != want.GetZeroThreshold() || got.GetZeroCount() != want.GetZeroCount() {
		t.Errorf("schema %d, zero threshold %g, %d zeros; want %d, %g, %d", got.GetSchema(), got.GetZeroThreshold(), got.GetZeroCount(),
			want.GetSchema(), want.GetZeroThreshold(), want.GetZeroCount())
	}
	if d := cmp.Diff(want.Bucket, got.Bucket, cmpopts.IgnoreUnexported(dto.Bucket{})); d != "" {
		t.Errorf("classic buckets (-client library +got):\n%s", d)
	}
	if d := math.Abs(got.GetSampleSum() - want.GetSampleSum()); d > math.Abs(want.GetSampleSum())*1e-9 {
		t.Errorf("sum %v, want %v", got.GetSampleSum(), want.GetSampleSum())
	}
}

func TestObserveOnlyFirstCopies(t *testing.T) {
	recs := received(time.Millisecond, time.Millisecond, time.Millisecond)
	recs[0].Recv = 0
	recs[2].Flags |= owamp.FlagDuplicate
	if h := observed(t, recs); h.GetSampleCount() != 1 || h.GetSampleSum() != 0.001 {
		t.Errorf("%d delays with the sum %v, want the one of 0.001 s", h.GetSampleCount(), h.GetSampleSum())
	}
}

// A native histogram without a single delay must still say that it is one.
func TestEmpty(t *testing.T) {
	h := observed(t, nil)
	if h.GetSampleCount() != 0 || h.GetZeroThreshold() <= 0 || len(h.Bucket) != len(classicBounds) {
		t.Errorf("empty histogram is %v", h)
	}
}

// Whatever a peer writes into its stamps, each delay lands in the one bucket
// whose bounds hold it.
func FuzzObserve(f *testing.F) {
	f.Add(uint64(epoch), uint64(epoch))
	f.Add(uint64(1), uint64(1<<63+1))
	f.Add(uint64(1<<63+1), uint64(1))
	f.Add(uint64(0), uint64(math.MaxUint64))
	f.Add(uint64(epoch), uint64(epoch.AddDuration(time.Microsecond)))
	f.Fuzz(func(t *testing.T, sent, recv uint64) {
		r := owamp.Record{Sent: owamp.Timestamp(sent), Recv: owamp.Timestamp(recv)}
		var d delays
		d.add([]owamp.Record{r})
		var m dto.Metric
		if err := d.metric(time.Time{}, (&Labels{}).values()).Write(&m); err != nil {
			t.Fatal(err)
		}
		h := m.Histogram
		counts, n := nativeCounts(h)
		if r.Lost() {
			if n != 0 {
				t.Fatalf("a lost packet's delay was counted: %v", h)
			}
			return
		}
		if n != 1 || h.GetSampleCount() != 1 {
			t.Fatalf("one delay counted as %d in %d buckets", h.GetSampleCount(), n)
		}
		v := h.GetSampleSum()
		for k := range counts {
			a := v * float64(k[0])
			lo, hi := math.Exp2(float64(k[1]-1)/8), math.Exp2(float64(k[1])/8)
			if a <= lo*(1-1e-12) || a > hi*(1+1e-12) {
				t.Errorf("%v s is in the bucket (%v, %v]", v, lo, hi)
			}
		}
		if len(counts) == 0 && v != 0 {
			t.Errorf("%v s counted as zero", v)
		}
	})
}

func TestObserveDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	_, c := newCollector(t)
	s := c.Stream(Labels{"a", "b", To, ""}, fixed(sessions.Snapshot{}))
	recs := received(800, 900, 1300, 40_000, -500)
	if n := testing.AllocsPerRun(100, func() { s.Observe(recs) }); n != 0 {
		t.Errorf("Observe allocates %v times, want never once the range of delays is known", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, bench := range []struct {
		name  string
		batch int
	}{{"one", 1}, {"batch", 64}} {
		b.Run(bench.name, func(b *testing.B) {
			_, c := newCollector(b)
			s := c.Stream(Labels{"a", "b", To, ""}, fixed(sessions.Snapshot{}))
			delays := make([]time.Duration, bench.batch)
			random := rand.New(rand.NewPCG(1, 2))
			for i := range delays {
				delays[i] = time.Duration(random.ExpFloat64()*20_000) + 600
			}
			recs := received(delays...)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				s.Observe(recs)
				n += len(recs)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
		})
	}
}

func BenchmarkGather(b *testing.B) {
	reg, c := newCollector(b)
	for i := range 100 {
		s := c.Stream(Labels{"a", "b", To, string(rune('0' + i))}, fixed(busy))
		s.Observe(received(600, 700, 800, 900, 1300, 40_000))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reg.Gather(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(100*b.N), "µs/stream")
}

// TestParts: what many streams count in parts is, all together, what one
// histogram counts, classic and native.
func TestParts(t *testing.T) {
	whole := new(delays)
	whole.init(true)
	g := newGroup(other, true)
	if len(g.delays) != parts {
		t.Fatalf("%d parts, want %d", len(g.delays), parts)
	}
	for i := range 1000 {
		recs := received(time.Duration(i*i-5000) * time.Microsecond)
		whole.add(recs)
		g.share().add(recs)
	}
	var got, want dto.Metric
	labels := other.values()
	for m, d := range map[*dto.Metric]*delays{&got: g.delayed(), &want: whole} {
		if err := d.metric(time.Unix(1, 0), labels).Write(m); err != nil {
			t.Fatal(err)
		}
	}
	counts, n := nativeCounts(got.Histogram)
	wantCounts, _ := nativeCounts(want.Histogram)
	if diff := cmp.Diff(wantCounts, counts); diff != "" || n != 1000 {
		t.Errorf("%d delays, -want +got\n%s", n, diff)
	}
	for i, b := range want.Histogram.GetBucket() {
		if c := got.Histogram.GetBucket()[i]; c.GetUpperBound() != b.GetUpperBound() || c.GetCumulativeCount() != b.GetCumulativeCount() {
			t.Errorf("bucket %v, want %v", c, b)
		}
	}
	if a, b := got.Histogram.GetSampleSum(), want.Histogram.GetSampleSum(); math.Abs(a-b) > 1e-9*b {
		t.Errorf("sum %v, want %v", a, b)
	}
}
