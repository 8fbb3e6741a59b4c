package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/cmd/internal/archiving/archivingtest"
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
		150: func() []string { return archivingtest.WholeSums(t, sessionDir) },
		160: func() []string { return archivingtest.PartSums(t, partDir) },
	} {
		_, before := archivingtest.SumsOf(t, files())
		archivingtest.Archive{URL: b.url}.Await(t, fmt.Sprintf("sample-size=%d", packets), before) // those that have waited
	}
	for _, p := range []*testprog.Process{sessions, parts} {
		if code := p.Terminate(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	width, want := archivingtest.SumsOf(t, archivingtest.WholeSums(t, sessionDir))
	_, read := archivingtest.Archive{URL: b.url}.Find(t, "sample-size=150")
	if diff := cmp.Diff(want, archivingtest.Archived(t, read, width)); diff != "" {
		t.Errorf("sessions: the files (-), the archive (+)\n%s", diff)
	}
	width, want = archivingtest.SumsOf(t, archivingtest.PartSums(t, partDir))
	_, read = archivingtest.Archive{URL: b.url}.Find(t, "sample-size=160")
	got := archivingtest.Archived(t, read, width)
	maps.DeleteFunc(got, func(at int64, _ *archivingtest.Sum) bool { return want[at] == nil }) // a part that was cut has no file
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
	if want := fmt.Sprintf("%s: %d files, ", files, len(archivingtest.Glob(t, files, "*.owp"))); !strings.HasPrefix(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	b := start(t, path)
	from, readA := archivingtest.Archive{URL: a.url}.Find(t, "sample-size=150")
	to, readB := archivingtest.Archive{URL: b.url}.Find(t, "sample-size=150")
	if to == nil {
		t.Fatal("nothing was imported as what it was")
	}
	if diff := cmp.Diff(from.Plain(), to.Plain()); diff != "" {
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
