package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testprog"
	"owl/owamp"
	"owl/sessions/ping/pingtest"
)

// A user's pass-phrases are of this peer.
const phrase = "correct horse battery"

func newPeer(t *testing.T) *pingtest.Peer {
	return pingtest.New(t, pingtest.Config{Passphrases: map[string]string{"alice": phrase, "al": "another"}})
}

// keys writes a pass-phrase file.
func keys(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pfs")
	text := "# al is not alice\nal\t616e6f74686572\nalice\t636f727265637420686f7273652062617474657279\nbob\t626f62\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The strictest of the modes that both allow is used, by who the user is.
func TestModes(t *testing.T) {
	peer := newPeer(t)
	keys := keys(t)
	type client struct {
		Mode owamp.Mode
		User string
	}
	var want []client
	for _, tt := range []struct {
		args string
		client
	}{
		{"", client{owamp.ModeOpen, ""}},
		{"-A AEO", client{owamp.ModeOpen, ""}},
		{"-u alice -k " + keys, client{owamp.ModeEncrypted, "alice"}},
		{"-u al -k " + keys, client{owamp.ModeEncrypted, "al"}},
		{"-A AO -u alice -k " + keys, client{owamp.ModeAuthenticated, "alice"}},
		{"-A ae -u alice -k " + keys, client{owamp.ModeEncrypted, "alice"}},
		{"-A O -u alice -k " + keys, client{owamp.ModeOpen, ""}},
		{"--max-pbkdf2-count 2048 -u alice -k " + keys, client{owamp.ModeEncrypted, "alice"}},
	} {
		want = append(want, tt.client)
		code, stdout, stderr := owup(t, append(strings.Fields(tt.args), peer.Addr)...)
		if code != 0 || stdout != "" || !strings.HasPrefix(stderr, "Server Up Since: ") {
			t.Errorf("owup %s: exit code %d, %q, %q", tt.args, code, stdout, stderr)
		}
	}
	var got []client
	for _, p := range peer.Admitted() {
		got = append(got, client{p.Mode, p.User})
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("who was let in (-want +got):\n%s", d)
	}
}

// Who is not let in is told why in a line that has nothing secret.
func TestNotLetIn(t *testing.T) {
	peer, open := newPeer(t), pingtest.New(t, pingtest.Config{})
	keys := keys(t)
	for _, tt := range []struct{ args, server, want string }{
		{"-u bob -k " + keys, peer.Addr, "Server denied access: Server-Start: refused"},
		{"-u ali -k " + keys, peer.Addr, `Unable to find pass-phrase for id="ali" from pffile="` + keys + `"`},
		{"-A AE -u alice -k " + keys, open.Addr, "no common mode: the server offers O, this client can AE"},
		{"--max-pbkdf2-count 2047 -u alice -k " + keys, peer.Addr, "key derivation in 2048 iterations, want 1024 to 2047"},
	} {
		code, stdout, stderr := owup(t, append(strings.Fields(tt.args), tt.server)...)
		if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "owup: ") || !strings.HasSuffix(stderr, tt.want+"\n") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("owup %s: exit code %d, %q, %q; want %s", tt.args, code, stdout, stderr, tt.want)
		}
	}
	if got := peer.Admitted(); len(got) != 0 {
		t.Errorf("%v were let in", got)
	}
}

// asked starts owup as a program that has to ask for the pass-phrase of alice.
func asked(t *testing.T, peer *pingtest.Peer) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-u", "alice", peer.Addr)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// Without -k the user is asked before the server is.
func TestAsk(t *testing.T) {
	peer := newPeer(t)
	x := testprog.NewTerminal(t)
	before := x.State(t)
	p := x.Start(t, asked(t, peer))
	p.AwaitText(t, x.Screen, "Enter passphrase for identity 'alice': ", 1)
	if n := peer.Connections(); n != 0 {
		t.Errorf("%d connections wait for the user", n)
	}
	x.Type(t, phrase+"\n")
	if code := x.ExitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.AwaitText(t, p.Stderr, "Server Up Since: ", 1)
	p.AwaitText(t, x.Screen, "\n", 1)
	if got, want := x.Screen.String(), "Enter passphrase for identity 'alice': \r\n"; got != want {
		t.Errorf("the screen shows %q, want %q", got, want)
	}
	if d := cmp.Diff(before, x.State(t)); d != "" {
		t.Errorf("the terminal is not as it was (-was +is):\n%s", d)
	}
}

func TestAskInterrupted(t *testing.T) {
	x := testprog.NewTerminal(t)
	before := x.State(t)
	p := x.Start(t, asked(t, newPeer(t)))
	p.AwaitText(t, x.Screen, "Enter passphrase for identity 'alice': ", 1)
	x.Type(t, "corr\x03")
	if code := x.ExitCode(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
	p.AwaitText(t, p.Stderr, "owup: asking for the pass-phrase of \"alice\": interrupt signal received\n", 1)
	if d := cmp.Diff(before, x.State(t)); d != "" {
		t.Errorf("the terminal is not as it was (-was +is):\n%s", d)
	}
}

// Where there is nobody to ask, nothing waits.
func TestNobodyToAsk(t *testing.T) {
	cmd := asked(t, newPeer(t))
	cmd.Stdin = strings.NewReader(phrase + "\n")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p := testprog.Start(t, cmd)
	if code := p.ExitCode(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if got, want := p.Stderr.String(), "owup: option -u: no terminal to ask at for the pass-phrase of \"alice\": want -k\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
}

// A hangup ends the program, unless nohup has said that it shall not.
func TestHangup(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		wrapper []string
		signals []syscall.Signal
		want    string
	}{
		{nil, []syscall.Signal{syscall.SIGHUP}, "hangup"},
		{[]string{"nohup"}, []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM}, "terminated"},
	} {
		mute, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer mute.Close()
		command := append(tt.wrapper, self, mute.Addr().String())
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		p := testprog.Start(t, cmd)
		conn, err := mute.Accept() // now it can be ended
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, s := range tt.signals {
			p.Signal(s)
		}
		if code := p.ExitCode(t); code != 1 || !strings.HasSuffix(p.Stderr.String(), tt.want+" signal received\n") {
			t.Errorf("%v: exit code %d, stderr %q, want %s", command, code, p.Stderr, tt.want)
		}
	}
}
