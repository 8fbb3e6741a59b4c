package ui

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
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

// TestPairEqualsRecomputation compares all columns, in windows of all lengths,
// with those that are computed of the packets themselves.
func TestPairEqualsRecomputation(t *testing.T) {
	t.Parallel()
	const base = 1_777_593_600 // a day's begin
	for _, test := range []struct {
		name     string
		minutes  int
		from, to int64
		window   int64
		bare     bool // no summaries are registered
	}{
		{"values", 300, base, base + 5*3600, 60, false},
		{"part of the values", 300, base + 3600, base + 7200, 60, false},
		{"five minutes", 400, base, base + 3*86400, 300, false},
		{"hours", 400, base - 10*86400, base + 5*86400, 3600, false},
		{"hours of values", 400, base - 10*86400, base + 5*86400, 3600, true},
		{"days", 2000, base - 250*86400, base + 2*86400, 86400, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, base+100*86400)
			key := w.register(registration{source: "192.0.2.1", destination: "192.0.2.2", bare: test.bare})
			rng := rand.New(rand.NewPCG(1, uint64(test.minutes)))
			all := noise(rng, base, test.minutes)
			mixed := slices.Clone(all)
			rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
			w.writeAll(key, mixed)
			var got pairAnswer
			w.get(fmt.Sprintf("/api/pair?source=192.0.2.1&destination=192.0.2.2&from=%d&to=%d", test.from, test.to), &got)
			if got.Window != test.window || got.WorstWindow != 60 && test.window < 86400 {
				t.Errorf("windows of %d and %d s, want %d and 60", got.Window, got.WorstWindow, test.window)
			}
			wide := test.window > 60 // windows are whole, whatever the span
			byTime := make(map[int64][]minute)
			for _, m := range all {
				start := m.at
				if wide {
					start = m.at / test.window * test.window
				} else if m.at < test.from || m.at > test.to {
					continue
				}
				byTime[start] = append(byTime[start], m)
			}
			want := &direction{Time: slices.Sorted(maps.Keys(byTime))}
			var packets []float64
			total := totals{Sent: 0, Lost: 0, Worst: 0, Reordered: unknown, Duplicated: unknown, ClockError: unknown}
			for _, at := range want.Time {
				var l loss
				worst := figure(0)
				var own []float64
				for _, m := range byTime[at] {
					sent := m.lost + len(m.delays)
					l.lost += int64(m.lost)
					l.sent += int64(sent)
					worst = max(worst, figure(float64(m.lost)/float64(sent)))
					own = append(own, m.delays...)
				}
				packets = append(packets, own...)
				d := delaysBy(own)
				want.Sent, want.Lost = append(want.Sent, figure(l.sent)), append(want.Lost, figure(l.lost))
				want.Min, want.P5, want.Median, want.P95, want.Max = append(want.Min, d.Min), append(want.P5, d.P5), append(want.Median, d.Median), append(want.P95, d.P95), append(want.Max, d.Max)
				want.Worst = append(want.Worst, worst)
				total.Sent += figure(l.sent)
				total.Lost += figure(l.lost)
				total.Worst = max(total.Worst, worst)
			}
			total.delays = delaysBy(packets)
			d := got.Directions[0]
			if test.window == 86400 { // of hours, then: not of minutes
				d.Worst, want.Worst, d.Totals.Worst, total.Worst = nil, nil, 0, 0
			}
			for name, columns := range map[string][2]any{
				"time": {want.Time, d.Time}, "sent": {want.Sent, d.Sent}, "lost": {want.Lost, d.Lost}, "worst": {want.Worst, d.Worst},
				"min": {want.Min, d.Min}, "p5": {want.P5, d.P5}, "median": {want.Median, d.Median}, "p95": {want.P95, d.P95}, "max": {want.Max, d.Max},
				"totals": {total, d.Totals},
			} {
				if diff := cmp.Diff(columns[0], columns[1], figures, cmp.AllowUnexported(totals{})); diff != "" {
					t.Errorf("%s (-want +got)\n%s", name, diff)
				}
			}
			if back := got.Directions[1]; back.Key != "" || len(back.Time) > 0 || back.Source.ID != "192.0.2.2" {
				t.Errorf("the way back: %+v", back)
			}
		})
	}
}

