package series

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// foldOfAll adds values up in the order in which they come.
func foldOfAll(t testing.TB, k Kind, values []Value) *Fold {
	t.Helper()
	f := NewFold(k)
	for _, v := range values {
		if err := f.Add(v); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// randomValue returns a value that a client may send.
func randomValue(t testing.TB, k Kind, r *rand.Rand) Value {
	t.Helper()
	switch k {
	case Integer:
		return parse(t, k, strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10))
	case Float:
		return parse(t, k, strconv.FormatFloat(r.NormFloat64()*math.Pow10(r.IntN(12)-3), 'g', -1, 64))
	case Percentage:
		return parse(t, k, fmt.Sprintf(`{"numerator": %d, "denominator": %d}`, r.Uint64()>>(1+r.IntN(63)), 1+r.Uint64()>>(2+r.IntN(62))))
	}
	var bins []string
	for range 1 + r.IntN(20) {
		var label string
		switch r.IntN(8) {
		case 0:
			label = []string{"34.3", "34.30", "1e1", "-0.00", "x", "nan", " 4 ", "+3", "007", "-", ".", "5."}[r.IntN(12)]
		case 1:
			label = strconv.Itoa(r.IntN(100) - 50)
		default:
			label = strconv.FormatFloat(r.NormFloat64()*50, 'f', 1+r.IntN(3), 64)
		}
		bins = append(bins, fmt.Sprintf("%q: %d", label, 1+r.IntN(600)))
	}
	return parse(t, Histogram, "{"+strings.Join(bins, ",")+"}")
}

// A fold is the same in whatever order values come, and however they are put
// together; stored and read in between or not; with a value taken out again.
func TestFoldInAnyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, k := range []Kind{Integer, Float, Percentage, Histogram} {
		for range 200 {
			values := make([]Value, 1+r.IntN(12))
			for i := range values {
				values[i] = randomValue(t, k, r)
			}
			want := foldOfAll(t, k, values).AppendBinary(nil)

			r.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
			if got := foldOfAll(t, k, values).AppendBinary(nil); !bytes.Equal(got, want) {
				t.Fatalf("%s: %x in another order, want %x", k, got, want)
			}

			middle := r.IntN(len(values) + 1)
			left := foldOfAll(t, k, values[:middle])
			stored, err := DecodeFold(k, left.AppendBinary(nil))
			if err != nil {
				t.Fatal(err)
			}
			if err := stored.Merge(foldOfAll(t, k, values[middle:])); err != nil {
				t.Fatal(err)
			}
			if got := stored.AppendBinary(nil); !bytes.Equal(got, want) {
				t.Fatalf("%s: %x merged, want %x", k, got, want)
			}
			if stored.Count() != int64(len(values)) {
				t.Fatalf("%s: %d values, want %d", k, stored.Count(), len(values))
			}

			extra := randomValue(t, k, r)
			if err := errors.Join(stored.Add(extra), stored.Remove(extra)); err != nil {
				t.Fatal(err)
			}
			if got := stored.AppendBinary(nil); !bytes.Equal(got, want) {
				t.Fatalf("%s: %x after a value came and went, want %x", k, got, want)
			}
		}
	}
}

// Sums and means are those of exact arithmetic, rounded once.
func TestFoldIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, k := range []Kind{Integer, Float} {
		unit := big.NewInt(1)
		if k == Float {
			unit = big.NewInt(floatUnits)
		}
		for range 300 {
			f, sum, n := NewFold(k), new(big.Int), int64(1+r.IntN(20))
			for range n {
				v := randomValue(t, k, r)
				sum.Add(sum, big.NewInt(v.n))
				if err := f.Add(v); err != nil {
					t.Fatal(err)
				}
			}
			total := new(big.Rat).SetFrac(sum, unit)
			want, _ := total.Float64()
			if got, ok := f.Number(Aggregation); !ok || got != want {
				t.Errorf("%s: sum %v, want %v", k, got, want)
			}
			want, _ = total.Quo(total, new(big.Rat).SetInt64(n)).Float64()
			if got, ok := f.Number(Average); !ok || got != want {
				t.Errorf("%s: mean %v, want %v", k, got, want)
			}
		}
	}
}

// The histogram of a window has the counts of all its histograms, and its
// statistics are those of the one histogram.
func TestFoldHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		want := make(map[string]int64)
		f := NewFold(Histogram)
		for range 1 + r.IntN(5) {
			v := randomValue(t, Histogram, r)
			for label, n := range v.Bins() {
				want[label] += n
			}
			if err := f.Add(v); err != nil {
				t.Fatal(err)
			}
		}
		v, ok := f.Histogram()
		if !ok {
			t.Fatal("no histogram")
		}
		n := 0
		for label, count := range v.Bins() {
			if n++; want[label] != count {
				t.Errorf("%s: %d, want %d", label, count, want[label])
			}
		}
		if n != len(want) {
			t.Errorf("%d labels, want %d", n, len(want))
		}
		if got, want := string(f.AppendJSON(nil, Statistics)), string(v.AppendSummary(nil, Statistics)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		a, aOK := f.Quantile(0.3)
		b, bOK := v.Quantile(0.3)
		if a != b || aOK != bOK {
			t.Errorf("%v, want %v", a, b)
		}
	}
}

