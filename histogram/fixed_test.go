package histogram

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFixedBin(t *testing.T) {
	for _, tt := range []struct {
		width, delay float64
		want         int32
	}{
		{0.5, 0, 0},
		{0.5, 0.25, 1},
		{0.5, 0.5, 1},
		{0.5, 0.75, 2},
		{0.5, -0.25, -1},
		{0.5, -0.5, -1},
		{0.5, -0.75, -2},
		{0.0001, 0.0021, 21},
		{0.0001, -0.0034, -34},
		{1e-9, 3, math.MaxInt32},
		{1e-9, -3, math.MinInt32},
	} {
		if got := NewFixed(tt.width).Bin(tt.delay); got != tt.want {
			t.Errorf("%g s are in bin %d of width %g, want %d", tt.delay, got, tt.width, tt.want)
		}
	}
}

// A bin's number is the least in magnitude whose far border the delay does not
// exceed, whatever rounding does at the border itself.
func TestFixedBinHoldsDelay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		width := math.Exp(rng.Float64()*20 - 18)
		f := NewFixed(width)
		d := rng.NormFloat64() * width * 1000
		b := f.Bin(d)
		if far := f.Value(b); math.Abs(d) > math.Abs(far)*(1+1e-12) || math.Abs(d) <= math.Abs(far)-width*(1+1e-9) || b != 0 && math.Signbit(d) != (b < 0) {
			t.Fatalf("%g s in bin %d of width %g, up to %g", d, b, width, far)
		}
	}
}

func TestFixedCounts(t *testing.T) {
	f := NewFixed(1)
	for _, d := range []float64{3, -2, 3, 0, 2.5, -2, 100} {
		f.Add(d)
	}
	f.AddBin(7, 0)
	want := map[int32]uint64{3: 3, -2: 2, 0: 1, 100: 1}
	if got := maps.Collect(f.Bins()); !maps.Equal(got, want) {
		t.Errorf("bins %v, want %v", got, want)
	}
	if f.Count() != 7 || f.Len() != 4 {
		t.Errorf("%d values in %d bins, want 7 in 4", f.Count(), f.Len())
	}
	keys := func(f *Fixed) (sorted, seen []int32) {
		for b := range f.Bins() {
			sorted = append(sorted, b)
		}
		for b := range f.Seen() {
			seen = append(seen, b)
		}
		return sorted, seen
	}
	sorted, seen := keys(f)
	if d := cmp.Diff([]int32{-2, 0, 3, 100}, sorted); d != "" {
		t.Errorf("ascending bins (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]int32{3, -2, 0, 100}, seen); d != "" {
		t.Errorf("bins as seen (-want +got):\n%s", d)
	}
	for range f.Bins() {
		break
	}
}

func TestFixedMerge(t *testing.T) {
	a, b, both := NewFixed(0.25), NewFixed(0.25), NewFixed(0.25)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 1000 {
		d := rng.NormFloat64()
		both.Add(d)
		if i < 500 {
			a.Add(d)
		} else {
			b.Add(d)
		}
	}
	if err := a.Merge(b); err != nil {
		t.Fatal(err)
	}
	if a.Count() != 1000 || !maps.Equal(maps.Collect(a.Bins()), maps.Collect(both.Bins())) {
		t.Errorf("merged bins differ from those of all values")
	}
	if err := a.Merge(a); err != nil {
		t.Fatal(err)
	}
	for bin, n := range both.Bins() {
		if got := maps.Collect(a.Bins())[bin]; got != 2*n {
			t.Errorf("bin %d: %d after a merge with itself, want %d", bin, got, 2*n)
		}
	}
	if err := a.Merge(NewFixed(0.5)); err == nil || a.Count() != 2000 {
		t.Errorf("bins of another width: error %v and a count of %d, want an error and 2000", err, a.Count())
	}
}

func TestNewFixedPanics(t *testing.T) {
	for _, width := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("no panic for width %g", width)
				}
			}()
			NewFixed(width)
		}()
	}
}

func TestFixedAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	f := NewFixed(0.0001)
	delays := spread(1000)
	for _, d := range delays {
		f.Add(d)
	}
	i := 0
	if n := testing.AllocsPerRun(10000, func() {
		f.Add(delays[i%len(delays)])
		i++
	}); n != 0 {
		t.Errorf("%g allocations for a bin that exists, want 0", n)
	}
}

// spread returns n delays that lie between -4 s and 4 s.
func spread(n int) []float64 {
	rng := rand.New(rand.NewPCG(5, 6))
	return slices.Collect(func(yield func(float64) bool) {
		for range n {
			if !yield(rng.Float64()*8 - 4) {
				return
			}
		}
	})
}

// What Add remembers of the delays before changes nothing.
func TestFixedAddRemembers(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 32))
	for range 20 {
		f := NewFixed(0.001)
		want := map[int32]uint64{}
		at := 0.0
		for range 2000 {
			switch rng.IntN(20) {
			case 0:
				at = (rng.Float64() - 0.5) * 10
			case 1:
				at = float64(rng.IntN(5)-2) * 0.001 // a border
			case 2:
				at = 0
			}
			if rng.IntN(50) == 0 {
				f.AddBin(5, 3)
				want[5] += 3
			}
			delay := at + (rng.Float64()-0.5)*0.0004*float64(rng.IntN(2))
			f.Add(delay)
			want[f.Bin(delay)]++
		}
		if got := maps.Collect(f.Bins()); !maps.Equal(got, want) {
			t.Fatalf("bins %v, want %v", got, want)
		}
	}
}

func BenchmarkFixedAdd(b *testing.B) {
	for _, bm := range []struct {
		name   string
		delays []float64
	}{
		{"one bin", []float64{0.00215}},
		{"10000 bins from -4 s to 4 s", spread(10000)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			f := NewFixed(0.0001)
			for _, d := range bm.delays {
				f.Add(d)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				f.Add(bm.delays[i])
				if i++; i == len(bm.delays) {
					i = 0
				}
			}
		})
	}
}