// TestGridEqualsRecomputation compares cells with what is computed of the packets
// themselves.
func TestGridEqualsRecomputation(t *testing.T) {
	t.Parallel()
	const now = 1_777_600_000
	w := newWorld(t, now-7200)
	rng := rand.New(rand.NewPCG(7, 7))
	addresses := []string{"192.0.2.1", "192.0.2.2", "2001:db8::3"}
	type pair struct{ a, b string }
	all := make(map[pair][]minute)
	for i, a := range addresses {
		for j, b := range addresses {
			if i == j || i == 2 && j == 0 {
				continue
			}
			key := w.register(registration{source: a, destination: b, from: fmt.Sprintf("h%d.example", i), to: fmt.Sprintf("h%d.example", j)})
			p := pair{a, b}
			all[p] = noise(rng, now/60*60-7200, 119)
			if i == 0 && j == 2 { // it has stopped
				all[p] = all[p][:len(all[p])/2]
			}
			if i == 1 && j == 2 { // it is not there at all
				all[p] = nil
				continue
			}
			w.now = now
			w.writeAll(key, all[p])
		}
	}
	var got gridAnswer
	w.get(fmt.Sprintf("/api/grid?from=%d&to=%d", now-7200, now), &got)
	if diff := cmp.Diff([]host{{"192.0.2.1", "h0.example"}, {"192.0.2.2", "h1.example"}, {"2001:db8::3", "h2.example"}}, got.Hosts); diff != "" {
		t.Error(diff)
	}
	if len(got.Cells) != 5 || got.Tests != 5 {
		t.Errorf("%d cells of %d tests, want 5", len(got.Cells), got.Tests)
	}
	for _, c := range got.Cells {
		p := pair{got.Hosts[c.Source].ID, got.Hosts[c.Destination].ID}
		want := cell{Source: c.Source, Destination: c.Destination, Key: c.Key, Tests: 1, Kind: "one-way", Updated: now, State: fresh, Sent: 0, Lost: 0, Worst: 0}
		var packets []float64
		perWindow := make(map[int64]loss)
		var last int64
		from := got.From / 300 * 300
		for _, m := range all[p] {
			if m.at < from {
				continue
			}
			last = m.at/300*300 + 300
			want.Sent += figure(m.lost + len(m.delays))
			want.Lost += figure(m.lost)
			l := perWindow[m.at/300]
			l.lost += int64(m.lost)
			l.sent += int64(m.lost + len(m.delays))
			perWindow[m.at/300] = l
			packets = append(packets, m.delays...)
		}
		for _, l := range perWindow {
			want.Worst = max(want.Worst, l.rate())
		}
		want.delays, want.Last = delaysBy(packets), min(last, now)
		switch {
		case p.a == "192.0.2.1" && p.b == "2001:db8::3":
			want.State = stale
		case p.a == "192.0.2.2" && p.b == "2001:db8::3":
			want = cell{Source: c.Source, Destination: c.Destination, Key: c.Key, Tests: 1, Kind: "one-way", State: none, Sent: unknown, Lost: unknown, Worst: unknown, delays: noDelays}
		}
		if diff := cmp.Diff(want, c, figures, cmp.AllowUnexported(cell{})); diff != "" {
			t.Errorf("%v (-want +got)\n%s", p, diff)
		}
	}
}

