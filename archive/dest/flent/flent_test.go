package flent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive"
	"owl/archive/dest/flent/datafile"
	"owl/archive/dest/flent/hostfacts"
	"owl/archive/member"
	"owl/internal/bubble"
)

// open opens a destination that asks no host.
func open(t *testing.T, data string) *destination {
	t.Helper()
	d, err := tryOpen(data)
	if err != nil {
		t.Fatal(err)
	}
	d.facts = func(_ context.Context, r hostfacts.Request) map[string]any {
		return map[string]any{"KERNEL_NAME": "Test", "ASKED": fmt.Sprint(r.Target, r.Extended, r.Remotes)}
	}
	return d
}

func tryOpen(data string) (*destination, error) {
	o, err := member.Parse("/data", []byte(data))
	if err != nil {
		return nil, err
	}
	opened, err := Open(o, nil)
	if err != nil {
		return nil, err
	}
	o.Done()
	return opened.Destination.(*destination), o.Err()
}

// A session is one that results tell of.
type session struct {
	id, source, dest string
	flip             bool
	start            time.Time
	packets          int
	lost             []int
	delay            time.Duration // of the first; each has a microsecond more
}

// ntp returns t as the protocol has it, rounded up, so that nanoseconds come back.
func ntp(t time.Time) uint64 {
	return uint64(t.Unix()+2208988800)<<32 | (uint64(t.Nanosecond())<<32+999_999_999)/1_000_000_000
}

// interval is the time between two packets.
const interval = 20 * time.Millisecond

// item returns the document of a session.
func (s *session) item() *archive.Item {
	var raw []string
	for i := range s.packets {
		sent := s.start.Add(time.Duration(i) * interval)
		recv := ntp(sent.Add(s.delay + time.Duration(i)*time.Microsecond))
		if slices.Contains(s.lost, i) {
			recv = 0
		}
		raw = append(raw, fmt.Sprintf(`{"seq-num": %d, "src-ts": %d, "dst-ts": %d, "src-clock-sync": true, "src-clock-err": 1e-6, "dst-clock-sync": true, "dst-clock-err": 1e-6, "ip-ttl": 60}`, i, ntp(sent), recv))
	}
	return &archive.Item{ID: s.id, Payload: fmt.Appendf(nil, `{"id": %q, "test": {"type": "latencybg", "spec": {"source": %q, "dest": %q, "flip": %t}},
		"participants": ["here.example.net"], "task": {"href": "https://here/pscheduler/tasks/%s-%s"},
		"result": {"schema": 1, "succeeded": true, "packets-sent": %d, "packets-duplicated": 2, "raw-packets": [%s],
		"owl": {"sid": "5e5510%s", "sender": "192.0.2.1:8760", "receiver": "198.51.100.2:8761", "synchronized": true, "max-clock-error-ms": 0.002}}}`,
		s.id, s.source, s.dest, s.flip, s.source, s.dest, s.packets, strings.Join(raw, ","), s.id)}
}

func deliver(t *testing.T, d *destination, s *session) {
	t.Helper()
	if err := d.Deliver(t.Context(), s.item()); err != nil {
		t.Fatal(err)
	}
}

// files returns the names in dir, and what the data files among them say.
func files(t *testing.T, dir string) (names []string, all []*datafile.File) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		f, err := datafile.Read(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return names, all
}

