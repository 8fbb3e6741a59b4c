package series

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestParseAnswer(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for range 2000 {
		over := 1 + r.Int64N(100_000)
		n := r.Int64N(over + 1)
		v := Value{kind: Percentage, n: n, over: over}
		raw := v.AppendJSON(nil)
		if got, err := ParseAnswer(Percentage, raw, over); err != nil || !got.Equal(v) {
			t.Fatalf("%s of %d is %s (%v), want %s", raw, over, got.AppendRequest(nil), err, v.AppendRequest(nil))
		}
		got, err := ParseAnswer(Percentage, raw, 0)
		if err != nil || string(got.AppendJSON(nil)) != string(raw) || got.over > over {
			t.Fatalf("%s is %s (%v), want a smaller denominator than %d", raw, got.AppendRequest(nil), err, over)
		}
	}
	for raw, want := range map[string]string{
		"0.0": `{"numerator":0,"denominator":1}`, "0.5": `{"numerator":1,"denominator":2}`, "1.25": `{"numerator":5,"denominator":4}`, "0.04666666666666667": `{"numerator":7,"denominator":150}`, "1.0": `{"numerator":1,"denominator":1}`,
	} {
		if v, err := ParseAnswer(Percentage, []byte(raw), 0); err != nil || string(v.AppendRequest(nil)) != want {
			t.Errorf("%s is %s (%v), want %s", raw, v.AppendRequest(nil), err, want)
		}
	}
	for _, raw := range []string{"-0.1", "null", "x", "1e300", "NaN", ""} {
		if v, err := ParseAnswer(Percentage, []byte(raw), 600); err == nil {
			t.Errorf("%s is %s, want it refused", raw, v.AppendRequest(nil))
		}
	}
	if v, err := ParseAnswer(Integer, []byte("600.0"), 0); err != nil || v.n != 600 {
		t.Errorf("%v, %v", v, err)
	}
}

// What is read of an archive's answer is answered again.
func TestParseAnswerFold(t *testing.T) {
	for _, c := range []struct {
		kind  Kind
		t     SummaryType
		raw   string
		count int64
	}{
		{Integer, Aggregation, "1182.0", 3},
		{Integer, Average, "394.0", 3},
		{Integer, Average, "298.25", 4},
		{Integer, Average, "2815423335.6666665", 3},
		{Integer, Average, "-0.5", 2},
		{Float, Aggregation, "2.0399", 3},
		{Float, Average, "0.6799666666666667", 3},
		{Float, Average, "-3.596375", 4},
		{Percentage, Aggregation, "0.023966942148760332", 3},
		{Histogram, Aggregation, `{"34.30": 740, "x": 1}`, 3},
	} {
		f, err := ParseAnswerFold(c.kind, c.t, []byte(c.raw), c.count)
		if err != nil {
			t.Errorf("%s: %v", c.raw, err)
			continue
		}
		if got := string(f.AppendJSON(nil, c.t)); got != c.raw || f.Count() != c.count {
			t.Errorf("%s is %s of %d", c.raw, got, f.Count())
		}
		if again, err := DecodeFold(c.kind, f.AppendBinary(nil)); err != nil || again.Count() != c.count {
			t.Errorf("%s: %v", c.raw, err)
		}
	}
	// A mean that no double is small enough for is nought, and soon read.
	if f, err := ParseAnswerFold(Float, Average, []byte("1e-9999999"), 3); err != nil || string(f.AppendJSON(nil, Average)) != "0.0" {
		t.Errorf("a small mean: %v, %v", f, err)
	}
	for _, c := range []struct {
		kind  Kind
		t     SummaryType
		raw   string
		count int64
	}{
		{Integer, Aggregation, "1", 0}, {Histogram, Statistics, "{}", 1}, {JSON, Aggregation, "1", 1}, {Integer, Average, "x", 1}, {Integer, Average, "1e999999999", 1}, {Integer, Average, "1e300", 1}, {Float, Average, "1/3e99999999", 1}, {Percentage, Average, "1", 1}, {Percentage, Aggregation, "-1", 1},
	} {
		if f, err := ParseAnswerFold(c.kind, c.t, []byte(c.raw), c.count); err == nil {
			t.Errorf("%s %s %s of %d is %v", c.kind, c.t, c.raw, c.count, f)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add(uint8(Percentage), "0.0466", int64(600))
	f.Fuzz(func(t *testing.T, kind uint8, raw string, count int64) {
		if v, err := ParseAnswer(Kind(kind), []byte(raw), count); err == nil {
			if _, err := Decode(v.Kind(), v.AppendBinary(nil)); err != nil {
				t.Error(err)
			}
			if q, err := strconv.ParseFloat(raw, 64); err == nil && v.Kind() == Percentage && q > 1e-6 {
				if got, _ := v.Number(); got/q < 0.999999 || got/q > 1.000001 {
					t.Errorf("%s is %v", raw, got)
				}
			}
		}
		for _, s := range []SummaryType{Aggregation, Average} {
			if fold, err := ParseAnswerFold(Kind(kind), s, []byte(raw), count); err == nil {
				if _, err := DecodeFold(fold.Kind(), fold.AppendBinary(nil)); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
