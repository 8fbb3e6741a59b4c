package remote

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive/api"
	"owl/archive/series"
	"owl/archive/store"
	"owl/internal/bubble"
)

const (
	now   = 1_700_000_000
	begin = 1_699_920_000 // of a day
)

func clock() time.Time { return time.Unix(now, 0) }

func open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func register(t *testing.T, s *store.Store, body string) *series.Metadata {
	t.Helper()
	m, err := series.ParseMetadata([]byte(body))
	if err == nil {
		m, err = s.Register(t.Context(), m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// samples returns what was measured at a time.
func samples(t *testing.T, at int64, values map[series.EventType]string) (samples []series.Sample) {
	t.Helper()
	for event, raw := range values {
		kind, _ := event.Kind()
		v, err := series.Parse(kind, []byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, series.Sample{Time: at, Event: event, Value: v})
	}
	return samples
}

func write(t *testing.T, s *store.Store, key string, samples []series.Sample) {
	t.Helper()
	if _, err := s.Write(t.Context(), key, samples); err != nil {
		t.Fatal(err)
	}
}

const summaries = `[{"summary-type":"aggregation","summary-window":300},{"summary-type":"aggregation","summary-window":3600}]`

// filled returns an archive whose first hour has summaries only.
func filled(t *testing.T) *store.Store {
	t.Helper()
	s := open(t)
	m := register(t, s, `{"subject-type":"point-to-point","source":"2001:db8::1","destination":"192.0.2.2","measurement-agent":"192.0.2.1","tool-name":"pscheduler/powstream","input-source":"a","input-destination":"b",
		"time-duration":86402.0,"event-types":[{"event-type":"failures"},{"event-type":"packet-count-sent","summaries":[{"summary-type":"average","summary-window":300},{"summary-type":"aggregation","summary-window":300}]},
		{"event-type":"packet-loss-rate","summaries":`+summaries+`},{"event-type":"throughput","summaries":[{"summary-type":"average","summary-window":3600}]},
		{"event-type":"time-error-estimates","summaries":[{"summary-type":"average","summary-window":300}]},
		{"event-type":"histogram-owdelay","summaries":[{"summary-type":"aggregation","summary-window":300},{"summary-type":"statistics","summary-window":300},{"summary-type":"statistics","summary-window":0}]}]}`)
	var all []series.Sample
	for i := range int64(200) {
		values := map[series.EventType]string{
			"packet-count-sent":    fmt.Sprint(600 - i%7),
			"packet-loss-rate":     fmt.Sprintf(`{"numerator": %d, "denominator": %d}`, i%11, 600-i%7),
			"histogram-owdelay":    fmt.Sprintf(`{"34.30": %d, "34.40": 3}`, i+1),
			"time-error-estimates": fmt.Sprintf("0.%04d", i),
		}
		if i%20 == 0 {
			values["failures"] = `{"error": "<x>"}`
			values["throughput"] = fmt.Sprint(1_000_000_007 + i)
		}
		if all = append(all, samples(t, begin+60*i, values)...); i%100 == 99 {
			write(t, s, m.Key, all)
			all = nil
		}
	}
	register(t, s, `{"subject-type":"network-element","source":"192.0.2.1","measurement-agent":"192.0.2.1","tool-name":"t","input-source":"a","event-types":[{"event-type":"ntp-offset"}]}`)
	if _, err := s.Prune(t.Context(), []store.Rule{{Summary: &series.Summary{}, Keep: (now - begin - 3600) * time.Second}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// everything returns all that clients can read.
func everything(t *testing.T, s *store.Store) string {
	t.Helper()
	page, _, err := s.Search(t.Context(), &store.Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range page {
		fmt.Fprintf(&b, "%+v\n", *m)
		for _, e := range m.Events {
			for _, summary := range append(e.Summaries, series.Summary{}) {
				fmt.Fprintf(&b, "%s %s\n", e.Type, summary)
				for r, err := range s.Read(t.Context(), store.Query{Key: m.Key, Event: e.Type, Summary: summary, To: series.MaxTime, Limit: -1}) {
					if err != nil {
						t.Fatal(err)
					}
					fmt.Fprintf(&b, "%d %s\n", r.Time, r.AppendJSON(nil))
				}
			}
		}
	}
	return b.String()
}

// remote returns the archive of a handler.
func remote(t *testing.T, h http.Handler) *Archive {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	a, err := New(server.URL, server.Client(), clock())
	if err != nil {
		t.Fatal(err)
	}
	a.atOnce = 60 // so that there are several pages
	return a
}

// What is copied over REST reads as it did there, what has only summaries left
// included; and again there is nothing to do.
func TestCopy(t *testing.T) {
	t.Parallel()
	from := filled(t)
	requests := 0
	handler := api.New(from, api.Options{Now: clock})
	a := remote(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		handler.ServeHTTP(w, r)
	}))
	s := open(t)
	var told []string
	done, err := s.Copy(t.Context(), a, func(m *series.Metadata, done store.Transferred) {
		told = append(told, m.SubjectType)
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(everything(t, from), everything(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// 140 values of four series and seven of two others are left.
	if done.Measurements != 2 || done.Values != 4*140+2*7 || done.Summaries == 0 || len(told) != 2 {
		t.Errorf("%+v, %v", done, told)
	}

	requests = 0
	if done, err := s.Copy(t.Context(), a, nil); err != nil || done != (store.Transferred{Measurements: 2}) || requests != 1 {
		t.Errorf("again: %+v, %v, %d requests, want nothing to do, and one", done, err, requests)
	}
	if diff := cmp.Diff(everything(t, from), everything(t, s)); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
}

// A copy that breaks off at any request can be done again, and values that came
// meanwhile stay.
func TestCopyInterrupted(t *testing.T) {
	t.Parallel()
	from := filled(t)
	left := 0
	handler := api.New(from, api.Options{Now: clock})
	a := remote(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if left--; left < 0 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	s := open(t)
	for n := 0; ; n += 1 + n/4 {
		left = n
		if _, err := s.Copy(t.Context(), a, nil); err == nil {
			break
		} else if !strings.Contains(err.Error(), "403: Forbidden") {
			t.Fatal(err)
		}
		if n > 100 {
			t.Fatal("it does not end")
		}
	}
	if diff := cmp.Diff(everything(t, from), everything(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// The same measurement is there already, with a value of its own.
	other := open(t)
	page, _, err := from.Search(t.Context(), &store.Filter{SubjectType: series.PointToPoint, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	m := *page[0]
	m.Key = ""
	here, err := other.Register(t.Context(), &m)
	if err != nil {
		t.Fatal(err)
	}
	write(t, other, here.Key, samples(t, begin+3600, map[series.EventType]string{"packet-count-sent": "7"}))
	left = 1 << 30
	if _, err := other.Copy(t.Context(), a, nil); err != nil {
		t.Fatal(err)
	}
	n := 0
	for r, err := range other.Read(t.Context(), store.Query{Key: here.Key, Event: "packet-count-sent", To: series.MaxTime, Limit: -1}) {
		if n++; err != nil || r.Time == begin+3600 && string(r.AppendJSON(nil)) != "7.0" {
			t.Errorf("at %d: %s (%v), want what was there", r.Time, r.AppendJSON(nil), err)
		}
	}
	if n != 140 {
		t.Errorf("%d values, want 140", n)
	}
}

// A transport answers requests without a network.
type transport func(*http.Request) *http.Response

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// An archive that is busy is asked again: when it says, or later each time, and not
// for ever.
func TestBusy(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var waits []time.Duration
		asked := time.Now()
		last := 3 // that is refused
		client := &http.Client{Transport: transport(func(r *http.Request) *http.Response {
			waits = append(waits, time.Since(asked))
			asked = time.Now()
			rec := httptest.NewRecorder()
			switch n := len(waits); {
			case n > last:
				fmt.Fprint(rec, "[]")
			case n == 2:
				rec.Header().Set("Retry-After", "30")
				rec.WriteHeader(http.StatusTooManyRequests)
			case n == 4: // of those that are refused for ever
				rec.Header().Set("Retry-After", "10000000000")
				rec.WriteHeader(http.StatusServiceUnavailable)
			default:
				rec.WriteHeader(http.StatusServiceUnavailable)
			}
			return rec.Result()
		})}
		a, err := New("http://192.0.2.1", client, clock())
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range a.Measurements(t.Context()) {
			t.Error(err)
		}
		if want := []time.Duration{0, time.Second, 30 * time.Second, 4 * time.Second}; !slices.Equal(waits, want) {
			t.Errorf("asked after %v, want %v", waits, want)
		}
		waits, last = nil, 100
		for _, err := range a.Measurements(t.Context()) {
			if err == nil || err.Error() != "503: Service Unavailable" || len(waits) != tries {
				t.Errorf("%v after %d times, want %d", err, len(waits), tries)
			}
		}
	})
}

func TestBadAnswers(t *testing.T) {
	t.Parallel()
	const good = `{"metadata-key": "k", "subject-type": "network-element", "source": "192.0.2.1", "measurement-agent": "192.0.2.1", "event-types": [{"event-type": "throughput", "time-updated": 1, "summaries": []}, {"event-type": "new-one"}]}`
	for list, want := range map[string]string{
		"[" + good + "]": "measurement 2: the same again: want those from an offset on",
		`{"x`:            "want the JSON of a measurement archive: unexpected end of JSON input",
		`{}`:             "want the JSON of a measurement archive: json: cannot unmarshal object into Go value of type []map[string]json.RawMessage",
		`[{}]`:           `measurement 1: metadata-key "": want letters, digits, dots and dashes`,
		strings.Replace("["+good+"]", `"k"`, `"../x"`, 1):                           `measurement 1: metadata-key "../x": want letters, digits, dots and dashes`,
		strings.Replace("["+good+"]", `"k"`, `".."`, 1):                             `measurement 1: metadata-key "..": want letters, digits, dots and dashes`,
		strings.Replace("["+good+"]", `"192.0.2.1"`, `"h"`, 1):                      `measurement 1: source "h": want an IP address`,
		strings.Replace("["+good+"]", `"network-element"`, `"x"`, 1):                `measurement 1: k: Invalid subject type x`,
		strings.Replace("["+good+"]", `"event-types": [`, `"event-types": [3, `, 1): `measurement 1: k: event-types: json: cannot unmarshal number into Go value of type struct { Type series.EventType "json:\"event-type\""; Updated *float64 "json:\"time-updated\""; Summaries []struct { Type string "json:\"summary-type\""; Window json.RawMessage "json:\"summary-window\"" } "json:\"summaries\"" }`,
	} {
		a := remote(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "throughput") {
				fmt.Fprint(w, "[]")
			} else {
				fmt.Fprint(w, list)
			}
		}))
		_, err := open(t).Copy(t.Context(), a, nil)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", list, err, want)
		}
	}
	for values, want := range map[string]string{
		`[{"ts": 5, "val": 1}, {"ts": 5, "val": 1}]`: `throughput/base: a point at "5": want one from 6 to 1700086400, in order`,
		`[{"ts": -5, "val": 1}]`:                     `throughput/base: a point at "-5": want one from 0 to 1700086400, in order`,
		`[{"val": 1}]`:                               `throughput/base: a point at "": want one from 0 to 1700086400, in order`,
		`[{"ts": 5, "val": "x"}]`:                    `at 5: Value must be an integer`,
		`[{"ts": 5, "val": null}]`:                   `at 5: Value must be an integer`,
		`[{"ts": 5}]`:                                `at 5: Value must be an integer`,
	} {
		a := remote(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "throughput") {
				fmt.Fprint(w, values)
			} else if r.URL.Query().Get("offset") == "0" {
				fmt.Fprint(w, "["+good+"]")
			} else {
				fmt.Fprint(w, "[]")
			}
		}))
		_, err := open(t).Copy(t.Context(), a, nil)
		if err == nil || !strings.HasSuffix(err.Error(), ": event type throughput: "+want) {
			t.Errorf("%s: %v, want %s", values, err, want)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://h":                               "http://h/esmond/perfsonar/archive/",
		"https://h:8443/":                        "https://h:8443/esmond/perfsonar/archive/",
		"http://[2001:db8::1]/perfsonar/archive": "http://[2001:db8::1]/perfsonar/archive/",
		"http://h/esmond/perfsonar/archive/":     "http://h/esmond/perfsonar/archive/",
	} {
		if a, err := New(address, nil, clock()); err != nil || a.url != want {
			t.Errorf("%s is %v (%v), want %s", address, a, err, want)
		}
	}
	for _, address := range []string{"", "h", "ftp://h", "http:///x", "http://h/?x=1", "http://h/#x", "http://h:x/"} {
		if _, err := New(address, nil, clock()); err == nil {
			t.Errorf("%q is taken", address)
		}
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add(`{"metadata-key": "k", "subject-type": "network-element", "source": "192.0.2.1", "measurement-agent": "192.0.2.1", "event-types": [{"event-type": "throughput", "time-updated": 1.5, "summaries": [{"summary-type": "average", "summary-window": "300"}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &object) != nil {
			return
		}
		m, err := metadata(object)
		if err != nil {
			return
		}
		if strings.ContainsAny(m.Key, "/?#%") || !m.Source.IsValid() {
			t.Errorf("%+v", m)
		}
	})
}