// series returns one of the series of a file.
func series(t *testing.T, f *datafile.File, name string) datafile.Series {
	t.Helper()
	for _, s := range f.Series {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no series %q in %+v", name, f.Series)
	return datafile.Series{}
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 5000, time.UTC)

// TestResult: each result becomes a file, and one that comes again no other.
func TestResult(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, fmt.Sprintf(`{"dir": %q, "note": "of <é> & ☃", "step-size": 0.5, "extended-metadata": true, "remote-metadata": "router"}`, dir))
	s := &session{"a1", "rome", "oslo", false, noon, 100, []int{3, 4, 50}, 20 * time.Millisecond}
	for range 3 {
		deliver(t, d, s)
	}
	names, all := files(t, dir)
	local := noon.Local().Format("2006-01-02T150405.000000")
	if want := []string{"ping-" + local + ".rome_to_oslo.flent.gz"}; !slices.Equal(names, want) {
		t.Fatalf("there is %q, want %q", names, want)
	}
	want := datafile.Series{
		Name: "Ping (ms) ICMP rome to oslo (extra)", Unit: "ms", Raw: true, Points: 97, Lost: 3,
		Min: 20, Median: 20.051, Mean: 20 + (99*100/2-57)/97./1e3, P99: 20.09804, Max: 20.099,
	}
	got := series(t, all[0], want.Name)
	got.Deviation = 0
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 })); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if v := series(t, all[0], "IPDV (ms) rome to oslo"); v.Points != 94 || v.Min < 0.000999 || v.Max > 0.001001 {
		t.Errorf("delay variation: %+v", v)
	}
	if v := series(t, all[0], "Loss (packets) rome to oslo"); v.Points != 4 || v.Mean != 0.75 || v.Max != 2 {
		t.Errorf("losses: %+v", v)
	}
	m := all[0].Metadata
	for name, want := range map[string]any{
		"NAME": "ping", "TITLE": "rome to oslo", "NOTE": "of <é> & ☃", "TIME": "2026-11-21T12:00:00.000005Z", "T0": "2026-11-21T12:00:00.000005Z",
		"HOST": "oslo", "LOCAL_HOST": "here.example.net", "HOSTS": []any{"oslo"}, "IP_VERSION": json.Number("4"),
		"LENGTH": json.Number("2"), "TOTAL_LENGTH": json.Number("2"), "STEP_SIZE": json.Number("0.5"), "DATA_FILENAME": names[0],
		"TEST_PARAMETERS": map[string]any{"ping_hosts": "rome to oslo"},
		"OWAMP_RESULTS":   []any{"a1"}, "KERNEL_NAME": "Test", "ASKED": "198.51.100.2 true [router]",
	} {
		if d := cmp.Diff(want, m[name]); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
	about := m["SERIES_META"].(map[string]any)[want.Name]
	if d := cmp.Diff(map[string]any{
		"UNITS": "ms", "PACKETS_SENT": json.Number("100"), "PACKETS_RECEIVED": json.Number("97"), "PACKET_LOSS_RATE": json.Number("0.03"),
		"OWAMP_SESSIONS": []any{"5e5510a1"}, "OWAMP_DUPLICATES": json.Number("2"), "OWAMP_SYNCHRONIZED": true,
		"OWAMP_MAX_ERROR_MS": json.Number("0.002"), "OWAMP_SENDER": "192.0.2.1:8760", "OWAMP_RECEIVER": "198.51.100.2:8761",
	}, about); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}

	// Another result of the same second and the same ends.
	other := *s
	other.id, other.packets = "b2", 10
	deliver(t, d, &other)
	deliver(t, d, &other)
	deliver(t, d, s)
	if names, _ := files(t, dir); len(names) != 2 || names[0] != "ping-"+local+".rome_to_oslo-2.flent.gz" {
		t.Errorf("there is %q, want two files", names)
	}
	// Titles that are cut off are still told apart.
	d.Title = strings.Repeat("x", 1000)
	for _, s := range []*session{s, &other, s, &other} {
		deliver(t, d, s)
	}
	if names, _ := files(t, dir); len(names) != 4 || len(names[2]) != 250 || len(names[3]) != 250 {
		t.Errorf("there is %q, want four files", names)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestManyProcesses: nobody takes another's name.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const n = 8
	var delivering sync.WaitGroup
	for i := range n {
		d := open(t, fmt.Sprintf(`{"dir": %q}`, dir))
		s := &session{fmt.Sprint("p", i), "rome", "oslo", false, noon, 10, nil, time.Millisecond}
		delivering.Go(func() {
			for range 2 {
				if err := d.Deliver(t.Context(), s.item()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	delivering.Wait()
	if names, all := files(t, dir); len(all) != n || len(names) != n {
		t.Errorf("there is %q, want %d files", names, n)
	}
}

// TestFlip: of a path towards this host the other end is the sender.
func TestFlip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, fmt.Sprintf(`{"dir": %q, "title": "t", "suffix": ".json.gz", "test-name": "voip"}`, dir))
	deliver(t, d, &session{"a1", "oslo", "rome", true, noon, 100, []int{7}, -time.Millisecond})
	names, all := files(t, dir)
	if len(names) != 1 || !strings.HasPrefix(names[0], "voip-") || !strings.HasSuffix(names[0], ".t.json.gz") {
		t.Fatalf("there is %q", names)
	}
	m := all[0].Metadata
	if m["HOST"] != "oslo" || m["ASKED"] != "192.0.2.1 false []" || m["NAME"] != "voip" {
		t.Errorf("metadata: %v", m)
	}
	if s := series(t, all[0], "VoIP::delay"); s.Points != 10 || s.Min < -1 || s.Max > -0.9 {
		t.Errorf("%+v", s)
	}
	if s := series(t, all[0], "VoIP::jitter"); s.Points != 10 || s.Mean < 0.000999 || s.Mean > 0.001001 {
		t.Errorf("%+v", s)
	}
	if s := series(t, all[0], "VoIP::loss"); s.Mean != 0.1 {
		t.Errorf("%+v", s)
	}
}

// TestPeriod: what began in a period goes into one file, once it is over.
func TestPeriod(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := open(t, fmt.Sprintf(`{"dir": %q, "title": "all", "period": "PT1H"}`, dir))
		hour := time.Now().Truncate(time.Hour)
		var sessions []*session
		for i, path := range []string{"rome oslo", "oslo rome", "rome oslo", "oslo rome", "rome bonn"} {
			source, dest, _ := strings.Cut(path, " ")
			sessions = append(sessions, &session{fmt.Sprint("r", i), source, dest, i%2 == 1, hour.Add(time.Duration(i) * 10 * time.Minute), 50 + i, []int{i}, time.Duration(i+1) * time.Millisecond})
		}
		for _, s := range sessions {
			time.Sleep(time.Until(s.start.Add(time.Second)))
			deliver(t, d, s)
			deliver(t, d, s)
		}
		if names, all := files(t, dir); len(all) != 0 || len(names) != 1 {
			t.Errorf("in the period there is %q", names)
		}
		// What comes a little late is still of it.
		late := &session{"r5", "rome", "oslo", false, hour.Add(time.Hour - time.Minute), 10, nil, time.Millisecond}
		next := &session{"r6", "rome", "oslo", false, hour.Add(time.Hour), 10, nil, time.Millisecond}
		time.Sleep(time.Until(hour.Add(time.Hour + quiet/2)))
		deliver(t, d, next)
		deliver(t, d, late)
		time.Sleep(quiet + 2*time.Second)
		names, all := files(t, dir)
		if len(all) != 1 || len(names) != 2 {
			t.Fatalf("after the period there is %q", names)
		}
		checkPeriod(t, all[0])
		// Nobody noted that they were delivered.
		for _, s := range sessions {
			deliver(t, d, s)
		}
		time.Sleep(2 * quiet)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		names, all = files(t, dir)
		if len(all) != 2 || len(names) != 2 {
			t.Errorf("at the end there is %q", names)
		}
		checkPeriod(t, all[0])
		if s := series(t, all[1], "Ping (ms) ICMP rome to oslo (extra)"); s.Points != 10 {
			t.Errorf("the next period: %+v", s)
		}
	})
}

// checkPeriod checks the file of TestPeriod and TestKill.
func checkPeriod(t *testing.T, f *datafile.File) {
	t.Helper()
	for label, want := range map[string][2]int{"rome to oslo": {50 + 52 - 2 + 10, 2}, "oslo to rome": {51 + 53 - 2, 2}, "rome to bonn": {54 - 1, 1}} {
		if s := series(t, f, "Ping (ms) ICMP "+label+" (extra)"); s.Points != want[0] || s.Lost != want[1] {
			t.Errorf("%s: %d packets and %d lost, want %v", label, s.Points, s.Lost, want)
		}
	}
	var ids []string
	for _, id := range f.Metadata["OWAMP_RESULTS"].([]any) {
		ids = append(ids, id.(string))
	}
	slices.Sort(ids)
	if want := []string{"r0", "r1", "r2", "r3", "r4", "r5"}; !slices.Equal(ids, want) {
		t.Errorf("results %v, want %v", ids, want)
	}
	if got := f.Metadata["TEST_PARAMETERS"]; !cmp.Equal(got, map[string]any{"ping_hosts": "oslo to rome,rome to bonn,rome to oslo"}) {
		t.Errorf("labels %v", got)
	}
}

// TestKill: a process takes up what one that was killed has left, whatever it was
// doing, and nothing is there twice.
func TestKill(t *testing.T) {
	t.Parallel()
	hour := time.Now().Truncate(time.Hour).Add(-48 * time.Hour)
	var sessions []*session
	for i, path := range []string{"rome oslo", "oslo rome", "rome oslo", "oslo rome", "rome bonn"} {
		source, dest, _ := strings.Cut(path, " ")
		sessions = append(sessions, &session{fmt.Sprint("r", i), source, dest, i%2 == 1, hour.Add(time.Duration(i) * 10 * time.Minute), 50 + i, []int{i}, time.Millisecond})
	}
	sessions = append(sessions, &session{"r5", "rome", "oslo", false, hour.Add(time.Hour - time.Minute), 10, nil, time.Millisecond})
	for _, torn := range []string{"", "{", `{"id":"r9","packets":2,"sum":0}` + "\nabc", `{"id":"r9","packets":1,"sum":1}` + "\n" + strings.Repeat("x", sampleSize)} {
		dir := t.TempDir()
		data := fmt.Sprintf(`{"dir": %q, "title": "all", "period": "PT1H"}`, dir)
		kill := func(d *destination) {
			for _, s := range d.open {
				if _, err := s.f.WriteAt([]byte(torn), s.size); err != nil {
					t.Fatal(err)
				}
				s.f.Close()
			}
			d.timer.Stop()
		}
		for i := range sessions {
			d := open(t, data)
			for _, s := range sessions[max(i-1, 0) : i+1] { // the last one was not noted
				deliver(t, d, s)
			}
			kill(d)
		}
		d := open(t, data)
		deliver(t, d, sessions[0])
		// Killed when the file is there, and the spool still is.
		for key, s := range d.open {
			text, err := os.ReadFile(s.f.Name())
			if err != nil {
				t.Fatal(err)
			}
			if err := d.finish(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.f.Name(), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d = open(t, data)
		deliver(t, d, sessions[3])
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		names, all := files(t, dir)
		if len(names) != 1 || len(all) != 1 {
			t.Fatalf("torn %q: there is %q", torn, names)
		}
		checkPeriod(t, all[0])
	}
}

// TestSpoolRemoved: a spool that somebody has removed stops nothing.
func TestSpoolRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, fmt.Sprintf(`{"dir": %q, "period": "PT1H"}`, dir))
	deliver(t, d, &session{"a1", "rome", "oslo", false, noon, 10, nil, time.Millisecond})
	for _, s := range d.open {
		if err := os.Remove(s.f.Name()); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if names, all := files(t, dir); len(all) != 1 {
		t.Errorf("there is %q", names)
	}
}

// TestOtherSettings: what a process has left that had other settings becomes a
// file as that would have written it.
func TestOtherSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, fmt.Sprintf(`{"dir": %q, "title": "old", "period": "PT1H", "test-name": "voip"}`, dir))
	deliver(t, d, &session{"a1", "rome", "oslo", false, noon, 10, nil, time.Millisecond})
	d.timer.Stop()
	d2 := open(t, fmt.Sprintf(`{"dir": %q, "title": "new", "period": "PT2H"}`, dir))
	// As long as the process is there its spool is its own.
	deliver(t, d2, &session{"a2", "rome", "oslo", false, noon, 10, nil, time.Millisecond})
	if err := d2.Close(); err != nil {
		t.Error(err)
	}
	if _, all := files(t, dir); len(all) != 1 || all[0].Text("TITLE") != "new" {
		t.Fatalf("there are %d files", len(all))
	}
	for _, s := range d.open {
		s.f.Close()
	}
	d3 := open(t, fmt.Sprintf(`{"dir": %q, "title": "new", "period": "PT2H"}`, dir))
	deliver(t, d3, &session{"a2", "rome", "oslo", false, noon, 10, nil, time.Millisecond})
	if err := d3.Close(); err != nil {
		t.Error(err)
	}
	names, all := files(t, dir)
	if len(names) != 2 || len(all) != 2 || all[1].Text("TITLE") != "old" || all[1].Text("NAME") != "voip" {
		t.Errorf("there is %q", names)
	}
}

