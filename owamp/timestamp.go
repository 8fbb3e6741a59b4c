package owamp

import (
	"math"
	"math/bits"
	"time"
)

// unixEpoch is the Unix epoch in NTP seconds: 70 years with 17 leap days.
const unixEpoch = 2208988800

// A Timestamp is a point in time as RFC 4656 section 4.1.2 writes it: seconds
// since 1900-01-01T00:00:00Z in the upper 32 bits and the fraction of a second
// in the lower 32, so that its resolution is 2^-32 s, about 233 ps.
//
// The seconds wrap in 2036. By RFC 4330 section 3 a Timestamp whose top bit is
// set lies between 1968 and 2036 and one whose top bit is clear between 2036
// and 2104. The zero Timestamp is not a time: a lost packet's receive time is
// zero. Compare two of them with [Timestamp.Before], never with <.
type Timestamp uint64

// FromUnix returns the Timestamp of sec seconds and nsec nanoseconds after the
// Unix epoch, with nsec in [0, 1e9). The fraction is rounded down, as the
// reference implementation does.
func FromUnix(sec, nsec int64) Timestamp {
	return Timestamp(uint64(sec+unixEpoch)<<32 | fraction(uint64(nsec)))
}

// FromTime returns the Timestamp of t, exact to the nanosecond.
func FromTime(t time.Time) Timestamp {
	return FromUnix(t.Unix(), int64(t.Nanosecond()))
}

// fraction converts nanoseconds below 1e9 to units of 2^-32 s, rounding down.
func fraction(nsec uint64) uint64 { return nsec << 32 / 1e9 }

// Unix returns t as seconds and nanoseconds since the Unix epoch, the
// nanoseconds rounded to nearest and within [0, 1e9).
func (t Timestamp) Unix() (sec, nsec int64) {
	sec = int64(t >> 32)
	if t>>63 == 0 {
		sec += 1 << 32
	}
	nsec = int64((uint64(uint32(t))*1e9 + 1<<31) >> 32)
	if nsec == 1e9 {
		sec, nsec = sec+1, 0
	}
	return sec - unixEpoch, nsec
}

// Time returns t as a [time.Time] in UTC, rounded to the nanosecond.
func (t Timestamp) Time() time.Time {
	sec, nsec := t.Unix()
	return time.Unix(sec, nsec).UTC()
}

// Before reports whether t is earlier than u, on the shorter way around the
// era: both must lie within 68 years of each other.
func (t Timestamp) Before(u Timestamp) bool { return int64(t-u) < 0 }

// After reports whether t is later than u.
func (t Timestamp) After(u Timestamp) bool { return int64(t-u) > 0 }

// Sub returns t-u in nanoseconds, rounded to nearest.
func (t Timestamp) Sub(u Timestamp) time.Duration {
	d := int64(t - u)
	if d < 0 {
		return -Interval(-d).Duration()
	}
	return Interval(d).Duration()
}

// Add returns t+i.
func (t Timestamp) Add(i Interval) Timestamp { return t + Timestamp(i) }

// AddDuration returns t+d, d rounded down to 2^-32 s.
func (t Timestamp) AddDuration(d time.Duration) Timestamp {
	sec, nsec := int64(d/time.Second), int64(d%time.Second)
	if nsec < 0 {
		sec, nsec = sec-1, nsec+1e9
	}
	return t + Timestamp(uint64(sec)<<32|fraction(uint64(nsec)))
}

// An Interval is a length of time in units of 2^-32 s ("Num64"), as schedules,
// time-outs and the wire carry it. It is never negative.
type Interval uint64

// IntervalOf returns d as an Interval, rounded down; a negative d is 0, and one
// of more than the 136 years that an Interval can hold the greatest Interval.
func IntervalOf(d time.Duration) Interval {
	sec := uint64(max(d, 0) / time.Second)
	if sec > math.MaxUint32 {
		return math.MaxUint64
	}
	return Interval(sec<<32 | fraction(uint64(max(d, 0)%time.Second)))
}

// IntervalSeconds returns s seconds as an Interval, truncated as the reference
// does with its options. Values that are negative or not a number are 0, those
// too large the greatest Interval.
func IntervalSeconds(s float64) Interval {
	switch v := s * (1 << 32); {
	case !(v > 0):
		return 0
	case v >= 1<<64:
		return math.MaxUint64
	default:
		return Interval(v)
	}
}

// Duration returns i in nanoseconds, rounded to nearest; more than the 292
// years that a Duration can hold is the greatest Duration.
func (i Interval) Duration() time.Duration {
	hi, lo := bits.Mul64(uint64(i), 1e9)
	lo, carry := bits.Add64(lo, 1<<31, 0)
	hi += carry
	if hi >= 1<<31 {
		return math.MaxInt64
	}
	return time.Duration(hi<<32 | lo>>32)
}

// Seconds returns i in seconds, for people and for text.
func (i Interval) Seconds() float64 { return float64(i) / (1 << 32) }
