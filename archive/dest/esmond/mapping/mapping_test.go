package mapping

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// documentOf returns a result by a test, its specification and what was measured.
func documentOf(test, spec, result string) []byte {
	return fmt.Appendf(nil, `{"schedule": {"start": "2026-05-01T12:00:00.9Z", "duration": "PT1.5S"}, "tool": {"name": "x"}, "participants": ["192.0.2.1"],
		"run": {"href": "http://h/r"}, "test": {"type": %q, "spec": %s}, "result": %s}`, test, spec, result)
}

// valuesOf returns the values of a result, as JSON by event type, without the
// address of the run.
func valuesOf(t *testing.T, r Record) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, v := range r.Values {
		b, err := json.Marshal(v.Val)
		if err != nil {
			t.Fatal(err)
		}
		if v.EventType != runHref {
			all[v.EventType] = string(b)
		}
	}
	return all
}

// one maps a result that makes one record.
func one(t *testing.T, m *Mapper, document []byte) Record {
	t.Helper()
	all, err := m.Records(document, "")
	if err != nil || len(all) != 1 {
		t.Fatalf("%d records, %v, want one", len(all), err)
	}
	return all[0]
}

// typesOf returns which event types metadata declare.
func typesOf(r Record) []string {
	var all []string
	for _, e := range r.Metadata["event-types"].([]eventType) {
		all = append(all, e.Name)
	}
	return all
}

