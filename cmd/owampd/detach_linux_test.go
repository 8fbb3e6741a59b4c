package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"owl/internal/testprog"
)

// adopt makes this process the parent of daemons, in place of init, so that it
// sees how they end.
func adopt(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
}

// detached starts an owampd in the background as its user does, in dir, and
// returns its process and where it listens.
func detached(t *testing.T, dir string, args ...string) (pid int, addr string) {
	t.Helper()
	cmd := exec.Command("owampd", append([]string{"-f", "-S", "127.0.0.1:0", "-d", "data"}, args...)...)
	cmd.Dir = dir
	p := testprog.Start(t, cmd)
	if code := p.ExitCode(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	// It listens already, and has said so.
	said := regexp.MustCompile(`(?m)^owampd\[(\d+)\]: listening on (\S+)$`).FindStringSubmatch(p.Stderr.String())
	if said == nil {
		t.Fatalf("stderr: %q", p.Stderr)
	}
	pid, _ = strconv.Atoi(said[1])
	t.Cleanup(func() {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			syscall.Wait4(pid, nil, 0, nil)
		}
	})
	if s := p.Stdout.String(); s != "" {
		t.Errorf("stdout: %q", s)
	}
	return pid, said[2]
}

// exitOf waits for the end of a daemon and returns its exit code.
func exitOf(t *testing.T, pid int) (code int) {
	t.Helper()
	testprog.Until(t, "the end of the daemon", func() error {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		if err == nil && got != pid {
			err = errors.New("it runs")
		}
		code = status.ExitStatus()
		return err
	})
	return code
}

// TestDetach: without -Z owampd is a daemon when the one that was started has
// ended: in a session of its own, without a terminal, in no directory that
// anybody may want to unmount. Files that were named by a relative name are found
// again at a hangup.
func TestDetach(t *testing.T) {
	adopt(t)
	dir := t.TempDir()
	pid, addr := detached(t, dir)
	connect(t, addr)
	checkText(t, filepath.Join(dir, pidName), fmt.Sprintf("%d\n", pid))
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// pid (comm) state ppid pgrp session tty_nr
	if f := strings.Fields(string(stat)); f[4] != f[0] || f[5] != f[0] || f[6] != "0" {
		t.Errorf("stat %q: want a process group and a session of its own, no terminal", stat)
	}
	for name, want := range map[string]string{"cwd": "/", "fd/0": "/dev/null", "fd/1": "/dev/null", "fd/2": "/dev/null"} {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, name)); err != nil || got != want {
			t.Errorf("%s: %v, %s, want %s", name, err, got, want)
		}
	}

	// There is one already, which a second one leaves alone.
	cmd := exec.Command("owampd", "-f", "-S", "127.0.0.1:0")
	cmd.Dir = dir
	second := testprog.Start(t, cmd)
	if code := second.ExitCode(t); code != 1 || !strings.HasSuffix(second.Stderr.String(), "Unable to lock file owamp-server.pid: resource temporarily unavailable\n") {
		t.Errorf("a second one: exit code %d, stderr %q", code, second.Stderr)
	}
	checkText(t, filepath.Join(dir, pidName), fmt.Sprintf("%d\n", pid))

	if err := os.WriteFile(filepath.Join(dir, confName), []byte("maxcontrolsessions 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(pid, syscall.SIGHUP)
	testprog.Until(t, "one client at most", func() error { return crowded(addr) })

	syscall.Kill(pid, syscall.SIGTERM)
	if code := exitOf(t, pid); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("somebody listens still")
	}
}

// crowded returns an error unless the server turns one more client away.
func crowded(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if n, _ := conn.Read(make([]byte, 1)); n > 0 {
		return errors.New("one more is greeted")
	}
	return nil
}

