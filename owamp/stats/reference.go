package stats

import (
	"math"
	"strconv"
	"time"

	"owl/histogram"
	"owl/owamp"
)

// This file is the C suite's arithmetic. Its texts have to come out the same
// here, and a delay that is computed exactly, as everywhere else in this
// module, differs from theirs in the last digits and at times by a bin. So what
// is odd here is meant to be:
//
//   - a 64-bit time stamp is rounded to a double, of 53 bits, before two of
//     them are subtracted: delays are multiples of 2^-21 s, 0.5 µs;
//   - percentiles are bin borders, and shares of what was sent, not received;
//   - milliseconds in a time of day are rounded in single precision.
//
// A conversion float64(…) around a product keeps the compiler from fusing it
// with what follows, which would round once less on some machines.

// two32 is the number of units of a Timestamp or an Interval in a second.
const two32 = 1 << 32

// unixEpoch is the Unix epoch in seconds since 1900.
const unixEpoch = 2208988800

// seconds returns a Timestamp or an Interval as a double.
func seconds[T ~uint64](t T) float64 { return float64(t) / two32 }

// delay returns the one-way delay of a received packet in seconds.
func delay(r *owamp.Record) float64 { return seconds(r.Recv) - seconds(r.Sent) }

// errorSeconds returns an error estimate in seconds, of which what does not
// fit 64 bits is lost.
func errorSeconds(e owamp.ErrorEstimate) float64 {
	return seconds(uint64(e&0xff) << (e >> 8 & 0x3f))
}

// unixSeconds returns t in seconds since the Unix epoch.
func unixSeconds(t owamp.Timestamp) float64 { return seconds(t) - unixEpoch }

// unreachable is the delay from which on MIN and MAX are not believed: just
// above the time-out.
func unreachable(s *owamp.SessionSpec) float64 { return seconds(s.Timeout + 1) }

// percentile returns the far border of the first bin at which the share alpha
// of so many packets is reached, all that were sent as a rule; ok is false where
// too many were lost for it.
func percentile(h *histogram.Fixed, alpha float64, packets uint64) (s float64, ok bool) {
	want := float64(alpha * float64(packets))
	var sum float64
	for bin, n := range h.Bins() {
		if sum += float64(n); sum >= want {
			return h.Value(bin), true
		}
	}
	return 0, false
}

// pdv returns the 95th percentile less the median.
func pdv(h *histogram.Fixed, sent uint32) (s float64, ok bool) {
	p95, ok95 := percentile(h, 0.95, uint64(sent))
	p50, ok50 := percentile(h, 0.5, uint64(sent))
	return p95 - p50, ok95 && ok50
}

// depth returns the greatest n for which n-reordering is looked at.
func depth(s *owamp.SessionSpec) int64 {
	var round owamp.Interval
	for _, slot := range s.Slots {
		round += slot.Parameter
	}
	var rate float64
	if round > 0 {
		rate = float64(len(s.Slots)) / seconds(round)
	}
	d := rate * seconds(s.Timeout) * 3.5
	return max(10, int64(min(d, math.MaxInt32)))
}

// hashSize returns the size of the table whose order the bins of a summary are
// listed in. All but absurd widths make it 1021.
func hashSize(s *owamp.SessionSpec, width float64) int {
	hint := max(10, min(float64(s.Timeout)/width, 2048))
	size := 31
	for _, prime := range []int{67, 127, 251, 509, 1021} {
		if float64(prime) <= math.Trunc(hint) {
			size = prime
		}
	}
	return size
}

// hash returns a bin's place in a table: its octets' sum.
func hash(bin int32, size int) int {
	b := uint32(bin)
	return int(b&0xff+b>>8&0xff+b>>16&0xff+b>>24) % size
}

// appendG appends v as C's printf does with %g, or %.3g.
func appendG(b []byte, v float64, precision int) []byte {
	return strconv.AppendFloat(b, v, 'g', precision, 64)
}

// appendF appends v as C's printf does with %f, or %.3f.
func appendF(b []byte, v float64, precision int) []byte {
	return strconv.AppendFloat(b, v, 'f', precision, 64)
}

// appendStamp appends a Timestamp as 20 decimal digits.
func appendStamp(b []byte, t owamp.Timestamp) []byte {
	var digits [20]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = '0' + byte(t%10)
		t /= 10
	}
	return append(b, digits[:]...)
}

// appendClock appends a date and a time of day, with milliseconds of which
// there can be 1000.
func appendClock(b []byte, t owamp.Timestamp, zone *time.Location) []byte {
	sec, _ := (t &^ math.MaxUint32).Unix()
	b = time.Unix(sec, 0).In(zone).AppendFormat(b, "2006-01-02T15:04:05.")
	ms := float32(uint64(uint32(t))*1e9>>32) / 1e6
	for _, limit := range []float32{99.5, 9.5} {
		if ms <= limit {
			b = append(b, '0')
		}
	}
	return appendF(b, float64(ms), 0)
}
