package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"owl/archive/series"
)

// all is a query of all that there is.
func all(m *series.Metadata, event series.EventType, t series.SummaryType, window int64) Query {
	return Query{Key: m.Key, Event: event, Summary: series.Summary{Type: t, Window: window}, From: -series.MaxTime, To: series.MaxTime, Limit: -1}
}

// A step is a write, what comes of it, and what is there then.
type step struct {
	name    string
	samples []series.Sample
	want    Outcome
	err     error
}

func testWrite(t *testing.T, address string) {
	s, c := openAt(t, address)
	m := register(t, s, powstream(t, "192.0.2.1", "2001:db8::1"))
	for _, e := range m.Events {
		if e.Updated != 0 {
			t.Errorf("%s was updated at %d before anything was written", e.Type, e.Updated)
		}
	}
	const delay, sent, lost, failures = "histogram-owdelay", "packet-count-sent", "packet-count-lost", "failures"
	at := func(ts int64, event series.EventType, value string) series.Sample { return sample(t, ts, event, value) }
	for _, step := range []step{
		{"a session", []series.Sample{at(1000, delay, `{"34.30":440,"34.4":160}`), at(1000, sent, `600`)}, Written, nil},
		{"the same again", []series.Sample{at(1000, delay, `{"34.30":440,"34.4":160}`), at(1000, sent, `600`)}, Repeated, nil},
		{"a part of it", []series.Sample{at(1000, sent, `"600"`)}, Repeated, nil},
		{"another number", []series.Sample{at(1000, sent, `601`)}, 0, &ConflictError{sent, 1000}},
		{"more with a number that is there", []series.Sample{at(1000, lost, `1`), at(1000, sent, `600`)}, 0, &ConflictError{sent, 1000}},
		{"another histogram with a number that is there", []series.Sample{at(1000, delay, `{"1":1}`), at(1000, sent, `600`)}, 0, &ConflictError{sent, 1000}},
		{"what is not registered", []series.Sample{at(1001, lost, `1`), at(1001, "throughput", `1`)}, 0, &UnregisteredError{"throughput"}},
		{"two numbers in one", []series.Sample{at(1001, lost, `1`), at(1001, lost, `2`)}, 0, &ConflictError{lost, 1001}},
		{"one number twice", []series.Sample{at(1002, lost, `1`), at(1002, lost, `1`)}, Written, nil},
		{"two histograms in one", []series.Sample{at(1060, delay, `{"5":3}`), at(1060, delay, `{"35":7}`)}, Written, nil},
		{"another histogram", []series.Sample{at(1000, delay, `{"34.30":440,"34.4":160,"34.5":0}`)}, Written, nil},
		{"earlier", []series.Sample{at(-1, sent, `7`), at(-86400, sent, `5`)}, Written, nil},
		{"why not", []series.Sample{at(1000, failures, `{"error":"a"}`), at(2000, failures, `{"error":"b"}`)}, Written, nil},
		{"why not, in other words", []series.Sample{at(1000, failures, `{"error":"c"}`)}, Written, nil},
		{"nothing", nil, Written, nil},
	} {
		c.Add(1)
		got, err := s.Write(t.Context(), m.Key, step.samples)
		if fmt.Sprint(err) != fmt.Sprint(step.err) || err == nil && got != step.want {
			t.Errorf("%s: %d, %v; want %d, %v", step.name, got, err, step.want, step.err)
		}
	}
	for _, key := range []string{"", "x", strings.Repeat("0", 32), strings.Repeat("é", 16), strings.ToUpper(m.Key) + "0"} {
		if _, err := s.Write(t.Context(), key, []series.Sample{at(1000, sent, `1`)}); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("key %q: error %v, want %v", key, err, ErrUnknownKey)
		}
	}
	for _, want := range []struct {
		event  series.EventType
		t      series.SummaryType
		window int64
		text   string
	}{
		{sent, series.Base, 0, "-86400 5.0\n-1 7.0\n1000 600.0\n"},
		{sent, series.Aggregation, 86400, "-86400 12.0\n0 600.0\n"},
		{lost, series.Base, 0, "1002 1.0\n"},
		{lost, series.Aggregation, 300, "900 1.0\n"},
		{delay, series.Base, 0, "1000 {\"34.30\": 440, \"34.4\": 160, \"34.5\": 0}\n1060 {\"35\": 7}\n"},
		{delay, series.Aggregation, 300, "900 {\"34.30\": 440, \"34.4\": 160, \"34.5\": 0, \"35\": 7}\n"},
		{failures, series.Base, 0, "1000 {\"error\":\"c\"}\n2000 {\"error\":\"b\"}\n"},
		// Nobody has registered these.
		{lost, series.Aggregation, 0, ""},
		{lost, series.Average, 300, ""},
		{"histogram-ttl", series.Aggregation, 300, ""},
		{"throughput", series.Base, 0, ""},
		{"nothing", series.Base, 0, ""},
		{lost, series.Base, 300, ""},
	} {
		if got := readings(t, s, all(m, want.event, want.t, want.window)); got != want.text {
			t.Errorf("%s/%v/%d:\n%s, want\n%s", want.event, want.t, want.window, got, want.text)
		}
	}
	stored, err := s.Metadata(t.Context(), m.Key)
	if err != nil {
		t.Fatal(err)
	}
	// Steps count from 1; those that have changed nothing do not.
	for event, want := range map[series.EventType]int64{delay: 11, sent: 12, lost: 9, failures: 14, "histogram-ttl": 0} {
		if want > 0 {
			want += 1_700_000_000
		}
		if got := stored.Event(event).Updated; got != want {
			t.Errorf("%s was updated at %d, want %d", event, got, want)
		}
	}
	st, err := s.Stats(t.Context())
	if err != nil || st.Measurements != 1 || st.Written != 8 || st.Repeated != 2 || st.Refused != 10 || st.Octets <= 0 || st.Failing != nil {
		t.Errorf("stats %+v, %v", st, err)
	}
}

