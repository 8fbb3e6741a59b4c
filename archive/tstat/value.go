package tstat

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// A kind is what a cell of a log is, in the order in which it is tried: an
// integer, else a float, else a text.
type kind uint8

const (
	none      kind = iota // there is no such column
	integer               // in n
	large                 // an integer beyond 64 bits, its digits in text
	float                 // in f, rounded to three decimals
	notFinite             // nan or inf, which JSON does not have
	text                  // in text
)

// A value is what a cell says.
type value struct {
	kind kind
	n    int64
	f    float64
	text []byte // of the line, which must not change meanwhile
}

// parse reads a cell as Python's int and float do, one after the other.
func parse(cell []byte) value {
	if len(cell) == 0 || cell[0] > '9' && cell[0] != 'n' && cell[0] != 'N' && cell[0] != 'i' && cell[0] != 'I' {
		return value{kind: text, text: cell}
	}
	digits, negative := cell, false
	if c := cell[0]; c == '-' || c == '+' {
		digits, negative = cell[1:], c == '-'
	}
	var m int64 // all digits so far, but for the point
	point := -1 // where it is in digits
	for i, c := range digits {
		switch {
		case '0' <= c && c <= '9' && i < 18:
			m = 10*m + int64(c-'0')
		case '0' <= c && c <= '9':
		case c == '.' && point < 0:
			point = i
		case c == '.': // an address
			return value{kind: text, text: cell}
		default:
			return parseFloat(cell)
		}
	}
	switch {
	case len(digits) == 0 || point >= 0 && len(digits) == 1:
		return value{kind: text, text: cell}
	case point < 0 && len(digits) > 18:
		return parseLarge(digits, negative)
	case point < 0 && negative:
		return value{kind: integer, n: -m}
	case point < 0:
		return value{kind: integer, n: m}
	case len(digits) > 15:
		return parseFloat(cell)
	}
	f, ok := thousandths(m, len(digits)-1-point)
	if !ok {
		return parseFloat(cell)
	}
	if negative {
		f = -f
	}
	return value{kind: float, f: f}
}

// thousandths returns m / 10^decimals rounded to three decimals, where that does
// not depend on how the quotient is rounded to a float64: m has 15 digits at most,
// so that the float64 is on the same side of a tie as the quotient is, unless that
// is the tie.
func thousandths(m int64, decimals int) (float64, bool) {
	if decimals <= 3 {
		return float64(m) / float64(powers[decimals]), true
	}
	unit := powers[decimals-3]
	q, rest := m/unit, m%unit
	switch {
	case 2*rest == unit:
		return 0, false
	case 2*rest > unit:
		q++
	}
	return float64(q) / 1000, true
}

// powers are those of ten.
var powers = func() (all [16]int64) {
	all[0] = 1
	for i := range len(all) - 1 {
		all[i+1] = 10 * all[i]
	}
	return all
}()

// parseLarge reads an integer of many digits.
func parseLarge(digits []byte, negative bool) value {
	digits = bytes.TrimLeft(digits, "0")
	sign := ""
	if negative {
		sign = "-"
	}
	all := append([]byte(sign), digits...)
	if n, err := strconv.ParseInt(string(all), 10, 64); err == nil || len(digits) == 0 {
		return value{kind: integer, n: n}
	}
	return value{kind: large, text: all}
}

// parseFloat reads a cell that is a float, or a text.
func parseFloat(cell []byte) value {
	for _, c := range cell {
		if c == '_' || c == 'x' || c == 'X' { // which Go's numbers may have
			return value{kind: text, text: cell}
		}
	}
	f, err := strconv.ParseFloat(string(cell), 64)
	switch {
	case math.IsInf(f, 0) || math.IsNaN(f), bytes.EqualFold(cell[1:], []byte("nan")): // also what is out of range, and -nan
		return value{kind: notFinite}
	case err != nil:
		return value{kind: text, text: cell}
	}
	return value{kind: float, f: round(f, 3)}
}

// round rounds the exact value of f to a number of decimals, a tie to even, as
// Python's round does.
func round(f float64, decimals int) float64 {
	var buf [32]byte
	r, err := strconv.ParseFloat(string(strconv.AppendFloat(buf[:0], f, 'f', decimals, 64)), 64)
	if err != nil { // it has more digits than a float64 can have
		return f
	}
	return r
}

// number returns what v is in arithmetic; a value that is none is an error.
func (v value) number() (float64, error) {
	switch v.kind {
	case integer:
		return float64(v.n), nil
	case float:
		return v.f, nil
	}
	return 0, fmt.Errorf("%s: want a number", v.describe())
}

// describe says what v is, as errors have it.
func (v value) describe() string {
	switch v.kind {
	case none:
		return "no such column"
	case large:
		return "a number beyond 64 bits"
	case notFinite:
		return "not finite"
	case text:
		if len(v.text) > 40 {
			return strconv.Quote(string(v.text[:40])) + "…"
		}
		return strconv.Quote(string(v.text))
	}
	return string(v.appendJSON(nil))
}

// isZero reports whether v is nothing in the sense of Python: 0, an empty text,
// no value.
func (v value) isZero() bool {
	switch v.kind {
	case none:
		return true
	case integer:
		return v.n == 0
	case float:
		return v.f == 0
	case text:
		return len(v.text) == 0
	}
	return false
}

// less reports whether v is less than w. Numbers and texts cannot be compared
// with each other.
func (v value) less(w value) (bool, error) {
	if v.kind == text && w.kind == text {
		return bytes.Compare(v.text, w.text) < 0, nil
	}
	if v.kind == integer && w.kind == integer {
		return v.n < w.n, nil
	}
	a, err := v.number()
	if err != nil {
		return false, err
	}
	b, err := w.number()
	return a < b, err
}

// appendJSON appends v as Python's json has it, but for what is not finite, which
// is null.
func (v value) appendJSON(dst []byte) []byte {
	switch v.kind {
	case integer:
		return strconv.AppendInt(dst, v.n, 10)
	case large:
		return append(dst, v.text...)
	case float:
		return appendFloat(dst, v.f)
	case text:
		return appendText(dst, v.text)
	}
	return append(dst, "null"...)
}

// appendFloat appends the shortest text that is f, with a point or an exponent.
func appendFloat(dst []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	begin := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if bytes.IndexByte(dst[begin:], '.') < 0 {
		dst = append(dst, ".0"...)
	}
	return dst
}

// appendText appends s as a string of JSON in ASCII.
func appendText(dst, s []byte) []byte {
	dst = append(dst, '"')
	for len(s) > 0 {
		r, size := utf8.DecodeRune(s)
		s = s[size:]
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case ' ' <= r && r <= '~':
			dst = append(dst, byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\b':
			dst = append(dst, `\b`...)
		case r == '\f':
			dst = append(dst, `\f`...)
		case r > 0xffff:
			r -= 0x10000
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
	}
	return append(dst, '"')
}
