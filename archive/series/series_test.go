package series

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// load reads golden data.
func load[T any](t testing.TB, name string) T {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// parse reads a value that must be right.
func parse(t testing.TB, k Kind, raw string) Value {
	t.Helper()
	v, err := Parse(k, []byte(raw))
	if err != nil {
		t.Fatalf("%s %.200s: %v", k, raw, err)
	}
	return v
}

// sameJSON compares two JSON texts, numbers by value.
func sameJSON(t testing.TB, what string, got, want []byte) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%s: %s: %v", what, got, err)
	}
	if err := json.Unmarshal(want, &w); err != nil {
		t.Fatalf("%s: %s: %v", what, want, err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// sameStats compares statistics: what is summed up with a tolerance, the rest bit
// for bit.
func sameStats(t testing.TB, what string, got, want []byte) {
	t.Helper()
	var g, w map[string]any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%s: %s: %v", what, got, err)
	}
	if err := json.Unmarshal(want, &w); err != nil {
		t.Fatal(err)
	}
	// What is lost lies in the greatest label, so that is what to measure it by.
	scale := 0.0
	for _, name := range []string{"minimum", "maximum"} {
		if x, ok := w[name].(float64); ok {
			scale = max(scale, math.Abs(x))
		}
	}
	for name, tolerance := range map[string]float64{"mean": scale * 1e-14, "variance": scale * scale * 1e-14, "standard-deviation": scale * 1e-7} {
		x, ok := w[name].(float64)
		if !ok {
			continue
		}
		y, ok := g[name].(float64)
		if !ok || math.Abs(x-y) > tolerance {
			t.Errorf("%s: %s %v, want %v", what, name, g[name], x)
		}
		delete(g, name)
		delete(w, name)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// Single values are taken and refused as by esmond, but that what makes it fail is
// refused.
func TestParseAsEsmond(t *testing.T) {
	type pair struct {
		Label  string
		Event  EventType       `json:"event-type"`
		Time   json.RawMessage `json:"ts"`
		Value  json.RawMessage `json:"val"`
		Status int
		Detail string
	}
	for _, p := range load[[]pair](t, "values.json") {
		kind, ok := p.Event.Kind()
		if !ok {
			t.Fatalf("%s: no event type %s", p.Label, p.Event)
		}
		_, err := ParseTime(p.Time)
		if err == nil {
			_, err = Parse(kind, p.Value)
		}
		switch _, isInvalid := errors.AsType[*InvalidError](err); {
		case p.Status == 201 && err != nil:
			t.Errorf("%s: %v, want it taken", p.Label, err)
		case p.Status == 500 && !isInvalid:
			t.Errorf("%s: %v, want it refused", p.Label, err)
		case p.Status == 400 && (!isInvalid || err.Error() != p.Detail):
			t.Errorf("%s: %v, want %s", p.Label, err, p.Detail)
		}
	}
}

// A series reads as from esmond: base values, and the summaries of each window.
func TestSeriesAsEsmond(t *testing.T) {
	type point struct {
		Time  int64           `json:"ts"`
		Value json.RawMessage `json:"val"`
	}
	golden := load[struct {
		Puts []struct {
			Time   int64 `json:"ts"`
			Values []struct {
				Event EventType       `json:"event-type"`
				Value json.RawMessage `json:"val"`
			} `json:"val"`
		}
		Gets map[string][]point
	}](t, "summary-series.json")
	written := make(map[EventType][]Point)
	for _, put := range golden.Puts {
		for _, w := range put.Values {
			kind, _ := w.Event.Kind()
			written[w.Event] = append(written[w.Event], Point{put.Time, parse(t, kind, string(w.Value))})
		}
	}
	for path, want := range golden.Gets {
		event, summary := splitPath(t, path)
		var got []point
		if summary.Window == 0 {
			for _, p := range written[event] {
				got = append(got, point{p.Time, p.Value.AppendSummary(nil, summary.Type)})
			}
		} else {
			var start int64 = -1
			var f *Fold
			for _, p := range written[event] {
				if s := WindowStart(p.Time, summary.Window); s != start {
					start, f = s, NewFold(p.Value.Kind())
					got = append(got, point{Time: start})
				}
				if err := f.Add(p.Value); err != nil {
					t.Fatal(err)
				}
				got[len(got)-1].Value = f.AppendJSON(nil, summary.Type)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d points, want %d", path, len(got), len(want))
		}
		for i := range want {
			if got[i].Time != want[i].Time {
				t.Errorf("%s: at %d, want %d", path, got[i].Time, want[i].Time)
			}
			if summary.Type == Statistics {
				if path == "histogram-ttl/statistics/3600" {
					continue // esmond has the latest point there: no aggregation is registered
				}
				sameStats(t, path, got[i].Value, want[i].Value)
			} else {
				sameJSON(t, path, got[i].Value, want[i].Value)
			}
		}
	}
	if len(golden.Gets) != 21 {
		t.Errorf("%d series, want 21", len(golden.Gets))
	}
}

// splitPath reads EVENT/SUMMARY/WINDOW.
func splitPath(t *testing.T, path string) (EventType, Summary) {
	t.Helper()
	parts := strings.Split(path, "/")
	typ, ok := ParseSummaryPath(parts[1])
	if !ok {
		t.Fatalf("%s: no summary", path)
	}
	s := Summary{Type: typ}
	if len(parts) > 2 {
		window, err := strconv.ParseInt(parts[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		s.Window = window
	}
	return EventType(parts[0]), s
}

func TestStatisticsAsEsmond(t *testing.T) {
	type pair struct{ Histogram, Statistics json.RawMessage }
	golden := load[[]pair](t, "histogram-statistics.json")
	for _, p := range golden {
		sameStats(t, string(p.Histogram), parse(t, Histogram, string(p.Histogram)).AppendSummary(nil, Statistics), p.Statistics)
	}
	if len(golden) != 20 {
		t.Errorf("%d histograms, want 20", len(golden))
	}
}

func TestEventTypes(t *testing.T) {
	all := EventTypes()
	if len(all) != 49 || all[0] != "failures" || all[48] != "time-error-estimates" {
		t.Errorf("%d event types, %v", len(all), all)
	}
	if _, ok := EventType("histogram-delay").Kind(); ok {
		t.Error("histogram-delay has a kind")
	}
	for _, k := range []Kind{Integer, Float, Percentage, Histogram, Subinterval, JSON} {
		n := 0
		for _, e := range all {
			if got, _ := e.Kind(); got == k {
				n++
			}
		}
		if want := map[Kind]int{Integer: 14, Float: 7, Percentage: 2, Histogram: 4, Subinterval: 4, JSON: 18}[k]; n != want {
			t.Errorf("%d event types of kind %s, want %d", n, k, want)
		}
	}
}

func TestSummaries(t *testing.T) {
	allowed := map[Kind][]SummaryType{
		Integer: {Base, Aggregation, Average}, Float: {Base, Aggregation, Average}, Percentage: {Base, Aggregation},
		Histogram: {Base, Aggregation, Statistics}, Subinterval: {Base}, JSON: {Base},
	}
	for k, want := range allowed {
		var got []SummaryType
		for s := range SummaryType(5) {
			if k.Allows(s) {
				got = append(got, s)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", k, diff)
		}
	}
	for s := range SummaryType(4) {
		if got, ok := ParseSummaryType(s.String()); got != s || !ok {
			t.Errorf("%s: %v, %t", s, got, ok)
		}
		if got, ok := ParseSummaryPath(s.Path()); got != s || !ok {
			t.Errorf("%s: %v, %t", s.Path(), got, ok)
		}
	}
	if _, ok := ParseSummaryPath("average"); ok {
		t.Error("average is in a URL")
	}
}

func TestWindowStart(t *testing.T) {
	for _, c := range [][3]int64{{1777636860, 300, 1777636800}, {1777636800, 300, 1777636800}, {0, 300, 0}, {-1, 300, -300}, {-300, 300, -300}, {-301, 300, -600}, {7, 0, 7}, {-MaxTime, 86400, -253402300800}} {
		if got := WindowStart(c[0], c[1]); got != c[2] {
			t.Errorf("%d of windows of %d starts at %d, want %d", c[0], c[1], got, c[2])
		}
	}
}