// Statistics of a window are there whether or not its aggregation is registered.
func testStatisticsAlone(t *testing.T, address string) {
	s, _ := openAt(t, address)
	m, err := series.ParseMetadata([]byte(`{"subject-type":"network-element","source":"192.0.2.1","measurement-agent":"192.0.2.1","input-source":"a","tool-name":"t",
		"event-types":[{"event-type":"histogram-rtt","summaries":[{"summary-type":"statistics","summary-window":60},{"summary-type":"statistics","summary-window":0},{"summary-type":"aggregation","summary-window":0}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	m = register(t, s, m)
	for at, value := range map[int64]string{60: `{"1":1}`, 70: `{"3":1}`, 119: `{"2":2}`} {
		if _, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, at, "histogram-rtt", value)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := readings(t, s, all(m, "histogram-rtt", series.Statistics, 60)); !strings.HasPrefix(got, `60 {"mode": [2.0], "mean": 2.0, "minimum": 1.0, "maximum": 3.0`) || strings.Count(got, "\n") != 1 {
		t.Errorf("statistics/60: %s", got)
	}
	if got := readings(t, s, all(m, "histogram-rtt", series.Statistics, 0)); strings.Count(got, `"mean": `) != 3 {
		t.Errorf("statistics/0: %s", got)
	}
	if got, want := readings(t, s, all(m, "histogram-rtt", series.Aggregation, 0)), readings(t, s, all(m, "histogram-rtt", series.Base, 0)); got != want || got == "" {
		t.Errorf("aggregations/0: %s, want %s", got, want)
	}
	if got := readings(t, s, all(m, "histogram-rtt", series.Aggregation, 60)); got != "" {
		t.Errorf("aggregations/60: %s, want nothing", got)
	}
}

// Of requests that come at once each has its own answer, and none another's.
func testTogether(t *testing.T, address string) {
	s, _ := openAt(t, address)
	m := register(t, s, powstream(t, "192.0.2.1", "192.0.2.2"))
	const each, writers = 20, 16
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range int64(each) {
				switch w % 4 {
				case 0, 1: // two of the same
					o, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, i, "packet-count-sent", fmt.Sprint(w/4)), sample(t, int64(w/4)*1000+i, "packet-count-lost", "1")})
					if _, conflict := errors.AsType[*ConflictError](err); !conflict && err != nil || err == nil && o == 0 {
						t.Error(o, err)
					}
				case 2:
					if _, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, i, "throughput", "1")}); err == nil {
						t.Error("what is not registered was written")
					}
				case 3:
					if o, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, int64(w)*1000+i, "packet-reorders", "1")}); o != Written || err != nil {
						t.Error(o, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := strings.Count(readings(t, s, all(m, "packet-count-sent", series.Base, 0)), "\n"); got != each {
		t.Errorf("%d counts, want %d", got, each)
	}
	// Of each second one of four has won, and its loss alone was counted.
	if got, want := readings(t, s, all(m, "packet-count-lost", series.Aggregation, 86400)), fmt.Sprintf("0 %d.0\n", each); got != want {
		t.Errorf("losses %q, want %q", got, want)
	}
	if got := strings.Count(readings(t, s, all(m, "packet-reorders", series.Base, 0)), "\n"); got != each*writers/4 {
		t.Errorf("%d reorders, want %d", got, each*writers/4)
	}
}

// A measurement that many register at once is there once.
func testRegister(t *testing.T, address string) {
	s, _ := openAt(t, address)
	const writers = 16
	keys := make([][]string, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range 5 {
				m, err := s.Register(t.Context(), powstream(t, fmt.Sprintf("192.0.2.%d", i), "192.0.2.200"))
				if err != nil {
					t.Error(err)
					return
				}
				keys[w] = append(keys[w], m.Key)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if !slices.Equal(k, keys[0]) {
			t.Fatalf("keys %v, and for others %v", k, keys[0])
		}
	}
	if _, n, err := s.Search(t.Context(), &Filter{}); n != 5 || err != nil {
		t.Errorf("%d measurements, %v; want 5", n, err)
	}

	// What comes from another archive keeps its key.
	imported := powstream(t, "192.0.2.100", "192.0.2.200")
	imported.Key = strings.Repeat("ab", 16)
	imported.Event("failures").Updated = 77
	for range 2 {
		m := register(t, s, imported)
		if m.Key != imported.Key || m.Event("failures").Updated != 77 || m.Event("histogram-ttl").Updated != 0 {
			t.Errorf("imported: %v", m)
		}
	}
	other := powstream(t, "192.0.2.101", "192.0.2.200")
	other.Key = imported.Key
	if _, err := s.Register(t.Context(), other); err == nil || !strings.Contains(err.Error(), "is that of another measurement") {
		t.Errorf("a key twice: error %v", err)
	}
	if n, err := s.reader(t.Context()).identified(other.Identity); n != nil || err != nil {
		t.Errorf("what was refused is there: %v, %v", n, err)
	}
	for _, key := range []string{"a", strings.Repeat("AB", 16), strings.Repeat("g", 32)} {
		other.Key = key
		if _, err := s.Register(t.Context(), other); err == nil || !strings.Contains(err.Error(), "want 32 lower-case hexadecimal digits") {
			t.Errorf("key %s: error %v", key, err)
		}
	}
	other.Key, other.ToolName = "", "a\x00b"
	if _, err := s.Register(t.Context(), other); err == nil || !strings.Contains(err.Error(), "want UTF-8 without a NUL") {
		t.Errorf("NUL: error %v", err)
	}
}

// Changes that wait share a transaction, and a statement that fails in one of them
// fails that one alone.
func testBatch(t *testing.T, address string) {
	s, _ := openAt(t, address)
	m := register(t, s, powstream(t, "192.0.2.1", "192.0.2.2"))
	k, _ := parseKey(m.Key)
	held, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.change(t.Context(), k, func(*tx) error { close(held); <-release; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-held
	commits := s.counts.commits.Load()
	const good = 20
	for i := range int64(good) {
		wg.Go(func() {
			if o, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, i, "packet-count-sent", "1")}); o != Written || err != nil {
				t.Error(o, err)
			}
		})
	}
	waitFor(t, "writes that wait", func() bool { return len(s.writers[int(k[15])%len(s.writers)].jobs) == good })
	close(release)
	wg.Wait()
	if got := s.counts.commits.Load() - commits; got != 2 { // the one that held the others up, and theirs
		t.Errorf("%d transactions, want 2", got)
	}

	held, release = make(chan struct{}), make(chan struct{})
	wg.Go(func() {
		if err := s.change(t.Context(), k, func(*tx) error { close(held); <-release; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-held
	for i := range int64(good) {
		wg.Go(func() {
			err := s.change(t.Context(), k, func(x *tx) error {
				if _, err := x.exec("UPDATE events SET updated = ? WHERE key = ? AND event = 'failures'", i, k[:]); err != nil {
					return err
				}
				if i == 7 {
					_, err := x.exec("INSERT INTO nowhere VALUES (?)", 1)
					return err
				}
				_, err := x.exec("UPDATE events SET latest = latest + 1 WHERE key = ? AND event = 'packet-count-sent'", k[:])
				return err
			})
			if (err != nil) != (i == 7) || err != nil && !strings.Contains(err.Error(), "nowhere") {
				t.Errorf("change %d: error %v", i, err)
			}
		})
	}
	waitFor(t, "changes that wait", func() bool { return len(s.writers[int(k[15])%len(s.writers)].jobs) == good })
	close(release)
	wg.Wait()
	var latest int64
	if err := s.reader(t.Context()).query(func(r row) error { return r.Scan(&latest) }, "SELECT latest FROM events WHERE key = ? AND event = 'packet-count-sent'", k[:]); err != nil || latest != good-1+good-1 {
		t.Errorf("latest %d, %v; want %d", latest, err, good-1+good-1)
	}
	if updated := s.failed(); updated != nil {
		t.Errorf("it fails still: %v", updated)
	}
}

// A write that changes more summaries than memory is to hold is refused.
func TestWindows(t *testing.T) {
	t.Parallel()
	s, _ := openAt(t, filepath.Join(t.TempDir(), "archive.db"))
	summaries := make([]string, 64)
	for i := range summaries {
		summaries[i] = fmt.Sprintf(`{"summary-type":"aggregation","summary-window":%d}`, i+1)
	}
	m, err := series.ParseMetadata(fmt.Appendf(nil, `{"subject-type":"network-element","source":"192.0.2.1","measurement-agent":"192.0.2.1","input-source":"a","tool-name":"t",
		"event-types":[{"event-type":"packet-count-sent","summaries":[%s]}]}`, strings.Join(summaries, ",")))
	if err != nil {
		t.Fatal(err)
	}
	m = register(t, s, m)
	body := make([]series.Sample, maxWindows/64+1)
	for i := range body {
		body[i] = sample(t, int64(i)*100, "packet-count-sent", "1")
	}
	_, err = s.Write(t.Context(), m.Key, body)
	if _, invalid := errors.AsType[*series.InvalidError](err); !invalid {
		t.Errorf("error %v, want one of a request", err)
	}
	if got := readings(t, s, all(m, "packet-count-sent", series.Base, 0)); got != "" {
		t.Error("some of it was written")
	}
	if o, err := s.Write(t.Context(), m.Key, body[:10]); o != Written || err != nil {
		t.Error(o, err)
	}
	consistent(t, s, m)
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}
