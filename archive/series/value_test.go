package series

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		kind      Kind
		raw, want string
	}{
		{Integer, `600`, `600.0`},
		{Integer, `9223372036854775807`, `9.223372036854776e+18`},
		{Integer, `"-3"`, `-3.0`},
		{Float, `0.1`, `0.1`},
		{Float, `-0.00019`, `-0.0001`},
		{Float, `0.00009`, `0.0`},
		{Percentage, `{"numerator": "28", "denominator": 600, "x": {}}`, `0.04666666666666667`},
		{Histogram, ` { "34.30" : 1 , "34.3":2,"-0.00":3, "\u00e9\"":4, "":5, "34.30": "6", "-12.5": true } `, `{"34.30": 6, "34.3": 2, "-0.00": 3, "é\"": 4, "": 5, "-12.5": 1}`},
		{Histogram, `{"0": 1, "0.0": 1, "00": 1, "-1": 1, "123456789012345": 1, "1234567890123456": 1, "0.000000000000001": 1, "-0.5": 1, "1.": 1, ".1": 1}`,
			`{"0": 1, "0.0": 1, "00": 1, "-1": 1, "123456789012345": 1, "1234567890123456": 1, "0.000000000000001": 1, "-0.5": 1, "1.": 1, ".1": 1}`},
		{Subinterval, `[{"start": "0.0", "duration": 1, "val": {"any": 1.50}, "more": null}]`, `[{"start":"0.0","duration":1,"val":{"any":1.50},"more":null}]`},
		{JSON, ` {"error": "a  b", "x": [1.0, 1e5]} `, `{"error":"a  b","x":[1.0,1e5]}`},
		{JSON, `null`, `null`},
	} {
		v := parse(t, c.kind, c.raw)
		if got := string(v.AppendJSON(nil)); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.kind, c.raw, got, c.want)
		}
		stored := v.AppendBinary(nil)
		again, err := Decode(c.kind, stored)
		if err != nil || !again.Equal(v) {
			t.Errorf("%s %s: stored and read %s (%v)", c.kind, c.raw, again.AppendJSON(nil), err)
		}
		if again, err := Parse(c.kind, v.AppendRequest(nil)); err != nil || !again.Equal(v) {
			t.Errorf("%s %s: written again as %s (%v)", c.kind, c.raw, v.AppendRequest(nil), err)
		}
		clear(stored)
		if got := string(again.AppendJSON(nil)); got != c.want {
			t.Errorf("%s %s: %s after the octets that it was read from have changed", c.kind, c.raw, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	many := []byte(`{"0": 1`)
	for i := range 1_000_000 {
		many = append(strconv.AppendInt(append(many, `,"`...), int64(i+1), 10), `":1`...)
	}
	many = append(many, '}')
	for _, c := range []struct {
		kind      Kind
		raw, want string
	}{
		{Integer, `1e30`, "Value must be an integer"},
		{Float, `null`, "Value must be a floating point number"},
		{Percentage, `null`, "Missing required field 'numerator'"},
		{Percentage, `{}`, "Missing required field 'numerator'"},
		{Percentage, `0.5`, "Missing required field 'numerator'"},
		{Percentage, `{"numerator": 1, "denominator": -1}`, "The field 'denominator' must be greater than 0"},
		{Histogram, `{}`, "Invalid histogram provided"},
		{Histogram, `null`, "Invalid histogram provided"},
		{Histogram, `{"1": 1`, "JSON parse error - octet 8: want a comma or a }"},
		{Histogram, `{"1": null}`, "Value of histogram must be an integer"},
		{Histogram, `{"1": 9223372036854775807, "2": 1}`, "Histogram counts more than 9223372036854775807"},
		{Histogram, `{"1": -9223372036854775808}`, "Histogram counts more than 9223372036854775807"},
		{Histogram, `{"` + strings.Repeat("1", 129) + `": 1}`, "Label of histogram has more than 128 octets"},
		{Histogram, string(many), "Histogram has more than 65536 labels"},
		{Subinterval, `[1]`, "Interval must contain 'start' field at position 1"},
		{Subinterval, `[{"start": 0, "duration": 1, "val": 1}, {"start": 1}]`, "Interval must contain 'duration' field at position 2"},
		{Subinterval, `[{"start": null, "duration": 1, "val": 1}]`, "Subinterval 'start' and 'duration' must be floating point numbers"},
		{JSON, ``, "JSON parse error - octet 1: want a value"},
		{JSON, `{"a": "` + "\xff" + `"}`, "JSON parse error - octet 7: want a string in UTF-8"},
		{JSON, strings.Repeat("[", 100_000), "JSON parse error - more than 64 levels"},
		{JSON, `"` + strings.Repeat("x", MaxOctets) + `"`, "Value has 16777218 octets: at most 16777216 are kept"},
	} {
		_, err := Parse(c.kind, []byte(c.raw))
		if _, ok := errors.AsType[*InvalidError](err); !ok || err.Error() != c.want {
			t.Errorf("%s %.100s: %v, want %s", c.kind, c.raw, err, c.want)
		}
	}
	if _, err := Parse(0, []byte("1")); err == nil {
		t.Error("a value of no kind")
	}
}

func TestEqual(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		a, b string
		same bool
	}{
		{Integer, `600`, `"600"`, true}, {Integer, `600`, `601`, false},
		{Float, `0.12`, `0.12001`, true}, {Float, `0.12`, `0.1201`, false},
		{Percentage, `{"numerator":1,"denominator":2}`, `{"denominator":2,"numerator":1}`, true},
		{Percentage, `{"numerator":1,"denominator":2}`, `{"numerator":2,"denominator":4}`, false},
		{Histogram, `{"1": 1, "2": 2}`, `{ "1":"1","2":2}`, true}, {Histogram, `{"34.3": 1}`, `{"34.30": 1}`, false},
		{JSON, `{"a": 1}`, `{"a":1}`, true}, {JSON, `{"a": 1}`, `{"a":2}`, false},
	} {
		if same := parse(t, c.kind, c.a).Equal(parse(t, c.kind, c.b)); same != c.same {
			t.Errorf("%s and %s: the same %t, want %t", c.a, c.b, same, c.same)
		}
	}
	if parse(t, Integer, `1`).Equal(parse(t, JSON, `1`)) {
		t.Error("an integer is JSON")
	}
}

