package store

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive/series"
)

// exportOf returns an export.
func exportOf(t testing.TB, s *Store) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Export(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// importInto imports a text.
func importInto(t testing.TB, s *Store, text string) Transferred {
	t.Helper()
	done, err := s.Import(t.Context(), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// everything returns all that clients can read of an archive.
func everything(t testing.TB, s *Store) string {
	t.Helper()
	page, _, err := s.Search(t.Context(), &Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range page {
		fmt.Fprintf(&b, "%+v\n", *m)
		for _, e := range m.Events {
			for _, summary := range append(e.Summaries, series.Summary{}) {
				fmt.Fprintf(&b, "%s %s\n%s", e.Type, summary, readings(t, s, Query{Key: m.Key, Event: e.Type, Summary: summary, From: -series.MaxTime, To: series.MaxTime, Limit: -1}))
			}
		}
	}
	return b.String()
}

// filled opens an archive with values of every kind, of which some have been
// removed since.
func filled(t testing.TB, address string) (*Store, *clock) {
	t.Helper()
	s, clock := openAt(t, address)
	m := register(t, s, powstream(t, "192.0.2.1", "2001:db8::1"))
	parsed, err := series.ParseMetadata([]byte(`{"subject-type": "network-element", "source": "192.0.2.1", "measurement-agent": "192.0.2.1", "tool-name": "t", "input-source": "a <&> b\u2028",
		"event-types": [{"event-type": "throughput-subintervals"}, {"event-type": "ntp-offset", "summaries": [{"summary-type": "average", "summary-window": 60}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	other := register(t, s, parsed)
	if parsed, err = series.ParseMetadata([]byte(`{"subject-type": "network-element", "source": "192.0.2.1", "measurement-agent": "192.0.2.1", "tool-name": "t", "input-source": "nothing", "event-types": []}`)); err != nil {
		t.Fatal(err)
	}
	register(t, s, parsed)
	register(t, s, powstream(t, "192.0.2.1", "192.0.2.77")) // which is never written
	bodies := make(map[string][]series.Sample)
	for i := range int64(100) {
		at := 1_699_920_000 + 60*i
		for key, samples := range map[string][]series.Sample{
			m.Key: {
				sample(t, at, "histogram-owdelay", fmt.Sprintf(`{"34.30": %d, "-0.00": 1, "x\"<é": 2}`, i)),
				sample(t, at, "packet-count-sent", `600`),
				sample(t, at, "packet-loss-rate", fmt.Sprintf(`{"numerator": %d, "denominator": 600}`, i)),
				sample(t, at, "failures", `{"error": "<b>&amp; \u2028"}`),
			},
			other.Key: {
				sample(t, -at, "ntp-offset", fmt.Sprintf(`-0.%04d`, i)),
				sample(t, -at, "throughput-subintervals", `[{"start": 0, "duration": 1.50, "val": "x"}]`),
			},
		} {
			clock.Store(1_700_000_000 + i)
			if bodies[key] = append(bodies[key], samples...); i%10 < 9 {
				continue
			}
			if _, err := s.Write(t.Context(), key, bodies[key]); err != nil {
				t.Fatal(err)
			}
			bodies[key] = nil
		}
	}
	clock.Store(1_699_920_000 + 100*60)
	rules, err := ParseRetention("packet-loss-rate=forever,*/base=1h,ntp-offset/average=forever")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Prune(t.Context(), rules); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	return s, clock
}

func testTransfer(t *testing.T, address string) {
	from, _ := filled(t, filepath.Join(t.TempDir(), "from.db"))
	s, _ := openAt(t, address)
	want, text := everything(t, from), exportOf(t, from)

	done := importInto(t, s, text)
	if want := (Transferred{Measurements: 4, Values: 60*4 + 40, Summaries: done.Summaries}); done != want || done.Summaries == 0 {
		t.Errorf("imported %+v, want %+v and summaries", done, want)
	}
	if diff := cmp.Diff(want, everything(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Again, which changes nothing; nor does it where it comes from.
	for _, s := range []*Store{from, s} {
		if done, want := importInto(t, s, text), (Transferred{Measurements: 4}); done != want {
			t.Errorf("imported again %+v, want %+v", done, want)
		}
		if diff := cmp.Diff(want, everything(t, s)); diff != "" {
			t.Errorf("again (-want +got):\n%s", diff)
		}
	}
	// What comes out is what came in, and what has been removed does not count
	// twice if it comes again.
	if diff := cmp.Diff(text, exportOf(t, s)); diff != "" {
		t.Errorf("exported again (-want +got):\n%s", diff)
	}
	if _, err := s.Prune(t.Context(), []Rule{{Summary: &series.Summary{}, Keep: 1}}); err != nil {
		t.Fatal(err)
	}
	importInto(t, s, text)
	if diff := cmp.Diff(want, everything(t, s)); diff != "" {
		t.Errorf("after its values were removed (-want +got):\n%s", diff)
	}
}

// An import that is cut off anywhere can be done again, and says so.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	s, _ := filled(t, t.TempDir()+"/archive.db")
	text := exportOf(t, s)
	o, _ := openAt(t, t.TempDir()+"/other.db")
	lines := strings.SplitAfter(text, "\n")
	for n := 1; n < len(lines)-1; n += 37 {
		part := strings.Join(lines[:n], "")
		if _, err := o.Import(t.Context(), strings.NewReader(part)); err == nil || err.Error() != fmt.Sprintf("line %d: the text ends before its end: want all that was exported", n+1) {
			t.Fatalf("%d lines: %v", n, err)
		}
		if _, err := o.Import(t.Context(), strings.NewReader(part+lines[n][:len(lines[n])/2])); err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("line %d: ", n+1)) {
			t.Fatalf("%d lines and a half: %v", n, err)
		}
	}
	importInto(t, o, text)
	if diff := cmp.Diff(everything(t, s), everything(t, o)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	const (
		begin    = `{"owl-archive":1}` + "\n"
		metadata = `{"metadata":{"metadata-key":"0123456789abcdef0123456789abcdef","identity":"00000000000000000000000000000000000000000000000000000000000000ff","subject-type":"network-element","source":"192.0.2.1","measurement-agent":"192.0.2.1","tool-name":"t","input-source":"a","parameters":{},"event-types":[{"event-type":"failures","time-updated":0},{"event-type":"throughput","time-updated":5,"summaries":[{"summary-type":"average","summary-window":60}]}]}}` + "\n"
	)
	s, _ := openAt(t, t.TempDir()+"/archive.db")
	importInto(t, s, begin+metadata+`{"ts":5,"val":[{"event-type":"throughput","val":7}]}`+"\n"+`{"end":{"lines":3}}`+"\n")
	for text, want := range map[string]string{
		"":                  "line 1: the text ends before its end: want all that was exported",
		"hello":             `line 1: want {"owl-archive":1}, with which an export of an archive begins`,
		`{"metadata":{}}`:   `line 1: want {"owl-archive":1}, with which an export of an archive begins`,
		`{"owl-archive":2}`: "line 1: the format is 2, from a newer Owl: want 1",
		begin + "{}":        "line 2: want metadata, or values with their ts",
		begin + `{}}`:       "line 2: want a JSON object as in an export of an archive: more behind it",
		begin + `{"x":1}`:   `line 2: want a JSON object as in an export of an archive: json: unknown field "x"`,
		begin + `{"ts":1,"val":[{"event-type":"throughput","val":1}]}`:                                             "line 2: values before all metadata: want metadata first",
		begin + strings.Replace(metadata, "0123456789abcdef", "", 1):                                               `line 2: metadata-key "0123456789abcdef": want 32 lower-case hexadecimal digits`,
		begin + strings.Replace(metadata, "ff\"", "fe\"", 1):                                                       "line 2: metadata-key 0123456789abcdef0123456789abcdef is that of another measurement here",
		begin + strings.Replace(metadata, "192.0.2.1", "h", 1):                                                     `line 2: source "h": want an IP address`,
		begin + strings.Replace(metadata, "network-element", "x", 1):                                               `line 2: Invalid subject type x`,
		begin + strings.Replace(metadata, "throughput", "x", 1):                                                    `line 2: Invalid event-type x`,
		begin + strings.Replace(metadata, "average", "statistics", 1):                                              `line 2: Summary type statistics not allowed for event-type throughput`,
		begin + strings.Replace(metadata, `"source":"192.0.2.1"`, `"source":""`, 1):                                "line 2: The value of source must be an IP address",
		begin + strings.Replace(metadata, `"tool-name":"t"`, `"tool-name":"`+strings.Repeat("x", 200)+`"`, 1):      "line 2: The value of tool-name must have at most 128 characters, and none that is 0",
		begin + metadata + `{"ts":1,"val":[{"event-type":"throughput","val":"x"}]}`:                                "line 3: throughput at 1: Value must be an integer",
		begin + metadata + `{"ts":1e300,"val":[{"event-type":"throughput","val":1}]}`:                              "line 3: want a JSON object as in an export of an archive: json: cannot unmarshal number 1e300 into Go struct field transferLine.ts of type int64",
		begin + metadata + `{"ts":999999999999999,"val":[{"event-type":"throughput","val":1}]}`:                    "line 3: ts 999999999999999: want one before the year 10000",
		begin + metadata + `{"ts":1,"val":[{"event-type":"packet-trace","val":1}]}` + "\n" + `{"end":{"lines":3}}`: "line 4: event type packet-trace is not registered for this measurement",
		begin + metadata + `{"ts":5,"val":[{"event-type":"throughput","val":8}]}` + "\n" + `{"end":{"lines":3}}`:   "line 4: Time series value already exists with event type throughput at time 5",
		begin + metadata + `{"ts":60,"window":60,"val":[{"event-type":"throughput","fold":"!"}]}`:                  "line 3: want a JSON object as in an export of an archive: illegal base64 data at input byte 0",
		begin + metadata + `{"ts":60,"window":60,"val":[{"event-type":"throughput","fold":""}]}`:                   "line 3: the summary of throughput: stored integer: damaged: want what a value is stored as",
		begin + metadata + `{"ts":61,"window":60,"val":[{"event-type":"throughput","fold":"AQAB"}]}`:               "line 3: the summary of throughput at 61 over 60 s: want one that is registered",
		begin + metadata + `{"end":{"lines":7}}`:                                                                   "line 3: 2 lines before the end, of 7 that were exported: want all of them",
		begin + metadata + `{"end":{"lines":2}}` + "\n" + metadata:                                                 "line 4: more behind the end: want nothing",
	} {
		if _, err := s.Import(t.Context(), strings.NewReader(text)); err == nil || err.Error() != want {
			t.Errorf("%.300s: %v, want %s", text, err, want)
		}
	}
}

// What is read of a line is what a line is written of.
func FuzzTransferLine(f *testing.F) {
	s, _ := filled(f, filepath.Join(f.TempDir(), "archive.db"))
	for i, line := range strings.Split(exportOf(f, s), "\n") {
		if i%50 < 2 {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseLine([]byte(text))
		if err != nil {
			return
		}
		if l.Metadata != nil {
			if m, err := imported(l.Metadata); err == nil {
				again, err := imported(exported(m))
				if err != nil || again.Identity != m.Identity || again.Key != m.Key || len(again.Events) != len(m.Events) {
					t.Errorf("%+v, want %+v (%v)", again, m, err)
				}
			}
		}
		if l.Time != nil {
			samples, err := l.samples()
			for _, s := range samples {
				if again, err2 := series.Parse(s.Value.Kind(), s.Value.AppendRequest(nil)); err != nil || err2 != nil || !again.Equal(s.Value) {
					t.Errorf("%v, want %v", again, s.Value)
				}
			}
		}
		for _, v := range l.Values {
			kind, _ := v.Event.Kind()
			if fold, err := series.DecodeFold(kind, v.Fold); err == nil && fold.Kind() != kind {
				t.Error("a fold of another kind")
			}
		}
	})
}

// Every measurement is exported, however many there are, with event types or
// without.
func TestExportMany(t *testing.T) {
	t.Parallel()
	s, _ := openAt(t, filepath.Join(t.TempDir(), "archive.db"))
	const many = 2*keysAtOnce + 10
	var all sync.WaitGroup
	for i := range many {
		events := `[]`
		if i%100 == 0 {
			events = `[{"event-type": "failures"}]`
		}
		m, err := series.ParseMetadata(fmt.Appendf(nil, `{"subject-type": "network-element", "source": "192.0.2.1", "measurement-agent": "192.0.2.1", "tool-name": "t", "input-source": "h%d", "event-types": %s}`, i, events))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if _, err := s.Register(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var b bytes.Buffer
	done, err := s.Export(t.Context(), &b)
	if err != nil || done != (Transferred{Measurements: many}) || bytes.Count(b.Bytes(), []byte("metadata-key")) != many {
		t.Errorf("%+v, %v, want %d measurements", done, err, many)
	}
}
