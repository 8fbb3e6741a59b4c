package histogram

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
)

// samples returns values of all magnitudes and both signs.
func samples(rng *rand.Rand, n int) []int64 {
	v := make([]int64, n)
	for i := range v {
		v[i] = rng.Int64() >> rng.IntN(64)
		if rng.IntN(3) == 0 {
			v[i] = -v[i]
		}
	}
	return v
}

func insertAll(values []int64) *Live {
	h := new(Live)
	for _, v := range values {
		h.Insert(v)
	}
	return h
}

func TestBinsAreFine(t *testing.T) {
	last := -1
	for _, m := range magnitudes() {
		i := bin(m)
		low, width := span(i)
		if m < low || m-low >= width {
			t.Fatalf("%d is in bin %d, which counts %d to %d", m, i, low, low+width-1)
		}
		if m >= sub && width*100 > m {
			t.Fatalf("the bin of %d is %d wide, more than 1 %%", m, width)
		}
		if i < last {
			t.Fatalf("%d is in bin %d, below a smaller one's bin %d", m, i, last)
		}
		last = i
	}
	if last != side-1 {
		t.Errorf("the greatest magnitude is in bin %d of %d", last, side)
	}
}

// magnitudes returns what lies at and around every power of 2, and more.
func magnitudes() []uint64 {
	m := []uint64{0, math.MaxInt64}
	rng := rand.New(rand.NewPCG(7, 8))
	for e := range 63 {
		for _, d := range []int64{-1, 0, 1} {
			m = append(m, uint64(max(0, 1<<e+d)))
		}
		m = append(m, uint64(rng.Int64N(1<<e+1)))
	}
	slices.Sort(m)
	return m
}

func TestBinsCover(t *testing.T) {
	var next uint64
	for i := range side {
		low, width := span(i)
		if low != next {
			t.Fatalf("bin %d begins at %d, want %d", i, low, next)
		}
		next = low + width
	}
	if next != 1<<63 {
		t.Errorf("the bins end at %d, want 2^63", next)
	}
}

func TestLiveEmpty(t *testing.T) {
	var h Live
	if h.Count() != 0 || h.Min() != 0 || h.Max() != 0 || h.Sum() != 0 || h.Mean() != 0 || h.Quantile(0.5) != 0 {
		t.Errorf("an empty histogram has %d, %d, %d, %g, %d, %d", h.Count(), h.Min(), h.Max(), h.Sum(), h.Mean(), h.Quantile(0.5))
	}
}

func TestLiveExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for range 50 {
		values := samples(rng, 1+rng.IntN(200))
		if rng.IntN(4) == 0 {
			values = append(values, math.MinInt64, math.MaxInt64, math.MinInt64)
		}
		h := insertAll(values)
		sum := new(big.Int)
		for _, v := range values {
			sum.Add(sum, big.NewInt(v))
		}
		wantSum, _ := new(big.Float).SetInt(sum).Float64()
		wantMean := new(big.Int).Quo(sum, big.NewInt(int64(len(values)))).Int64()
		if h.Count() != uint64(len(values)) || h.Min() != slices.Min(values) || h.Max() != slices.Max(values) {
			t.Fatalf("count %d, minimum %d, maximum %d, want %d, %d, %d", h.Count(), h.Min(), h.Max(), len(values), slices.Min(values), slices.Max(values))
		}
		if math.Abs(h.Sum()-wantSum) > math.Abs(wantSum)*1e-15 || h.Mean() != wantMean {
			t.Fatalf("sum %g, mean %d, want %g, %d", h.Sum(), h.Mean(), wantSum, wantMean)
		}
	}
}

func TestQuantile(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for range 50 {
		values := samples(rng, 1+rng.IntN(300))
		h := insertAll(values)
		slices.Sort(values)
		if h.Quantile(0) != values[0] || h.Quantile(1) != values[len(values)-1] {
			t.Fatalf("quantiles 0 and 1 are %d and %d, want %d and %d", h.Quantile(0), h.Quantile(1), values[0], values[len(values)-1])
		}
		for k, v := range values {
			q := float64(k) / float64(max(1, len(values)-1))
			got := h.Quantile(q)
			// Rounding of q may select the value before or after.
			ok := false
			for _, w := range values[max(0, k-1):min(len(values), k+2)] {
				ok = ok || math.Abs(float64(got)-float64(w)) <= math.Abs(float64(w))*0.01
			}
			if !ok {
				t.Fatalf("quantile %g is %d, want %d ± 1 %%", q, got, v)
			}
		}
		last := int64(math.MinInt64)
		for q := 0.0; q <= 1; q += 0.01 {
			if got := h.Quantile(q); got < last {
				t.Fatalf("quantile %g is %d, below an earlier one, %d", q, got, last)
			} else {
				last = got
			}
		}
	}
}