// A bin of a histogram takes few octets.
func TestHistogramIsSmall(t *testing.T) {
	v := delays(t, 2000)
	if size := len(v.AppendBinary(nil)); size > 2*2000+10 {
		t.Errorf("%d octets, want two a bin", size)
	}
}

// delays returns a histogram as powstream has it, of so many bins.
func delays(t testing.TB, bins int) Value {
	return parse(t, Histogram, delaysJSON(bins))
}

func delaysJSON(bins int) string {
	var b strings.Builder
	for i := range bins {
		fmt.Fprintf(&b, `, "%.2f": %d`, 34+float64(i)/10, 1+(i*37)%60)
	}
	return "{" + b.String()[2:] + "}"
}

func FuzzParse(f *testing.F) {
	for _, p := range load[[]struct {
		Event EventType       `json:"event-type"`
		Value json.RawMessage `json:"val"`
	}](f, "values.json") {
		k, _ := p.Event.Kind()
		f.Add(uint8(k), []byte(p.Value))
	}
	f.Add(uint8(Histogram), []byte(`{"1": 0, "x": -2, "\ud800": 1e2, "1": 3}`))
	f.Fuzz(func(t *testing.T, kind uint8, raw []byte) {
		k := Kind(kind)
		v, err := Parse(k, raw)
		if err != nil {
			if _, ok := errors.AsType[*InvalidError](err); !ok && k >= Integer && k <= JSON {
				t.Fatalf("%v is no InvalidError", err)
			}
			if k == JSON && json.Valid(raw) && utf8.Valid(raw) && bytes.Count(raw, []byte{'['})+bytes.Count(raw, []byte{'{'}) <= MaxDepth {
				t.Fatalf("%v, but it is JSON", err)
			}
			return
		}
		if !json.Valid(raw) {
			t.Fatal("taken, but no JSON")
		}
		if out := v.AppendJSON(nil); !json.Valid(out) {
			t.Fatalf("%s is no JSON", out)
		}
		if out := v.AppendSummary(nil, Statistics); !json.Valid(out) {
			t.Fatalf("%s is no JSON", out)
		}
		again, err := Decode(k, v.AppendBinary(nil))
		if err != nil || !again.Equal(v) {
			t.Fatalf("stored and read %s, want %s (%v)", again.AppendJSON(nil), v.AppendJSON(nil), err)
		}
		if again, err := Parse(k, v.AppendRequest(nil)); err != nil || !again.Equal(v) {
			t.Fatalf("written again as %s, want %s (%v)", v.AppendRequest(nil), v.AppendJSON(nil), err)
		}
		if k == Histogram {
			want := make(map[string]any)
			if err := json.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
			got := 0
			for label := range v.Bins() {
				if _, ok := want[label]; !ok {
					t.Fatalf("label %q is not in it", label)
				}
				got++
			}
			if got != len(want) {
				t.Fatalf("%d labels, want %d", got, len(want))
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, k := range []Kind{Integer, Float, Percentage, Histogram} {
		f.Add(uint8(k), randomValue(f, k, r).AppendBinary(nil))
	}
	f.Add(uint8(Histogram), []byte{2, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1})
	f.Fuzz(func(t *testing.T, kind uint8, stored []byte) {
		v, err := Decode(Kind(kind), stored)
		if err != nil {
			return
		}
		if out := v.AppendJSON(nil); !json.Valid(out) {
			t.Fatalf("%s is no JSON", out)
		}
		if out := v.AppendSummary(nil, Statistics); !json.Valid(out) {
			t.Fatalf("%s is no JSON", out)
		}
		again, err := Decode(Kind(kind), v.AppendBinary(nil))
		if err != nil || !again.Equal(v) {
			t.Fatalf("%v, want %v (%v)", again, v, err)
		}
		if out := v.AppendRequest(nil); !json.Valid(out) {
			t.Fatalf("%s is no JSON", out)
		}
		fold := NewFold(Kind(kind))
		if fold.Add(v) == nil {
			if out := fold.AppendJSON(nil, Aggregation); !json.Valid(out) {
				t.Fatalf("%s is no JSON", out)
			}
		}
	})
}

func FuzzDecodeFold(f *testing.F) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, k := range []Kind{Integer, Float, Percentage, Histogram} {
		f.Add(uint8(k), foldOfAll(f, k, []Value{randomValue(f, k, r), randomValue(f, k, r)}).AppendBinary(nil))
	}
	f.Fuzz(func(t *testing.T, kind uint8, stored []byte) {
		fold, err := DecodeFold(Kind(kind), stored)
		if err != nil {
			return
		}
		for s := range SummaryType(4) {
			if out := fold.AppendJSON(nil, s); !json.Valid(out) {
				t.Fatalf("%s is no JSON", out)
			}
		}
		again, err := DecodeFold(Kind(kind), fold.AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fold.AppendBinary(nil), again.AppendBinary(nil)); diff != "" {
			t.Fatal(diff)
		}
		if err := again.Merge(fold); err == nil && again.Count() != 2*fold.Count() {
			t.Fatalf("%d values, want %d", again.Count(), 2*fold.Count())
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, bins := range []int{20, 200, 2000} {
		b.Run(fmt.Sprint(bins), func(b *testing.B) {
			raw := []byte(delaysJSON(bins))
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := Parse(Histogram, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReadDay is a day of a series with a histogram a minute.
func BenchmarkReadDay(b *testing.B) {
	stored := delays(b, 200).AppendBinary(nil)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = out[:0]
		for range 1440 {
			v, err := Decode(Histogram, stored)
			if err != nil {
				b.Fatal(err)
			}
			out = v.AppendJSON(out)
		}
	}
}

func BenchmarkDecodeDay(b *testing.B) {
	stored := delays(b, 200).AppendBinary(nil)
	b.ReportAllocs()
	for b.Loop() {
		for range 1440 {
			if _, err := Decode(Histogram, stored); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkFold(b *testing.B) {
	v := delays(b, 200)
	stored := foldOfAll(b, Histogram, []Value{delays(b, 2000), v}).AppendBinary(nil)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		f, err := DecodeFold(Histogram, stored)
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Add(v); err != nil {
			b.Fatal(err)
		}
		out = f.AppendBinary(out[:0])
	}
}

// BenchmarkStatisticsYear is a year of statistics of days.
func BenchmarkStatisticsYear(b *testing.B) {
	stored := foldOfAll(b, Histogram, []Value{delays(b, 2000)}).AppendBinary(nil)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = out[:0]
		for range 365 {
			f, err := DecodeFold(Histogram, stored)
			if err != nil {
				b.Fatal(err)
			}
			out = f.AppendJSON(out, Statistics)
		}
	}
}

func TestZeroValue(t *testing.T) {
	var v Value
	if v.Kind() != 0 || string(v.AppendJSON(nil)) != "null" {
		t.Errorf("%v: %s", v.Kind(), v.AppendJSON(nil))
	}
	if _, ok := v.Number(); ok {
		t.Error("nothing is a number")
	}
}
