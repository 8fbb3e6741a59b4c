package stats

import "math"

// A Finite describes the conditional distribution of RFC 6049 section 4.1.2, on
// which the one-way delay metrics of RFC 8912 sections 7 and 8 stand: the delays
// of the packets that arrived, of each packet's first copy (RFC 7679 section
// 3.4). Unlike the rest of a summary it does not follow the reference's
// arithmetic.
type Finite struct {
	n        uint64
	min, max int64   // 2^-32 s
	mean, m2 float64 // likewise, by Welford's recurrence: the sum of squares from the mean
}

// add counts a delay in units of 2^-32 s.
func (f *Finite) add(d int64) {
	if f.n == 0 {
		f.min, f.max = d, d
	}
	f.n++
	f.min, f.max = min(f.min, d), max(f.max, d)
	off := float64(d) - f.mean
	f.mean += off / float64(f.n)
	f.m2 += float64(off * (float64(d) - f.mean)) // the conversion has all machines round alike
}

// Len returns how many delays there are.
func (f *Finite) Len() uint64 { return f.n }

// Min returns the least delay in seconds; with no delay it means nothing, as
// with Max, Mean and StdDev.
func (f *Finite) Min() float64 { return float64(f.min) / two32 }

// Max returns the greatest delay in seconds.
func (f *Finite) Max() float64 { return float64(f.max) / two32 }

// Mean returns the mean delay in seconds.
func (f *Finite) Mean() float64 { return f.mean / two32 }

// StdDev returns the standard deviation of the delays as a population, in
// seconds (RFC 8912 section 7.4.2.5).
func (f *Finite) StdDev() float64 { return math.Sqrt(f.m2/float64(f.n)) / two32 }

// FinitePercentile returns the delay in seconds that the share alpha, from 0 to
// 1, of the packets that arrived did not exceed, as the far border of a bin; ok
// is false where nothing has arrived.
func (s *Summary) FinitePercentile(alpha float64) (delay float64, ok bool) {
	return percentile(s.Delays, alpha, s.Delays.Count())
}
