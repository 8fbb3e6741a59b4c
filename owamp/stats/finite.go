package stats

import (
	"math"
	"math/big"
	"math/bits"
	"slices"
)

// A Finite describes the conditional distribution of RFC 6049 section 4.1.2, on
// which the one-way delay metrics of RFC 8912 sections 7 and 8 stand: the delays
// of the packets that arrived, of each packet's first copy (RFC 7679 section
// 3.4). Unlike the rest of a summary it does not follow the reference's
// arithmetic.
type Finite struct {
	n        uint64
	min, max int64     // 2^-32 s
	sum      [2]uint64 // likewise, in two's complement, the lower half first
	squares  [3]uint64 // the sum of squares, likewise
}

// add counts a delay in units of 2^-32 s.
func (f *Finite) add(d int64) {
	if f.n == 0 {
		f.min, f.max = d, d
	}
	f.n++
	f.min, f.max = min(f.min, d), max(f.max, d)
	var carry uint64
	f.sum[0], carry = bits.Add64(f.sum[0], uint64(d), 0)
	f.sum[1] += uint64(d>>63) + carry
	magnitude := uint64(max(d, -d)) // right for the least number, too
	high, low := bits.Mul64(magnitude, magnitude)
	f.squares[0], carry = bits.Add64(f.squares[0], low, 0)
	f.squares[1], carry = bits.Add64(f.squares[1], high, carry)
	f.squares[2] += carry
}

// Len returns how many delays there are.
func (f *Finite) Len() uint64 { return f.n }

// Min returns the least delay in seconds; with no delay it means nothing, as
// with Max, Mean and StdDev.
func (f *Finite) Min() float64 { return float64(f.min) / two32 }

// Max returns the greatest delay in seconds.
func (f *Finite) Max() float64 { return float64(f.max) / two32 }

// Mean returns the mean delay in seconds.
func (f *Finite) Mean() float64 { return quotient(f.total(), f.count()) / two32 }

// StdDev returns the standard deviation of the delays as a population, in
// seconds (RFC 8912 section 7.4.2.5).
func (f *Finite) StdDev() float64 {
	// n² times the variance is n times the sum of squares less the square of
	// the sum.
	n, sum := f.count(), f.total()
	v := unsigned(f.squares[:])
	v.Mul(v, n).Sub(v, sum.Mul(sum, sum))
	return math.Sqrt(quotient(v, n.Mul(n, n))) / two32
}

func (f *Finite) count() *big.Int { return new(big.Int).SetUint64(f.n) }

// total returns the sum of the delays.
func (f *Finite) total() *big.Int {
	sum := unsigned(f.sum[:])
	if int64(f.sum[1]) < 0 {
		sum.Sub(sum, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	return sum
}

// unsigned returns the number whose words are given, the lowest first.
func unsigned(words []uint64) *big.Int {
	n := new(big.Int)
	for _, w := range slices.Backward(words) {
		n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(w))
	}
	return n
}

// quotient returns a/b, rounded once; NaN without a b.
func quotient(a, b *big.Int) float64 {
	if b.Sign() == 0 {
		return math.NaN()
	}
	q, _ := new(big.Rat).SetFrac(a, b).Float64()
	return q
}

// FinitePercentile returns the delay in seconds that the share alpha, from 0 to
// 1, of the packets that arrived did not exceed, as the far border of a bin; ok
// is false where nothing has arrived.
func (s *Summary) FinitePercentile(alpha float64) (delay float64, ok bool) {
	return percentile(s.Delays, alpha, s.Delays.Count())
}
