package datafile

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/big"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"
)

// sliceOf yields samples, and err behind them if it is not nil.
func sliceOf(all []Sample, err error) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		for _, s := range all {
			if !yield(s, nil) {
				return
			}
		}
		if err != nil {
			yield(Sample{}, err)
		}
	}
}

// A rawFile is a data file as encoding/json reads it.
type rawFile struct {
	Version  int
	Metadata map[string]any
	X        []json.Number               `json:"x_values"`
	Results  map[string][]*json.Number   `json:"results"`
	Raw      map[string][]map[string]any `json:"raw_values"`
}

func write(t testing.TB, test *Test) *rawFile {
	t.Helper()
	w, err := NewWriter(test)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := w.Write(&b, "name"); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range text {
		if c >= utf8.RuneSelf {
			t.Fatalf("octet %x: want ASCII alone", c)
		}
	}
	var f rawFile
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&f); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return &f
}

// nanos returns a number of units of 10^-decimals, which must be a whole one.
func nanos(t testing.TB, v any, decimals int64) int64 {
	t.Helper()
	r, ok := new(big.Rat).SetString(v.(json.Number).String())
	if !ok {
		t.Fatalf("%v is no number", v)
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(decimals), nil)))
	if !r.IsInt() || !r.Num().IsInt64() {
		t.Fatalf("%v is no whole number of 10^-%d", v, decimals)
	}
	return r.Num().Int64()
}

// random returns samples of sessions as receivers write them down, and the same as
// they were sent, without copies.
func random(rng *rand.Rand, start time.Time) (written, sent []Sample) {
	at := start.UnixNano()
	for session := range uint32(1 + rng.IntN(3)) {
		type event struct {
			at int64
			s  Sample
		}
		var events []event
		for seq := range uint32(rng.IntN(400)) {
			at += rng.Int64N(50e6)
			s := Sample{Sent: at, Session: session, Seq: seq, Lost: rng.IntN(8) == 0}
			if !s.Lost {
				s.Delay = rng.Int64N(200e6) - 50e6
			}
			sent = append(sent, s)
			if s.Lost {
				events = append(events, event{at + 2e9, s})
				continue
			}
			events = append(events, event{at + s.Delay, s})
			if rng.IntN(10) == 0 {
				s.Delay += 1 + rng.Int64N(1e6)
				events = append(events, event{at + s.Delay, s})
			}
		}
		slices.SortStableFunc(events, func(a, b event) int { return int(a.at/1000 - b.at/1000) })
		for _, e := range events {
			written = append(written, e.s)
		}
		if at += rng.Int64N(20e9); rng.IntN(2) == 0 {
			at = start.UnixNano() + rng.Int64N(1e9) // the next one runs at the same time
		}
	}
	slices.SortFunc(sent, func(a, b Sample) int {
		return cmp.Or(cmp.Compare(a.Sent, b.Sent), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Seq, b.Seq))
	})
	return written, sent
}

// TestWrite: what is in a file is what somebody makes of the samples who takes his
// time.
func TestWrite(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 21, 23, 59, 59, 999_999_999, time.UTC)
	seeds := uint64(30)
	if !testing.Short() {
		seeds = 300
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 8))
		step := time.Duration(10+rng.IntN(1000)) * time.Millisecond
		test := &Test{Name: []string{Ping, VoIP}[seed%2], Step: step}
		var sent [][]Sample
		for i := range 1 + rng.IntN(3)*int(1-seed%2) {
			written, s := random(rng, start)
			test.Paths = append(test.Paths, Path{Label: fmt.Sprint("path ", i), Samples: sliceOf(written, nil)})
			sent = append(sent, s)
		}
		if slices.ContainsFunc(sent, func(s []Sample) bool { return len(s) == 0 }) {
			continue
		}
		f := write(t, test)
		first := slices.Min(slices.Collect(func(yield func(int64) bool) {
			for _, s := range sent {
				yield(s[0].Sent)
			}
		}))
		t0, err := time.Parse("2006-01-02T15:04:05.000000Z", f.Metadata["T0"].(string))
		if err != nil || t0.UnixNano() != first-(first%1000+1000)%1000 || f.Metadata["TIME"] != f.Metadata["T0"] {
			t.Fatalf("seed %d: T0 %v, the first packet at %d", seed, f.Metadata["T0"], first)
		}
		for i, x := range f.X {
			if got := nanos(t, x, 9); got != int64(i)*int64(step) {
				t.Fatalf("seed %d: x %d is %s", seed, i, x)
			}
		}
		for i := range sent {
			checkPath(t, fmt.Sprintf("seed %d, path %d", seed, i), test, f, test.Paths[i].Label, sent[i], t0.UnixNano())
		}
		if want := 3 * len(sent); f.Version != 4 || len(f.Results) != want {
			t.Errorf("seed %d: version %d, %d series, want %d", seed, f.Version, len(f.Results), want)
		}
	}
}

