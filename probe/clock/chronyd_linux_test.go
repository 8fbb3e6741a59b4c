package clock

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// chronyd starts the program with -x, so that it leaves the clock of this host
// alone, and conf, with its socket and its command port in a directory of its
// own. It ends with the test.
func chronyd(t *testing.T, conf string) (socket, command string) {
	t.Helper()
	path, err := exec.LookPath("chronyd")
	if err != nil {
		path = "/usr/sbin/chronyd"
		if _, err := os.Stat(path); err != nil {
			t.Skip("SKIPPED: there is no chronyd")
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: chronyd wants to be root")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil { // which it insists on
		t.Fatal(err)
	}
	port := freePort(t)
	socket, command = filepath.Join(dir, "chronyd.sock"), fmt.Sprint("127.0.0.1:", port)
	conf += fmt.Sprintf("\ncmdport %d\nbindcmdaddress 127.0.0.1\nbindcmdaddress %s\npidfile %s\n", port, socket, filepath.Join(dir, "pid"))
	name := filepath.Join(dir, "conf")
	if err := os.WriteFile(name, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-x", "-d", "-u", "root", "-f", name)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("chronyd said:\n%s", &said)
		}
	})
	return socket, command
}

func freePort(t *testing.T) int {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// until waits until is returns nil.
func until(t *testing.T, what string, is func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond) // between two tries
	}
}

// TestChronyd: a real one that serves time is asked over both ways and over NTP,
// and one that follows it is found to be synchronized, although the kernel is
// not told.
func TestChronyd(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes seconds")
	}
	ntpPort := freePort(t)
	socket, command := chronyd(t, fmt.Sprintf("port %d\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 10", ntpPort))
	for _, place := range []string{command, socket} {
		until(t, place, func() error {
			_, err := askChrony(t.Context(), place)
			return err
		})
		a, err := askChrony(t.Context(), place)
		if err != nil {
			t.Fatal(err)
		}
		src, err := trackingOf(a)
		if err != nil || src.Synchronized || a.Stratum != 10 {
			t.Errorf("%s: %+v, %v; want one that follows only itself", place, src, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(socket), "owl.*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	followerSocket, _ := chronyd(t, fmt.Sprintf("port 0\nserver 127.0.0.1 port %d iburst minpoll -2 maxpoll 0", ntpPort))
	until(t, "the follower", func() error {
		a, err := askChrony(t.Context(), followerSocket)
		if err != nil {
			return err
		}
		if src, err := trackingOf(a); err != nil || !src.Synchronized {
			return fmt.Errorf("%+v, %w", src, err)
		}
		return nil
	})
	server := fmt.Sprint("127.0.0.1:", ntpPort)
	c := New(Config{
		Read:    func() (Kernel, error) { return Kernel{Error: 16 * time.Second, MaxError: 16 * time.Second}, nil },
		Sources: Sources{Chrony: followerSocket, NTP: []string{server}},
	})
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { c.Run(ctx) })
	until(t, "an answer of the NTP server", func() error {
		if s := c.State(); len(s.Sources) != 2 || !s.Sources[1].Synchronized {
			return fmt.Errorf("state %+v", s)
		}
		return nil
	})
	cancel()
	run.Wait()
	s := c.State()
	chrony, ntp := &s.Sources[0], &s.Sources[1]
	if !s.Synchronized || chrony.Stratum != 11 || chrony.Reference != "127.0.0.1" || chrony.Offset.Abs() > time.Second {
		t.Errorf("chronyd: %+v", chrony)
	}
	if ntp.Stratum != 10 || ntp.Offset.Abs() > ntp.Delay/2+ntp.Dispersion+time.Millisecond || ntp.Delay > time.Second {
		t.Errorf("NTP server: %+v", ntp) // it is this host's own clock
	}
	if s.Error < chrony.Offset.Abs() || s.MaxError < chrony.MaxError() {
		t.Errorf("error %v, at most %v, chronyd %+v", s.Error, s.MaxError, chrony)
	}
}
