package series

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A Fold is what the values in one window of a series add up to: their sum, or
// the histogram of all their histograms. It is the same in whatever order they
// came. Subintervals and JSON do not add up.
type Fold struct {
	kind  Kind
	count int64 // of values
	sum   wide  // of integers, units of 1/10000, numerators
	over  wide  // of denominators
	bins  []bin // of a histogram, in the order of their labels
}

// NewFold returns a fold of no values of a kind.
func NewFold(k Kind) *Fold { return &Fold{kind: k} }

// Kind returns the kind of the values.
func (f *Fold) Kind() Kind { return f.kind }

// Count returns how many values are in it.
func (f *Fold) Count() int64 { return f.count }

// Add adds a value. If it cannot, the fold stays as it is: the value is of
// another kind, or the histogram of the window would have more than
// [MaxWindowBins] labels or 2^63 counts, which is an [InvalidError].
func (f *Fold) Add(v Value) error {
	one, err := foldOf(v)
	if err != nil {
		return err
	}
	return f.Merge(one)
}

// Remove takes out a value that has been added. Labels that then have no count
// are gone, too, so a label that another value had with a count of 0 may be
// missing; else the fold is as if the value had never been there.
func (f *Fold) Remove(v Value) error {
	one, err := foldOf(v)
	if err != nil {
		return err
	}
	one.count, one.sum, one.over = -one.count, one.sum.negated(), one.over.negated()
	for i := range one.bins {
		one.bins[i].n = -one.bins[i].n
	}
	if err := f.Merge(one); err != nil {
		return err
	}
	kept := f.bins[:0]
	for _, b := range f.bins {
		if b.n != 0 {
			kept = append(kept, b)
		}
	}
	f.bins = kept
	return nil
}

// Merge adds all the values that are in g. If it cannot, the fold stays as it is,
// as with [Fold.Add].
func (f *Fold) Merge(g *Fold) error {
	if f.kind != g.kind {
		return fmt.Errorf("a fold of %s: want one of %s", g.kind, f.kind)
	}
	if count := f.count + g.count; count < 0 {
		return fmt.Errorf("%d values taken from a fold of %d: want those that are in it", -g.count, f.count)
	}
	if len(g.bins) > 0 {
		bins, err := mergeBins(f.bins, g.bins)
		if err != nil {
			return err
		}
		f.bins = bins
	}
	f.count += g.count
	f.sum, f.over = f.sum.add(g.sum), f.over.add(g.over)
	return nil
}

// foldOf returns the fold of one value.
func foldOf(v Value) (*Fold, error) {
	f := &Fold{kind: v.kind, count: 1}
	switch v.kind {
	case Integer, Float, Percentage:
		f.sum, f.over = wideOf(v.n), wideOf(v.over)
	case Histogram:
		f.bins = sorted(v.bins())
	default:
		return nil, fmt.Errorf("a value of kind %s: want one that adds up", v.kind)
	}
	return f, nil
}

// mergeBins returns the bins of two histograms, both in order, as those of one.
func mergeBins(a, b []bin) ([]bin, error) {
	all := make([]bin, 0, max(len(a), len(b))+min(len(a), len(b))/4)
	var total uint64
	for len(a) > 0 || len(b) > 0 {
		var next bin
		order := -1
		if len(a) == 0 {
			order = 1
		} else if len(b) > 0 {
			order = a[0].compare(&b[0])
		}
		switch {
		case order < 0:
			next, a = a[0], a[1:]
		case order > 0:
			next, b = b[0], b[1:]
		default:
			next = a[0]
			if next.n += b[0].n; next.n^a[0].n < 0 && next.n^b[0].n < 0 { // has neither's sign
				return nil, tooMany()
			}
			a, b = a[1:], b[1:]
		}
		if total += magnitude(next.n); total > math.MaxInt64 {
			return nil, tooMany()
		}
		if len(all) == MaxWindowBins {
			return nil, invalid("Histogram has more than %d labels in a window", MaxWindowBins)
		}
		all = append(all, next)
	}
	return all, nil
}

func tooMany() error {
	return invalid("Histogram counts more than %d in a window", int64(math.MaxInt64))
}