// TestHeatmap compares a heatmap with counts that are made by hand.
func TestHeatmap(t *testing.T) {
	t.Parallel()
	const base = 1_777_593_600
	w := newWorld(t, base+86400)
	key := w.register(registration{source: "192.0.2.1", destination: "192.0.2.2"})
	w.write(key, base, map[string]string{"histogram-owdelay": `{"1.5": 3, "-0.5": 1, "1.6": 0}`})
	w.write(key, base+60, map[string]string{"histogram-owdelay": `{"2.00": 1, "2": 4, "strange": 9}`})
	for _, test := range []struct {
		to   int64
		want heatmapAnswer
	}{
		{base + 3600, heatmapAnswer{Window: 60, Width: 0.5, Time: []int64{base, base + 60}, Columns: []spots{{{-0.5, 1}, {1.5, 3}}, {{2, 5}}}}},
		{base + 20*3600, heatmapAnswer{Window: 300, Width: 0.5, Time: []int64{base}, Columns: []spots{{{-0.5, 1}, {1.5, 3}, {2, 5}}}}},
	} {
		test.want.span = span{base, test.to}
		var got heatmapAnswer
		w.get(fmt.Sprintf("/api/heatmap?test=%s&from=%d&to=%d", key, base, test.to), &got)
		if diff := cmp.Diff(test.want, got, figures, cmp.AllowUnexported(heatmapAnswer{}, spot{})); diff != "" {
			t.Errorf("to %d (-want +got)\n%s", test.to, diff)
		}
	}
}

// TestCSV says that a twin has the rows of its JSON.
func TestCSV(t *testing.T) {
	t.Parallel()
	const base = 1_777_593_600
	w := newWorld(t, base+1200)
	key := w.register(registration{source: "192.0.2.1", destination: "192.0.2.2", from: "=cmd()", to: `b,"x"`})
	w.write(key, base, map[string]string{"histogram-owdelay": `{"1.5": 3}`, "packet-loss-rate": `{"numerator": 1, "denominator": 4}`, "packet-reorders": "2", "time-error-estimates": "0.25"})
	w.write(key, base+600, map[string]string{"packet-loss-rate": `{"numerator": 4, "denominator": 4}`})
	w.write(key, base+120, map[string]string{"failures": `{"error": "no data since 2026-05-01T00:01:00Z: refused", "gaps": [{"reason": "refused", "start": "2026-05-01T00:01:00Z", "seconds": 540}]}`})
	query := fmt.Sprintf("from=%d&to=%d", base, base+660)
	for address, want := range map[string][][]string{
		"/api/grid.csv?" + query: {
			{"source", "source_address", "destination", "destination_address", "state", "updated", "sent", "lost", "worst_loss", "min_ms", "p5_ms", "median_ms", "p95_ms", "max_ms", "tests", "key"},
			{"'=cmd()", "192.0.2.1", `b,"x"`, "192.0.2.2", "fresh", "2026-05-01T00:20:00Z", "8", "5", "1", "1.5", "1.5", "1.5", "1.5", "1.5", "1", key},
		},
		"/api/pair.csv?source=192.0.2.1&destination=192.0.2.2&" + query: {
			{"time", "source", "destination", "sent", "lost", "worst_loss", "min_ms", "p5_ms", "median_ms", "p95_ms", "max_ms", "reordered", "duplicated", "clock_error_ms", "gap_until", "gap_reason"},
			{"2026-05-01T00:00:00Z", "'=cmd()", `b,"x"`, "4", "1", "0.25", "1.5", "1.5", "1.5", "1.5", "1.5", "2", "", "0.25", "", ""},
			{"2026-05-01T00:01:00Z", "'=cmd()", `b,"x"`, "", "", "", "", "", "", "", "", "", "", "", "2026-05-01T00:10:00Z", "refused"},
			{"2026-05-01T00:10:00Z", "'=cmd()", `b,"x"`, "4", "4", "1", "", "", "", "", "", "", "", "", "", ""},
		},
		"/api/heatmap.csv?test=" + key + "&" + query: {{"time", "delay_ms", "packets"}, {"2026-05-01T00:00:00Z", "1.5", "3"}},
	} {
		r := w.ask(address)
		got, err := csv.NewReader(r.Body).ReadAll()
		if err != nil || !strings.HasPrefix(r.Header().Get("Content-Type"), "text/csv") {
			t.Errorf("%s: %v, %s", address, err, r.Header().Get("Content-Type"))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", address, diff)
		}
	}
}

