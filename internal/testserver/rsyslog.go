package testserver

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"owl/internal/testprog"
)

// An Rsyslog is a syslog daemon.
type Rsyslog struct {
	Path             string // of its local socket
	UDP, TCP, Secure int    // ports on 127.0.0.1

	dir, conf string
	daemon    *testprog.Process
}

// StartRsyslog starts a daemon that has a certificate of the authority.
func StartRsyslog(t testing.TB, a *Authority) *Rsyslog {
	t.Helper()
	program(t, "rsyslogd")
	dir := t.TempDir()
	s := &Rsyslog{Path: filepath.Join(dir, "log"), UDP: port(t), TCP: port(t), Secure: port(t), dir: dir, conf: filepath.Join(dir, "rsyslog.conf")}
	cert, key := a.Sign(t, "127.0.0.1")
	for name, text := range map[string]string{
		"server.crt": string(cert),
		"server.key": string(key),
		"rsyslog.conf": fmt.Sprintf(`
global(workDirectory="%[1]s" defaultNetstreamDriverCAFile="%[2]s" defaultNetstreamDriverCertFile="%[1]s/server.crt" defaultNetstreamDriverKeyFile="%[1]s/server.key")
module(load="imuxsock" SysSock.Use="off")
module(load="imudp")
module(load="imtcp")
input(type="imuxsock" Socket="%[3]s")
input(type="imudp" address="127.0.0.1" port="%[4]d")
input(type="imtcp" address="127.0.0.1" port="%[5]d")
input(type="imtcp" address="127.0.0.1" port="%[6]d" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="fields" type="string" string="%%syslogfacility-text%%|%%syslogseverity-text%%|%%programname%%|%%structured-data%%|%%msg%%\n")
action(type="omfile" file="%[1]s/messages" template="fields")
`, dir, a.File, s.Path, s.UDP, s.TCP, s.Secure),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.Start(t)
	return s
}

// Start starts a daemon that was stopped.
func (s *Rsyslog) Start(t testing.TB) {
	t.Helper()
	s.daemon = testprog.Start(t, exec.Command(program(t, "rsyslogd"), "-n", "-f", s.conf, "-i", filepath.Join(s.dir, "pid")))
	testprog.Until(t, "rsyslogd", func() error {
		for _, port := range []int{s.TCP, s.Secure} {
			conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
			if err != nil {
				return err
			}
			conn.Close()
		}
		_, err := os.Stat(s.Path)
		return err
	})
}

// Stop ends the daemon.
func (s *Rsyslog) Stop(t testing.TB) {
	t.Helper()
	s.daemon.Terminate(t)
}

// Await waits until the daemon has a message: facility, severity, program,
// structured data and text, with | between them.
func (s *Rsyslog) Await(t testing.TB, message string) {
	t.Helper()
	testprog.Until(t, "the message "+message, func() error {
		text, err := os.ReadFile(filepath.Join(s.dir, "messages"))
		if err == nil && !strings.Contains("\n"+string(text), "\n"+message+"\n") {
			err = fmt.Errorf("there is only\n%s", text)
		}
		return err
	})
}

// program returns the path of a server's program.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath(filepath.Join("/usr/sbin", name)) // where not everyone looks
	}
	if err != nil {
		t.Skipf("SKIPPED: there is no %s", name)
	}
	return path
}
