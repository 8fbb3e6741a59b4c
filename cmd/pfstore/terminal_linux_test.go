package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testprog"
)

// atTerminal starts pfstore at a terminal, in a directory of its own, and
// returns once it has asked. Its standard input has another pass-phrase, which
// is not to be read.
func atTerminal(t *testing.T, args ...string) (dir string, p *testprog.Process, terminal *testprog.Terminal) {
	t.Helper()
	dir, terminal = t.TempDir(), testprog.NewTerminal(t)
	cmd := exec.Command("pfstore-at-terminal", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader("not this one\n")
	p = terminal.Start(t, cmd)
	p.AwaitText(t, terminal.Screen, "Enter passphrase for identity 'joe': ", 1)
	return dir, p, terminal
}

// What is typed at the terminal is taken, and not shown.
func TestTerminal(t *testing.T) {
	before := testprog.NewTerminal(t).State(t) // as all of them begin
	dir, p, terminal := atTerminal(t, "-n", "-f", "new.pfs", "joe")
	terminal.Type(t, "correct horsx\x7fe battery\n")
	if code := terminal.ExitCode(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	p.AwaitText(t, terminal.Screen, "\n", 1)
	if got, want := terminal.Screen.String(), "Enter passphrase for identity 'joe': \r\n"; got != want {
		t.Errorf("the screen shows %q, want %q", got, want)
	}
	if out, errs := p.Stdout.String(), p.Stderr.String(); out != "" || errs != "" {
		t.Errorf("stdout %q, stderr %q", out, errs)
	}
	if d := cmp.Diff(before, terminal.State(t)); d != "" {
		t.Errorf("the terminal is not as it was (-was +is):\n%s", d)
	}
	got, err := os.ReadFile(filepath.Join(dir, "new.pfs"))
	if want := "joe\t636f727265637420686f72736520626174746572790a"; err != nil || string(got) != strings.TrimSuffix(want, "0a")+"\n" {
		t.Errorf("the file says %q, %v", got, err)
	}
}

// Whatever ends the asking, the terminal is as it was, the file is as it was,
// and what was typed by then is nobody's.
func TestTerminalInterrupted(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *testprog.Process, *testprog.Terminal){
		"control-C": func(t *testing.T, _ *testprog.Process, x *testprog.Terminal) { x.Type(t, "sec\x1cr\x1aet\x03") },
		"SIGTERM":   func(_ *testing.T, p *testprog.Process, _ *testprog.Terminal) { p.SignalGroup(syscall.SIGTERM) },
		"SIGHUP":    func(_ *testing.T, p *testprog.Process, _ *testprog.Terminal) { p.SignalGroup(syscall.SIGHUP) },
		"control-D": func(t *testing.T, _ *testprog.Process, x *testprog.Terminal) { x.Type(t, "\x04") },
		"nothing":   func(t *testing.T, _ *testprog.Process, x *testprog.Terminal) { x.Type(t, "\n") },
		"too much": func(t *testing.T, _ *testprog.Process, x *testprog.Terminal) {
			x.Type(t, strings.Repeat("secret", 300)+"\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := testprog.NewTerminal(t).State(t)
			dir, p, terminal := atTerminal(t, "-n", "-f", "new.pfs", "joe")
			end(t, p, terminal)
			if code := terminal.ExitCode(t); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if d := cmp.Diff(before, terminal.State(t)); d != "" {
				t.Errorf("the terminal is not as it was (-was +is):\n%s", d)
			}
			p.AwaitText(t, p.Stderr, "\n", 1)
			if errs := p.Stderr.String(); !strings.HasPrefix(errs, `pfstore: asking for the pass-phrase of "joe": `) || strings.Count(errs, "\n") != 1 {
				t.Errorf("stderr %q", errs)
			}
			p.AwaitText(t, terminal.Screen, "\n", 1)
			if got, want := terminal.Screen.String(), "Enter passphrase for identity 'joe': \r\n"; got != want {
				t.Errorf("the screen shows %q, want %q", got, want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("%v is left, %v", left, err)
			}
			// Who reads the terminal next gets what is typed from now on.
			terminal.Type(t, "ls\n")
			b := make([]byte, 100)
			if n, err := terminal.Program.Read(b); err != nil || string(b[:n]) != "ls\n" {
				t.Errorf("left to be read: %q, %v", b[:n], err)
			}
		})
	}
}
