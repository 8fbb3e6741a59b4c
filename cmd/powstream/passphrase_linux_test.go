package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"owl/internal/testprog"
)

// TestPassphraseChanges: at SIGHUP the pass-phrase is read again. A file that is
// wrong leaves it what it was.
func TestPassphraseChanges(t *testing.T) {
	dir, keys := t.TempDir(), filepath.Join(t.TempDir(), "pfs")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const old, young = "alice\t6f6c64\n", "alice\t796f756e67\n"
	ofServer := filepath.Join(dir, "owamp-server.pfs")
	write(ofServer, old)
	write(keys, old)
	s := serveIn(t, dir, testprog.Build(t, "owl/cmd/owampd"), "127.0.0.1:0")
	p, files := powstream(t, endless, "-A", "E", "-u", "alice", "-k", keys, s.addr)
	awaitRecords(t, files)

	write(ofServer, young)
	s.Signal(syscall.SIGHUP)
	s.AwaitText(t, s.Stderr, "pass-phrases reloaded\n", 1)
	write(keys, young)
	p.Signal(syscall.SIGHUP)
	p.AwaitText(t, p.Stdout, ".sum\n", 1)
	awaitRecords(t, files)

	write(keys, "alice\tzz\n")
	p.Signal(syscall.SIGHUP)
	p.AwaitText(t, p.Stderr, "the pass-phrase stays what it was: option -k: "+keys+":1: ", 1)
	p.AwaitText(t, p.Stdout, ".sum\n", 2)
	awaitRecords(t, files)
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if all := checkPrinted(t, files, p.Stdout.Lines()); len(all) != 3 {
		t.Errorf("%d sessions, want 3", len(all))
	}
	if text := p.Stderr.String(); strings.Contains(text, "zz") {
		t.Errorf("what may be a pass-phrase is in\n%s", text)
	}
}
