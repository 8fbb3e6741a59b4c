package series

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// esmond is a Python program, and what its int, float, str and repr make of a
// value can be seen in its answers, and in which metadata are the same. These are
// their equals.

// white is what Python strips off numbers.
const white = " \t\n\r\v\f"

// toInt returns what int makes of a JSON value: a number without its fraction,
// a text that is an integer, 1 for true. False: nothing, or no 64 bits hold it.
func toInt(raw []byte) (int64, bool) {
	if len(raw) > 0 && '1' <= raw[0] && raw[0] <= '9' { // as nearly all are
		if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			return n, true
		}
	}
	text, isText, ok := scalar(raw)
	if !ok {
		return 0, false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	if isText {
		return 0, false
	}
	units, ok := decimal(text, 0)
	return units, ok
}

// toUnits returns what a floating point number is in units of 1/10000, cut off:
// of a JSON number, a text that is one, 1 for true. False: it is none, or no 64
// bits hold it.
func toUnits(raw []byte) (int64, bool) {
	text, _, ok := scalar(raw)
	if !ok {
		return 0, false
	}
	return decimal(text, floatDigits)
}

// scalar returns the text of a JSON value that may be a number.
func scalar(raw []byte) (text string, isText, ok bool) {
	s := &scanner{text: raw}
	switch c := s.peek(); c {
	case '"':
		text = strings.Trim(s.string(), white)
		return text, true, s.end() == nil
	case '{', '[':
		return "", false, false
	}
	text = string(s.raw())
	if s.end() != nil {
		return "", false, false
	}
	switch text {
	case "true":
		return "1", false, true
	case "false":
		return "0", false, true
	case "null":
		return "", false, false
	}
	return text, false, true
}

// decimal returns the number text × 10^digits without what is behind the point.
// It reads what is written, and not the double next to it: 0.57 has 5700 units,
// but 0.57 × 10000 as doubles has fewer. False: it is no number, or no 64 bits hold it.
func decimal(text string, digits int) (int64, bool) {
	if !isFloat(text) {
		return 0, false
	}
	negative := text[0] == '-'
	text = strings.TrimLeft(text, "+-")
	exponent := 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		// One that no int holds is as good as one that no number of 64 bits has.
		e, err := strconv.Atoi(text[i+1:])
		if err != nil || e < -maxExponent || e > maxExponent {
			e = maxExponent
			if text[i+1] == '-' {
				e = -maxExponent
			}
		}
		exponent, text = e, text[:i]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	point := len(whole) + exponent + digits // where it stands behind the multiplication
	var n int64
	for i, c := range []byte(whole + fraction) {
		if i >= point {
			break
		}
		if n > (math.MaxInt64-9)/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	for range point - len(whole) - len(fraction) {
		if n == 0 {
			break
		}
		if n > math.MaxInt64/10 {
			return 0, false
		}
		n *= 10
	}
	if negative {
		n = -n
	}
	return n, true
}

// maxExponent is greater than any that matters.
const maxExponent = 1 << 30

// isFloat reports whether float takes text for a finite number in decimal.
func isFloat(text string) bool {
	for _, c := range []byte(text) {
		if !strings.ContainsRune("0123456789+-.eE", rune(c)) {
			return false // what only one of both languages reads: nan, 0x1p4, 1_000
		}
	}
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

// appendFloat appends what repr makes of a number: the shortest text that is the
// same number, with a point or an exponent. It is JSON if f is finite.
func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	}
	// Python has no exponent as long as there are up to 16 digits before the
	// point, or up to 4 noughts behind it.
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	from := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if slices.Contains(dst[from:], '.') {
		return dst
	}
	return append(dst, ".0"...)
}

// str reads the next value and returns what str makes of it; of a text the text.
func (s *scanner) str() string {
	if s.peek() == '"' {
		return s.string()
	}
	return string(s.appendRepr(nil))
}

// appendRepr reads the next value and appends what repr makes of it.
func (s *scanner) appendRepr(dst []byte) []byte {
	switch s.peek() {
	case '"':
		return appendQuoted(dst, s.string())
	case '[':
		dst = append(dst, '[')
		first := len(dst)
		s.array(func() {
			if len(dst) > first {
				dst = append(dst, ", "...)
			}
			dst = s.appendRepr(dst)
		})
		return append(dst, ']')
	case '{':
		return s.appendDict(dst)
	}
	switch word := string(s.raw()); word {
	case "true":
		return append(dst, "True"...)
	case "false":
		return append(dst, "False"...)
	case "null":
		return append(dst, "None"...)
	case "-0":
		return append(dst, '0')
	default:
		if !strings.ContainsAny(word, ".eE") {
			return append(dst, word...)
		}
		f, _ := strconv.ParseFloat(word, 64) // infinite if it is too great
		return appendFloat(dst, f)
	}
}

// appendDict reads an object and appends what repr makes of it. Of several
// members of one name the first has the place and the last the value.
func (s *scanner) appendDict(dst []byte) []byte {
	var names []string
	values := make(map[string][]byte)
	s.object(func(name string) {
		if _, ok := values[name]; !ok {
			names = append(names, name)
		}
		values[name] = s.appendRepr(nil)
	})
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(appendQuoted(dst, name), ": "...)
		dst = append(dst, values[name]...)
	}
	return append(dst, '}')
}

// appendQuoted appends what repr makes of a text.
func appendQuoted(dst []byte, text string) []byte {
	quote := byte('\'')
	if strings.Contains(text, "'") && !strings.Contains(text, `"`) {
		quote = '"'
	}
	dst = append(dst, quote)
	for _, r := range text {
		switch {
		case r == rune(quote) || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case unicode.IsPrint(r):
			dst = append(dst, string(r)...)
		case r < 0x100:
			dst = appendHex(append(dst, `\x`...), r, 2)
		case r < 0x10000:
			dst = appendHex(append(dst, `\u`...), r, 4)
		default:
			dst = appendHex(append(dst, `\U`...), r, 8)
		}
	}
	return append(dst, quote)
}

// appendHex appends r with so many digits.
func appendHex(dst []byte, r rune, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		dst = append(dst, "0123456789abcdef"[r>>(4*i)&15])
	}
	return dst
}
