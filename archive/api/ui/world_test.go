package ui

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive/series"
	"owl/archive/store"
)

// A world is an archive with a page, at a time.
type world struct {
	t     testing.TB
	store *store.Store
	page  http.Handler
	now   int64
}

func newWorld(t testing.TB, now int64) *world {
	t.Helper()
	w := &world{t: t, now: now}
	clock := func() time.Time { return time.Unix(w.now, 0) }
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w.store, w.page = s, New(s, Options{Now: clock})
	return w
}

// A registration is metadata to register; what is empty is as of powstream.
type registration struct {
	source, destination string // addresses
	from, to            string // names; empty: the addresses
	rtt, bare           bool   // of the round trip; without summaries
	parameters          map[string]any
}

// register registers a measurement and returns its key.
func (w *world) register(r registration) string {
	w.t.Helper()
	events := []string{"histogram-owdelay", "packet-loss-rate", "packet-reorders", "packet-duplicates", "time-error-estimates", "failures"}
	if r.rtt {
		events = []string{"histogram-rtt", "packet-loss-rate-bidir", "packet-reorders-bidir", "packet-duplicates-bidir", "failures"}
	}
	var types []any
	for i, e := range events {
		var summaries []any
		for _, window := range windows {
			if i < 2 && !r.bare {
				summaries = append(summaries, map[string]any{"summary-type": "aggregation", "summary-window": window})
			}
		}
		types = append(types, map[string]any{"event-type": e, "summaries": summaries})
	}
	body := map[string]any{
		"subject-type": "point-to-point", "source": r.source, "destination": r.destination, "measurement-agent": "192.0.2.99",
		"input-source": r.source, "input-destination": r.destination, "tool-name": "pscheduler/powstream", "pscheduler-test-type": "latencybg",
		"sample-size": 600, "time-probe-interval": 0.1, "event-types": types,
	}
	if r.from != "" {
		body["input-source"], body["input-destination"] = r.from, r.to
	}
	maps.Copy(body, r.parameters)
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := series.ParseMetadata(text)
	if err != nil {
		w.t.Fatal(err)
	}
	if m, err = w.store.Register(w.t.Context(), m); err != nil {
		w.t.Fatal(err)
	}
	return m.Key
}

// write writes values of a time: JSON, by event type.
func (w *world) write(key string, at int64, values map[string]string) {
	w.t.Helper()
	w.put(key, w.samples(at, values))
}

// writeAll writes minutes.
func (w *world) writeAll(key string, all []minute) {
	w.t.Helper()
	for some := range slices.Chunk(all, 100) {
		var samples []series.Sample
		for i := range some {
			samples = append(samples, w.samples(some[i].at, some[i].values())...)
		}
		w.put(key, samples)
	}
}

func (w *world) put(key string, all []series.Sample) {
	w.t.Helper()
	if _, err := w.store.Write(w.t.Context(), key, all); err != nil {
		w.t.Fatal(err)
	}
}

// samples are values of a time.
func (w *world) samples(at int64, values map[string]string) (all []series.Sample) {
	w.t.Helper()
	for name, text := range values {
		kind, ok := series.EventType(name).Kind()
		if !ok {
			w.t.Fatal(name)
		}
		v, err := series.Parse(kind, []byte(text))
		if err != nil {
			w.t.Fatal(name, err)
		}
		all = append(all, series.Sample{Time: at, Event: series.EventType(name), Value: v})
	}
	return all
}

// ask gets an address and returns the answer.
func (w *world) ask(address string) *httptest.ResponseRecorder {
	r := httptest.NewRecorder()
	path, query, _ := strings.Cut(address, "?")
	q := httptest.NewRequest(http.MethodGet, "/", nil)
	q.URL.Path, q.URL.RawQuery = path, query
	w.page.ServeHTTP(r, q)
	return r
}

// get gets JSON.
func (w *world) get(address string, answer any) {
	w.t.Helper()
	r := w.ask(address)
	if r.Code != http.StatusOK || r.Header().Get("Content-Type") != "application/json" {
		w.t.Fatalf("GET %s: %d %s: %s", address, r.Code, r.Header().Get("Content-Type"), r.Body)
	}
	if err := json.Unmarshal(r.Body.Bytes(), answer); err != nil {
		w.t.Fatalf("GET %s: %v in %s", address, err, r.Body)
	}
}

// UnmarshalJSON is for tests: null is what is not known.
func (f *figure) UnmarshalJSON(b []byte) error {
	*f = unknown
	if string(b) == "null" {
		return nil
	}
	n, err := strconv.ParseFloat(string(b), 64)
	*f = figure(n)
	return err
}

func (s *spots) UnmarshalJSON(b []byte) error {
	var all []float64
	err := json.Unmarshal(b, &all)
	for pair := range slices.Chunk(all, 2) {
		*s = append(*s, spot{pair[0], int64(pair[1])})
	}
	return err
}

// figures compares figures: what is not known equals itself.
var figures = cmp.Comparer(func(a, b figure) bool {
	return a.unknown() && b.unknown() || math.Abs(float64(a-b)) < 1e-6
})

// minute is what a test writes of one minute: delays and how many were lost.
type minute struct {
	at     int64
	delays []float64 // ms, of the packets that were received
	lost   int
}

func (m *minute) values() map[string]string {
	bins := make(map[string]int)
	for _, d := range m.delays {
		bins[strconv.FormatFloat(d, 'f', 1, 64)]++
	}
	values := map[string]string{"packet-loss-rate": fmt.Sprintf(`{"numerator": %d, "denominator": %d}`, m.lost, m.lost+len(m.delays))}
	if len(bins) > 0 {
		text, _ := json.Marshal(bins)
		values["histogram-owdelay"] = string(text)
	}
	return values
}

// quantileOf is NIST's definition, by the list of all packets.
func quantileOf(sorted []float64, p float64) figure {
	n := float64(len(sorted))
	if n == 0 {
		return unknown
	}
	rank := p * (n + 1)
	k := math.Floor(rank)
	switch {
	case k < 1:
		return figure(sorted[0])
	case k >= n:
		return figure(sorted[len(sorted)-1])
	}
	a, b := sorted[int(k)-1], sorted[int(k)]
	return figure(a + (rank-k)*(b-a))
}

// delaysBy returns the delays of a list of packets.
func delaysBy(packets []float64) delays {
	sorted := slices.Sorted(slices.Values(packets))
	return delays{quantileOf(sorted, 0), quantileOf(sorted, 0.05), quantileOf(sorted, 0.5), quantileOf(sorted, 0.95), quantileOf(sorted, 1)}
}

// noise returns random minutes from a time on, some of which are missing, and some
// of which have lost all.
func noise(rng *rand.Rand, from int64, n int) []minute {
	var all []minute
	for i := range n {
		if rng.IntN(10) == 0 {
			continue
		}
		m := minute{at: from + int64(i)*60, lost: rng.IntN(4)}
		for range rng.IntN(30) * min(1, rng.IntN(8)) {
			m.delays = append(m.delays, math.Round(rng.ExpFloat64()*200)/10)
		}
		if len(m.delays) == 0 {
			m.lost = 5
		}
		all = append(all, m)
	}
	return all
}
