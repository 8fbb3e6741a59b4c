package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"owl/internal/testprog"
)

// limited is an agent of a thousand streams to as many peers, all of them away,
// which may have no more descriptors than the options of ulimit say.
func limited(t *testing.T, dir, program, ulimit string, as *syscall.Credential) *testprog.Process {
	t.Helper()
	var text strings.Builder
	text.WriteString("host: here\ndefaults: {direction: receive}\nstreams:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "- {name: s%d, peer: \"127.86.%d.%d:9\"}\n", i, 10+i/200, 1+i%200)
	}
	config := filepath.Join(dir, "owagent.yaml")
	if err := os.WriteFile(config, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "ulimit "+ulimit+` && exec "$0" "$@"`, program, "run", "--config", config, "--socket", filepath.Join(dir, "run", "agent.sock"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	return testprog.Start(t, cmd)
}

// TestRaisedLimit: an agent that may have more descriptors takes them.
func TestRaisedLimit(t *testing.T) {
	p := limited(t, t.TempDir(), testprog.Build(t, "owl/cmd/owagent"), "-Sn 128", nil)
	p.AwaitText(t, p.Stderr, "owagent status asks at", 1)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^Max open files +(\d+)`).FindSubmatch(limits)
	if m == nil || len(m[1]) < 4 {
		t.Errorf("limits, want at least 1000 open files:\n%s", limits)
	}
	if text := p.Stderr.String(); strings.Contains(text, "raise its limit") {
		t.Errorf("stderr: %s", text)
	}
}

// TestLackedLimit: one that may not says so, and measures what it can.
func TestLackedLimit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: becoming nobody, whom limits bind, needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "owagent-test-") //nolint:usetesting // what is above t.TempDir is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	built, err := os.ReadFile(testprog.Build(t, "owl/cmd/owagent"))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "owagent")
	if err := os.WriteFile(program, built, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	p := limited(t, dir, program, "-n 256", &syscall.Credential{Uid: nobody, Gid: nobody})
	p.AwaitText(t, p.Stderr, "this process may have 256: sessions will fail; raise its limit of open files (ulimit -Hn, LimitNOFILE=)", 1)
	p.AwaitText(t, p.Stderr, "owagent status asks at", 1)
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