// TestDelivered: what is no result of packets is refused for good, or there is
// nothing to write of it.
func TestDelivered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, data := range []string{fmt.Sprintf(`{"dir": %q}`, dir), fmt.Sprintf(`{"dir": %q, "period": "P1D"}`, dir)} {
		d := open(t, data)
		for payload, want := range map[string]string{
			`"text"`: "want the document of a result",
			`{}`:     "want the document of a result of a latency test",
			`{"test": {"spec": {"source": "a", "dest": "b"}}, "result": {"succeeded": true, "packets-sent": 5}}`:                                            "the result has no raw-packets",
			`{"test": {"spec": {"source": "a", "dest": "b"}}, "result": {"succeeded": true, "packets-sent": 5, "raw-packets": {}}}`:                         "cannot unmarshal",
			`{"test": {"spec": {"source": "a", "dest": "b"}}, "result": {"succeeded": true, "packets-sent": 5, "raw-packets": [{"src-ts": -1}]}}`:           "cannot unmarshal",
			`{"test": {"spec": {"source": "a", "dest": "b"}}, "result": {"succeeded": true, "packets-sent": 0}}`:                                            "",
			`{"test": {"spec": {"source": "a", "dest": "b"}}, "result": {"succeeded": false, "error": "x", "owl": {"gaps": []}}}`:                           "",
			`{"test": {"spec": {"source": "a", "dest": "b"}}, "result": {"succeeded": true, "packets-sent": 1, "raw-packets": [], "owl": {"sender": "x"}}}`: "not an ip:port",
		} {
			err := d.Deliver(t.Context(), &archive.Item{ID: "x", Payload: []byte(payload)})
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !archive.IsFinal(err)) {
				t.Errorf("%s: %v, want %q", payload, err, want)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if names, _ := files(t, dir); len(names) != 0 {
		t.Errorf("there is %q", names)
	}
	// A directory that is not there yet is waited for.
	d := open(t, fmt.Sprintf(`{"dir": "%s/later"}`, dir))
	s := &session{"a1", "rome", "oslo", false, noon, 10, nil, 0}
	if err := d.Deliver(t.Context(), s.item()); !errors.Is(err, os.ErrNotExist) || archive.IsFinal(err) {
		t.Errorf("without a directory: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "later"), 0o755); err != nil {
		t.Fatal(err)
	}
	deliver(t, d, s)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`{}`:                                                          "/data/dir: is missing",
		`{"dir": "x"}`:                                                `/data/dir: "x": want one that begins with /`,
		`{"dir": "/x", "test-name": "rrul"}`:                          `/data/test-name: "rrul": want one of ping, voip`,
		`{"dir": "/x", "step-size": 0}`:                               `/data/step-size: "0": want a number of seconds from 0.001 to 86400`,
		`{"dir": "/x", "step-size": "1"}`:                             `/data/step-size: "": want a number of seconds`,
		`{"dir": "/x", "period": "PT0.5S"}`:                           `/data/period: want from a second to 366 days`,
		`{"dir": "/x", "suffix": ".zip"}`:                             `/data/suffix: ".zip": want one of .flent.gz, .json.gz`,
		`{"dir": "/x", "remote-metadata": "-oProxy=x"}`:               `/data/remote-metadata: "-oProxy=x": want a host as ssh knows it`,
		`{"dir": "/x", "remote-metadata": ["a", 5]}`:                  `/data/remote-metadata: 5: want a host as ssh knows it`,
		`{"dir": "/x", "extended-metadata": "yes"}`:                   `/data/extended-metadata: "yes": want true or false`,
		`{"dir": "/x", "format": "flent"}`:                            `/data/format: is unknown`,
		`{"dir": "/x", "note": "` + strings.Repeat("x", 10001) + `"}`: `/data/note: 10001 octets: want at most 10000`,
	} {
		if _, err := tryOpen(data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %s", data, err, want)
		}
	}
}

// FuzzSpool: whatever a spool has become, it is read, up to where it makes no
// sense, or refused.
func FuzzSpool(f *testing.F) {
	dir := f.TempDir()
	now := time.Now()
	s, err := createSpool(dir, header{Format: spoolFormat, Settings: settings{Period: time.Hour, Test: datafile.Ping}}, now)
	if err != nil {
		f.Fatal(err)
	}
	p, err := read((&session{"a1", "rome", "oslo", false, noon, 3, []int{1}, time.Millisecond}).item())
	if err != nil {
		f.Fatal(err)
	}
	if err := s.append(p, now); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(s.f.Name())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Add([]byte(`{"owl-flent-spool":1,"settings":{"period":1000000000}}` + "\n" + `{"id":"x","packets":9223372036854775807}` + "\n"))
	if err := s.remove(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "spool")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openSpool(path, now)
		if err != nil {
			return
		}
		defer s.f.Close()
		for _, p := range s.parts {
			n := 0
			for _, err := range p.samples {
				if err != nil {
					t.Error(err)
				}
				n++
			}
			if n != p.Packets {
				t.Errorf("%d packets, want %d", n, p.Packets)
			}
		}
	})
}
