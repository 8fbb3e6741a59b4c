package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testprog"
)

// serveTests starts an owampd on loopback, and returns its address.
func serveTests(t *testing.T) (addr string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "owamp-server.conf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p := testprog.Start(t, exec.Command(testprog.Build(t, "owl/cmd/owampd"), "-Z", "-f", "-c", dir, "-d", dir, "-R", dir, "-S", "127.0.0.1:0"))
	at := regexp.MustCompile(`listening on (\S+)\n`)
	return at.FindStringSubmatch(p.Await(t, p.Stderr, "its address", at.MatchString))[1]
}

// get returns what an archive answers with, into v.
func (a *owarchive) get(t *testing.T, path string, v any) {
	t.Helper()
	code, body := send(t, http.DefaultClient, http.MethodGet, a.url+path, "", "")
	if code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, code, body)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("%s: %v in %s", path, err, body)
	}
}

// A registration is a measurement as an archive answers with it.
type registration struct {
	URI        string `json:"uri"`
	EventTypes []struct {
		Name string `json:"event-type"`
	} `json:"event-types"`
	all map[string]any
}

func (r *registration) UnmarshalJSON(text []byte) error {
	type plain registration
	return errors.Join(json.Unmarshal(text, (*plain)(r)), json.Unmarshal(text, &r.all))
}

// plain returns it without what each archive makes up.
func (r *registration) plain() map[string]any {
	m := maps.Clone(r.all)
	for _, name := range []string{"url", "uri", "metadata-key"} {
		delete(m, name)
	}
	var types []any
	for _, e := range r.EventTypes {
		types = append(types, e.Name)
	}
	m["event-types"] = types
	return m
}

// find returns the one measurement of so many packets that an archive has, and
// what reads it; nil: there is none yet.
func (a *owarchive) find(t *testing.T, packets int) (*registration, reading) {
	t.Helper()
	var all []registration
	a.get(t, fmt.Sprintf("/esmond/perfsonar/archive/?sample-size=%d", packets), &all)
	if len(all) == 0 {
		return nil, nil
	}
	if len(all) > 1 {
		t.Fatalf("%+v, want one measurement", all)
	}
	return &all[0], func(event string) map[int64]json.RawMessage {
		var points []struct {
			Time int64           `json:"ts"`
			Val  json.RawMessage `json:"val"`
		}
		a.get(t, all[0].URI+event+"/base?time-start=0&limit=100000", &points)
		values := make(map[int64]json.RawMessage)
		for _, p := range points {
			values[p.Time] = p.Val
		}
		return values
	}
}

// awaitPoints waits until an archive has a measurement of so many packets with
// points at these seconds.
func (a *owarchive) awaitPoints(t *testing.T, packets int, sums map[int64]*sum) reading {
	t.Helper()
	var read reading
	testprog.Until(t, fmt.Sprintf("%d points", len(sums)), func() error {
		if _, read = a.find(t, packets); read == nil {
			return fmt.Errorf("no measurement of %d packets", packets)
		}
		sent := read("packet-count-sent")
		for at := range sums {
			if sent[at] == nil {
				return fmt.Errorf("%d points, none at %d", len(sent), at)
			}
		}
		return nil
	})
	return read
}

// partSums are those of the sub-sessions in a directory.
func partSums(t *testing.T, dir string) (files []string) {
	t.Helper()
	whole := wholeSums(t, dir)
	for _, f := range glob(t, dir, "*.sum") {
		if !slices.Contains(whole, f) {
			files = append(files, f)
		}
	}
	return files
}

// TestPowstream: what powstream measures comes to the archive over HTTP as its
// summaries say, of sessions and of sub-sessions, also where the archive was killed
// meanwhile; and an import of the files makes the same.
func TestPowstream(t *testing.T) {
	t.Parallel()
	peer := serveTests(t)
	powstream := testprog.Build(t, "owl/cmd/powstream")
	dir := t.TempDir()
	path := filepath.Join(dir, "archive.db")
	key := strings.TrimSpace(runs(t, "--store", path, "key", "add", "powstream"))
	a := start(t, path)
	spec := fmt.Sprintf(`{"archiver": "esmond", "data": {"url": "%s/esmond/perfsonar/archive/", "_auth-token": %q,
		"measurement-agent": "127.0.0.1", "retry-policy": [{"attempts": 1000, "wait": "PT1S"}]}}`, a.url, key)
	measure := func(name string, options ...string) (*testprog.Process, string) {
		files := filepath.Join(dir, name)
		if err := os.Mkdir(files, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(powstream, append(options, "-p", "-d", files, "-S", "127.0.0.1", "-i", "0.01", "-L", "0.5", "--archive", spec, peer)...)
		cmd.Env = append(os.Environ(), "OWL_NUMERIC=1")
		return testprog.Start(t, cmd), files
	}
	sessions, sessionDir := measure("sessions", "-c", "150", "-N", "50", "-b", "0.00001")
	parts, partDir := measure("parts", "-c", "320", "-N", "160", "--archive-each", "subsession")
	written := func(p *testprog.Process, n int) {
		t.Helper()
		p.Await(t, p.Stdout, "files of sessions", func(text string) bool { return strings.Count(text, ".owp\n") >= n })
	}
	written(sessions, 1)
	a.Signal(syscall.SIGKILL)
	a.ExitCode(t)
	written(sessions, 3)
	written(parts, 2)
	b := start(t, path, "--listen", strings.TrimPrefix(a.url, "http://"))
	for packets, files := range map[int]func() []string{
		150: func() []string { return wholeSums(t, sessionDir) },
		160: func() []string { return partSums(t, partDir) },
	} {
		_, before := sumsOf(t, files())
		b.awaitPoints(t, packets, before) // those that have waited
	}
	for _, p := range []*testprog.Process{sessions, parts} {
		if code := p.Terminate(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	width, want := sumsOf(t, wholeSums(t, sessionDir))
	_, read := b.find(t, 150)
	if diff := cmp.Diff(want, archived(t, read, width)); diff != "" {
		t.Errorf("sessions: the files (-), the archive (+)\n%s", diff)
	}
	width, want = sumsOf(t, partSums(t, partDir))
	_, read = b.find(t, 160)
	got := archived(t, read, width)
	maps.DeleteFunc(got, func(at int64, _ *sum) bool { return want[at] == nil }) // a part that was cut has no file
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sub-sessions: the files (-), the archive (+)\n%s", diff)
	}
	checkImported(t, b, sessionDir)
}

// checkImported checks that an import of the files of sessions of 150 packets makes
// what the archive a has of them.
func checkImported(t *testing.T, a *owarchive, files string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.db")
	told := runs(t, "--store", path, "import", "--source", "127.0.0.1", "--destination", "127.0.0.1", "--agent", "127.0.0.1", files)
	if want := fmt.Sprintf("%s: %d files, ", files, len(glob(t, files, "*.owp"))); !strings.HasPrefix(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	b := start(t, path)
	from, readA := a.find(t, 150)
	to, readB := b.find(t, 150)
	if to == nil {
		t.Fatal("nothing was imported as what it was")
	}
	if diff := cmp.Diff(from.plain(), to.plain()); diff != "" {
		t.Errorf("measured (-), imported (+)\n%s", diff)
	}
	for _, e := range from.EventTypes {
		if e.Name == "pscheduler-run-href" || e.Name == "failures" {
			continue // of which files say nothing
		}
		if diff := cmp.Diff(readA(e.Name), readB(e.Name)); diff != "" {
			t.Errorf("%s: measured (-), imported (+)\n%s", e.Name, diff)
		}
	}
}
