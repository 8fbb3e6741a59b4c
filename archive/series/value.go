package series

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// Floating point values are kept in units of 1/10000, as esmond keeps them.
const (
	floatDigits = 4
	floatUnits  = 10000
)

// A Value is what was measured at one second: valid, and of one [Kind]. It does
// not change; copies share what they hold. The zero Value is none.
type Value struct {
	kind Kind
	// An integer; units of 1/10000; or a numerator and its denominator.
	n, over int64
	// A histogram as [appendBins] writes it; JSON without white space around
	// what is in it.
	text []byte
}

// A Sample is a value that is written.
type Sample struct {
	Time  int64 // s since 1970
	Event EventType
	Value Value
}

// A Point is a value of a series that is known.
type Point struct {
	Time  int64 // s since 1970
	Value Value
}

// Kind returns the kind of a value; 0: it is the zero Value.
func (v Value) Kind() Kind { return v.kind }

// Parse reads a value from the JSON of a request, which it does not keep. An
// error is an [InvalidError], with esmond's text:
//
//   - an integer is a number, whose fraction is dropped, or a text that is an
//     integer; true is 1;
//   - a float is a number or a text that is one, cut off behind the fourth
//     decimal;
//   - a percentage is an object with the integers numerator and denominator;
//   - a histogram is an object of labels with integers; of a label that is there
//     twice the last count holds; without a label it is none;
//   - subintervals are a list of objects with start, duration and val;
//   - JSON is anything, and stays as it is but for white space.
func Parse(k Kind, raw []byte) (Value, error) {
	if len(raw) > MaxOctets {
		return Value{}, invalid("Value has %d octets: at most %d are kept", len(raw), MaxOctets)
	}
	switch k {
	case Integer:
		n, ok := toInt(raw)
		if !ok {
			return Value{}, invalid("Value must be an integer")
		}
		return Value{kind: Integer, n: n}, nil
	case Float:
		n, ok := toUnits(raw)
		if !ok {
			return Value{}, invalid("Value must be a floating point number")
		}
		return Value{kind: Float, n: n}, nil
	case Percentage:
		return parsePercentage(raw)
	case Histogram:
		return parseHistogram(raw)
	case Subinterval:
		if err := checkIntervals(raw); err != nil {
			return Value{}, err
		}
		return verbatim(Subinterval, raw)
	case JSON:
		return verbatim(JSON, raw)
	}
	return Value{}, fmt.Errorf("kind %d: want one that values have", k)
}

// verbatim returns a value that is kept as it is written.
func verbatim(k Kind, raw []byte) (Value, error) {
	s := &scanner{text: raw}
	s.raw()
	if err := s.end(); err != nil {
		return Value{}, err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return Value{}, invalid("JSON parse error - %v", err)
	}
	return Value{kind: k, text: b.Bytes()}, nil
}

// parsePercentage reads an object of a numerator and a denominator.
func parsePercentage(raw []byte) (Value, error) {
	v := Value{kind: Percentage}
	fields := members(raw, "numerator", "denominator")
	for i, name := range []string{"numerator", "denominator"} {
		if fields[i] == nil {
			return Value{}, invalid("Missing required field '%s'", name)
		}
	}
	for i, name := range []string{"numerator", "denominator"} {
		n, ok := toInt(fields[i])
		if !ok {
			return Value{}, invalid("The field '%s' must be an integer", name)
		}
		if i == 0 {
			v.n = n
		} else {
			v.over = n
		}
	}
	switch {
	case v.over <= 0:
		return Value{}, invalid("The field 'denominator' must be greater than 0")
	case v.n < 0:
		return Value{}, invalid("The field 'numerator' cannot be negative")
	}
	return v, nil
}

// members returns the values of an object's members of some names; nil: there is
// none, or raw is no object.
func members(raw []byte, names ...string) [][]byte {
	found := make([][]byte, len(names))
	s := &scanner{text: raw}
	if s.peek() != '{' {
		return found
	}
	s.object(func(name string) {
		value := s.raw()
		for i, n := range names {
			if n == name {
				found[i] = value
			}
		}
	})
	if s.end() != nil {
		clear(found)
	}
	return found
}

// checkIntervals checks that raw is a list of intervals.
func checkIntervals(raw []byte) error {
	s := &scanner{text: raw}
	if s.peek() != '[' {
		return invalid("Invalid subintervals provided")
	}
	n := 0
	var wrong error
	s.array(func() {
		n++
		interval := s.raw()
		if wrong == nil && s.err == nil {
			wrong = checkInterval(interval, n)
		}
	})
	if err := s.end(); err != nil {
		return err
	}
	if n == 0 {
		return invalid("Invalid subintervals provided")
	}
	return wrong
}

// checkInterval checks the interval at a position, which is 1 of the first.
func checkInterval(raw []byte, position int) error {
	names := []string{"start", "duration", "val"}
	fields := members(raw, names...)
	for i, name := range names {
		if fields[i] == nil {
			return invalid("Interval must contain '%s' field at position %d", name, position)
		}
	}
	for _, raw := range fields[:2] {
		if text, _, ok := scalar(raw); !ok || !isFloat(text) {
			return invalid("Subinterval 'start' and 'duration' must be floating point numbers")
		}
	}
	return nil
}

