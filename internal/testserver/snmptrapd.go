package testserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"owl/internal/testprog"
)

// A TrapReceiver is a daemon that takes SNMP traps of the community public, and of
// the users alice (SHA, AES) and bob (MD5 alone), whose keys are
// [TrapKey] throughout.
type TrapReceiver struct {
	Port   int // of UDP on 127.0.0.1
	daemon *testprog.Process
}

// TrapKey is the key of every user.
const TrapKey = "thirty thieves"

// StartTrapReceiver starts a daemon that knows the users as those of an engine,
// whose ID is in hexadecimal digits, and as its own.
func StartTrapReceiver(t testing.TB, engine string) *TrapReceiver {
	t.Helper()
	path := program(t, "snmptrapd")
	dir := t.TempDir()
	conf := filepath.Join(dir, "snmptrapd.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `
authCommunity log public
createUser -e 0x%[1]s alice SHA "%[2]s" AES "%[2]s"
createUser -e 0x%[1]s bob MD5 "%[2]s"
createUser alice SHA "%[2]s" AES "%[2]s"
authUser log alice priv
authUser log bob auth
format1 trap|%%N|%%w|%%q|%%v\n
format2 trap|%%V|%%v\n
`, engine, TrapKey), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &TrapReceiver{Port: port(t)}
	cmd := exec.Command(path, "-f", "-Lo", "-C", "-c", conf, "-m", "", "-On", "-p", filepath.Join(dir, "pid"), fmt.Sprintf("udp:127.0.0.1:%d", r.Port))
	cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+dir, "SNMPCONFPATH="+dir)
	r.daemon = testprog.Start(t, cmd)
	r.daemon.AwaitText(t, r.daemon.Stdout, "NET-SNMP version", 1)
	return r
}

// Await waits until the daemon has told of a trap, and returns the line.
func (r *TrapReceiver) Await(t testing.TB, part string) string {
	t.Helper()
	text := r.daemon.Await(t, r.daemon.Stdout, "a trap with "+part, func(text string) bool { return r.line(text, part) != "" })
	return r.line(text, part)
}

func (*TrapReceiver) line(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "trap|") && strings.HasSuffix(line, "\n") && strings.Contains(line, part) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
