package api

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"owl/archive/series"
)

// A printed request is one of perfSONAR's REST guide (Client REST Interface), by
// the line in its source. Where the guide prints the body alone there is no URL.
type printed struct {
	Line         int
	Method, URL  string
	Body, Answer json.RawMessage
}

func readGuide(t *testing.T) map[int]*printed {
	t.Helper()
	data, err := os.ReadFile("testdata/guide.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []*printed
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	byLine := make(map[int]*printed)
	for _, p := range all {
		byLine[p.Line] = p
	}
	return byLine
}

// The measurements of the guide, and one that it speaks of: the same host by its
// other address.
const (
	keyThroughput = "f6b732e9f351487a96126f0c25e5e546"
	keyPing       = "2355e337a7214611ab1bc5db51e40424"
	keyOWAMP      = "fce0483e51de49aaa7fcf8884d053134"
	keyTrace      = "641860b2004c46a7b21fe26e5ffea9af"
	keyIPv6       = "c0ffee00c0ffee00c0ffee00c0ffee00"
	keyPublished  = "2ba58a26aee64a1e94cd2b5bacbb2cc6" // that the guide registers
)

// noon is the second that the guide's searches name, April 14, 2014, 12:00.
const noon = 1397476800

// guideArchive returns an archive that holds what the guide's answers show, and
// 25 measurements more, which were never written.
func guideArchive(t *testing.T, address string, guide map[int]*printed) *archive {
	a := openArchive(t, address, noon)
	a.hosts = hosts{
		"host1.example.net": {"10.1.1.1", "2001:db8::1"},
		"host2.example.net": {"10.1.1.2", "2001:db8::2"},
	}
	pair := `"subject-type": "point-to-point", "source": "10.1.1.1", "destination": "10.1.1.2", "measurement-agent": "10.1.1.1",
		"input-source": "host1.example.net", "input-destination": "host2.example.net", `
	a.hold(t, keyThroughput, `{`+pair+`"tool-name": "bwctl/iperf3", "ip-transport-protocol": "tcp", "time-duration": "14400", "event-types": [
		{"event-type": "packet-retransmits"}, {"event-type": "failures"}, {"event-type": "throughput-subintervals"},
		{"event-type": "packet-retransmits-subintervals"},
		{"event-type": "throughput", "summaries": [{"summary-type": "average", "summary-window": 86400}]}]}`)
	a.holdPoints(t, keyThroughput, "packet-retransmits", 1397482734, `[{"ts": 1397482700, "val": 1}]`)
	a.holdPoints(t, keyThroughput, "throughput", 1397482735, string(guide[78].Answer))
	a.holdPoints(t, keyThroughput, "failures", 1397315930, `[{"ts": 1397315929, "val": {"error": "none"}}]`)
	a.holdPoints(t, keyThroughput, "throughput-subintervals", 1397482735, `[{"ts": 1397482700, "val": [{"start": 0, "duration": 1, "val": 1}]}]`)
	a.holdPoints(t, keyThroughput, "packet-retransmits-subintervals", 1419493950, string(guide[718].Answer))

	a.hold(t, keyPing, `{`+pair+`"tool-name": "bwctl/ping", "event-types": [{"event-type": "histogram-rtt"}]}`)
	a.holdPoints(t, keyPing, "histogram-rtt", 1397504053, string(guide[436].Answer))

	a.hold(t, keyOWAMP, `{`+pair+`"tool-name": "powstream", "event-types": [{"event-type": "packet-loss-rate"},
		{"event-type": "histogram-owdelay", "summaries": [{"summary-type": "aggregation", "summary-window": 86400},
			{"summary-type": "statistics", "summary-window": 86400}, {"summary-type": "statistics", "summary-window": 0}]}]}`)
	a.holdPoints(t, keyOWAMP, "histogram-owdelay", 1397504836, string(guide[474].Answer))
	a.holdPoints(t, keyOWAMP, "histogram-owdelay", 1397504836, string(guide[442].Answer))
	a.holdPoints(t, keyOWAMP, "histogram-owdelay", 1397504836, `[{"ts": 1397504795, "val": {"34.4": 600}}, {"ts": 1397504835, "val": {"34.4": 494, "34.3": 106}}]`)
	a.holdPoints(t, keyOWAMP, "packet-loss-rate", 1397555620, `[
		{"ts": 1397555532, "val": {"numerator": 28, "denominator": 600}}, {"ts": 1397555538, "val": {"numerator": 40, "denominator": 600}},
		{"ts": 1397555613, "val": {"numerator": 0, "denominator": 600}}, {"ts": 1397555619, "val": {"numerator": 0, "denominator": 600}}]`)

	a.hold(t, keyTrace, `{`+pair+`"tool-name": "bwctl/tracepath", "event-types": [{"event-type": "packet-trace"}]}`)
	a.holdPoints(t, keyTrace, "packet-trace", 1397566095, string(guide[587].Answer))

	a.hold(t, keyIPv6, `{"subject-type": "point-to-point", "source": "2001:db8::1", "destination": "2001:db8::2", "measurement-agent": "2001:db8::1",
		"input-source": "host1.example.net", "input-destination": "host2.example.net", "tool-name": "bwctl/iperf3", "event-types": [{"event-type": "throughput"}]}`)
	a.holdPoints(t, keyIPv6, "throughput", noon, `[{"ts": 1397476700, "val": 1}]`)
	for i := range 25 {
		a.hold(t, fmt.Sprintf("%032x", i), fmt.Sprintf(`{"subject-type": "network-element", "source": "10.9.0.%d", "measurement-agent": "10.9.0.%[1]d",
			"input-source": "x", "tool-name": "ntp", "event-types": [{"event-type": "ntp-offset"}]}`, i))
	}
	return a
}

// hold registers a measurement under a key.
func (a *archive) hold(t testing.TB, key, registration string) {
	t.Helper()
	m, err := series.ParseMetadata([]byte(registration))
	if err != nil {
		t.Fatal(err)
	}
	m.Key = key
	if m, err = a.store.Register(t.Context(), m); err != nil || m.Key != key {
		t.Fatalf("%v, %v", m, err)
	}
}

// holdPoints writes points at a time.
func (a *archive) holdPoints(t testing.TB, key string, event series.EventType, updated int64, points string) {
	t.Helper()
	a.now = updated
	kind, _ := event.Kind()
	var all []struct {
		TS  int64
		Val json.RawMessage
	}
	if err := json.Unmarshal([]byte(points), &all); err != nil {
		t.Fatal(err)
	}
	var samples []series.Sample
	for _, p := range all {
		v, err := series.Parse(kind, p.Val)
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, series.Sample{Time: p.TS, Event: event, Value: v})
	}
	if _, err := a.store.Write(t.Context(), key, samples); err != nil {
		t.Fatal(err)
	}
}