// A part of a result that is not as it should be is left out, and the rest is kept.
func TestParts(t *testing.T) {
	const noReply = `{"error":"` + unspecified + `"}`
	for name, tc := range map[string]struct {
		test, spec, result string
		want               map[string]string
	}{
		"latency, counts that are none": {
			"latencybg", `{"dest": "h"}`, `{"succeeded": true, "packets-sent": null, "packets-lost": {}, "packets-reordered": "3", "histogram-latency": [], "histogram-ttl": {"3": 1}}`,
			map[string]string{"histogram-ttl": `{"3":1}`},
		},
		"latency, nothing sent": {
			"latency", `{"dest": "h"}`, `{"succeeded": true, "packets-sent": 0, "packets-lost": 0}`,
			map[string]string{"packet-count-sent": "0", "packet-count-lost": "0"},
		},
		"latency, an integer beyond float64": {
			"latency", `{"dest": "h"}`, `{"succeeded": true, "packets-sent": 9007199254740993, "packets-lost": 1.0}`,
			map[string]string{"packet-count-sent": "9007199254740993", "packet-count-lost": "1.0", "packet-loss-rate": `{"numerator":1.0,"denominator":9007199254740993}`},
		},
		"failed":            {"rtt", `{"dest": "h"}`, `{"succeeded": false, "error": ""}`, map[string]string{failures: noReply}},
		"failed, an object": {"rtt", `{"dest": "h"}`, `{"succeeded": null, "error": {"a": 1}, "sent": 5}`, map[string]string{failures: `{"error":{"a":1}}`}},
		"no result":         {"rtt", `{"dest": "h"}`, `null`, map[string]string{failures: noReply}},
		"gaps that were ended": {
			"latencybg", `{"dest": "h"}`, `{"succeeded": true, "packets-sent": 1, "owl": {"gaps": [
				{"reason": "refused", "start": "2026-05-01T11:59:00.5Z", "seconds": 59.5}, {"reason": "restarted", "start": "2026-05-01T12:00:00Z", "seconds": null, "x": 1},
				{"reason": "", "start": "2026-05-01T12:00:00Z"}, {"reason": "refused"}, 7]}}`,
			map[string]string{
				"packet-count-sent": "1",
				failures: `{"error":"no data from 2026-05-01T11:59:00.5Z for 59.5 s: refused\nno data since 2026-05-01T12:00:00Z: restarted",` +
					`"gaps":[{"reason":"refused","seconds":59.5,"start":"2026-05-01T11:59:00.5Z"},{"reason":"restarted","seconds":null,"start":"2026-05-01T12:00:00Z"}]}`,
			},
		},
		"a gap that goes on": {
			"latencybg", `{"dest": "h"}`, `{"succeeded": false, "error": "why", "owl": {"gaps": [{"reason": "refused", "start": "2026-05-01T11:59:00Z", "seconds": null}]}}`,
			map[string]string{failures: `{"error":"why","gaps":[{"reason":"refused","seconds":null,"start":"2026-05-01T11:59:00Z"}]}`},
		},
		"no gaps": {
			"latencybg", `{"dest": "h"}`, `{"succeeded": true, "packets-sent": 1, "owl": {"gaps": []}}`, map[string]string{"packet-count-sent": "1"},
		},
		"trace without paths": {
			"trace", `{"dest": "h"}`, `{"succeeded": true}`, map[string]string{},
		},
		"trace, first path empty": {
			"trace", `{"dest": "h"}`, `{"succeeded": true, "paths": [[], [null, {"rtt": "P1M", "ip": "192.0.2.9", "mtu": 1500, "as": {"number": 7}}, {"rtt": "PT0S", "mtu": 0}]]}`,
			map[string]string{
				"packet-trace": `[{"ttl":1,"query":1,"success":1},{"ttl":2,"query":1,"success":1,"ip":"192.0.2.9","as":{"number":7},"mtu":1500},{"ttl":3,"query":1,"success":1,"rtt":0.0,"mtu":1500}]`,
				"path-mtu":     "1500",
			},
		},
		"trace, paths that are empty": {
			"trace", `{"dest": "h", "algorithm": "paris-traceroute"}`, `{"succeeded": true, "paths": [[]]}`, map[string]string{"packet-trace-multi": "[[]]"},
		},
		"rtt": {
			"rtt", `{"dest": "h"}`, `{"succeeded": true, "sent": 2, "lost": null, "roundtrips": [{"rtt": "PT0.0005S", "ttl": 0}, {"rtt": "PT0.0000005S", "ttl": 64}, {"rtt": "PT0.0000015S"}, null, 3]}`,
			map[string]string{"packet-count-sent": "2", "histogram-rtt": `{"0.00":2,"0.50":1}`, "histogram-ttl-reverse": `{"64":1}`},
		},
		"throughput, streams": {
			"throughput", `{"dest": "h", "parallel": 2}`,
			`{"succeeded": true, "summary": {"summary": {"throughput-bits": null}, "streams": [
				{"stream-id": "9", "throughput-bits": 9}, {"stream-id": 7, "rtt": 0, "retransmits": 2}, {"throughput-bits": 1}, {"stream-id": "10", "throughput-bits": 10}]},
			"intervals": [
				{"summary": {"throughput-bits": 5}, "streams": [{"stream-id": 7, "start": 0, "end": 1, "throughput-bits": 5}]},
				{"summary": {}, "streams": [{"stream-id": 7, "start": 1, "end": 2.5, "throughput-bits": 0}, {"stream-id": 8, "start": 1, "end": 2}, {"stream-id": 7, "throughput-bits": 3}]},
				{"summary": {"start": 1, "end": 3, "throughput-bits": 0, "rtt": null}}, null]}`,
			map[string]string{
				"streams-throughput":              "[null,10,9]",
				"streams-packet-retransmits":      "[2]",
				"throughput-subintervals":         `[{"start":1,"duration":2,"val":0}]`,
				"streams-throughput-subintervals": `[[{"start":1,"duration":1.5,"val":0}],[]]`,
			},
		},
		"throughput, parallel is null": {
			"throughput", `{"dest": "h", "parallel": null}`, `{"succeeded": true, "summary": {"summary": {"throughput-bits": 1e9}, "streams": [{"stream-id": 1, "throughput-bits": 9}]}}`,
			map[string]string{"throughput": "1e9"},
		},
	} {
		got := valuesOf(t, one(t, &Mapper{Policy: PreferMapped}, documentOf(tc.test, tc.spec, tc.result)))
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", name, diff)
		}
	}
}

