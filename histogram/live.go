package histogram

import (
	"iter"
	"math"
	"math/bits"
)

const (
	// subBits: each doubling of the magnitude is cut into 2^subBits bins, so
	// that a bin is at most 1/128 (0.8 %) as wide as what it counts.
	subBits = 7
	sub     = 1 << subBits
	// side is the number of bins of one sign: a bin for each magnitude below
	// 2^subBits, then sub bins for each doubling up to 2^63.
	side = sub * (1 + 63 - subBits)
)

// A Live is a histogram of nanoseconds for values of any size and either sign:
// magnitudes below 128 ns have a bin each, greater ones a bin that is less than
// 1 % of the value wide. Count, sum, minimum and maximum are exact. The zero
// Live is empty.
//
// Insert neither allocates nor loops. A Live is 114 KiB of address space, of
// which only the pages that values fall into are ever touched: a stream's
// delays usually need two or three of them.
type Live struct {
	count    uint64
	sum      wide
	min, max int64
	positive [side]uint64 // 0 and above
	negative [side]uint64 // by magnitude
}

// bin returns the bin of a magnitude below 2^63.
func bin(m uint64) int {
	if m < sub {
		return int(m)
	}
	e := bits.Len64(m) - 1 - subBits
	return sub*(e+1) + int(m>>e)&(sub-1)
}

// span returns the least magnitude that bin i counts, and how many it counts.
func span(i int) (low, width uint64) {
	if i < sub {
		return uint64(i), 1
	}
	e := i/sub - 1
	return uint64(sub+i%sub) << e, 1 << e
}

// magnitude returns |ns|, and for the one number that has no positive
// counterpart the greatest magnitude.
func magnitude(ns int64) uint64 {
	if ns >= 0 {
		return uint64(ns)
	}
	return uint64(-max(ns, -math.MaxInt64))
}

// Insert counts a value in nanoseconds.
func (h *Live) Insert(ns int64) {
	if h.count == 0 {
		h.min, h.max = ns, ns
	}
	h.min, h.max = min(h.min, ns), max(h.max, ns)
	h.count++
	h.sum = h.sum.add(wideOf(ns))
	if ns >= 0 {
		h.positive[bin(uint64(ns))]++
	} else {
		h.negative[bin(magnitude(ns))]++
	}
}

// Merge adds what o has counted.
func (h *Live) Merge(o *Live) {
	if o.count == 0 {
		return
	}
	if h.count == 0 {
		h.min, h.max = o.min, o.max
	}
	lo, hi := min(h.min, o.min), max(h.max, o.max)
	for i, n := range o.used() {
		*h.at(i) += n
	}
	h.min, h.max = lo, hi
	h.count += o.count
	h.sum = h.sum.add(o.sum)
}

// Reset empties the histogram.
func (h *Live) Reset() {
	for i := range h.used() {
		*h.at(i) = 0
	}
	h.count, h.sum, h.min, h.max = 0, wide{}, 0, 0
}

// at returns bin i, where i ascends with the value: -1 is the negative bin next
// to 0, 0 the bin of exactly 0.
func (h *Live) at(i int) *uint64 {
	if i < 0 {
		return &h.negative[-i]
	}
	return &h.positive[i]
}

// place returns the number, as [Live.at] takes it, of a value's bin.
func place(ns int64) int {
	if ns < 0 {
		return -bin(magnitude(ns))
	}
	return bin(uint64(ns))
}

// used yields the bins that hold something, ascending. It looks only at those
// between minimum and maximum, so that untouched pages stay untouched.
func (h *Live) used() iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		if h.count == 0 {
			return
		}
		last := place(h.max)
		for i := place(h.min); i <= last; i++ {
			if n := *h.at(i); n != 0 && !yield(i, n) {
				return
			}
		}
	}
}

// Count returns how many values were inserted.
func (h *Live) Count() uint64 { return h.count }

// Min returns the least value, 0 of an empty histogram.
func (h *Live) Min() int64 { return h.min }

// Max returns the greatest value, 0 of an empty histogram.
func (h *Live) Max() int64 { return h.max }

// Sum returns the sum of all values in nanoseconds. It is kept exactly and
// rounded only here.
func (h *Live) Sum() float64 { return h.sum.float() }

// Mean returns the mean in nanoseconds, rounded toward 0; 0 of an empty
// histogram.
func (h *Live) Mean() int64 {
	if h.count == 0 {
		return 0
	}
	return h.sum.over(h.count)
}

// Quantile returns the value below which the share q of all values lies, with
// q in [0, 1]: Min for 0, Max for 1, and in between what the spread of the
// values inside the bin suggests, less than 1 % off. An empty histogram has the
// quantile 0.
func (h *Live) Quantile(q float64) int64 {
	if h.count == 0 {
		return 0
	}
	if !(q > 0) {
		return h.min
	}
	if q >= 1 {
		return h.max
	}
	var v [1]int64
	h.quantiles(v[:], q)
	return v[0]
}

// Quantiles sets v[i] to the quantile q[i], as [Live.Quantile] has it, in one pass.
// They ascend.
func (h *Live) Quantiles(v []int64, q ...float64) {
	first, last := 0, len(q)
	for first < last && (h.count == 0 || !(q[first] > 0)) {
		v[first] = h.min
		first++
	}
	for last > first && q[last-1] >= 1 {
		last--
		v[last] = h.max
	}
	h.quantiles(v[first:last], q[first:last]...)
}

// quantiles is Quantiles for values of q between 0 and 1, of a histogram that is
// not empty.
func (h *Live) quantiles(v []int64, q ...float64) {
	var before uint64
	next := 0
	for i, n := range h.used() {
		for next < len(q) {
			rank := q[next] * float64(h.count-1) // between the values 0 … count-1 in order
			if rank >= float64(before+n) {
				break
			}
			v[next] = h.inBin(i, n, rank-float64(before))
			next++
		}
		if next == len(q) {
			return
		}
		before += n
	}
	for ; next < len(q); next++ {
		v[next] = h.max
	}
}

// inBin returns the value of a rank among the n values of bin i, which are taken
// to lie evenly in it.
func (h *Live) inBin(i int, n uint64, rank float64) int64 {
	share := min((rank+0.5)/float64(n), 1)
	low, width := span(max(i, -i))
	if i < 0 {
		share = 1 - share
	}
	m := int64(low + min(uint64(share*float64(width)), width-1))
	if i < 0 {
		m = -m
	}
	return max(h.min, min(m, h.max))
}
