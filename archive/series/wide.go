package series

import (
	"math/big"
	"math/bits"
)

// A wide is an integer of 128 bits, in two's complement: a sum of as many
// integers of 64 bits as there can be.
type wide struct {
	hi int64
	lo uint64
}

func wideOf(n int64) wide { return wide{n >> 63, uint64(n)} }

// product returns a product of integers that are not negative.
func product(a, b int64) wide {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return wide{int64(hi), lo}
}

func (w wide) add(v wide) wide {
	lo, carry := bits.Add64(w.lo, v.lo, 0)
	hi, _ := bits.Add64(uint64(w.hi), uint64(v.hi), carry)
	return wide{int64(hi), lo}
}

func (w wide) negated() wide {
	lo, borrow := bits.Sub64(0, w.lo, 0)
	hi, _ := bits.Sub64(0, uint64(w.hi), borrow)
	return wide{int64(hi), lo}
}

// exact returns the integer if a double holds it.
func (w wide) exact() (float64, bool) {
	const most = 1 << 53
	n := int64(w.lo)
	return float64(n), w.hi == n>>63 && -most <= n && n <= most
}

// over returns the double next to w/d. d is not 0.
func (w wide) over(d wide) float64 {
	a, aOK := w.exact()
	b, bOK := d.exact()
	if aOK && bOK {
		return a / b
	}
	f, _ := new(big.Rat).SetFrac(w.big(), d.big()).Float64()
	return f
}

func (w wide) big() *big.Int {
	n := new(big.Int).Lsh(big.NewInt(w.hi), 64)
	return n.Add(n, new(big.Int).SetUint64(w.lo))
}