// Metadata have what the specification says, but for null and what is no duration.
func TestMetadata(t *testing.T) {
	b := []byte(`{"schedule": {"start": "2026-05-01T14:00:00+02:00", "duration": "PT0.5S"}, "tool": {"name": "ping"}, "participants": ["192.0.2.1", "x"],
		"reference": {"_secret": 1, "a": {"b": [true, null, {"c": "d"}]}, "e": null},
		"test": {"type": "rtt", "spec": {"dest": "h", "count": null, "length": 30.0, "ttl": 64, "interval": "PT1S", "timeout": "P1M", "deadline": "PT0.00002S"}}, "result": null}`)
	r := one(t, &Mapper{Policy: PreferMapped, Summaries: []Summary{{60, "histogram-rtt", "x"}, {0, failures, "y"}, {0, "other", "z"}}}, b)
	if r.Source != "192.0.2.1" || r.Destination != "h" || r.Agent != "192.0.2.1" || r.Time != 1777636800 {
		t.Errorf("%+v, want 192.0.2.1 to h at 1777636800", r)
	}
	got, err := json.Marshal(r.Metadata)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"event-types":[{"event-type":"failures","summaries":[{"summary-window":0,"event-type":"failures","summary-type":"y"}]},{"event-type":"packet-count-sent"},` +
		`{"event-type":"histogram-rtt","summaries":[{"summary-window":60,"event-type":"histogram-rtt","summary-type":"x"}]},{"event-type":"histogram-ttl-reverse"},` +
		`{"event-type":"packet-duplicates-bidir"},{"event-type":"packet-loss-rate-bidir"},{"event-type":"packet-count-lost-bidir"},{"event-type":"packet-reorders-bidir"},` +
		`{"event-type":"pscheduler-run-href"}],"input-destination":"h","input-source":"192.0.2.1","ip-packet-size":30.0,"ip-ttl":64,` +
		`"pscheduler-reference-a-b-0":true,"pscheduler-reference-a-b-2-c":"d","pscheduler-test-type":"rtt","subject-type":"point-to-point",` +
		`"time-duration":0.5,"time-probe-interval":1.0,"time-probe-timeout":2e-05,"tool-name":"pscheduler/ping"}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// The policies, for a test that has a mapping and for one that has none.
func TestPolicies(t *testing.T) {
	known := documentOf("latency", `{"dest": "h"}`, `{"succeeded": true, "packets-sent": 1}`)
	unknown := documentOf("dns", `{"query": "q", "list": [1, {"a": "b"}], "_key": "s", "none": null}`, `{"succeeded": true, "x": [1.50]}`)
	const rawKnown, rawUnknown = `{"packets-sent":1,"succeeded":true}`, `{"succeeded":true,"x":[1.50]}`
	for _, tc := range []struct {
		policy Policy
		result []byte
		want   map[string]string // nil: an error
	}{
		{PreferMapped, known, map[string]string{"packet-count-sent": "1"}},
		{MappedAndRaw, known, map[string]string{"packet-count-sent": "1", raw: rawKnown}},
		{MappedOnly, known, map[string]string{"packet-count-sent": "1"}},
		{RawOnly, known, map[string]string{raw: rawKnown}},
		{PreferMapped, unknown, map[string]string{raw: rawUnknown}},
		{MappedAndRaw, unknown, nil},
		{MappedOnly, unknown, nil},
		{RawOnly, unknown, map[string]string{raw: rawUnknown}},
	} {
		m := &Mapper{Policy: tc.policy}
		if tc.want == nil {
			const want = `/test/type: "dns": want a test that has a mapping, or the policy prefer-mapped or raw-only`
			if _, err := m.Records(tc.result, ""); err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", tc.policy, err, want)
			}
			continue
		}
		r := one(t, m, tc.result)
		if diff := cmp.Diff(tc.want, valuesOf(t, r)); diff != "" {
			t.Errorf("%s: %s", tc.policy, diff)
		}
		types := typesOf(r)
		for _, v := range r.Values {
			if !slices.Contains(types, v.EventType) {
				t.Errorf("%s: %s is not among %v", tc.policy, v.EventType, types)
			}
		}
	}
	r := one(t, &Mapper{Policy: RawOnly}, unknown)
	delete(r.Metadata, "event-types")
	want := map[string]any{
		"pscheduler-test-type": "dns", "subject-type": "network-element", "input-source": "192.0.2.1", "tool-name": "pscheduler/x", "time-duration": json.Number("1.5"),
		"pscheduler-dns-query": "q", "pscheduler-dns-list-0": json.Number("1"), "pscheduler-dns-list-1-a": "b",
	}
	if diff := cmp.Diff(want, r.Metadata); diff != "" || r.Destination != "" {
		t.Errorf("to %q: %s", r.Destination, diff)
	}
}