// TestBegin says that nothing is missing before a measurement began, and that it
// is, if there was one before.
func TestBegin(t *testing.T) {
	t.Parallel()
	const now = 1_777_600_000
	w := newWorld(t, now)
	key := w.register(registration{source: "192.0.2.1", destination: "192.0.2.2"})
	w.writeAll(key, []minute{{at: now - 180, lost: 1}, {at: now - 120, lost: 1}})
	ask := func() *direction {
		var got pairAnswer
		w.get("/api/pair?source=192.0.2.1&destination=192.0.2.2", &got)
		return got.Directions[0]
	}
	if d := ask(); d.Begins != now-180 || len(d.Gaps) != 0 {
		t.Errorf("begins at %d with gaps %v, want %d and none", d.Begins, d.Gaps, now-180)
	}
	w.writeAll(key, []minute{{at: now - 7200, lost: 1}})
	if d := ask(); d.Begins != 0 || !cmp.Equal(d.Gaps, []gap{{From: now - 3600, To: now - 180}}) {
		t.Errorf("begins at %d with gaps %v, want 0 and one", d.Begins, d.Gaps)
	}
	w.write(key, now-600, map[string]string{"failures": `{"error": "away"}`})
	if d := ask(); d.Begins != 0 || !cmp.Equal(d.Gaps, []gap{{From: now - 3600, To: now - 180, Reason: "failed", Text: "away"}}) {
		t.Errorf("begins at %d with gaps %v, want 0 and one with its reason", d.Begins, d.Gaps)
	}
}

