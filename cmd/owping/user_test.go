package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"owl/owamp"
	"owl/sessions/ping/pingtest"
)

// In all modes the packets of both directions arrive, and only those who have a
// pass-phrase are let in.
func TestUsers(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{Passphrases: map[string]string{"alice": "correct horse battery"}})
	keys := filepath.Join(t.TempDir(), "pfs")
	if err := os.WriteFile(keys, []byte("alice\t636f727265637420686f7273652062617474657279\nbob\t00\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, mode := range []owamp.Mode{owamp.ModeOpen, owamp.ModeAuthenticated, owamp.ModeEncrypted} {
		dir := t.TempDir()
		to, from := filepath.Join(dir, "to.owp"), filepath.Join(dir, "from.owp")
		code, stdout, stderr := owping(t, with("-Q -A", mode.String(), "-u", "alice", "-k", keys, "-s", "100", "-T", to, "-F", from, peer.Addr)...)
		if code != 0 || complaints(stderr) != "" || strings.Contains(stdout, "correct") {
			t.Fatalf("mode %v: exit code %d, %q, %q", mode, code, stdout, stderr)
		}
		checkFile(t, to, 20)
		checkFile(t, from, 20)
		if got := peer.Admitted(); len(got) != i+1 || got[i].Mode != mode {
			t.Errorf("mode %v: %v were let in", mode, got)
		}
	}
	code, stdout, stderr := owping(t, with("-u bob -k", keys, peer.Addr)...)
	if want := "owping: Unable to open control connection to " + peer.Addr + ": Server denied access: Server-Start: refused\n"; code != 1 || stdout != "" || complaints(stderr) != want {
		t.Errorf("exit code %d, %q, %q; want %q", code, stdout, stderr, want)
	}
}
