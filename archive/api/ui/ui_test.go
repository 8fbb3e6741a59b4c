package ui

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive/series"
	"owl/archive/store"
)

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
		{"from the middle of an hour to that of another", 400, base + 5000, base + 5000 + 15*86400, 3600, false},
		{"up to the middle of an hour", 400, base + 5000 - 15*86400, base + 5000, 3600, false},
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
					if start < test.from/test.window*test.window || start > test.to {
						continue
					}
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
	w := newWorld(t, now-7200)
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
	w.get(fmt.Sprintf("/api/grid?from=%d&to=%d", now-14400, now), &grid)
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
		"source=192.0.2.1&destination=192.0.2.2":              {little, rtt}, // what is still written
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

// TestKept looks at a time of which values are no longer kept, but for some.
func TestKept(t *testing.T) {
	t.Parallel()
	const base = 1_777_593_600
	w := newWorld(t, base+86400)
	key := w.register(registration{source: "192.0.2.1", destination: "192.0.2.2"})
	var all []minute
	for i := range int64(12 * 60) {
		all = append(all, minute{at: base + i*60, delays: []float64{1, 2, 3}, lost: 1})
	}
	w.writeAll(key, all)
	rules, err := store.ParseRetention("*/base=18h,*/aggregation/300=21h,*=forever")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Prune(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	for from, want := range map[int64]int64{base + 7*3600: 60, base + 4*3600: 300, base: 3600} {
		query := fmt.Sprintf("from=%d&to=%d", from, base+12*3600-1)
		var pair pairAnswer
		w.get("/api/pair?source=192.0.2.1&destination=192.0.2.2&"+query, &pair)
		d, sent := pair.Directions[0], figure((base+12*3600-from)/60*4)
		if pair.Window != want || len(d.Gaps) != 0 || d.Totals.Sent != sent || d.Totals.Lost != sent/4 || d.Totals.Median != 2 {
			t.Errorf("from %d: windows of %d, gaps %v, totals %+v, want %d, none and %v sent", from, pair.Window, d.Gaps, d.Totals, want, sent)
		}
		var heat heatmapAnswer
		w.get("/api/heatmap?test="+key+"&"+query, &heat)
		if heat.Window != want || heat.Time[0] != from {
			t.Errorf("from %d: a heatmap of windows of %d from %d on, want %d", from, heat.Window, heat.Time[0], want)
		}
	}
}

// TestManyLabels has histograms of so many different labels that one cannot have
// them all.
func TestManyLabels(t *testing.T) {
	t.Parallel()
	const now, labels = 1_777_600_000, series.MaxWindowBins/5 + 4
	w := newWorld(t, now)
	key := w.register(registration{source: "192.0.2.1", destination: "192.0.2.2", bare: true})
	for i := range 5 {
		bins := make(map[string]int, labels)
		for j := range labels {
			bins[strconv.FormatFloat(float64(i*labels+j+1)/1000, 'f', 3, 64)] = 1
		}
		text, _ := json.Marshal(bins)
		w.write(key, now-600+int64(i)*60, map[string]string{"histogram-owdelay": string(text)})
	}
	var pair pairAnswer
	w.get("/api/pair?source=192.0.2.1&destination=192.0.2.2", &pair)
	d := pair.Directions[0]
	if len(d.Max) != 5 || d.Max[4] != 5*labels/1000. || !d.Totals.Max.unknown() {
		t.Errorf("greatest %v and %v in all, want 5 and unknown", d.Max, d.Totals.Max)
	}
	var heat heatmapAnswer
	w.get("/api/heatmap?test="+key, &heat)
	packets := int64(0)
	for _, column := range heat.Columns {
		for _, x := range column {
			packets += x.packets
		}
	}
	if want := 5 * labels; heat.Width != 0.004 || packets != int64(want) || len(heat.Columns[4]) != labels/4 {
		t.Errorf("%d packets in bins of %v ms, %d in the last column, want %d, 0.004 and %d", packets, heat.Width, len(heat.Columns[4]), want, labels/4)
	}
	// In windows of five minutes they are too many for one.
	r := w.ask(fmt.Sprintf("/api/pair?source=192.0.2.1&destination=192.0.2.2&from=%d&to=%d", now-7*86400, now))
	if r.Code != http.StatusOK {
		t.Errorf("windows: %d %s", r.Code, r.Body)
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
	var log bytes.Buffer
	w.page = New(w.store, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, address := range []string{"/api/grid", "/api/pair?source=192.0.2.1&destination=192.0.2.2", "/api/heatmap?test=" + strings.Repeat("0", 32)} {
		if r := w.ask(address); r.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", address, r.Code, r.Body)
		}
	}
	if n := len(w.page.(*handler).grids.all); n != 0 {
		t.Errorf("%d grids are remembered, want none", n)
	}
	if !strings.Contains(log.String(), "path=/api/grid") {
		t.Errorf("the log has %q, want why there is no grid", &log)
	}
}

// TestHosts says how hosts are called that have several names.
func TestHosts(t *testing.T) {
	t.Parallel()
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	of := func(key, from, to string) *measurement {
		return &measurement{Metadata: &series.Metadata{Key: key, Source: a, Destination: b, InputSource: from, InputDestination: to}}
	}
	m := &mesh{names: make(map[string]string), pairs: make(map[hostPair]*cell)}
	m.add(of("1", "192.0.2.1", "b.example"), &cell{Key: "1", Tests: 1, Sent: 5})
	m.add(of("2", "a.example", "b2.example"), &cell{Key: "2", Tests: 1, Sent: 7})
	m.add(of("3", "192.0.2.1", "192.0.2.2"), &cell{Key: "3", Tests: 1, Sent: unknown})
	g := m.arranged()
	if diff := cmp.Diff([]host{{"192.0.2.1", "a.example"}, {"192.0.2.2", "b.example"}}, g.Hosts); diff != "" {
		t.Error(diff)
	}
	if len(g.Cells) != 1 || g.Cells[0].Key != "2" || g.Cells[0].Tests != 3 {
		t.Errorf("%+v, want one cell of the test 2", g.Cells)
	}
}
