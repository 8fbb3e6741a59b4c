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

	"golang.org/x/sys/unix"

	"owl/internal/testprog"
)

const nobody = 65534

// publicDir makes a directory of root's that everybody can read, in which data
// is nobody's.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "owampd-test-") //nolint:usetesting // what is above t.TempDir is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPrivileges: what needs root is done, then nothing of root's is left.
func TestPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: dropping privileges needs root")
	}
	dir := publicDir(t)
	data := filepath.Join(dir, "data")
	for _, user := range []string{"nobody", "-65534"} {
		d := launchIn(t, dir, "-U", user, "-S", "127.0.0.1:0")
		connect(t, d.addr.String())
		testprog.CheckThreads(t, d.Cmd.Process.Pid, 0)
		d.Signal(syscall.SIGHUP)
		d.AwaitText(t, d.Stderr, "configuration, limits and pass-phrases reloaded\n", 1)
		info, err := os.Stat(filepath.Join(data, "catalog"))
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != nobody {
			t.Errorf("-U %s: the catalog is user %d's", user, uid)
		}
		if code := d.Terminate(t); code != 0 {
			t.Errorf("-U %s: exit code %d", user, code)
		}
	}
	t.Run("FilesOfRoot", func(t *testing.T) {
		limits := filepath.Join(dir, limitsName)
		if err := os.WriteFile(limits, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(limits)
		d := launchIn(t, dir, "-U", "nobody", "-S", "127.0.0.1:0")
		d.AwaitText(t, d.Stderr, "open "+limits+": permission denied: cannot be reloaded at SIGHUP\n", 1)
		d.Signal(syscall.SIGHUP)
		d.AwaitText(t, d.Stderr, "not reloaded, what was in force stays: open "+limits+": permission denied\n", 1)
		connect(t, d.addr.String())
	})
	// Users are known although nobody but root can read who they are; a reload
	// keeps them, and takes over the rest.
	t.Run("PassphrasesOfRoot", func(t *testing.T) {
		keys := filepath.Join(dir, keysName)
		if err := os.WriteFile(keys, []byte("alice\t736563726574\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(keys)
		d := launchIn(t, dir, "-U", "nobody", "-S", "127.0.0.1:0", "--strict")
		d.AwaitText(t, d.Stderr, "open "+keys+": permission denied: cannot be reloaded at SIGHUP\n", 1)
		asAlice(t, d.addr.String(), "secret")
		conf := filepath.Join(dir, confName)
		if err := os.WriteFile(conf, []byte("loglevel debug\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		d.Signal(syscall.SIGHUP)
		d.AwaitText(t, d.Stderr, "configuration and limits reloaded; the pass-phrases stay what they were: open "+keys+": permission denied\n", 1)
		d.AwaitText(t, d.Stderr, "loglevel is now debug, was info\n", 1)
		asAlice(t, d.addr.String(), "secret")
		if strings.Contains(d.Stderr.String(), "secret") {
			t.Errorf("a pass-phrase in\n%s", d.Stderr)
		}
	})
	t.Run("DataOfRoot", func(t *testing.T) {
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		p := testprog.Start(t, exec.Command("owampd", "-Z", "-c", dir, "-d", data, "-R", dir, "-U", "nobody", "-S", "127.0.0.1:0"))
		if code := p.ExitCode(t); code != 1 {
			t.Errorf("exit code %d", code)
		}
		if lines := p.Stderr.Lines(); len(lines) != 1 || !strings.HasSuffix(lines[0], "data: permission denied") {
			t.Errorf("stderr: %q", lines)
		}
	})
}

// forNobody builds owampd, without cgo, where nobody can run it.
func forNobody(t *testing.T, dir string) (program string) {
	t.Helper()
	built, err := os.ReadFile(testprog.Build(t, "owl/cmd/owampd"))
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "owampd")
	if err := os.WriteFile(program, built, 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

// TestCapabilities: those that a service manager gives a process of nobody's, for
// the port, are given up in all threads once owampd listens.
func TestCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: giving capabilities needs root")
	}
	dir := publicDir(t)
	program := forNobody(t, dir)
	data := filepath.Join(dir, "data")
	cmd := exec.Command(program, "-Z", "-S", "127.86.1.1:861", "-d", data, "-R", data)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
		AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE},
	}
	p := testprog.Start(t, cmd)
	p.AwaitText(t, p.Stderr, "listening on 127.86.1.1:861\n", 1)
	connect(t, "127.86.1.1:861")
	testprog.CheckThreads(t, cmd.Process.Pid, 0)
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// checkRealTime checks that a process may have real-time threads.
func checkRealTime(t *testing.T, pid int) {
	t.Helper()
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^Max realtime priority +1 +1 `).Match(limits) {
		t.Errorf("no real-time threads are allowed:\n%s", limits)
	}
}

// TestKeptCapability: raw sockets are opened as long as owampd runs, and real-time
// threads are begun; both are allowed to nobody, and nothing else is.
func TestKeptCapability(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: dropping privileges needs root")
	}
	dir := publicDir(t)
	data := filepath.Join(dir, "data")
	cmd := exec.Command(forNobody(t, dir), "-Z", "-U", "nobody", "-S", "127.86.1.2:861", "-d", data, "-R", data, "--capture", "raw", "--transmit", "raw", "--pcap", filepath.Join(dir, "packets"), "--pacing", "precise")
	cmd.Dir = dir
	p := testprog.Start(t, cmd)
	p.AwaitText(t, p.Stderr, "listening on 127.86.1.2:861\n", 1)
	testprog.CheckThreads(t, cmd.Process.Pid, 1<<unix.CAP_NET_RAW)
	if err := unix.Setrlimit(unix.RLIMIT_RTPRIO, &unix.Rlimit{Cur: 1, Max: 1}); err == nil { // root may be in a cage
		checkRealTime(t, cmd.Process.Pid)
	}
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestLackedCapability: who may not open raw sockets is told so in one line,
// before anything is written.
func TestLackedCapability(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: becoming nobody needs root")
	}
	dir := publicDir(t)
	data := filepath.Join(dir, "data")
	program := forNobody(t, dir)
	cmd := exec.Command(program, "-Z", "-S", "127.0.0.1:0", "-d", filepath.Join(data, "d"), "-R", data, "--transmit", "raw")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	p := testprog.Start(t, cmd)
	if code := p.ExitCode(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if lines := p.Stderr.Lines(); len(lines) != 1 || !strings.HasSuffix(lines[0], "raw socket: operation not permitted, want the capability CAP_NET_RAW") {
		t.Errorf("stderr: %q", lines)
	}
	if files, err := os.ReadDir(data); err != nil || len(files) != 0 {
		t.Errorf("files %v, %v; want none", files, err)
	}
}
