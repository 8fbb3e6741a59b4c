// Package testserver lets tests talk with the servers that users have: it starts
// them from the system's packages, on ports and in directories of their own, and
// sees to it that nothing outlives the test. Where there is no such package the
// test is skipped.
package testserver

import (
	"math/rand/v2"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// port returns a port of this host that nobody uses now, neither with TCP nor with
// UDP. It is not one of those that the system gives to whoever wants any: such a
// one may be given away again before the server that it is for has it.
func port(t testing.TB) int {
	t.Helper()
	const low, high, tries = 20000, 32000, 100
	var err error
	for range tries {
		n := low + rand.N(high-low)
		at := net.JoinHostPort("127.0.0.1", strconv.Itoa(n))
		var l net.Listener
		if l, err = net.Listen("tcp", at); err != nil {
			continue
		}
		l.Close()
		var c net.PacketConn
		if c, err = net.ListenPacket("udp", at); err != nil {
			continue
		}
		c.Close()
		return n
	}
	t.Fatal(err)
	return 0
}

// An account is who a server runs as.
type account struct {
	name     string
	uid, gid uint32
	other    bool // than who runs the test
}

// accountOf returns who a server runs as: the account of a name if we may choose,
// or else we ourselves.
func accountOf(t testing.TB, name string) account {
	t.Helper()
	if os.Geteuid() != 0 {
		u, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		return account{name: u.Username}
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Skipf("SKIPPED: there is no user %s to run the server: %v", name, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return account{name: u.Username, uid: uint32(uid), gid: uint32(gid), other: true}
}

// as returns how a command is run by an account.
func (a account) as() *syscall.SysProcAttr {
	if !a.other {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.gid}}
}

// directory returns a new directory of an account.
func (a account) directory(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if a.other {
		// The directory above is the test's, which others may not enter.
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		a.own(t, dir)
	}
	return dir
}

// own gives a file to an account.
func (a account) own(t testing.TB, path string) {
	t.Helper()
	if !a.other {
		return
	}
	if err := os.Chown(path, int(a.uid), int(a.gid)); err != nil {
		t.Fatal(err)
	}
}

// write writes a file for an account, which alone may read it.
func (a account) write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.own(t, path)
}
