package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive/store"
	"owl/cmd/internal/archiving/archivingtest"
	"owl/internal/testprog"
	"owl/internal/testserver"
)

// archiveAt returns the measurement archive of an agent.
func archiveAt(t *testing.T, p *testprog.Process) archivingtest.Archive {
	t.Helper()
	at := regexp.MustCompile(`its page is at (http://\S+)/\n`)
	return archivingtest.Archive{URL: at.FindStringSubmatch(p.Await(t, p.Stderr, "the address of the page", at.MatchString))[1]}
}

// TestOwnArchive: what an agent measures is in the archive in its own process as
// its files say, both ways, from before and behind a restart; a time without
// measurement is there with its reason; it is an archive among the others, and
// others may write to it.
func TestOwnArchive(t *testing.T) {
	t.Parallel()
	peer := start(t, serverHalf)
	const file = `
host: 127.0.0.1
metrics: 127.0.0.1:0
defaults: {packets: 60, interval: 25ms, timeout: 500ms, retry: 1s, source: 127.0.0.1, bucket: 10us, dir: files}
streams: [{name: both, peer: %q, direction: both}]
queue: queue.db
default_archives: []
archive: {store: new/archive.db, listen: "%s", retention: "*=%s"}
`
	a := start(t, fmt.Sprintf(file, peer.server, "127.0.0.1:0", "1y"))
	own := archiveAt(t, a.Process)
	dir := filepath.Dir(a.config)
	ways := map[string]string{"receive": "mode-flip=True", "send": "mode-flip=False"}
	sums := func(way string) []string { return archivingtest.WholeSums(t, filepath.Join(dir, "files/both", way)) }
	for way := range ways {
		wantFiles(t, filepath.Join(dir, "files/both", way), 2)
	}
	for way, query := range ways {
		_, before := archivingtest.SumsOf(t, sums(way))
		own.Await(t, query, before)
	}
	testprog.Until(t, "the archive among those of the status", func() error {
		st := a.status(t)
		if len(st.Archives) != 1 || st.Archives[0].Name != "archive" || st.Archives[0].Delivered < 4 || st.Archives[0].Dead != 0 {
			return fmt.Errorf("%+v", st.Archives)
		}
		return nil
	})
	body := testprog.Scrape(t, a.metrics)
	for _, want := range []string{`owl_archive_delivered_total{destination="archive"} `, "owl_store_requests_active "} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s among the metrics", want)
		}
	}

	// Its retention changes with a reload, its address does not.
	a.write(t, fmt.Sprintf(file, peer.server, "127.0.0.1:0", "soon"))
	code, _, stderr := a.ask(t, "reload")
	if want := a.config + `:8: archive: retention "*=soon": `; code != 1 || !strings.Contains(stderr, want) {
		t.Errorf("reload: code %d, want %s\n%s", code, want, stderr)
	}
	a.write(t, fmt.Sprintf(file, peer.server, "127.0.0.1:1", "2y"))
	code, stdout, _ := a.ask(t, "reload")
	if want := "streams: 0 added, 0 changed, 0 removed, 2 go on\narchive: restart owagent for all but its retention to take effect\n"; code != 0 || stdout != want {
		t.Errorf("reload: code %d\n%s", code, stdout)
	}
	a.write(t, fmt.Sprintf(file, peer.server, strings.TrimPrefix(own.URL, "http://"), "2y"))
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	a.Process = a.again(t)
	own = archiveAt(t, a.Process)
	for way := range ways {
		n := len(sums(way))
		awaitFiles(t, filepath.Join(dir, "files/both", way, "*.owp"), n+1)
	}

	// Without its server there is a gap, which has a reason.
	if code := peer.Terminate(t); code != 0 {
		t.Errorf("exit code of the server %d", code)
	}
	testprog.Until(t, "a gap with its reason", func() error {
		_, read := own.Find(t, ways["receive"])
		told := read("failures")
		for _, v := range told {
			var f struct {
				Error string
				Gaps  []struct {
					Reason, Start string
					Seconds       *float64
				}
			}
			if err := json.Unmarshal(v, &f); err != nil {
				return err
			}
			for _, g := range f.Gaps {
				if (g.Reason == "peer_unreachable" || g.Reason == "control_lost") && g.Start != "" && strings.Contains(f.Error, g.Reason) {
					return nil
				}
			}
		}
		return fmt.Errorf("there is none in %v", told)
	})
	// What is in the queue at the end waits for an agent that measures again.
	for way, query := range ways {
		_, all := archivingtest.SumsOf(t, sums(way))
		own.Await(t, query, all)
	}
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}

	// What is in the store is what the files say.
	path := filepath.Join(dir, "new/archive.db")
	a.write(t, fmt.Sprintf("archive: {store: %q, listen: '127.0.0.1:0'}\n", path))
	a.Process = a.again(t)
	own = archiveAt(t, a.Process)
	for way, query := range ways {
		width, want := archivingtest.SumsOf(t, sums(way))
		_, read := own.Find(t, query)
		if diff := cmp.Diff(want, archivingtest.Archived(t, read, width)); diff != "" {
			t.Errorf("%s: the files (-), the archive (+)\n%s", way, diff)
		}
		if errs := read("time-error-estimates"); !slices.Equal(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(errs))) {
			t.Errorf("%s: clock errors at %d seconds, want %d", way, len(errs), len(want))
		}
	}
	wantKey(t, own, path)
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestArchiveAway: an agent whose archive's database is away measures, and says so;
// what it measures until then is in the archive when the database is there.
func TestArchiveAway(t *testing.T) {
	t.Parallel()
	database := testserver.StartPostgreSQL(t, nil)
	peer := start(t, serverHalf)
	database.Stop(t)
	a := start(t, fmt.Sprintf(`
host: 127.0.0.1
defaults: {packets: 60, interval: 25ms, timeout: 500ms, retry: 1s, source: 127.0.0.1, bucket: 10us, dir: files}
streams: [{name: away, peer: %q}]
queue: queue.db
default_archives: []
archive: {store: "postgres://owl:%s@%s/postgres?sslmode=disable", listen: "127.0.0.1:0"}
`, peer.server, testserver.Password, database.Address()))
	own := archiveAt(t, a.Process)
	files := filepath.Join(filepath.Dir(a.config), "files/away/receive")
	awaitFiles(t, filepath.Join(files, "*.owp"), 2)
	status := func(path string) int {
		t.Helper()
		resp, err := http.Get(own.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, path := range []string{"/esmond/perfsonar/archive/", "/api/grid", "/readyz"} {
		if code := status(path); code != http.StatusServiceUnavailable {
			t.Errorf("%s without a database: %d, want %d", path, code, http.StatusServiceUnavailable)
		}
	}
	_, before := archivingtest.SumsOf(t, archivingtest.WholeSums(t, files))
	database.Start(t, false)
	testprog.Until(t, "the archive", func() error {
		if code := status("/readyz"); code != http.StatusOK {
			return fmt.Errorf("it answers with %d", code)
		}
		return nil
	})
	own.Await(t, "mode-flip=True", before)
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	said := a.Stderr.String()
	if n := strings.Count(said, "the archive cannot be written"); n != 1 || strings.Contains(said, testserver.Password) {
		t.Errorf("it is said %d times that the archive is away, want 1 and no password\n%s", n, said)
	}
}

// wantKey checks that who has a key may write to an archive that is served, whose
// store is at path, and nobody else.
func wantKey(t *testing.T, own archivingtest.Archive, path string) {
	t.Helper()
	s, err := store.Open(t.Context(), path, store.Options{}) // as owarchive does
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	key, err := s.AddKey(t.Context(), "somebody")
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]int{"": http.StatusUnauthorized, "Token " + key: http.StatusCreated} {
		const m = `{"subject-type": "point-to-point", "source": "192.0.2.1", "destination": "192.0.2.2", "measurement-agent": "192.0.2.1",
			"tool-name": "x", "input-source": "a", "input-destination": "b", "event-types": [{"event-type": "failures"}]}`
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, own.URL+"/esmond/perfsonar/archive/", strings.NewReader(m))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if header != "" {
			req.Header.Set("Authorization", header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("a write with %q: %d, want %d", header, resp.StatusCode, want)
		}
	}
}
