package series

import (
	"math"
	"strconv"
	"testing"
)

func TestRatio(t *testing.T) {
	t.Parallel()
	value := func(k Kind, text string) Value {
		v, err := Parse(k, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	rate := value(Percentage, `{"numerator": 3, "denominator": 600}`)
	if n, d, ok := rate.Ratio(); n != 3 || d != 600 || !ok {
		t.Errorf("%d/%d %t, want 3/600", n, d, ok)
	}
	if _, _, ok := value(Integer, "3").Ratio(); ok {
		t.Error("an integer has a ratio")
	}
	f := NewFold(Percentage)
	for _, v := range []Value{rate, rate, value(Percentage, `{"numerator": 0, "denominator": 1}`)} {
		if err := f.Add(v); err != nil {
			t.Fatal(err)
		}
	}
	if n, d, ok := f.Ratio(); n != 6 || d != 1201 || !ok {
		t.Errorf("%d/%d %t, want 6/1201", n, d, ok)
	}
	if err := f.Add(value(Percentage, `{"numerator": 1, "denominator": `+strconv.FormatInt(math.MaxInt64, 10)+`}`)); err != nil {
		t.Fatal(err)
	}
	if n, d, ok := f.Ratio(); ok {
		t.Errorf("%d/%d, want none: it is more than 64 bits", n, d)
	}
	if _, _, ok := NewFold(Integer).Ratio(); ok {
		t.Error("a sum of integers has a ratio")
	}
}
