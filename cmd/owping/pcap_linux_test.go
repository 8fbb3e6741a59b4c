package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"owl/sessions/ping/pingtest"
)

// TestPcapCut: a file of packets that does not get whole is why the program fails,
// although it has measured.
func TestPcapCut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: capturing packets needs root")
	}
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{})
	file := filepath.Join(t.TempDir(), "packets")
	limited := `trap '' XFSZ && ulimit -f 1 && exec "$0" "$@"`
	cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", limited, os.Args[0]}, with("-t -Q --pcap", file, peer.Addr)...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "OWL_NUMERIC=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != failure {
		t.Errorf("exit code %d, %v, want %d", code, err, failure)
	}
	if want := "\nowping: pcapng: write " + file + ": file too large\n"; !strings.HasSuffix(stderr.String(), want) {
		t.Errorf("stderr ends %q, want %q", &stderr, want)
	}
	if info, err := os.Stat(file); err != nil || info.Size() > 1024 {
		t.Errorf("%v, %v; want a file of at most 1024 octets", info, err)
	}
}