// TestChoice says which of several tests is shown.
func TestChoice(t *testing.T) {
	t.Parallel()
	const now = 1_777_600_000
	w := newWorld(t, now-600)
	little := w.register(registration{source: "192.0.2.1", destination: "192.0.2.2"})
	much := w.register(registration{source: "192.0.2.1", destination: "192.0.2.2", parameters: map[string]any{"ip-tos": 46}})
	rtt := w.register(registration{source: "192.0.2.2", destination: "192.0.2.1", rtt: true})
	loop := registration{source: "127.0.0.1", destination: "127.0.0.1", parameters: map[string]any{"mode-flip": false}}
	there := w.register(loop)
	loop.parameters = map[string]any{"mode-flip": true}
	back := w.register(loop)
	w.write(much, now-300, map[string]string{"packet-loss-rate": `{"numerator": 1, "denominator": 600}`})
	w.write(rtt, now-300, map[string]string{"histogram-rtt": `{"7": 9}`, "packet-loss-rate-bidir": `{"numerator": 1, "denominator": 10}`, "packet-reorders-bidir": "3"})
	w.now = now
	w.write(little, now-240, map[string]string{"packet-loss-rate": `{"numerator": 0, "denominator": 10}`})

	var grid gridAnswer
	w.get("/api/grid", &grid)
	got := make(map[string]int)
	for _, c := range grid.Cells {
		got[c.Key] = c.Tests
	}
	loops := there
	if _, ok := got[back]; ok {
		loops = back
	}
	if diff := cmp.Diff(map[string]int{much: 2, rtt: 1, loops: 2}, got); diff != "" {
		t.Error(diff)
	}
	for query, want := range map[string][2]string{
		"source=192.0.2.1&destination=192.0.2.2":              {little, rtt}, // what was written last
		"source=192.0.2.1&destination=192.0.2.2&test=" + much: {much, rtt},
		"source=192.0.2.2&destination=192.0.2.1&back=" + much: {rtt, much},
		"source=127.0.0.1&destination=127.0.0.1":              {there, back},
		"source=192.0.2.1&destination=192.0.2.7":              {"", ""},
	} {
		var pair pairAnswer
		w.get("/api/pair?"+query, &pair)
		if got := [2]string{pair.Directions[0].Key, pair.Directions[1].Key}; got != want {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
		for _, d := range pair.Directions {
			if d.Key == rtt && (d.Kind != "rtt" || d.Totals.Median != 7 || d.Totals.Lost != 1 || d.Totals.Reordered != 3) {
				t.Errorf("round trip: %+v", d.Totals)
			}
		}
	}
}

// TestUnregistered says what a span gets of which there are no summaries, and too
// many values.
func TestUnregistered(t *testing.T) {
	t.Parallel()
	const now = 1_777_600_000
	w := newWorld(t, now)
	key := w.register(registration{source: "192.0.2.1", destination: "192.0.2.2", bare: true})
	w.write(key, now-600, map[string]string{"histogram-owdelay": `{"1.5": 3}`, "packet-loss-rate": `{"numerator": 1, "denominator": 4}`})
	var got pairAnswer
	query := fmt.Sprintf("from=%d&to=%d", now-MaxSpan, now)
	w.get("/api/pair?source=192.0.2.1&destination=192.0.2.2&"+query, &got)
	want := []string{"histogram-owdelay", "packet-loss-rate", "packet-reorders", "packet-duplicates", "time-error-estimates"}
	if d := got.Directions[0]; !slices.Equal(d.Omitted, want) || len(d.Time) != 0 || !d.Totals.Sent.unknown() {
		t.Errorf("%+v, want all omitted", d)
	}
	if r := w.ask("/api/heatmap?test=" + key + "&" + query); r.Code != http.StatusBadRequest || !strings.Contains(r.Body.String(), "less time") {
		t.Errorf("heatmap: %d %s", r.Code, r.Body)
	}
	var grid gridAnswer
	w.get("/api/grid?"+query, &grid)
	if c := grid.Cells[0]; !c.Sent.unknown() || c.State != none {
		t.Errorf("grid: %+v, want nothing known", c)
	}
}

// TestRefused asks for what cannot be answered.
func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1_777_600_000)
	network := w.register(registration{source: "192.0.2.1", destination: "192.0.2.2"})
	pair := "/api/pair?source=192.0.2.1&destination=192.0.2.2"
	for address, want := range map[string]string{
		"/api/grid?from=1&to=x":                            `from "1" to "x": want Unix seconds`,
		"/api/grid?from=1":                                 `from "1" to "": want Unix seconds`,
		"/api/grid?from=5&to=5":                            `from 5 to 5: want the first before the second`,
		"/api/grid?from=-5&to=5":                           `from "-5" to "5": want Unix seconds`,
		"/api/grid?from=0&to=9223372036854775807":          `from "0" to "9223372036854775807": want Unix seconds`,
		"/api/grid?from=0&to=1700000000":                   `from 0 to 1700000000: want 632448000 seconds at most`,
		"/api/grid?from=1&from=2&to=3":                     `from: 2 of them, want one`,
		"/api/grid?x=1":                                    `"x": there is no such parameter, want [], from or to`,
		"/api/grid?%zz":                                    `the query cannot be read: want name=value&name=value`,
		"/api/pair":                                        `source "", destination "": want the addresses of two hosts`,
		"/api/pair?source=a.example&destination=192.0.2.1": `source "a.example", destination "192.0.2.1": want the addresses of two hosts`,
		pair + "&test=" + strings.Repeat("x", 300):         `test: 300 octets, want 256 at most`,
		"/api/heatmap":                                     `want test, the key of a measurement`,
		"/api/heatmap?test=' OR 1=1 --":                    `test "' OR 1=1 --": there is no such measurement`,
		"/api/heatmap?test=" + strings.Repeat("0", 32):     `test "` + strings.Repeat("0", 32) + `": there is no such measurement`,
		"/api/heatmap?from=1&to=0&test=" + network:         `from 1 to 0: want the first before the second`,
	} {
		r := w.ask(address)
		var got struct{ Detail string }
		if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil || r.Code != http.StatusBadRequest || got.Detail != want {
			t.Errorf("%s: %d %s, want %q", address, r.Code, r.Body, want)
		}
	}
	for address, want := range map[string]int{"/x": 404, "/static/": 404, "/static/../ui.go": 404, "/api/x": 404, "/page.html": 404, "/api/live": 404} {
		if r := w.ask(address); r.Code != want && r.Code != http.StatusMovedPermanently && r.Code != http.StatusTemporaryRedirect {
			t.Errorf("%s: %d, want %d", address, r.Code, want)
		}
	}
	r := httptest.NewRecorder()
	w.page.ServeHTTP(r, httptest.NewRequest(http.MethodPost, "/api/grid", strings.NewReader("x")))
	if r.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.Code)
	}
}