// What is told of a clock depends on who tells it.
func TestClock(t *testing.T) {
	const figures = `"stratum": 2, "offset_s": -0.00025, "root_delay_s": 0.03, "root_dispersion_s": 0.002, "jitter_s": 0.0001, "wander_ppm": 0.125, "poll_s": 64, "reach": 255`
	all, err := (&Mapper{Policy: PreferMapped}).Records(documentOf("clock", `{"source": "ps1.example.net:443"}`, `{"succeeded": true, "local": {"offset": 9}, "owl": {"sources": [
		{"via": "chrony", "server": "/run/chrony/chronyd.sock", "synchronized": true, "last": "2026-05-01T12:00:00Z", `+figures+`},
		{"via": "ntp", "server": "ntp1.example.net", "synchronized": true, "last": "2026-05-01T12:00:00Z", `+figures+`},
		{"via": "ntp", "server": "ntp2.example.net", "last": "2026-05-01T11:00:00Z", "error": "no answer", `+strings.Replace(figures, `"reach": 255`, `"reach": 252`, 1)+`},
		{"via": "ntp", "server": "ntp3.example.net", `+strings.Replace(figures, `"reach": 255`, `"reach": 0`, 1)+`},
		{"via": "sundial"}, 3]}}`), "")
	if err != nil {
		t.Fatal(err)
	}
	chronyTypes := []string{failures, "ntp-stratum", "ntp-offset", "ntp-delay", "ntp-dispersion", "ntp-jitter", "ntp-polling-interval", "ntp-wander", runHref}
	ntpTypes := []string{failures, "ntp-stratum", "ntp-reach", "ntp-offset", "ntp-delay", "ntp-dispersion", "ntp-jitter", "ntp-polling-interval", runHref}
	chrony := map[string]string{
		"ntp-stratum": "2", "ntp-offset": "-0.25", "ntp-delay": "30.0", "ntp-dispersion": "2.0", "ntp-jitter": "0.1",
		"ntp-polling-interval": "64.0", "ntp-wander": "0.125",
	}
	ntp := maps.Clone(chrony)
	delete(ntp, "ntp-wander")
	ntp["ntp-reach"] = "377"
	want := []struct {
		via, server string
		types       []string
		values      map[string]string
	}{
		{"chrony", "/run/chrony/chronyd.sock", chronyTypes, chrony},
		{"ntp", "ntp1.example.net", ntpTypes, ntp},
		{"ntp", "ntp2.example.net", ntpTypes, map[string]string{failures: `{"error":"no answer"}`, "ntp-stratum": "2", "ntp-reach": "374"}},
		{"ntp", "ntp3.example.net", ntpTypes, map[string]string{"ntp-stratum": "2", "ntp-reach": "0"}},
	}
	if len(all) != len(want) {
		t.Fatalf("%d records, want %d", len(all), len(want))
	}
	for i, w := range want {
		r := all[i]
		if r.Source != "ps1.example.net" || r.Destination != "" || r.Metadata["subject-type"] != "network-element" ||
			r.Metadata["clock-via"] != w.via || r.Metadata["clock-server"] != w.server {
			t.Errorf("%+v, want ps1.example.net by %s of %s", r, w.server, w.via)
		}
		if diff := cmp.Diff(w.types, typesOf(r)); diff != "" {
			t.Errorf("%s: %s", w.server, diff)
		}
		if diff := cmp.Diff(w.values, valuesOf(t, r)); diff != "" {
			t.Errorf("%s: %s", w.server, diff)
		}
	}
}