// Each request that the guide prints has the guide's answer, or finds what its
// words say.
func testGuide(t *testing.T, address string) {
	guide := readGuide(t)
	a := guideArchive(t, address, guide)
	var filler []string
	for i := range 25 {
		filler = append(filler, fmt.Sprintf("%032x", i))
	}
	all := append(slices.Clone(filler), keyPing, keyTrace, keyIPv6, keyThroughput, keyOWAMP) // in their order
	between := []string{keyPing, keyTrace, keyThroughput, keyOWAMP}
	answered := make(map[int]bool)
	for _, c := range []struct {
		line int
		now  int64
		keys []string // of the measurements that are found, if no answer is printed
	}{
		{18, 1397482735, nil},
		{78, 1397482735, nil},
		{133, 1397482735, all},
		{144, 1397482735, between},
		{150, 1397482735, between},
		{156, 1397482735, between},
		{162, 1397482735, []string{keyPing, keyTrace, keyIPv6, keyThroughput, keyOWAMP}},
		{187, 1397482735, []string{keyIPv6}},
		{195, 1397482735, []string{keyIPv6, keyThroughput}},
		{201, 1397482735, []string{keyOWAMP}},
		{227, 1397600000, []string{keyPing, keyTrace, keyIPv6, keyThroughput, keyOWAMP}},
		{233, 1397600000, []string{keyIPv6, keyThroughput}},
		{239, 1397600000, []string{keyIPv6}},
		{245, 1397600000, []string{keyPing, keyIPv6, keyThroughput, keyOWAMP}},
		{251, 1397482735 + 86400, []string{keyThroughput}},
		{271, 1397482735, all[:10]},
		{277, 1397482735, all[10:20]},
		{283, 1397482735, all[10:]},
		{367, 1397482735, nil},
		{401, 1397482735, nil},
		{436, 1397504053, nil},
		{442, 1397504053, nil},
		{474, 1397504836, nil},
		{505, 1397504836, nil},
		{554, 1397555620, nil},
		{587, 1397566095, nil},
		{718, 1419493950, nil},
	} {
		p := guide[c.line]
		answered[c.line] = true
		t.Run(strconv.Itoa(c.line), func(t *testing.T) {
			a.now = c.now
			r := a.get(t, p.URL, "Accept", "*/*")
			r.want(t, http.StatusOK, "")
			if c.keys == nil {
				var want any
				if err := json.Unmarshal(p.Answer, &want); err != nil {
					t.Fatal(err)
				}
				if why := holds(r.decode(t), want); why != "" {
					t.Errorf("%s\n%s", why, r.body)
				}
				return
			}
			var keys []string
			for _, m := range r.list(t) {
				keys = append(keys, m.(map[string]any)["metadata-key"].(string))
			}
			if !slices.Equal(keys, c.keys) {
				t.Errorf("found %q, want %q", keys, c.keys)
			}
		})
	}
	// The whole series, for which the guide prints no answer again.
	a.now = 1397482735
	answered[346] = true
	if whole, day := a.get(t, guide[346].URL), a.get(t, guide[367].URL); string(whole.body) != string(day.body) {
		t.Errorf("%s, want %s", whole.body, day.body)
	}
	testPublishing(t, a, guide, answered)
	for line := range guide {
		if !answered[line] {
			t.Errorf("the request of line %d was not made", line)
		}
	}
}