// ParseTime reads the time of a value from the JSON of a request: seconds since
// 1970, an integer or a text that is one; a fraction is dropped. An error is an
// [InvalidError].
func ParseTime(raw []byte) (int64, error) {
	n, ok := toInt(raw)
	if !ok || n < -MaxTime || n > MaxTime {
		return 0, invalid("Time must be a unix timestamp")
	}
	return n, nil
}

// AppendJSON appends the value as it is read: of an integer and a float the
// number, with a point; of a percentage the quotient; all else as it was written.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.kind {
	case Histogram:
		return appendBinsJSON(dst, v.text)
	case Subinterval, JSON:
		return append(dst, v.text...)
	case 0:
		return append(dst, "null"...)
	}
	n, _ := v.Number()
	return appendFloat(dst, n)
}

// AppendRequest appends the value as it is written: what [Parse] makes the same
// value of, which of a percentage is more than can be read.
func (v Value) AppendRequest(dst []byte) []byte {
	switch v.kind {
	case Integer:
		return strconv.AppendInt(dst, v.n, 10)
	case Float:
		b := bin{mantissa: v.n, digits: floatDigits}
		return b.appendLabel(dst)
	case Percentage:
		dst = strconv.AppendInt(append(dst, `{"numerator":`...), v.n, 10)
		dst = strconv.AppendInt(append(dst, `,"denominator":`...), v.over, 10)
		return append(dst, '}')
	}
	return v.AppendJSON(dst)
}

// AppendSummary appends a summary of the value for itself, that of window 0: its
// statistics, {} if it has none; or else what [Value.AppendJSON] appends.
func (v Value) AppendSummary(dst []byte, t SummaryType) []byte {
	if t != Statistics {
		return v.AppendJSON(dst)
	}
	stats, ok := v.Statistics()
	if !ok {
		return append(dst, "{}"...)
	}
	return stats.AppendJSON(dst)
}

// Number returns an integer, a float, or the quotient of a percentage. False: the
// value is none of them.
func (v Value) Number() (float64, bool) {
	switch v.kind {
	case Integer:
		return float64(v.n), true
	case Float:
		return wideOf(v.n).over(wideOf(floatUnits)), true
	case Percentage:
		return wideOf(v.n).over(wideOf(v.over)), true
	}
	return 0, false
}

// Equal reports whether two values are the same: of one kind, and written alike
// but for white space, zeros and the like.
func (v Value) Equal(w Value) bool {
	return v.kind == w.kind && v.n == w.n && v.over == w.over && bytes.Equal(v.text, w.text)
}

// AppendBinary appends the value as [Decode] reads it.
func (v Value) AppendBinary(dst []byte) []byte {
	switch v.kind {
	case Integer, Float:
		return binary.AppendVarint(dst, v.n)
	case Percentage:
		dst = binary.AppendUvarint(dst, uint64(v.n))
		return binary.AppendUvarint(dst, uint64(v.over))
	}
	return append(dst, v.text...)
}

// Decode reads a value of a kind, of which stored is all, and is not kept.
func Decode(k Kind, stored []byte) (Value, error) {
	v := Value{kind: k}
	r := reader{rest: stored}
	switch k {
	case Integer, Float:
		if v.n = r.varint(); k == Float && v.n == math.MinInt64 {
			r.bad = true // which no float is kept as
		}
		return v, r.end(k)
	case Percentage:
		n, over := r.uvarint(), r.uvarint()
		if n > math.MaxInt64 || over == 0 || over > math.MaxInt64 {
			r.bad = true
		}
		v.n, v.over = int64(n), int64(over)
		return v, r.end(k)
	case Histogram:
		if err := checkBins(stored); err != nil {
			return Value{}, err
		}
	case Subinterval, JSON:
		if len(stored) > MaxOctets || !json.Valid(stored) || !utf8.Valid(stored) {
			return Value{}, fmt.Errorf("stored %s of %d octets: want JSON", k, len(stored))
		}
	default:
		return Value{}, fmt.Errorf("stored value of kind %d: want one that values have", k)
	}
	v.text = bytes.Clone(stored)
	return v, nil
}

// A reader reads what is stored.
type reader struct {
	rest []byte
	bad  bool // it is not what was expected
}

func (r *reader) uvarint() uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 { // as nearly all are
		n := r.rest[0]
		r.rest = r.rest[1:]
		return uint64(n)
	}
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// octets reads so many octets.
func (r *reader) octets(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// end returns an error if something was not as expected, or there is more.
func (r *reader) end(k Kind) error {
	if r.bad || len(r.rest) > 0 {
		return fmt.Errorf("stored %s: %w", k, errDamaged)
	}
	return nil
}

// errDamaged is what no value is stored as.
var errDamaged = errors.New("damaged: want what a value is stored as")