// Of pScheduler's clock test there are two hosts, each with an offset.
func TestClockStates(t *testing.T) {
	const result = `{"succeeded": true, "difference": "PT0.001S", "local": {"time": "2026-05-01T12:00:00Z", "synchronized": true, "source": "ntp", "offset": 0.0005},
		"remote": {"time": "2026-05-01T12:00:00Z", "synchronized": false}}`
	all, err := (&Mapper{Policy: MappedAndRaw}).Records(documentOf("clock", `{"dest": "ps2.example.net"}`, result), "")
	if err != nil || len(all) != 3 {
		t.Fatalf("%d records, %v, want three", len(all), err)
	}
	types := []string{failures, "ntp-offset", runHref}
	for i, w := range []struct {
		source string
		types  []string
		values map[string]string
	}{
		{"192.0.2.1", types, map[string]string{"ntp-offset": "0.5"}},
		{"ps2.example.net", types, map[string]string{}},
		{"192.0.2.1", []string{raw, runHref}, map[string]string{raw: `{"difference":"PT0.001S","local":{"offset":0.0005,"source":"ntp","synchronized":true,"time":"2026-05-01T12:00:00Z"},"remote":{"synchronized":false,"time":"2026-05-01T12:00:00Z"},"succeeded":true}`}},
	} {
		if all[i].Source != w.source {
			t.Errorf("record %d of %s, want %s", i, all[i].Source, w.source)
		}
		if diff := cmp.Diff(w.types, typesOf(all[i])); diff != "" {
			t.Errorf("record %d: %s", i, diff)
		}
		if diff := cmp.Diff(w.values, valuesOf(t, all[i])); diff != "" {
			t.Errorf("record %d: %s", i, diff)
		}
	}
	failed := one(t, &Mapper{Policy: PreferMapped}, documentOf("clock", `{"dest": "h"}`, `{"succeeded": false, "error": "no"}`))
	if diff := cmp.Diff(map[string]string{failures: `{"error":"no"}`}, valuesOf(t, failed)); diff != "" {
		t.Error(diff)
	}
}

