package testserver

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"owl/internal/testprog"
)

// A PostgreSQL is a server with one cluster. Its superuser is owl, its database
// postgres; connections over TCP want the password secret, those over its socket
// nothing.
type PostgreSQL struct {
	// Directory has its socket.
	Directory string
	Port      int
	program   string
	data      string
	account   account
	process   *testprog.Process
}

// Password is the one of every server's user.
const Password = "secret"

// StartPostgreSQL starts a server, which has a certificate of the authority if
// there is one.
func StartPostgreSQL(t testing.TB, a *Authority) *PostgreSQL {
	t.Helper()
	bin := postgresPrograms(t)
	s := &PostgreSQL{program: filepath.Join(bin, "postgres"), Port: port(t), account: accountOf(t, "postgres")}
	s.Directory = s.account.directory(t)
	s.data = filepath.Join(s.Directory, "data")
	password := filepath.Join(s.Directory, "password")
	s.account.write(t, password, Password)
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", s.data, "-U", "owl", "-E", "UTF8", "--no-locale", "--no-sync",
		"--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile="+password)
	initdb.SysProcAttr = s.account.as()
	initdb.Dir = s.Directory
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", initdb, err, out)
	}
	if a != nil {
		cert, key := a.Sign(t, "localhost")
		s.account.write(t, filepath.Join(s.data, "server.crt"), string(cert))
		s.account.write(t, filepath.Join(s.data, "server.key"), string(key))
	}
	s.Start(t, a != nil)
	return s
}

// postgresPrograms returns where the newest server's programs are.
func postgresPrograms(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path)
		}
	}
	all, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Skip("SKIPPED: there is no initdb of PostgreSQL")
	}
	return filepath.Dir(slices.Max(all))
}

// Start starts a server that was stopped, with TLS or without.
func (s *PostgreSQL) Start(t testing.TB, secure bool) {
	t.Helper()
	on := "off"
	if secure {
		on = "on"
	}
	cmd := exec.Command(s.program, "-D", s.data, "-h", "127.0.0.1", "-p", fmt.Sprint(s.Port), "-k", s.Directory,
		"-c", "ssl="+on, "-c", "fsync=off", "-c", "max_connections=200", "-c", "shared_buffers=16MB",
		"-c", "log_min_error_statement=panic")
	cmd.SysProcAttr = s.account.as()
	cmd.Dir = s.Directory
	s.process = testprog.Start(t, cmd)
	t.Cleanup(func() { s.Stop(t) }) // it gives back its shared memory, which a killed one does not
	s.process.AwaitText(t, s.process.Stderr, "ready to accept connections", 1)
}

// Stop stops the server; what it has committed stays.
func (s *PostgreSQL) Stop(t testing.TB) {
	t.Helper()
	s.process.Signal(syscall.SIGINT) // which does not wait for clients
	s.process.ExitCode(t)
}

// Address is where it listens.
func (s *PostgreSQL) Address() string {
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(s.Port))
}

// DSN says how to connect over TCP, with more parameters if there are any.
func (s *PostgreSQL) DSN(more ...string) string {
	return strings.Join(append([]string{
		"host=127.0.0.1", fmt.Sprintf("port=%d", s.Port), "user=owl", "password=" + Password, "dbname=postgres",
	}, more...), " ")
}

// Local says how to connect over its socket.
func (s *PostgreSQL) Local() string {
	return fmt.Sprintf("host=%s port=%d user=owl dbname=postgres", s.Directory, s.Port)
}
