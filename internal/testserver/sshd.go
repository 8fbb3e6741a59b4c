package testserver

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"owl/internal/testprog"
)

// An SSHD is a daemon of OpenSSH on 127.0.0.1 that lets in who runs the test.
type SSHD struct {
	// Config is a configuration of ssh, for ssh -F, that knows the daemon's hosts
	// and has a key for them: router, which takes the key, and stranger, which
	// does not.
	Config string
	daemon *testprog.Process
}

// StartSSHD starts a daemon with keys of its own.
func StartSSHD(t testing.TB) *SSHD {
	t.Helper()
	path, keygen := program(t, "sshd"), program(t, "ssh-keygen")
	program(t, "ssh")
	dir, at := t.TempDir(), port(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		// Where the daemon's half without rights lives, as its package has it.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"host", "mine", "other"} {
		out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", filepath.Join(dir, key)).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	hostKey, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	s := &SSHD{Config: filepath.Join(dir, "ssh_config")}
	for name, text := range map[string]string{
		"sshd_config": fmt.Sprintf(`
ListenAddress 127.0.0.1:%[1]d
HostKey %[2]s/host
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AuthorizedKeysFile %[2]s/mine.pub
`, at, dir),
		"known_hosts": fmt.Sprintf("[127.0.0.1]:%d %s", at, hostKey),
		"ssh_config": fmt.Sprintf(`
Host router stranger
  HostName 127.0.0.1
  Port %[1]d
  User %[3]s
  UserKnownHostsFile %[2]s/known_hosts
  GlobalKnownHostsFile none
  IdentitiesOnly yes
  IdentityAgent none
Host router
  IdentityFile %[2]s/mine
Host stranger
  IdentityFile %[2]s/other
`, at, dir, me.Username),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.daemon = testprog.Start(t, exec.Command(path, "-D", "-e", "-f", filepath.Join(dir, "sshd_config")))
	testprog.Until(t, "sshd", func() error {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(at)))
		if err == nil {
			conn.Close()
		}
		return err
	})
	return s
}
