package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"owl/archive/series"
)

// disorder is what a measurement has in the tests of disorder: event types of all
// kinds, with windows that nest and that do not.
const disorder = `{"subject-type":"network-element","source":"192.0.2.1","measurement-agent":"192.0.2.1","input-source":"a","tool-name":"t","event-types":[
	{"event-type":"histogram-rtt","summaries":[{"summary-type":"aggregation","summary-window":60},{"summary-type":"statistics","summary-window":60},
		{"summary-type":"statistics","summary-window":700},{"summary-type":"aggregation","summary-window":86400}]},
	{"event-type":"packet-count-sent","summaries":[{"summary-type":"aggregation","summary-window":60},{"summary-type":"average","summary-window":700}]},
	{"event-type":"ntp-offset","summaries":[{"summary-type":"average","summary-window":60},{"summary-type":"aggregation","summary-window":86400}]},
	{"event-type":"packet-loss-rate","summaries":[{"summary-type":"aggregation","summary-window":60},{"summary-type":"aggregation","summary-window":700}]},
	{"event-type":"failures"}]}`

// anything returns a value of an event type.
func anything(event series.EventType, rnd *rand.Rand) string {
	switch k, _ := event.Kind(); k {
	case series.Integer:
		return fmt.Sprint(rnd.Int64N(2000) - 1000)
	case series.Float:
		return fmt.Sprintf("%.4f", rnd.NormFloat64())
	case series.Percentage:
		return fmt.Sprintf(`{"numerator":%d,"denominator":%d}`, rnd.IntN(10), 1+rnd.IntN(600))
	case series.Histogram:
		text := "{"
		for i := range 1 + rnd.IntN(6) {
			if i > 0 {
				text += ","
			}
			text += fmt.Sprintf(`"%d.%d":%d`, rnd.IntN(5), i, rnd.IntN(4)) // a count of 0 is one, too
		}
		return text + "}"
	}
	return fmt.Sprintf(`{"error":"%d"}`, rnd.Int64())
}

// Whatever comes late, twice, in any order or in another's place: all summaries are
// those of the values that are there.
func testDisorder(t *testing.T, address string) {
	s, _ := openAt(t, address)
	m, err := series.ParseMetadata([]byte(disorder))
	if err != nil {
		t.Fatal(err)
	}
	m = register(t, s, m)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	writes := 150
	if !testing.Short() {
		writes = 3000
	}
	there := make(map[series.EventType]map[int64]series.Value)
	for _, e := range m.Events {
		there[e.Type] = make(map[int64]series.Value)
	}
	conflicts := 0
	for range writes {
		var body []series.Sample
		for range 1 + rnd.IntN(8) {
			e := m.Events[rnd.IntN(len(m.Events))].Type
			body = append(body, sample(t, rnd.Int64N(1500)-700, e, anything(e, rnd)))
		}
		_, err := s.Write(t.Context(), m.Key, body)
		if _, is := errors.AsType[*ConflictError](err); is {
			conflicts++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range body {
			there[p.Event][p.Time] = p.Value
		}
	}
	if conflicts == 0 || conflicts == writes {
		t.Errorf("%d conflicts in %d writes", conflicts, writes)
	}
	for _, e := range m.Events {
		n := 0
		for r, err := range s.Read(t.Context(), all(m, e.Type, series.Base, 0)) {
			if err != nil {
				t.Fatal(err)
			}
			if !r.Value.Equal(there[e.Type][r.Time]) {
				t.Errorf("%s at %d: %s, want %s", e.Type, r.Time, r.AppendJSON(nil), there[e.Type][r.Time].AppendJSON(nil))
			}
			n++
		}
		if n != len(there[e.Type]) {
			t.Errorf("%s: %d values, want %d", e.Type, n, len(there[e.Type]))
		}
	}
	consistent(t, s, m)
}

// consistent fails the test unless all summaries of a measurement are what its
// values make.
func consistent(t *testing.T, s *Store, m *series.Metadata) {
	t.Helper()
	for _, e := range m.Events {
		for _, summary := range e.Summaries {
			if summary.Window == 0 {
				continue
			}
			kind, _ := e.Type.Kind()
			want := make(map[int64]*series.Fold)
			for r, err := range s.Read(t.Context(), all(m, e.Type, series.Base, 0)) {
				if err != nil {
					t.Fatal(err)
				}
				start := series.WindowStart(r.Time, summary.Window)
				if want[start] == nil {
					want[start] = series.NewFold(kind)
				}
				if err := want[start].Add(r.Value); err != nil {
					t.Fatal(err)
				}
			}
			n := 0
			for r, err := range s.Read(t.Context(), all(m, e.Type, summary.Type, summary.Window)) {
				if err != nil {
					t.Fatal(err)
				}
				n++
				if w := want[r.Time]; w == nil || string(w.AppendJSON(nil, summary.Type)) != string(r.AppendJSON(nil)) || w.Count() != r.Fold.Count() {
					t.Errorf("%s/%s at %d: %s, want %s", e.Type, summary, r.Time, r.AppendJSON(nil), w.AppendJSON(nil, summary.Type))
				}
			}
			if n != len(want) {
				t.Errorf("%s/%s: %d windows, want %d", e.Type, summary, n, len(want))
			}
		}
	}
}

// A window whose values are gone keeps its summary, to which what comes late is
// added, and in which one value takes the place of another.
func testPruned(t *testing.T, address string) {
	s, _ := openAt(t, address)
	m, err := series.ParseMetadata([]byte(disorder))
	if err != nil {
		t.Fatal(err)
	}
	m = register(t, s, m)
	write := func(at int64, value string) {
		t.Helper()
		if _, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, at, "histogram-rtt", value)}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want string) {
		t.Helper()
		if got := readings(t, s, all(m, "histogram-rtt", series.Aggregation, 60)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	write(0, `{"1":1}`)
	write(1, `{"2":1,"3":0}`)
	write(2, `{"3":5}`)
	k, _ := parseKey(m.Key)
	err = s.change(t.Context(), k, func(x *tx) error {
		_, err := x.exec("DELETE FROM points WHERE key = ? AND ts < ?", k[:], 2)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	check("0 {\"1\": 1, \"2\": 1, \"3\": 5}\n")
	write(3, `{"2":1}`)
	check("0 {\"1\": 1, \"2\": 2, \"3\": 5}\n")
	write(2, `{"2":4}`)
	check("0 {\"1\": 1, \"2\": 6}\n")
}