// checkPath checks the series of a path.
func checkPath(t *testing.T, what string, test *Test, f *rawFile, label string, sent []Sample, t0 int64) {
	t.Helper()
	names := [...]string{"Ping (ms) ICMP " + label + " (extra)", "IPDV (ms) " + label, "Loss (packets) " + label}
	raw := f.Raw[names[0]]
	if test.Name == VoIP {
		names = [...]string{"VoIP::delay", "VoIP::jitter", "VoIP::loss"}
		raw = f.Raw["VoIP"]
	}
	steps := int64(len(f.X))
	type cell struct {
		delays, variations []int64
		lost, all          int
	}
	cells := make([]cell, steps)
	var variations []int64
	var before Sample
	last := make(map[uint32]Sample)
	received := 0
	for i, s := range sent {
		at := (s.Sent - t0) / int64(test.Step)
		if at < 0 || at >= steps {
			t.Fatalf("%s: packet %d belongs to step %d of %d", what, i, at, steps)
		}
		c := &cells[at]
		c.all++
		for len(raw) > 0 && raw[0]["seq"] == nil { // a gap
			if v, there := raw[0]["val"]; v != nil || !there {
				t.Errorf("%s: a gap of %v", what, raw[0])
			}
			if since := s.Sent - before.Sent; s.Session == before.Session || since <= 5*int64(test.Step) {
				t.Errorf("%s: a gap of %d ns", what, since)
			}
			raw = raw[1:]
		}
		if len(raw) == 0 {
			t.Fatalf("%s: there is no packet %d", what, i)
		}
		k := raw[0]
		raw = raw[1:]
		if nanos(t, k["seq"], 0) != int64(s.Seq) || nanos(t, k["t"], 9) != s.Sent {
			t.Fatalf("%s: packet %d is %v, want %+v", what, i, k, s)
		}
		if s.Lost {
			c.lost++
			if v, ok := k["val"]; !ok || v != nil || k["lost"] != true {
				t.Errorf("%s: a lost packet is %v", what, k)
			}
		} else {
			received++
			c.delays = append(c.delays, s.Delay)
			if nanos(t, k["val"], 6) != s.Delay || k["lost"] != nil {
				t.Errorf("%s: packet %v, want %+v", what, k, s)
			}
			if b, ok := last[s.Session]; ok && !b.Lost {
				v := s.Delay - b.Delay
				variations = append(variations, v)
				if test.Name == VoIP {
					if nanos(t, k["ipdv_up"], 6) != v {
						t.Errorf("%s: packet %v, want a variation of %d", what, k, v)
					}
					v = max(v, -v)
				}
				c.variations = append(c.variations, v)
			}
		}
		before, last[s.Session] = s, s
	}
	if len(raw) > 0 {
		t.Errorf("%s: %d raw values more than packets", what, len(raw))
	}
	if test.Name == Ping {
		var got []int64
		for _, k := range f.Raw[names[1]] {
			got = append(got, nanos(t, k["val"], 6))
		}
		if d := gocmp.Diff(variations, got); d != "" {
			t.Errorf("%s: variations (-want +got)\n%s", what, d)
		}
	}
	average := func(all []int64) *int64 {
		if len(all) == 0 {
			return nil
		}
		sum := new(big.Int)
		for _, v := range all {
			sum.Add(sum, big.NewInt(v))
		}
		// To the nearest, and half away from 0, as FloatString has it.
		n, _ := strconv.ParseInt(new(big.Rat).SetFrac(sum, big.NewInt(int64(len(all)))).FloatString(0), 10, 64)
		return &n
	}
	for i, c := range cells {
		lost := new(int64(c.lost))
		if c.all == 0 {
			lost = nil
		}
		for k, want := range []*int64{average(c.delays), average(c.variations), lost} {
			got := f.Results[names[k]][i]
			decimals := []int64{6, 6, 0}[k]
			if (got == nil) != (want == nil) || got != nil && nanos(t, *got, decimals) != *want {
				t.Errorf("%s: step %d of %s is %v, want %v", what, i, names[k], got, want)
			}
		}
	}
	meta, name := f.Metadata["SERIES_META"].(map[string]any), names[0]
	if test.Name == VoIP {
		name = "VoIP"
	}
	m := meta[name].(map[string]any)
	if nanos(t, m["PACKETS_SENT"], 0) != int64(len(sent)) || nanos(t, m["PACKETS_RECEIVED"], 0) != int64(received) {
		t.Errorf("%s: %v, want %d sent and %d received", what, m, len(sent), received)
	}
}