// Histogram returns the histogram of all histograms in the fold, whose labels are
// in numeric order. False: it has none.
func (f *Fold) Histogram() (Value, bool) {
	if f.kind != Histogram || f.count == 0 {
		return Value{}, false
	}
	return Value{kind: Histogram, text: appendBins(nil, f.bins)}, true
}

// Statistics returns the statistics of the histogram of all histograms, as
// [Value.Statistics].
func (f *Fold) Statistics() (Stats, bool) {
	top, ok := modes(f.bins)
	if !ok {
		return Stats{}, false
	}
	s := statistics(f.bins)
	s.Mode = top
	return s, isFinite(s.Mean) && isFinite(s.Variance)
}

// Quantile returns a quantile of the histogram of all histograms, as
// [Value.Quantile].
func (f *Fold) Quantile(p float64) (float64, bool) {
	if !countable(f.bins) {
		return 0, false
	}
	return quantile(f.bins, count(f.bins), p), true
}

// Number returns the aggregation or the average of the values. False: there is
// none, of a histogram or of no values.
func (f *Fold) Number(t SummaryType) (float64, bool) {
	if f.count == 0 || f.kind == Histogram || !f.kind.Allows(t) {
		return 0, false
	}
	units := int64(1)
	if f.kind == Float {
		units = floatUnits
	}
	switch {
	case f.kind == Percentage:
		if f.over == (wide{}) {
			return 0, false
		}
		return f.sum.over(f.over), true
	case t == Average:
		return f.sum.over(product(f.count, units)), true
	}
	return f.sum.over(wideOf(units)), true
}

// AppendJSON appends a summary of the window as it is read; null, if there is
// none of its type.
func (f *Fold) AppendJSON(dst []byte, t SummaryType) []byte {
	switch {
	case f.kind == Histogram && t == Statistics:
		stats, ok := f.Statistics()
		if !ok {
			return append(dst, "{}"...)
		}
		return stats.AppendJSON(dst)
	case f.kind == Histogram && t == Aggregation:
		v, ok := f.Histogram()
		if !ok {
			return append(dst, "{}"...)
		}
		return v.AppendJSON(dst)
	}
	n, ok := f.Number(t)
	if !ok {
		return append(dst, "null"...)
	}
	return appendFloat(dst, n)
}

// AppendBinary appends the fold as [DecodeFold] reads it.
func (f *Fold) AppendBinary(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(f.count))
	switch f.kind {
	case Histogram:
		return appendBins(dst, f.bins)
	case Percentage:
		return appendWide(appendWide(dst, f.sum), f.over)
	}
	return appendWide(dst, f.sum)
}

// DecodeFold reads a fold of values of a kind, of which stored is all, and is not
// kept.
func DecodeFold(k Kind, stored []byte) (*Fold, error) {
	f := &Fold{kind: k}
	r := reader{rest: stored}
	count := r.uvarint()
	if count > math.MaxInt64 {
		r.bad = true
	}
	f.count = int64(count)
	switch k {
	case Integer, Float:
		f.sum = r.wide()
	case Percentage:
		f.sum, f.over = r.wide(), r.wide()
		if f.sum.hi < 0 || f.over.hi < 0 {
			r.bad = true
		}
	case Histogram:
		f.bins = r.foldedBins()
	default:
		return nil, fmt.Errorf("stored fold of kind %s: want one that adds up", k)
	}
	return f, r.end(k)
}

// foldedBins reads stored bins that are in order.
func (r *reader) foldedBins() []bin {
	b := readBins(r.rest, MaxWindowBins)
	bins := make([]bin, 0, b.left)
	for b.next() {
		next := b.number()
		if n := len(bins); n > 0 && bins[n-1].compare(&next) >= 0 {
			b.bad = true
		}
		bins = append(bins, next)
	}
	r.rest, r.bad = b.rest, r.bad || b.bad
	return bins
}

func appendWide(dst []byte, w wide) []byte {
	return binary.AppendUvarint(binary.AppendVarint(dst, w.hi), w.lo)
}

func (r *reader) wide() wide { return wide{r.varint(), r.uvarint()} }
