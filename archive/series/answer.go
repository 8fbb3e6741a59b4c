package series

import (
	"math"
	"math/big"
	"strconv"
)

// ParseAnswer reads a value from the answer of another archive, as
// [Value.AppendJSON] writes it. Of a percentage that is the quotient: count is how
// many there were of what it is a part of, 0 if that is not known, and then the
// value has the smallest denominator that makes the quotient.
func ParseAnswer(k Kind, raw []byte, count int64) (Value, error) {
	if k != Percentage {
		return Parse(k, raw)
	}
	q, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !(q >= 0) || q > math.MaxInt32 {
		return Value{}, invalid("Value must be a floating point number")
	}
	n, over := fraction(q, count)
	return Value{kind: Percentage, n: n, over: over}, nil
}

// ParseAnswerFold reads an aggregation or an average from the answer of another
// archive, as [Fold.AppendJSON] writes it. It becomes a fold of count values; of an
// average the fold is the more precise the more values there are.
func ParseAnswerFold(k Kind, t SummaryType, raw []byte, count int64) (*Fold, error) {
	if count <= 0 || t != Aggregation && t != Average || !k.Allows(t) {
		return nil, invalid("Summary type %s of %d values cannot be read for kind %s", t, count, k)
	}
	if t == Aggregation {
		v, err := ParseAnswer(k, raw, 0)
		if err != nil {
			return nil, err
		}
		f, err := foldOf(v)
		if err == nil {
			f.count = count
		}
		return f, err
	}
	text := string(raw)
	mean, ok := new(big.Rat), len(text) <= maxNumber && isFloat(text)
	// What is 0 as a double may have an exponent of which a ratio has a million
	// digits.
	if x, err := strconv.ParseFloat(text, 64); ok && err == nil && x != 0 {
		_, ok = mean.SetString(text)
	}
	if !ok {
		return nil, invalid("Value must be a floating point number")
	}
	units := wideOf(count)
	if k == Float {
		units = product(count, floatUnits)
	}
	mean.Mul(mean, new(big.Rat).SetInt(units.big()))
	sum, ok := new(big.Int).SetString(mean.FloatString(0), 10)
	if !ok || sum.BitLen() > 120 {
		return nil, invalid("Value must be a floating point number that a sum can have")
	}
	lo := new(big.Int).And(sum, new(big.Int).SetUint64(math.MaxUint64)).Uint64()
	hi := new(big.Int).Rsh(sum, 64).Int64()
	return &Fold{kind: k, count: count, sum: wide{hi, lo}}, nil
}

// maxNumber bounds the text of a number: it is more than a double ever has.
const maxNumber = 32

// fraction returns a fraction that makes the quotient q: one of count if there is
// any, or else the one with the smallest denominator.
func fraction(q float64, count int64) (n, over int64) {
	if count > 0 && count < math.MaxInt32 {
		if n := math.Round(q * float64(count)); n/float64(count) == q {
			return int64(n), count
		}
	}
	// The convergents of q's continued fraction.
	a, b, c, d := int64(0), int64(1), int64(1), int64(0)
	for x := q; ; {
		whole := math.Floor(x)
		if whole > math.MaxInt32 {
			break
		}
		n, over := int64(whole)*c+a, int64(whole)*d+b
		if n > math.MaxInt32*2 || over > math.MaxInt32 {
			break
		}
		a, b, c, d = c, d, n, over
		if float64(n)/float64(over) == q || x == whole {
			break
		}
		x = 1 / (x - whole)
	}
	return c, d
}
