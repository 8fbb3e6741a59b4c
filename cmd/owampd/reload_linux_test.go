package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"owl/internal/bubble"
	"owl/internal/testprog"
	"owl/owamp"
	"owl/owamp/control"
)

// deadline is when a test gives up waiting for what must come.
func deadline() time.Time { return time.Now().Add(testprog.Patience) }

// TestReload: a hangup puts what the files say now in force, and leaves alone the
// session that runs; files that are wrong change nothing, and say where they are.
func TestReload(t *testing.T) {
	d := launch(t, "127.0.0.1:0")
	client := connect(t, d.addr.String())
	sink := stream(t, client, 1_000_000)
	arrives := func() {
		t.Helper()
		// What has queued up is from before.
		sink.SetReadDeadline(deadline())
		buf := make([]byte, 1500)
		sent := time.Now()
		for {
			if _, _, err := sink.ReadFrom(buf); err != nil {
				t.Fatalf("the running session: %v", err)
			}
			if at := owamp.Timestamp(binary.BigEndian.Uint64(buf[4:])).Time(); at.After(sent) {
				return
			}
		}
	}
	arrives()
	reload := func(want string, times int, files map[string]string) {
		t.Helper()
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		d.Signal(syscall.SIGHUP)
		d.AwaitText(t, d.Stderr, want, times)
		arrives()
	}
	const done = "configuration, limits and pass-phrases reloaded\n"

	reload(done, 1, map[string]string{confName: "maxcontrolsessions 1\nloglevel debug\nenddelay 0.5\n"})
	for _, want := range []string{"maxcontrolsessions is now 1, was 4096\n", "loglevel is now debug, was info\n", "enddelay is now 0.5, was 1\n"} {
		d.AwaitText(t, d.Stderr, want, 1)
	}
	if err := crowded(d.addr.String()); err != nil {
		t.Errorf("with one client at most: %v", err)
	}

	conf, limits := filepath.Join(d.dir, confName), filepath.Join(d.dir, limitsName)
	reload("not reloaded, what was in force stays: "+conf+`:2: enddelay: "x": want seconds, 0 or more`+"\n", 1,
		map[string]string{confName: "maxcontrolsessions 0\nenddelay x\n"})
	reload("not reloaded, what was in force stays: "+limits+`:1: "deny": want limit or assign`+"\n", 1,
		map[string]string{confName: "maxcontrolsessions 0\n", limitsName: "deny all\n"})
	if err := crowded(d.addr.String()); err != nil {
		t.Errorf("after files that are wrong, with one client at most: %v", err)
	}

	reload("the limits are others now\n", 1, map[string]string{
		confName:   "maxcontrolsessions 0\nvardir /nonexistent\nuser nobody\n",
		limitsName: "limit root with bandwidth=1\n",
	})
	for _, want := range []string{
		"maxcontrolsessions is now 4096, was 1\n",
		"user has changed from none to nobody: restart owampd for it to take effect\n",
	} {
		d.AwaitText(t, d.Stderr, want, 1)
	}
	if strings.Contains(d.Stderr.String(), "vardir") {
		t.Error("vardir is told of, which the command line sets")
	}
	other, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if a := ask(t, connect(t, d.addr.String()), other, 10); a == owamp.AcceptOK {
		t.Error("a session beyond the new limits is accepted")
	}
	arrives()

	os.Remove(limits)
	reload(done, 3, map[string]string{confName: ""})
	d.AwaitText(t, d.Stderr, "the limits are others now\n", 2)
	if a := ask(t, connect(t, d.addr.String()), other, 10); a != owamp.AcceptOK {
		t.Errorf("a session without limits is refused: %d", a)
	}
	if _, err := client.Stop(t.Context(), nil); err != nil {
		t.Errorf("the running session: %v", err)
	}
	if code := d.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestReloadPassphrases: a hangup makes known who has come, and forgets who has
// gone; a file that is wrong changes nothing.
func TestReloadPassphrases(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, keysName)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("alice\t736563726574\n")
	d := launchIn(t, dir, "-f", "-S", "127.0.0.1:0")
	asAlice(t, d.addr.String(), "secret")
	write("alice\tzz\n")
	d.Signal(syscall.SIGHUP)
	d.AwaitText(t, d.Stderr, "not reloaded, what was in force stays: "+keys+":1: ", 1)
	asAlice(t, d.addr.String(), "secret")
	write("alice\t6f74686572\n")
	d.Signal(syscall.SIGHUP)
	d.AwaitText(t, d.Stderr, "configuration, limits and pass-phrases reloaded\n", 1)
	asAlice(t, d.addr.String(), "other")
	conn, err := net.Dial("tcp", d.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := control.Connect(t.Context(), conn, alice("secret")); err == nil {
		t.Error("alice is let in with the pass-phrase that she had")
	}
	d.AwaitText(t, d.Stderr, `user "alice" has another pass-phrase`, 1)
}

// TestReloadFirstUser: with the first user the modes that have users are offered,
// and without the last one they are not any more. Nothing is to be restarted for
// that.
func TestReloadFirstUser(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, keysName)
	d := launchIn(t, dir, "-f", "-S", "127.0.0.1:0")
	if err := os.WriteFile(keys, []byte("alice\t736563726574\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Signal(syscall.SIGHUP)
	d.AwaitText(t, d.Stderr, "modes that are offered are now AEO, were O\n", 1)
	asAlice(t, d.addr.String(), "secret")
	if err := os.Remove(keys); err != nil {
		t.Fatal(err)
	}
	d.Signal(syscall.SIGHUP)
	d.AwaitText(t, d.Stderr, "modes that are offered are now O, were AEO\n", 1)
	if strings.Contains(d.Stderr.String(), "restart owampd") {
		t.Errorf("what needs no restart is said to need one:\n%s", d.Stderr)
	}
}

// alice is a client who says that she is.
func alice(passphrase string) control.ClientConfig {
	return control.ClientConfig{
		Modes: owamp.ModeAuthenticated | owamp.ModeEncrypted, User: "alice",
		Passphrase: func() ([]byte, error) { return []byte(passphrase), nil },
	}
}

// asAlice sets up a control connection as alice, and leaves.
func asAlice(t *testing.T, addr, passphrase string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := control.Connect(t.Context(), conn, alice(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	if c.Mode() != owamp.ModeEncrypted {
		t.Errorf("mode %v, want E", c.Mode())
	}
	c.Close()
}

// TestAwait: a server that does not end is left after dieby, unless that is 0.
func TestAwait(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		never, begun := make(chan error), time.Now()
		err := await(never, 5*time.Second)
		if took := time.Since(begun); took != 5*time.Second || err == nil || err.Error() != "sessions have not ended within 5s (dieby): leaving them" {
			t.Errorf("after %v: %v", took, err)
		}
		late := make(chan error, 1)
		time.AfterFunc(time.Hour, func() { late <- errors.New("late") })
		if err := await(late, 0); fmt.Sprint(err) != "late" {
			t.Errorf("dieby 0: %v", err)
		}
	})
}