// hanging starts an owampd whose daemon, which it returns as well, hangs before it
// listens.
func hanging(t *testing.T) (p *testprog.Process, daemon int) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, confName)
	if err := unix.Mkfifo(conf, 0o600); err != nil {
		t.Fatal(err)
	}
	p = testprog.Start(t, exec.Command("owampd", "-f", "-c", dir))
	// The one that is started reads an empty file; no one writes for the other.
	w, err := os.OpenFile(conf, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	testprog.Until(t, "a daemon", func() error {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.Cmd.Process.Pid))
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for child := range strings.FieldsSeq(string(text)) {
				pid, _ := strconv.Atoi(child)
				if session, err := unix.Getsid(pid); err == nil && session == pid {
					daemon = pid
					return nil
				}
			}
		}
		return fmt.Errorf("none in %q", lists)
	})
	t.Cleanup(func() { syscall.Kill(daemon, syscall.SIGKILL) })
	return p, daemon
}

// TestDetachInterrupted: whoever starts owampd and then does not want to wait
// for it gets rid of both processes.
func TestDetachInterrupted(t *testing.T) {
	p, daemon := hanging(t)
	p.Signal(syscall.SIGTERM)
	if code := p.ExitCode(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if got, want := p.Stderr.String(), "owampd: going to the background: caught terminated\n"; got != want {
		t.Errorf("stderr: %q, want %q", got, want)
	}
	if err := syscall.Kill(daemon, 0); err != syscall.ESRCH {
		t.Errorf("the daemon is there: %v", err)
	}
}

// TestDetachKilled: a daemon that dies while it starts is told of.
func TestDetachKilled(t *testing.T) {
	p, daemon := hanging(t)
	syscall.Kill(daemon, syscall.SIGKILL)
	if code := p.ExitCode(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if got, want := p.Stderr.String(), "owampd: going to the background: signal: killed\n"; got != want {
		t.Errorf("stderr: %q, want %q", got, want)
	}
}

// TestSyslog: a daemon that nobody sees tells syslog what it does, in the facility
// that it was told. The syslog of this test stands in for the host's.
func TestSyslog(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a /dev/log of its own needs root")
	}
	adopt(t)
	dir, dev := t.TempDir(), t.TempDir()
	if err := unix.Mknod(filepath.Join(dev, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("SKIPPED: a /dev/log of its own needs a device: %v", err)
	}
	syslog, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dev, "log"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer syslog.Close()
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mount --bind "$0" /dev || exit 77; exec owampd -f -S 127.0.0.1:0 -e local5`, dev)
	cmd.Dir = dir
	p := testprog.Start(t, cmd)
	switch code := p.ExitCode(t); code {
	case 0:
	case 1, 77:
		if !strings.Contains(p.Stderr.String(), "owampd") {
			t.Skipf("SKIPPED: a /dev/log of its own: %s", p.Stderr)
		}
		fallthrough
	default:
		t.Fatalf("exit code %d", code)
	}
	var pid int
	text, err := os.ReadFile(filepath.Join(dir, pidName))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Sscan(string(text), &pid)
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	await := func(priority int, text string) {
		t.Helper()
		want := regexp.MustCompile(fmt.Sprintf(`^<%d>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d owampd\[%d\]: %s$`, priority, pid, text))
		syslog.SetReadDeadline(deadline())
		buf := make([]byte, 8192)
		var said []string
		for {
			n, err := syslog.Read(buf)
			if err != nil {
				t.Fatalf("%v; syslog got %q, want %v", err, said, want)
			}
			if want.Match(buf[:n]) {
				return
			}
			said = append(said, string(buf[:n]))
		}
	}
	const local5, warning, info = 21 << 3, 4, 6
	await(local5|info, `listening on 127\.0\.0\.1:\d+`)
	addr := regexp.MustCompile(`listening on (\S+)`).FindStringSubmatch(p.Stderr.String())[1]
	conn, err := net.Dial("tcp", netip.MustParseAddrPort(addr).String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	conn.(*net.TCPConn).CloseWrite()
	await(local5|warning, `Connection ended: .*`)
	syscall.Kill(pid, syscall.SIGTERM)
	await(local5|info, `owampd: exited\.`)
	if code := exitOf(t, pid); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
