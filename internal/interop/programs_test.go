package interop

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"owl/internal/testprog"
)

// patience bounds every wait for something that must come.
const patience = testprog.Patience

// A suite is a set of programs.
type suite struct {
	name string
	dir  string
}

// built is where the programs of this repository are once a test has asked for
// them.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

func build() {
	if built.dir, built.err = os.MkdirTemp("", "owl-interop-"); built.err != nil {
		return
	}
	cmd := exec.Command("go", "build", "-o", built.dir+"/", "owl/cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		built.err = fmt.Errorf("%v: %w: %s", cmd, err, out)
	}
}

// owl returns the programs of this repository.
func owl(t testing.TB) suite {
	t.Helper()
	if built.once.Do(build); built.err != nil {
		t.Fatal(built.err)
	}
	return suite{"owl", built.dir}
}

// reference returns the programs of the C suite, or skips the test.
func reference(t testing.TB) suite {
	t.Helper()
	dir := os.Getenv("OWAMP_REFERENCE_DIR")
	if dir == "" {
		t.Skip("SKIPPED: nothing is held against the C suite: OWAMP_REFERENCE_DIR is not set")
	}
	return suite{"reference", dir}
}

// command makes a command that runs a program of the suite. Names of hosts and
// times come out the same wherever the test runs.
func (s suite) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.dir, program), args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "OWL_NUMERIC=1", "RES_OPTIONS=timeout:1 attempts:1")
	return cmd
}

// awaitFiles waits until powstream -p has printed the names of n files with the
// suffix.
func awaitFiles(t testing.TB, p *testprog.Process, n int, suffix string) {
	t.Helper()
	p.Await(t, p.Stdout, fmt.Sprintf("%d files %s", n, suffix), func(text string) bool {
		return strings.Count(text, suffix+"\n") >= n
	})
}

// freePort returns a TCP port that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A server is an owampd that listens.
type server struct {
	*testprog.Process
	port int
	data string // datadir
}

// serve starts the owampd of a suite on this host, for both IP versions. Port 0
// is any.
func (s suite) serve(t testing.TB, port int, more ...string) *server {
	t.Helper()
	if port == 0 {
		port = freePort(t)
	}
	v := s.serveIn(t, testprog.Here, fmt.Sprintf(":%d", port), more...)
	v.port = port
	for !answers(port) { // the C suite's does not tell when it listens
		select {
		case <-v.Ended():
			t.Fatalf("%v: %s", v.Cmd, v.Stderr)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return v
}

// serveIn starts the owampd of a suite at node.
func (s suite) serveIn(t testing.TB, place testprog.Place, node string, more ...string) *server {
	t.Helper()
	conf, data := t.TempDir(), t.TempDir()
	args := append([]string{"-Z", "-f", "-a", "AEO", "-c", conf, "-d", data, "-R", conf, "-S", node}, more...)
	if err := os.WriteFile(filepath.Join(conf, "owamp-server.conf"), []byte("dieby 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	writePassphrases(t, conf)
	return &server{Process: testprog.StartIn(t, place, s.command("owampd", args...)), data: data}
}

// writePassphrases writes the pass-phrase file of the user alice to a directory,
// and returns its path.
func writePassphrases(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "owamp-server.pfs")
	if err := os.WriteFile(path, []byte("alice\t636f727265637420686f727365\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// answers reports whether an OWAMP server greets at a port of this host.
func answers(port int) bool {
	c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	n, _ := io.ReadFull(c, make([]byte, 64))
	return n == 64
}

// at returns the server's name on a command line, by IP version.
func (v *server) at(ipv6 bool) string {
	a := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if ipv6 {
		a = netip.IPv6Loopback()
	}
	return netip.AddrPortFrom(a, uint16(v.port)).String()
}