// Evenly spread values have quantiles that are far better than a bin's width.
// Many quantiles at once are what each is by itself.
func TestQuantiles(t *testing.T) {
	q := []float64{-1, 0, 0, 0.01, 0.25, 0.25, 0.5, 0.9, 0.99, 1, 2}
	for n := range 200 {
		rng := rand.New(rand.NewPCG(uint64(n), 5))
		var h Live
		for range n {
			h.Insert(int64(rng.NormFloat64() * 1e6))
		}
		got := make([]int64, len(q))
		h.Quantiles(got, q...)
		for i := range q {
			if want := h.Quantile(q[i]); got[i] != want {
				t.Fatalf("quantile %g of %d values is %d among others, %d by itself", q[i], n, got[i], want)
			}
		}
	}
}

func TestQuantileInterpolates(t *testing.T) {
	for _, sign := range []int64{1, -1} {
		var h Live
		for v := int64(1 << 20); v < 1<<21; v++ {
			h.Insert(sign * v)
		}
		for _, q := range []float64{0.001, 0.25, 0.5, 0.95, 0.999} {
			want := 1<<20 + q*(1<<20-1)
			if sign < 0 {
				want = -(1<<21 - 1) + q*(1<<20-1)
			}
			if got := float64(h.Quantile(q)); math.Abs(got-want) > 2 {
				t.Errorf("quantile %g of numbers one after the other is %.0f, want %.0f", q, got, want)
			}
		}
	}
	var one Live
	one.Insert(1_000_001)
	for _, q := range []float64{-1, 0, 0.3, 0.5, 1, 2, math.NaN()} {
		if got := one.Quantile(q); got != 1_000_001 {
			t.Errorf("quantile %g of one value is %d, want it", q, got)
		}
	}
}

func TestLiveMergeAndReset(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	for range 20 {
		a, b := samples(rng, rng.IntN(50)), samples(rng, rng.IntN(50))
		merged, want := insertAll(a), insertAll(append(slices.Clone(a), b...))
		merged.Merge(insertAll(b))
		if *merged != *want {
			t.Fatalf("merging %v and %v differs from inserting all", a, b)
		}
		merged.Reset()
		if *merged != (Live{}) {
			t.Fatalf("a reset histogram is not empty")
		}
	}
	h := insertAll([]int64{-5, 7, 1 << 40})
	h.Merge(h)
	if *h != *insertAll([]int64{-5, 7, 1 << 40, -5, 7, 1 << 40}) {
		t.Errorf("merging a histogram with itself does not double it")
	}
}

func TestLiveAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	var h Live
	values := samples(rand.New(rand.NewPCG(15, 16)), 1000)
	i := 0
	if n := testing.AllocsPerRun(10000, func() {
		h.Insert(values[i%len(values)])
		i++
	}); n != 0 {
		t.Errorf("%g allocations an insert, want 0", n)
	}
}

func BenchmarkLiveInsert(b *testing.B) {
	for _, bm := range []struct {
		name   string
		values []int64
	}{
		{"one bin", []int64{2_150_000}},
		{"all magnitudes", samples(rand.New(rand.NewPCG(17, 18)), 10000)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			var h Live
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				h.Insert(bm.values[i])
				if i++; i == len(bm.values) {
					i = 0
				}
			}
		})
	}
}

func BenchmarkLiveQuantile(b *testing.B) {
	var h Live
	rng := rand.New(rand.NewPCG(19, 20))
	for range 100000 {
		h.Insert(int64(2e6 + 1e5*rng.NormFloat64()))
	}
	b.ReportAllocs()
	for b.Loop() {
		h.Quantile(0.95)
	}
}