func TestFoldRefuses(t *testing.T) {
	f := NewFold(Histogram)
	most := parse(t, Histogram, fmt.Sprintf(`{"1": %d}`, int64(math.MaxInt64)))
	if err := f.Add(most); err != nil {
		t.Fatal(err)
	}
	before := f.AppendBinary(nil)
	err := f.Add(parse(t, Histogram, `{"1": 1}`))
	if _, ok := errors.AsType[*InvalidError](err); !ok {
		t.Errorf("one count too many: %v", err)
	}
	if err := f.Add(most); err == nil {
		t.Error("twice as many counts as there can be of a label are taken")
	}
	if err := f.Add(parse(t, Histogram, `{"2": 1}`)); err == nil {
		t.Error("one count too many of another label is taken")
	}
	if err := f.Add(parse(t, Integer, `1`)); err == nil {
		t.Error("an integer in a histogram")
	}
	if err := NewFold(JSON).Add(parse(t, JSON, `1`)); err == nil {
		t.Error("JSON adds up")
	}
	if err := NewFold(Integer).Remove(parse(t, Integer, `1`)); err == nil {
		t.Error("taken from nothing")
	}
	if after := f.AppendBinary(nil); !bytes.Equal(before, after) {
		t.Errorf("%x, want %x as before", after, before)
	}

	full := NewFold(Histogram)
	for i := range MaxWindowBins/MaxBins + 1 {
		bins := make([]bin, MaxBins)
		for j := range bins {
			bins[j] = newBin(strconv.Itoa(i*MaxBins + j))
			bins[j].n = 1
		}
		err := full.Add(Value{kind: Histogram, text: appendBins(nil, bins)})
		if _, ok := errors.AsType[*InvalidError](err); ok != (i == MaxWindowBins/MaxBins) {
			t.Fatalf("%d labels: %v", (i+1)*MaxBins, err)
		}
	}
}

// What no fold is stored as is refused, of a count that no int64 holds, too.
func TestDecodeFoldRefuses(t *testing.T) {
	for _, k := range []Kind{Integer, Float, Percentage, Histogram} {
		stored := NewFold(k).AppendBinary(nil)[1:] // without its count
		for name, b := range map[string][]byte{
			"nothing":     nil,
			"a count":     binary.AppendUvarint(nil, 1<<63),
			"a count too": append(binary.AppendUvarint(nil, 1<<63), stored...),
			"more":        append(NewFold(k).AppendBinary(nil), 0),
		} {
			if f, err := DecodeFold(k, b); err == nil {
				t.Errorf("%s of %s: a fold of %d values, want an error", name, k, f.Count())
			}
		}
	}
}

// As many counts as there can be have percentiles, too.
func TestQuantileOfMost(t *testing.T) {
	v := parse(t, Histogram, fmt.Sprintf(`{"1": 1, "2": %d, "3": 1}`, int64(math.MaxInt64-2)))
	if x, ok := v.Quantile(0.5); x != 2 || !ok {
		t.Errorf("%v, %t, want 2", x, ok)
	}
}

// A label without a count is there for the least and the greatest, and nothing
// has negative counts.
func TestStatisticsOfOddCounts(t *testing.T) {
	s, ok := parse(t, Histogram, `{"1": 0, "2": 3, "3": 0, "4": 3, "9": 0}`).Statistics()
	if !ok || s.Minimum != 1 || s.Maximum != 9 || s.P25 != 2 || s.Median != 3 || s.P95 != 4 || !slices.Equal(s.Mode, []float64{2, 4}) || s.Mean != 3 || s.Variance != 1 {
		t.Errorf("%+v, %t", s, ok)
	}
	for _, raw := range []string{`{"1": 0}`, `{"1": -2}`, `{"1": -2, "2": 5}`, `{"inf": 1}`, `{"1e308": 9, "-1e308": 1}`} {
		v := parse(t, Histogram, raw)
		if s, ok := v.Statistics(); ok {
			t.Errorf("%s: %+v, want none", raw, s)
		}
		if got := string(v.AppendSummary(nil, Statistics)); got != "{}" {
			t.Errorf("%s: %s, want {}", raw, got)
		}
	}
}

// Samples that are one value have no variance, however great it is.
func TestVarianceOfOneValue(t *testing.T) {
	for _, raw := range []string{`{"34.3": 10, "34.30": 1}`, `{"1e15": 600}`, `{"0.1": 7}`} {
		if s, ok := parse(t, Histogram, raw).Statistics(); !ok || s.Variance != 0 || s.Deviation != 0 || s.Mean != s.Median {
			t.Errorf("%s: %+v", raw, s)
		}
	}
}

// quantileOfSamples is the definition, of all samples one by one.
func quantileOfSamples(samples []float64, p float64) float64 {
	r := p * float64(len(samples)+1)
	k := int(r)
	switch {
	case k == 0:
		return samples[0]
	case k >= len(samples):
		return samples[len(samples)-1]
	}
	return samples[k-1] + (r-float64(k))*(samples[k]-samples[k-1])
}

func TestQuantileIsNISTs(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		var samples []float64
		var bins []string
		for i := range 1 + r.IntN(8) {
			n := r.IntN(6)
			bins = append(bins, fmt.Sprintf(`"%d.5": %d`, i*3, n))
			for range n {
				samples = append(samples, float64(i*3)+0.5)
			}
		}
		if len(samples) == 0 {
			continue
		}
		raw := "{" + strings.Join(bins, ",") + "}"
		for _, p := range []float64{0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999, 1} {
			if got, ok := parse(t, Histogram, raw).Quantile(p); !ok || got != quantileOfSamples(samples, p) {
				t.Errorf("%s: quantile %v is %v, want %v", raw, p, got, quantileOfSamples(samples, p))
			}
		}
	}
}
