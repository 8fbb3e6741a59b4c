package series

import "math"

// Ratio returns a percentage's numerator and denominator. False: the value is
// none.
func (v Value) Ratio() (numerator, denominator int64, ok bool) {
	return v.n, v.over, v.kind == Percentage
}

// Ratio returns the sums of the numerators and of the denominators of the
// percentages in the fold. False: it is of another kind, or 64 bits are too few.
func (f *Fold) Ratio() (numerator, denominator int64, ok bool) {
	small := func(w wide) bool { return w.hi == 0 && w.lo <= math.MaxInt64 }
	if f.kind != Percentage || !small(f.sum) || !small(f.over) {
		return 0, 0, false
	}
	return int64(f.sum.lo), int64(f.over.lo), true
}
