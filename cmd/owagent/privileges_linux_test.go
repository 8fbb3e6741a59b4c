package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"owl/internal/testprog"
)

const nobody = 65534

// TestRunAs: an agent that root starts opens the port of its server, raises its
// limits, and goes on as nobody, who measures, writes, reloads and is asked.
func TestRunAs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: dropping privileges needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "owagent-test-") //nolint:usetesting // what is above t.TempDir is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	for _, d := range []string{dir, data} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(data, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	a := &owagent{config: filepath.Join(dir, "owagent.yaml"), socket: filepath.Join(dir, "run", "agent.sock")}
	file := `
host: here
run_as: nobody
server: {listen: "127.86.1.3:861", data: ` + data + `/received}
` + short + `
streams: [{name: s, peer: 127.86.1.3, direction: both, dir: ` + data + `/files}]
`
	a.write(t, file)
	a.Process = a.again(t)
	a.AwaitText(t, a.Stderr, "owagent status asks at", 1)
	a.awaitReceived(t, 2, 60)
	testprog.CheckThreads(t, a.Cmd.Process.Pid, 0)
	for _, direction := range []string{"receive", "send"} {
		wantFiles(t, filepath.Join(data, "files/s", direction), 3)
	}
	for _, name := range []string{a.socket, filepath.Join(data, "received/catalog"), filepath.Join(data, "files/s")} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != nobody {
			t.Errorf("%s is user %d's", name, uid)
		}
	}
	a.write(t, strings.Replace(file, "run_as: nobody\n", "", 1))
	code, stdout, stderr := a.ask(t, "reload")
	if want := "streams: 0 added, 0 changed, 0 removed, 2 go on\nlimits and pass-phrases of the server reloaded\nrun_as: restart owagent for another user to take effect\n"; code != 0 || stdout != want {
		t.Errorf("reload: code %d, %q, %q, want %q", code, stdout, stderr, want)
	}
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestRunAsUnknown: a user whom nobody knows is told of before anything is
// measured.
func TestRunAsUnknown(t *testing.T) {
	dir := t.TempDir()
	a := &owagent{config: filepath.Join(dir, "owagent.yaml"), socket: filepath.Join(dir, "agent.sock")}
	a.write(t, "run_as: no-such-user\nstreams: [{name: s, peer: 127.0.0.1}]\n")
	p := a.again(t)
	if os.Geteuid() != 0 {
		p.AwaitText(t, p.Stderr, "run_as: has no effect: only root can become another\n", 1)
		p.Terminate(t)
		return
	}
	if code := p.ExitCode(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
	want := "run_as: no-such-user: want the name of a user of this host, or - and its number"
	if text := p.Stderr.String(); strings.Count(text, want) != 1 {
		t.Errorf("stderr: %s, want %s", text, want)
	}
}
