package histogram

import (
	"fmt"
	"iter"
	"math"
	"slices"
)

// A Fixed is a histogram with bins of one width, in seconds. Bin b > 0 counts
// the delays in ((b-1)·width, b·width], bin b < 0 those in [b·width,
// (b+1)·width), and bin 0 those of exactly 0: a delay is rounded away from 0.
//
// It keeps only the bins that hold something, so that neither its size nor the
// cost of adding depends on how far the delays spread.
type Fixed struct {
	width float64
	index map[int32]int32 // bin to its place in bins
	bins  []fixedBin      // in the order in which they were first seen
	count uint64
	// near has, at a bin modulo its length, the place of that bin if it was the
	// last one there: delays keep to few bins for long.
	near [512]int32
	// The delays from low to high, if there are any, belong to bins[last].
	low, high float64
	last      int32
}

type fixedBin struct {
	bin   int32
	count uint64
}

// NewFixed returns an empty histogram whose bins are width seconds wide. It
// panics unless width is greater than 0 and finite.
func NewFixed(width float64) *Fixed {
	if !(width > 0) || math.IsInf(width, 1) {
		panic(fmt.Sprintf("histogram: bin width %g, want a finite number of seconds above 0", width))
	}
	return &Fixed{width: width, index: make(map[int32]int32), low: math.Inf(1), high: math.Inf(-1)}
}

// Width returns the width of a bin in seconds.
func (f *Fixed) Width() float64 { return f.width }

// Bin returns the bin of a delay in seconds; delays beyond the greatest or the
// least bin belong to it.
func (f *Fixed) Bin(delay float64) int32 {
	b := delay / f.width
	if b < 0 {
		b = math.Floor(b)
	} else {
		b = math.Ceil(b)
	}
	return int32(max(math.MinInt32, min(b, math.MaxInt32)))
}

// Add counts a delay of so many seconds. It allocates only for a bin that was
// empty.
func (f *Fixed) Add(delay float64) {
	// Bins ascend with the delay, so what lies between two delays of a bin needs
	// no division.
	if f.low <= delay && delay <= f.high {
		f.count++
		f.bins[f.last].count++
		return
	}
	f.addElsewhere(delay)
}

func (f *Fixed) addElsewhere(delay float64) {
	bin := f.Bin(delay)
	if f.low <= f.high && f.bins[f.last].bin == bin {
		f.low, f.high = min(f.low, delay), max(f.high, delay)
	} else {
		f.low, f.high = delay, delay
	}
	f.AddBin(bin, 1)
	f.last = f.near[uint32(bin)%uint32(len(f.near))]
}

// AddBin adds n to a bin.
func (f *Fixed) AddBin(bin int32, n uint64) {
	if n == 0 {
		return
	}
	f.count += n
	near := &f.near[uint32(bin)%uint32(len(f.near))]
	if i := int(*near); i < len(f.bins) && f.bins[i].bin == bin {
		f.bins[i].count += n
		return
	}
	i, ok := f.index[bin]
	if !ok {
		i = int32(len(f.bins))
		f.index[bin] = i
		f.bins = append(f.bins, fixedBin{bin: bin})
	}
	f.bins[i].count += n
	*near = i
}

// Merge adds what o has counted. The widths must be equal.
func (f *Fixed) Merge(o *Fixed) error {
	if f.width != o.width {
		return fmt.Errorf("histogram: bins of %g s cannot be added to bins of %g s", o.width, f.width)
	}
	// A copy of the length, for o may be f.
	for _, b := range slices.Clip(o.bins) {
		f.AddBin(b.bin, b.count)
	}
	return nil
}

// Count returns how many delays were added.
func (f *Fixed) Count() uint64 { return f.count }

// Len returns how many bins hold something.
func (f *Fixed) Len() int { return len(f.bins) }

// Bins yields the bins that hold something and their counts, in ascending
// order.
func (f *Fixed) Bins() iter.Seq2[int32, uint64] {
	return func(yield func(int32, uint64) bool) {
		bins := slices.Clone(f.bins)
		slices.SortFunc(bins, func(a, b fixedBin) int { return int(int64(a.bin) - int64(b.bin)) })
		each(bins, yield)
	}
}

// Seen yields the bins that hold something and their counts, in the order in
// which they were first added to.
func (f *Fixed) Seen() iter.Seq2[int32, uint64] {
	return func(yield func(int32, uint64) bool) { each(f.bins, yield) }
}

func each(bins []fixedBin, yield func(int32, uint64) bool) {
	for _, b := range bins {
		if !yield(b.bin, b.count) {
			return
		}
	}
}

// Value returns the end of a bin that is farther from 0, in seconds: the
// greatest magnitude among the delays that it counts.
func (f *Fixed) Value(bin int32) float64 { return float64(bin) * f.width }
