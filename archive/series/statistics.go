package series

import (
	"math"
	"slices"
)

// Stats are the statistics of a histogram, in the unit of its labels.
type Stats struct {
	// Mode has the labels of the greatest count, as they came; those of a window
	// are in numeric order.
	Mode                  []float64
	Mean                  float64
	Minimum, Maximum      float64 // labels without a count included
	P25, Median, P75, P95 float64 // percentiles, between labels if need be
	Variance, Deviation   float64 // of all there is, not of a sample of it
}

// AppendJSON appends the object that a statistics summary is.
func (s *Stats) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"mode": [`...)
	for i, x := range s.Mode {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendFloat(dst, x)
	}
	dst = append(dst, ']')
	for _, m := range []struct {
		name string
		x    float64
	}{
		{"mean", s.Mean}, {"minimum", s.Minimum}, {"maximum", s.Maximum},
		{"percentile-25", s.P25}, {"median", s.Median}, {"percentile-75", s.P75}, {"percentile-95", s.P95},
		{"variance", s.Variance}, {"standard-deviation", s.Deviation},
	} {
		dst = append(append(append(dst, `, "`...), m.name...), `": `...)
		dst = appendFloat(dst, m.x)
	}
	return append(dst, '}')
}

// Statistics returns the statistics of a histogram. False: the value is none, a
// label is no number, a count is below 0, all are 0, or no double holds the
// result.
func (v Value) Statistics() (Stats, bool) {
	bins := v.bins()
	top, ok := modes(bins)
	if !ok {
		return Stats{}, false
	}
	s := statistics(sorted(bins))
	s.Mode = top
	return s, isFinite(s.Mean) && isFinite(s.Variance)
}

// Quantile returns the label below which the part p of a histogram lies, from 0
// to 1: between two labels if it lies there (NIST's definition). False: there are
// no statistics of the value.
func (v Value) Quantile(p float64) (float64, bool) {
	bins := v.bins()
	if !countable(bins) {
		return 0, false
	}
	return quantile(sorted(bins), count(bins), p), true
}

func isFinite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// countable reports whether bins have statistics.
func countable(bins []bin) bool {
	var total int64
	for i := range bins {
		if math.IsNaN(bins[i].x) || bins[i].n < 0 {
			return false
		}
		total += bins[i].n
	}
	return total > 0
}

// modes returns the labels with the greatest count.
func modes(bins []bin) ([]float64, bool) {
	if !countable(bins) {
		return nil, false
	}
	var top int64
	var all []float64
	for i := range bins {
		switch b := &bins[i]; {
		case b.n > top:
			top, all = b.n, append(all[:0], b.x)
		case b.n == top:
			all = append(all, b.x)
		}
	}
	return all, true
}

// statistics returns the statistics of bins in order, but for their mode.
func statistics(bins []bin) Stats {
	total := count(bins)
	s := Stats{
		Minimum: bins[0].x, Maximum: bins[len(bins)-1].x,
		P25: quantile(bins, total, 0.25), Median: quantile(bins, total, 0.5), P75: quantile(bins, total, 0.75), P95: quantile(bins, total, 0.95),
	}
	// From the median on, so that little is lost where all labels lie far off 0
	// and close together.
	var sum float64
	for i := range bins {
		sum += (bins[i].x - s.Median) * float64(bins[i].n)
	}
	s.Mean = s.Median + sum/float64(total)
	var squares float64
	for i := range bins {
		d := bins[i].x - s.Mean
		squares += d * d * float64(bins[i].n)
	}
	s.Variance = squares / float64(total)
	s.Deviation = math.Sqrt(s.Variance)
	return s
}

// count returns the sum of all counts.
func count(bins []bin) (total int64) {
	for i := range bins {
		total += bins[i].n
	}
	return total
}

// quantile returns a quantile of bins in order, which count total.
func quantile(bins []bin, total int64, p float64) float64 {
	// The rank of what is looked for: esmond counts from 1, of one more than
	// there are.
	rank := p * (float64(total) + 1)
	whole := math.Floor(rank)
	switch {
	case !(whole >= 1): // p may be NaN
		return first(bins)
	case whole >= float64(total):
		return last(bins)
	}
	k, part := int64(whole), rank-whole
	var upTo int64
	for i := range bins {
		if upTo += bins[i].n; upTo > k {
			return bins[i].x
		}
		if upTo == k {
			x := bins[i].x
			return x + part*(first(bins[i+1:])-x)
		}
	}
	return last(bins)
}

// first returns the first label that has a count.
func first(bins []bin) float64 {
	for i := range bins {
		if bins[i].n > 0 {
			return bins[i].x
		}
	}
	return math.NaN()
}

// last returns the last label that has a count.
func last(bins []bin) float64 {
	for _, b := range slices.Backward(bins) {
		if b.n > 0 {
			return b.x
		}
	}
	return math.NaN()
}