// TestCompressed says that a long answer is compressed for those who want that,
// and is the same.
func TestCompressed(t *testing.T) {
	t.Parallel()
	const now = 1_777_600_000
	w := newWorld(t, now)
	key := w.register(registration{source: "192.0.2.1", destination: "192.0.2.2"})
	w.writeAll(key, noise(rand.New(rand.NewPCG(1, 1)), now-6000, 99))
	const address = "/api/pair?source=192.0.2.1&destination=192.0.2.2&from=1777590000&to=1777600000"
	q := httptest.NewRequest(http.MethodGet, address, nil)
	q.Header.Set("Accept-Encoding", "gzip, br")
	r := httptest.NewRecorder()
	w.page.ServeHTTP(r, q)
	z, err := gzip.NewReader(r.Body)
	if err != nil || r.Header().Get("Content-Encoding") != "gzip" {
		t.Fatal(err, r.Header())
	}
	got, err := io.ReadAll(z)
	if want := w.ask(address); err != nil || want.Header().Get("Content-Encoding") != "" || want.Body.String() != string(got) {
		t.Errorf("%v: %s compressed, want %s", err, got, want.Body)
	}
}

// TestBroken says what an archive that cannot be read is answered as, and that it
// is not remembered.
func TestBroken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1_777_600_000)
	w.store.Close()
	for _, address := range []string{"/api/grid", "/api/pair?source=192.0.2.1&destination=192.0.2.2", "/api/heatmap?test=x"} {
		if r := w.ask(address); r.Code != http.StatusServiceUnavailable && r.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", address, r.Code, r.Body)
		}
	}
	if n := len(w.page.(*handler).grids.all); n != 0 {
		t.Errorf("%d grids are remembered, want none", n)
	}
}

// TestHosts says how hosts are called that have several names.
func TestHosts(t *testing.T) {
	t.Parallel()
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	of := func(key, from, to string) *measurement {
		return &measurement{Metadata: &series.Metadata{Key: key, Source: a, Destination: b, InputSource: from, InputDestination: to}}
	}
	var g gridAnswer
	g.arrange([]*measurement{of("1", "192.0.2.1", "b.example"), of("2", "a.example", "b2.example"), of("3", "192.0.2.1", "192.0.2.2")},
		[]cell{{Key: "1", Tests: 1, Sent: 5}, {Key: "2", Tests: 1, Sent: 7}, {Key: "3", Tests: 1, Sent: unknown}})
	if diff := cmp.Diff([]host{{"192.0.2.1", "a.example"}, {"192.0.2.2", "b.example"}}, g.Hosts); diff != "" {
		t.Error(diff)
	}
	if len(g.Cells) != 1 || g.Cells[0].Key != "2" || g.Cells[0].Tests != 3 {
		t.Errorf("%+v, want one cell of the test 2", g.Cells)
	}
}
