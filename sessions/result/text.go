package result

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// appendDecimal appends digits × 10^exp, exactly and without an exponent.
func appendDecimal(b []byte, negative bool, digits string, exp int) []byte {
	whole := strings.TrimRight(digits, "0")
	exp += len(digits) - len(whole)
	if digits = strings.TrimLeft(whole, "0"); digits == "" {
		return append(b, '0')
	}
	if negative {
		b = append(b, '-')
	}
	zeros := func(n int) {
		for range n {
			b = append(b, '0')
		}
	}
	switch point := len(digits) + exp; {
	case exp >= 0:
		b = append(b, digits...)
		zeros(exp)
	case point > 0:
		b = append(b, digits[:point]...)
		b = append(b, '.')
		b = append(b, digits[point:]...)
	default:
		b = append(b, "0."...)
		zeros(-point)
		b = append(b, digits...)
	}
	return b
}

// A scale says what the bins of a histogram are in milliseconds.
type scale struct {
	digits uint64 // a bin is digits × 10^exp wide
	exp    int
}

// newScale returns the scale of bins of a width in seconds, which counts as the
// shortest decimal that is it.
func newScale(width float64) scale {
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(width, 'e', -1, 64), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	var s scale
	s.digits, _ = strconv.ParseUint(whole+fraction, 10, 64) // 17 at most
	s.exp, _ = strconv.Atoi(exponent)
	s.exp += 3 - len(fraction)
	return s
}

// appendLabel appends what a bin is in milliseconds.
func (s scale) appendLabel(b []byte, bin int32) []byte {
	n := uint64(max(int64(bin), -int64(bin)))
	var digits string
	if s.digits < 1<<31 {
		digits = strconv.FormatUint(n*s.digits, 10)
	} else {
		product := new(big.Int).SetUint64(n)
		digits = product.Mul(product, new(big.Int).SetUint64(s.digits)).String()
	}
	return appendDecimal(b, bin < 0, digits, s.exp)
}

// millis are milliseconds in JSON, made of nanoseconds.
type millis int64

// MarshalJSON returns m with all its digits.
func (m millis) MarshalJSON() ([]byte, error) {
	return appendDecimal(nil, m < 0, strconv.FormatUint(uint64(max(m, -m)), 10), -6), nil
}

// hundredths are milliseconds in JSON, made of nanoseconds, with two digits
// behind the point at most.
type hundredths int64

// MarshalJSON returns h, rounded.
func (h hundredths) MarshalJSON() ([]byte, error) {
	const unit = 10_000
	n := uint64(max(h, -h))
	return appendDecimal(nil, h < 0, strconv.FormatUint((n+unit/2)/unit, 10), -2), nil
}

// length is a length of time in JSON, in seconds.
type length time.Duration

// MarshalJSON returns l with all its digits.
func (l length) MarshalJSON() ([]byte, error) {
	return appendDecimal(nil, l < 0, strconv.FormatUint(uint64(max(l, -l)), 10), -9), nil
}

// iso returns a duration as ISO 8601 has it: days, hours, minutes and seconds.
func iso(d time.Duration) string {
	if d <= 0 {
		return "PT0S"
	}
	var b strings.Builder
	b.WriteByte('P')
	if days := d / (24 * time.Hour); days > 0 {
		fmt.Fprintf(&b, "%dD", days)
	}
	if d %= 24 * time.Hour; d == 0 {
		return b.String()
	}
	b.WriteByte('T')
	if h := d / time.Hour; h > 0 {
		fmt.Fprintf(&b, "%dH", h)
	}
	if m := d % time.Hour / time.Minute; m > 0 {
		fmt.Fprintf(&b, "%dM", m)
	}
	if s := d % time.Minute; s > 0 {
		b.Write(appendDecimal(nil, false, strconv.FormatInt(int64(s), 10), -9))
		b.WriteByte('S')
	}
	return b.String()
}

// second returns a time as pScheduler has them, in whole seconds.
func second(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }
