package table

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// none stands where there is no value to show.
const none = "–"

var units = []struct {
	name string
	size time.Duration
}{
	{"µs", time.Microsecond},
	{"ms", time.Millisecond},
	{"s", time.Second},
	{"h", time.Hour},
	{"d", 24 * time.Hour},
}

// Duration writes d with three significant digits in the unit that suits it:
// "40.1 ms", "1.32 µs", and "612 ns" exactly. Beyond 1000 s come hours and,
// beyond 1000 h, days.
func Duration(d time.Duration) string {
	sign, v := "", float64(d)
	if d < 0 {
		sign, v = "-", -v
	}
	if v < 1000 {
		return sign + strconv.FormatFloat(v, 'f', 0, 64) + " ns"
	}
	u := units[0]
	for _, u = range units {
		if v/float64(u.size) < 999.5 { // what would be rounded to 1000 belongs to the next
			break
		}
	}
	return sign + significant(v/float64(u.size)) + " " + u.name
}

// significant writes v, which is not negative, with three significant digits,
// but never without the digits before the point.
func significant(v float64) string {
	// The exponent is that of the rounded number.
	e := strconv.FormatFloat(v, 'e', 2, 64)
	exp, _ := strconv.Atoi(e[strings.IndexByte(e, 'e')+1:])
	return strconv.FormatFloat(v, 'f', max(2-exp, 0), 64)
}

// Percent writes how much of whole part is: three significant digits, rounded
// to nearest, but neither "0 %" unless part is 0 nor "100 %" unless it is all.
func Percent(part, whole uint64) string {
	switch {
	case whole == 0:
		return none
	case part == 0:
		return "0 %"
	case part >= whole:
		return "100 %"
	}
	p := 100 * float64(part) / float64(whole)
	switch {
	case p < 0.001:
		return "<0.001 %"
	case p >= 99.95:
		return ">99.9 %"
	case p < 0.1: // no more digits than fit
		return strconv.FormatFloat(p, 'f', 3, 64) + " %"
	}
	return significant(p) + " %"
}

// Count writes n with a thin space between groups of three digits.
func Count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteRune('\u2009')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// Plain returns s with what a terminal would act upon, or could not show in a
// column of its own, replaced by "?".
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) || unicode.Is(unicode.Mn, r) {
			return '?'
		}
		return r
	}, s)
}

// width is the number of columns that s takes on a terminal.
func width(s string) (n int) {
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	if unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana) {
		return 2
	}
	return 1
}

// cut shortens s to at most n columns and says so with an ellipsis.
func cut(s string, n int) string {
	if width(s) <= n {
		return s
	}
	if n <= 0 {
		return ""
	}
	var used int
	for i, r := range s {
		if used += runeWidth(r); used > n-1 {
			return s[:i] + "…"
		}
	}
	panic("unreachable")
}