// What a result lacks that cannot be done without is said.
func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		`"text"`:                    "unable to find a test definition: want a result as pScheduler makes it, without a transform",
		`{"test": {"type": "rtt"}}`: "/tool/name: want the name of the tool",
		`{"test": {"type": "rtt"}, "tool": {"name": "x"}}`:                                                                       "/participants: want one, or a source in the specification of the test",
		`{"test": {"type": "rtt"}, "tool": {"name": "x"}, "participants": ["h"], "schedule": {"start": "now"}}`:                  `/schedule/start: "now": want a time such as 2026-05-01T12:00:00Z`,
		`{"test": {"type": "rtt"}, "tool": {"name": "x"}, "participants": ["h"], "schedule": {"start": "2026-05-01T12:00:00Z"}}`: "/test/spec/dest: want the host that was measured to",
		`{`: "no JSON: unexpected EOF",
	} {
		if _, err := (&Mapper{Policy: PreferMapped}).Records([]byte(text), ""); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// Numbers are written as Python does.
func TestDecimal(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0.0", 1: "1.0", -2.5: "-2.5", 86402: "86402.0", 0.1: "0.1", 0.0001: "0.0001", 0.00002: "2e-05", 1e15: "1000000000000000.0",
		1e16: "1e+16", 1.5e-7: "1.5e-07", 1471287717.5675843: "1471287717.5675843", 4.1000000000000005: "4.1000000000000005",
	} {
		if got := decimal(f).String(); got != want {
			t.Errorf("%g: %s, want %s", f, got, want)
		}
	}
	for _, tc := range [][3]string{{"0", "1.00015", "1.00015"}, {"4.000345", "5.002724", "1.0023789999999995"}, {"1", "3", "2"}, {"3", "1", "-2"}, {"2.1e-05", "1.000031", "1.0000099999999998"}, {"0.0", "1", "1.0"}} {
		if got, ok := difference(json.Number(tc[0]), json.Number(tc[1])); !ok || got.String() != tc[2] {
			t.Errorf("%s to %s: %s, want %s", tc[0], tc[1], got, tc[2])
		}
	}
	for ns, want := range map[time.Duration]float64{500: 0, 501: 1e-6, 1500: 2e-6, 2500: 2e-6, 20400000: 0.0204} {
		if got := seconds(ns); got != want {
			t.Errorf("%d ns: %g, want %g", ns, got, want)
		}
	}
}

// Whatever the result, it is mapped or refused, and what comes out can be sent: it
// encodes, has no null in its metadata, and each value once.
func FuzzRecords(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "inputs", "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var in struct{ Result json.RawMessage }
		if err := json.Unmarshal(b, &in); err != nil {
			f.Fatal(err)
		}
		// The run and the task are long, and say nothing more.
		var result map[string]json.RawMessage
		if err := json.Unmarshal(in.Result, &result); err != nil {
			f.Fatal(err)
		}
		delete(result, "run")
		delete(result, "task")
		seed, err := json.Marshal(result)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Add(documentOf("latencybg", `{"dest": "h"}`, `{"succeeded": true, "owl": {"gaps": [{"reason": "refused", "start": "2026-05-01T12:00:00Z", "seconds": 1e400}, {"reason": "", "start": 1}]}}`))
	f.Add(documentOf("clock", `{"dest": "[::1]:443"}`, `{"succeeded": true, "remote": {"offset": 1e308}, "owl": {"sources": [{"via": "ntp", "reach": 256, "last": 1, "poll_s": -0}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, p := range []Policy{PreferMapped, MappedAndRaw, MappedOnly, RawOnly} {
			records, err := (&Mapper{Policy: p}).Records(text, "http://h/r")
			if err != nil {
				continue
			}
			for _, r := range records {
				if _, err := json.Marshal(r); err != nil {
					t.Fatalf("%s: %v", p, err)
				}
				for name, v := range r.Metadata {
					if v == nil {
						t.Errorf("%s: %s is null", p, name)
					}
				}
				seen := make(map[string]bool)
				for _, v := range r.Values {
					if v.Val == nil || seen[v.EventType] {
						t.Errorf("%s: %s is null, or there twice", p, v.EventType)
					}
					seen[v.EventType] = true
				}
				if r.Source == "" || r.Agent == "" || !seen[runHref] {
					t.Errorf("%s: %+v has no source, no agent or no address of its run", p, r)
				}
			}
		}
	})
}

// A result of a stream, as it comes once a minute from each of thousands.
func BenchmarkRecords(b *testing.B) {
	text, err := os.ReadFile(filepath.Join("..", "testdata", "inputs", "01-success.json"))
	if err != nil {
		b.Fatal(err)
	}
	var in struct{ Result json.RawMessage }
	if err := json.Unmarshal(text, &in); err != nil {
		b.Fatal(err)
	}
	m := &Mapper{Policy: PreferMapped}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Records(in.Result, ""); err != nil {
			b.Fatal(err)
		}
	}
}