// testPublishing writes what the guide writes, and reads it back.
func testPublishing(t *testing.T, a *archive, guide map[int]*printed, answered map[int]bool) {
	post := func(line int, url string) *reply {
		t.Helper()
		answered[line] = true
		r := a.do(t, http.MethodPost, url, string(guide[line].Body), append(a.guide(), "Accept", "*/*")...)
		if r.StatusCode != http.StatusOK {
			t.Fatalf("line %d: status %d: %s", line, r.StatusCode, r.body)
		}
		return r
	}
	register := func(line int) (key string) {
		t.Helper()
		r := post(line, prefix)
		again := post(line, prefix)
		if string(r.body) != string(again.body) {
			t.Errorf("line %d: again it is %s, want %s", line, again.body, r.body)
		}
		return r.object(t)["metadata-key"].(string)
	}
	publish := func(line int, url string) {
		t.Helper()
		if r := post(line, url); len(r.body) > 0 || r.Header.Get("Content-Length") != "0" {
			t.Errorf("line %d: %q, want nothing", line, r.body)
		}
	}
	series := func(key, path, want string) {
		t.Helper()
		var v any
		if err := json.Unmarshal([]byte(want), &v); err != nil {
			t.Fatal(err)
		}
		if r := a.get(t, prefix+key+"/"+path); holds(r.decode(t), v) != "" || len(r.list(t)) != len(v.([]any)) {
			t.Errorf("%s is %s, want %s", path, r.body, want)
		}
	}

	a.now = 1397808000 // what is of later does not show yet
	key := register(952)
	ours := func(s string) string { return strings.ReplaceAll(s, keyPublished, key) }
	var want any
	if err := json.Unmarshal([]byte(ours(string(guide[952].Answer))), &want); err != nil {
		t.Fatal(err)
	}
	if r := post(952, guide[952].URL); holds(r.decode(t), want) != "" {
		t.Errorf("line 952: %s", holds(r.decode(t), want))
	}
	publish(1004, ours(guide[1004].URL))
	publish(1010, ours(guide[1010].URL))
	publish(1010, ours(guide[1010].URL)) // again, which changes nothing
	publish(1091, prefix+key+"/")
	// Of two values of one second in one request the later one counts.
	series(key, "throughput/base", `[{"ts": 1392238294, "val": 1e9}, {"ts": 1392238390, "val": 9e8}]`)
	series(key, "packet-retransmits/base", `[{"ts": 1392238390, "val": 5}]`)
	series(key, "throughput/aggregations/86400", `[{"ts": 1392163200, "val": 1.9e9}]`)

	key = register(1131)
	publish(1168, prefix+key+"/")
	series(key, "throughput/averages/86400", `[{"ts": 1397779200, "val": 8446270000}]`)
	if n := len(a.get(t, prefix+key+"/throughput-subintervals/base").list(t)[0].(map[string]any)["val"].([]any)); n != 21 {
		t.Errorf("%d intervals, want 21", n)
	}
	key = register(1302)
	publish(1460, prefix+key+"/")
	series(key, "histogram-rtt/statistics/86400", `[{"ts": 1397779200, "val": {"minimum": 41, "maximum": 41.1, "median": 41}}]`)
	series(key, "packet-loss-rate-bidir/aggregations/3600", `[{"ts": 1397804400, "val": 0}]`)
	key = register(1376)
	publish(1510, prefix+key+"/")
	series(key, "histogram-owdelay/aggregations/3600", `[{"ts": 1397804400, "val": {"34.3": 440, "34.4": 123, "34.5": 30, "34.6": 7}}]`)
	series(key, "time-error-estimates/base", `[{"ts": 1397807372, "val": 0.0001}]`)
	key = register(1581)
	publish(1607, prefix+key+"/")
	series(key, "path-mtu/base", `[{"ts": 1397804940, "val": 9000}]`)
}

// holds tells what of a printed answer is not in an answer; "": nothing. Members
// and elements that are not printed may be there, numbers may be printed as texts,
// and event types in any order.
func holds(got, want any) string {
	switch want := want.(type) {
	case map[string]any:
		o, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%v, want an object", got)
		}
		for name, v := range want {
			member, ok := o[name]
			if !ok {
				return "no member " + name
			}
			if why := holds(member, v); why != "" {
				return name + ": " + why
			}
		}
	case []any:
		l, ok := got.([]any)
		if !ok {
			return fmt.Sprintf("%v, want a list", got)
		}
		for _, v := range want {
			if !slices.ContainsFunc(l, func(e any) bool { return holds(e, v) == "" }) {
				return fmt.Sprintf("%v does not have %v", got, v)
			}
		}
	default:
		if got == want {
			return ""
		}
		if x, ok := asNumber(got); ok {
			if y, ok := asNumber(want); ok && math.Abs(x-y) <= 1e-12*math.Abs(y) {
				return ""
			}
		}
		return fmt.Sprintf("%v, want %v", got, want)
	}
	return ""
}

func asNumber(v any) (float64, bool) {
	if text, ok := v.(string); ok {
		n, err := strconv.ParseFloat(text, 64)
		return n, err == nil
	}
	n, ok := v.(float64)
	return n, ok
}
