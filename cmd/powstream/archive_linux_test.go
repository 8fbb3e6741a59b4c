package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"owl/cmd/internal/archiving/archivingtest"
	"owl/internal/testprog"
)

// What nobody takes is delivered after the next start; each session is a result,
// and each result comes once.
func TestArchive(t *testing.T) {
	t.Parallel()
	s := serve(t, testprog.Build(t, "owl/cmd/owampd"), "127.0.0.1:0")
	to := archivingtest.New(t)
	to.Broken.Store(true)
	cmd, dir := newCommand(t, append(short, "--archive", to.Spec(), s.addr)...)
	p := testprog.Start(t, cmd)
	p.Await(t, p.Stdout, "two sessions", func(text string) bool { return strings.Count(text, ".sum\n") >= 2 })
	if code := p.Terminate(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join(dir, ".owl-queue.db")); err != nil {
		t.Error(err)
	}

	to.Broken.Store(false)
	raw := strings.Replace(to.Spec(), `{`, `{"output-raw": true, `, 1)
	more := append(short, "--archive", raw, "-p", "-d", dir, s.addr)
	q := testprog.Start(t, exec.Command("powstream", more...))
	to.Await(t, 1, func(r *archivingtest.Result) bool { return len(r.Result.Raw) > 0 })
	testprog.Until(t, "the results of two sessions that have waited", func() error {
		waited := 0 // packets
		for _, r := range to.Await(t, 0, archivingtest.All) {
			if len(r.Result.Raw) == 0 {
				waited += r.Result.Sent
			}
		}
		if waited < 200 {
			return fmt.Errorf("those of %d packets have come", waited)
		}
		return nil
	})
	if code := q.Terminate(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	sids := make(map[string]bool)
	for _, r := range to.Await(t, 1, archivingtest.All) {
		if !r.Result.Succeeded {
			continue // of the time between the two
		}
		if r.Test.Type != "latencybg" || !r.Test.Spec.Flip || r.Result.Received != r.Result.Sent || sids[r.Result.Owl.SID] {
			t.Errorf("%+v", r)
		}
		sids[r.Result.Owl.SID] = true
		if n := len(r.Result.Raw); n != 0 && n != r.Result.Sent {
			t.Errorf("%d packets of %d in a result that was to have them", n, r.Result.Sent)
		}
	}
}

// A specification that is wrong is told of before anything is sent, and so it is
// by --check.
func TestArchiveRefused(t *testing.T) {
	t.Parallel()
	for _, more := range [][]string{nil, {"--check"}} {
		cmd, _ := newCommand(t, append(more, "--archive", `{"archiver": "tcp", "data": {"host": "192.0.2.1", "prt": 9}}`, "192.0.2.1")...)
		p := testprog.Start(t, cmd)
		code := p.ExitCode(t)
		for _, want := range []string{": option --archive: /data/port: is missing\n", ": option --archive: /data/prt: is unknown"} {
			if code != 1 || !strings.Contains(p.Stderr.String(), want) {
				t.Errorf("%q: code %d, want %s\n%s", more, code, want, p.Stderr)
			}
		}
	}
}
