package series

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A bin is a label of a histogram with its count. Nearly all labels are decimals
// as everybody writes them, such as 34.30: of these the digits are kept, and how
// many are behind the point. Others are kept as texts.
type bin struct {
	x        float64 // what the label is; NaN: no number
	n        int64
	mantissa int64  // all digits, and the sign
	digits   int8   // behind the point; -1: the label is text
	text     string // the label, if it is no such decimal
}

const (
	// maxDigits is how many digits a double holds any of, so that x is what
	// [strconv.ParseFloat] makes of the label.
	maxDigits = 15
	maxLabel  = MaxName // octets
)

var powersOfTen = [maxDigits + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// newBin returns a bin without a count.
func newBin(label string) bin {
	if mantissa, digits, ok := splitLabel(label); ok {
		return bin{x: decimalValue(mantissa, digits), mantissa: mantissa, digits: digits}
	}
	b := bin{x: math.NaN(), digits: -1, text: label}
	if text := strings.Trim(label, white); isFloat(text) {
		b.x, _ = strconv.ParseFloat(text, 64)
	}
	return b
}

func decimalValue(mantissa int64, digits int8) float64 {
	return float64(mantissa) / powersOfTen[digits]
}

// splitLabel takes a decimal apart. False: the parts would not be the same label
// again if put together.
func splitLabel(label string) (mantissa int64, digits int8, ok bool) {
	unsigned := strings.TrimPrefix(label, "-")
	point := len(unsigned)
	if point == 0 || point > maxDigits+1 {
		return 0, 0, false
	}
	for i := range len(unsigned) {
		switch c := unsigned[i]; {
		case '0' <= c && c <= '9':
			mantissa = mantissa*10 + int64(c-'0')
		case c == '.' && point == len(unsigned) && i > 0:
			point = i
		default:
			return 0, 0, false
		}
	}
	if point < len(unsigned) {
		digits = int8(len(unsigned) - point - 1)
		if digits == 0 {
			return 0, 0, false
		}
	}
	if point > 1 && unsigned[0] == '0' || mantissa >= 1e15 {
		return 0, 0, false
	}
	if len(unsigned) < len(label) {
		if mantissa == 0 {
			return 0, 0, false
		}
		mantissa = -mantissa
	}
	return mantissa, digits, true
}

// appendLabel appends the label.
func (b *bin) appendLabel(dst []byte) []byte {
	if b.digits < 0 {
		return append(dst, b.text...)
	}
	m := b.mantissa
	if m < 0 {
		dst = append(dst, '-')
		m = -m
	}
	whole := len(dst)
	dst = strconv.AppendInt(dst, m, 10)
	if b.digits == 0 {
		return dst
	}
	for len(dst) <= whole+int(b.digits) { // a nought at the least is before the point
		dst = slices.Insert(dst, whole, '0')
	}
	return slices.Insert(dst, len(dst)-int(b.digits), '.')
}

// compare orders bins by what their labels are, numbers first, and those that are
// the same number by how they are written.
func (b *bin) compare(c *bin) int {
	switch bNaN, cNaN := b.x != b.x, c.x != c.x; {
	case bNaN && cNaN:
		return cmp.Compare(b.text, c.text)
	case bNaN:
		return 1
	case cNaN:
		return -1
	case b.x < c.x:
		return -1
	case b.x > c.x:
		return 1
	}
	return cmp.Or(cmp.Compare(b.digits, c.digits), cmp.Compare(b.text, c.text))
}

// magnitude returns n without its sign.
func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// compareBins is compare for values.
func compareBins(b, c bin) int { return b.compare(&c) }

// parseHistogram reads an object of labels with counts.
func parseHistogram(raw []byte) (Value, error) {
	s := &scanner{text: raw}
	if s.peek() != '{' {
		return Value{}, invalid("Invalid histogram provided")
	}
	var bins []bin
	ascend := true
	total := uint64(0) // of counts, whatever their sign
	s.object(func(label string) {
		n, ok := toInt(s.raw())
		switch {
		case s.err != nil:
			return
		case !ok:
			s.err = invalid("Value of histogram must be an integer")
			return
		case len(bins) == MaxBins:
			s.err = invalid("Histogram has more than %d labels", MaxBins)
			return
		case len(label) > maxLabel:
			s.err = invalid("Label of histogram has more than %d octets", maxLabel)
			return
		}
		b := newBin(label)
		b.n = n
		if last := len(bins) - 1; last >= 0 && bins[last].compare(&b) >= 0 {
			ascend = false
		}
		bins = append(bins, b)
		if total += magnitude(n); total > math.MaxInt64 {
			s.err = invalid("Histogram counts more than %d", int64(math.MaxInt64))
		}
	})
	if err := s.end(); err != nil {
		return Value{}, err
	}
	if len(bins) == 0 {
		return Value{}, invalid("Invalid histogram provided")
	}
	if !ascend { // else no label is there twice
		bins = withoutDoubles(bins)
	}
	return Value{kind: Histogram, text: appendBins(nil, bins)}, nil
}

// withoutDoubles returns bins without a label twice: it stands where it was
// first, and has the count that it had last.
func withoutDoubles(bins []bin) []bin {
	type label struct {
		mantissa int64
		digits   int8
		text     string
	}
	seen := make(map[label]int, len(bins))
	kept := bins[:0]
	for _, b := range bins {
		l := label{b.mantissa, b.digits, b.text}
		if i, ok := seen[l]; ok {
			kept[i].n = b.n
			continue
		}
		seen[l] = len(kept)
		kept = append(kept, b)
	}
	return kept
}

// appendBins appends how many bins there are, and each: its label, as what it is
// more than the one before it if both are decimals with as many digits behind the
// point, which takes an octet; then its count.
//
//	label  = even: zigzag of the difference, twice
//	       | 1, length, text
//	       | odd: digits behind the point, twice, and 3; zigzag of the mantissa
//	count  = zigzag
func appendBins(dst []byte, bins []bin) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(bins)))
	var mantissa int64
	digits := int8(0)
	for i := range bins {
		b := &bins[i]
		switch {
		case b.digits < 0:
			dst = append(dst, 1)
			dst = binary.AppendUvarint(dst, uint64(len(b.text)))
			dst = append(dst, b.text...)
		case b.digits == digits:
			d := b.mantissa - mantissa
			dst = binary.AppendUvarint(dst, (uint64(d)<<1^uint64(d>>63))<<1)
			mantissa = b.mantissa
		default:
			mantissa, digits = b.mantissa, b.digits
			dst = append(dst, byte(digits)<<1+3)
			dst = binary.AppendVarint(dst, mantissa)
		}
		dst = binary.AppendVarint(dst, b.n)
	}
	return dst
}