// TestFarSteps: a table has a bound, whatever the time is.
func TestFarSteps(t *testing.T) {
	t.Parallel()
	far := []Sample{{Sent: 0, Delay: 1}, {Sent: 50 * 365 * 86400e9, Seq: 1, Delay: 3}}
	w, err := NewWriter(&Test{Name: Ping, Step: time.Millisecond, Paths: []Path{{Label: "a", Samples: sliceOf(far, nil)}, {Label: "b", Samples: sliceOf(far, nil)}}})
	if err != nil {
		t.Fatal(err)
	}
	if w.grid.steps > maxCells/2 || w.grid.steps < maxCells/4 || w.grid.step%int64(time.Millisecond) != 0 {
		t.Errorf("%d steps of %d ns", w.grid.steps, w.grid.step)
	}
	if got := w.grid.bin(-5); got != 0 {
		t.Errorf("before the time: step %d", got)
	}
	if got := w.grid.bin(1 << 62); got != w.grid.steps-1 {
		t.Errorf("behind the time: step %d", got)
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	one := Path{Label: "a", Samples: sliceOf([]Sample{{Sent: 1}}, nil)}
	for want, test := range map[string]*Test{
		`test "rrul": want ping or voip`: {Name: "rrul", Paths: []Path{one}},
		"a data file of no path":         {Name: Ping},
		"2 paths in a data file":         {Name: VoIP, Paths: []Path{one, one}},
		"no packets":                     {Name: Ping, Paths: []Path{{Samples: sliceOf(nil, nil)}}},
		"broken":                         {Name: Ping, Paths: []Path{one, {Samples: sliceOf([]Sample{{Sent: 1}}, broken)}}},
	} {
		if _, err := NewWriter(test); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// A source, or a disk, that fails later.
	calls := 0
	late := Path{Samples: func(yield func(Sample, error) bool) {
		if calls++; calls == 1 {
			yield(Sample{Sent: 1}, nil)
		} else {
			yield(Sample{}, broken)
		}
	}}
	w, err := NewWriter(&Test{Name: Ping, Paths: []Path{late}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(io.Discard, "x"); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
	w, err = NewWriter(&Test{Name: Ping, Paths: []Path{one}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(full{broken}, "x"); !errors.Is(err, broken) {
		t.Errorf("a disk that is full: %v", err)
	}
	w.Metadata = map[string]any{"x": func() {}}
	if err := w.Write(io.Discard, "x"); err == nil || !strings.Contains(err.Error(), "metadata: ") {
		t.Errorf("metadata that JSON cannot have: %v", err)
	}
}

type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

func TestDecimals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v    int64
		unit uint64
		want string
	}{
		{0, millisecond, "0"}, {1, millisecond, "0.000001"}, {-1, millisecond, "-0.000001"}, {20_000_000, millisecond, "20"},
		{20_643_880, millisecond, "20.64388"}, {-1_500_000, millisecond, "-1.5"}, {1795238214994479700, second, "1795238214.9944797"},
		{5, 1, "5"}, {100, 1, "100"}, {-1 << 63, second, "-9223372036.854775808"},
	} {
		if got := string(appendDecimal([]byte("x"), c.v, c.unit)); got != "x"+c.want {
			t.Errorf("%d/%d: %s, want %s", c.v, c.unit, got[1:], c.want)
		}
	}
	if got, want := string(appendASCII(nil, []byte(`"aé€😀"`))), `"a\u00e9\u20ac\ud83d\ude00"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestMemory: what is held does not grow with the number of packets.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: millions of packets take their time")
	}
	const packets = 3_000_000
	heap := uint64(0)
	w, err := NewWriter(&Test{Name: Ping, Paths: []Path{{Label: "a", Samples: func(yield func(Sample, error) bool) {
		for i := range packets {
			if i%500_000 == 0 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				heap = max(heap, m.HeapAlloc)
			}
			if !yield(Sample{Sent: int64(i) * 1e6, Seq: uint32(i), Delay: int64(i % 1000)}, nil) {
				return
			}
		}
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(io.Discard, "x"); err != nil {
		t.Fatal(err)
	}
	if heap > 40<<20 {
		t.Errorf("%d MiB were held, want 40 at most", heap>>20)
	}
}

func BenchmarkWrite(b *testing.B) {
	var all []Sample
	for i := range 100_000 {
		all = append(all, Sample{Sent: int64(i) * 1e6, Seq: uint32(i), Delay: int64(20e6 + i*7919%3_000_000), Lost: i%50 == 0})
	}
	test := &Test{Name: Ping, Paths: []Path{{Label: "a", Samples: sliceOf(all, nil)}}}
	for b.Loop() {
		w, err := NewWriter(test)
		if err != nil {
			b.Fatal(err)
		}
		if err := w.Write(io.Discard, "x"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e5, "ns/packet")
}

// TestWrongClock: where one clock is of 1970 the means are as wrong as the delays,
// not more.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	const delay = int64(57 * 365 * 24 * time.Hour)
	var all []Sample
	for i := range uint32(100) {
		all = append(all, Sample{Sent: int64(time.Hour) + int64(i), Seq: i, Delay: delay})
	}
	f := write(t, &Test{Name: Ping, Paths: []Path{{Label: "a to b", Samples: sliceOf(all, nil)}}})
	if got := nanos(t, *f.Results[delayName("a to b")][0], 6); got != delay {
		t.Errorf("mean delay %d ns, want %d", got, delay)
	}
}
