package owamp

import (
	"math"
	"math/bits"
	"time"
)

// An ErrorEstimate says how far a [Timestamp] may be off (RFC 4656 section
// 4.1.2): bit 15, S, is set when the clock is synchronized to UTC; bit 14 is
// zero; bits 13 to 8 are a scale and bits 7 to 0 a multiplier, and the error is
// multiplier × 2^scale × 2^-32 s. A multiplier of 0 is invalid.
type ErrorEstimate uint16

const synchronized ErrorEstimate = 1 << 15

// UnknownError is what a record of a lost packet carries for the sender, and
// what the reference sends while its clock is not synchronized.
const UnknownError ErrorEstimate = 1

// NewErrorEstimate returns the estimate of an error of at most d, rounded up
// to what the encoding can say and never with a multiplier of 0. More than 136
// years count as 136.
func NewErrorEstimate(d time.Duration, sync bool) ErrorEstimate {
	e := uint64(IntervalOf(min(max(d, time.Nanosecond), math.MaxUint32*time.Second))) + 1
	var scale ErrorEstimate
	for e > math.MaxUint8 {
		e = (e + 1) >> 1
		scale++
	}
	est := scale<<8 | ErrorEstimate(e)
	if sync {
		est |= synchronized
	}
	return est
}

// Synchronized reports whether the clock was synchronized to UTC.
func (e ErrorEstimate) Synchronized() bool { return e&synchronized != 0 }

// Valid reports whether the multiplier is not 0.
func (e ErrorEstimate) Valid() bool { return e&0xff != 0 }

// Seconds returns the error in seconds.
func (e ErrorEstimate) Seconds() float64 {
	return math.Ldexp(float64(e&0xff), int(e>>8&0x3f)-32)
}

// Duration returns the error in nanoseconds, rounded up; an error longer than
// a Duration can say is the greatest one.
func (e ErrorEstimate) Duration() time.Duration {
	hi, lo := bits.Mul64(uint64(e&0xff)*1e9, 1<<(e>>8&0x3f)) // units of 2^-32 ns
	lo, carry := bits.Add64(lo, 1<<32-1, 0)
	if hi += carry; hi >= 1<<31 {
		return math.MaxInt64
	}
	return time.Duration(hi<<32 | lo>>32)
}