// A binReader reads what [appendBins] has appended.
type binReader struct {
	reader
	left  uint64 // bins
	total uint64 // of counts so far, whatever their sign
	bin   bin    // the one that was read last; x is not set but by number
	last  struct {
		mantissa int64
		digits   int8
	}
}

// readBins returns a reader of stored bins, of which there are so many at most.
func readBins(stored []byte, most uint64) *binReader {
	r := &binReader{reader: reader{rest: stored}}
	r.left = r.uvarint()
	if r.left > most || r.left > uint64(len(r.rest))/2 {
		r.bad, r.left = true, 0 // a bin has two octets at the least
	}
	return r
}

// next reads a bin, and reports whether there is one.
func (r *binReader) next() bool {
	if r.left == 0 || r.bad {
		return false
	}
	r.left--
	u := r.uvarint()
	b := &r.bin
	switch {
	case u&1 == 0:
		u >>= 1
		r.last.mantissa += int64(u>>1) ^ -int64(u&1)
		b.text, b.mantissa, b.digits = "", r.last.mantissa, r.last.digits
	case u == 1:
		b.text, b.mantissa, b.digits = string(r.octets(r.uvarint())), 0, -1
	default:
		r.last.digits, r.last.mantissa = int8(min(u>>1-1, maxDigits+1)), r.varint()
		b.text, b.mantissa, b.digits = "", r.last.mantissa, r.last.digits
	}
	b.n = r.varint()
	r.total += magnitude(b.n)
	if b.digits > maxDigits || b.mantissa <= -1e15 || b.mantissa >= 1e15 || r.total > math.MaxInt64 || len(b.text) > maxLabel {
		r.bad = true
	}
	return !r.bad
}

// number returns the bin that was read last, with what its label is.
func (r *binReader) number() bin {
	b := r.bin
	if b.digits < 0 {
		b = newBin(b.text)
		b.n = r.bin.n
	} else {
		b.x = decimalValue(b.mantissa, b.digits)
	}
	return b
}

// checkBins checks a stored histogram.
func checkBins(stored []byte) error {
	r := readBins(stored, MaxBins)
	for r.next() {
	}
	return r.end(Histogram)
}

// bins returns the bins of a histogram, in the order in which they came.
func (v Value) bins() []bin {
	if v.kind != Histogram {
		return nil
	}
	r := readBins(v.text, MaxWindowBins)
	bins := make([]bin, 0, r.left)
	for r.next() {
		bins = append(bins, r.number())
	}
	return bins
}

// Bins returns the labels of a histogram with their counts, as they came. Another
// value has none.
func (v Value) Bins() iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		if v.kind != Histogram {
			return
		}
		var label [maxLabel]byte
		for r := readBins(v.text, MaxWindowBins); r.next(); {
			if !yield(string(r.bin.appendLabel(label[:0])), r.bin.n) {
				return
			}
		}
	}
}

// appendBinsJSON appends stored bins as an object.
func appendBinsJSON(dst, stored []byte) []byte {
	dst = append(dst, '{')
	first := len(dst)
	for r := readBins(stored, MaxWindowBins); r.next(); {
		if len(dst) > first {
			dst = append(dst, ", "...)
		}
		if r.bin.digits < 0 {
			label, _ := json.Marshal(r.bin.text) // a text has JSON
			dst = append(dst, label...)
		} else {
			dst = append(r.bin.appendLabel(append(dst, '"')), '"')
		}
		dst = strconv.AppendInt(append(dst, ": "...), r.bin.n, 10)
	}
	return append(dst, '}')
}

// sorted returns bins in the order of their labels.
func sorted(bins []bin) []bin {
	if !slices.IsSortedFunc(bins, compareBins) {
		slices.SortFunc(bins, compareBins)
	}
	return bins
}
