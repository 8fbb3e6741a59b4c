package histogram

import "math/bits"

// A wide is a signed integer of 128 bits in two's complement: the sum of
// nanoseconds, which at an hour of clock offset leaves 64 bits after 2.6
// million packets.
type wide struct {
	hi int64
	lo uint64
}

func wideOf(v int64) wide { return wide{v >> 63, uint64(v)} }

func (w wide) add(v wide) wide {
	lo, carry := bits.Add64(w.lo, v.lo, 0)
	return wide{w.hi + v.hi + int64(carry), lo}
}

func (w wide) neg() wide {
	lo, borrow := bits.Sub64(0, w.lo, 0)
	return wide{-w.hi - int64(borrow), lo}
}

func (w wide) less(v wide) bool { return w.hi < v.hi || w.hi == v.hi && w.lo < v.lo }

// times returns n·v.
func times(n uint64, v int64) wide {
	if v < 0 {
		return times(n, -(v + 1)).add(wide{0, n}).neg()
	}
	hi, lo := bits.Mul64(n, uint64(v))
	return wide{int64(hi), lo}
}

func (w wide) float() float64 {
	if w.hi < 0 {
		return -w.neg().float()
	}
	return float64(w.hi)*(1<<64) + float64(w.lo)
}

// over returns w/n rounded toward 0. The quotient must fit an int64.
func (w wide) over(n uint64) int64 {
	if w.hi < 0 {
		w = w.neg()
		q, _ := bits.Div64(uint64(w.hi), w.lo, n)
		return -int64(q)
	}
	q, _ := bits.Div64(uint64(w.hi), w.lo, n)
	return int64(q)
}
