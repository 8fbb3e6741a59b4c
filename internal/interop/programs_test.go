package interop

import (
	"bytes"
	"context"
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
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that must come.
const patience = time.Minute

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

// An output is what a process has printed, and can be waited for.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// lines returns the whole lines, without their ends.
func (o *output) lines() []string {
	lines := strings.Split(o.String(), "\n")
	return lines[:len(lines)-1]
}

// wait waits until ok of what has been printed.
func (o *output) wait(ctx context.Context, ok func(text string) bool) error {
	for {
		o.mu.Lock()
		text, changed := o.text.String(), o.changed
		o.mu.Unlock()
		if ok(text) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A process is a program that runs, with all that it starts, in a process group
// of its own.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *output
	ended          chan struct{}
}

// starter starts a command somewhere: here, or inside a netlab.Host.
type starter func(*exec.Cmd) error

func here(cmd *exec.Cmd) error { return cmd.Start() }

// run starts cmd and sees to it that nothing of it outlives the test.
func run(t testing.TB, start starter, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A child that lives on would keep the pipes open.
	cmd.WaitDelay = 5 * time.Second
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // the exit code is looked at where it matters
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.ended
		if t.Failed() {
			t.Logf("%v\n%s", cmd, p.stderr)
		}
	})
	return p
}

// signal sends sig to the process and all that it has started.
func (p *process) signal(sig syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, sig) }

// waitEnd waits until the process has ended and returns its exit code.
func (p *process) waitEnd(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%v has not ended", p.cmd)
	}
	return p.cmd.ProcessState.ExitCode()
}

// terminate ends the process as an operator does, and returns its exit code.
func (p *process) terminate(t testing.TB) int {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.waitEnd(t)
}

// await waits for something in o, and for no longer than the process runs.
func (p *process) await(t testing.TB, o *output, what string, ok func(text string) bool) {
	t.Helper()
	p.awaitFor(t, patience, o, what, ok)
}

// awaitFor is await with a patience of its own.
func (p *process) awaitFor(t testing.TB, patience time.Duration, o *output, what string, ok func(text string) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("no %s after %v", what, patience))
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		select {
		case <-p.ended:
			end(fmt.Errorf("the process has ended before %s", what))
		case <-ctx.Done():
		}
	}()
	if err := o.wait(ctx, ok); err != nil {
		t.Fatalf("%v: %v", p.cmd, err)
	}
}

// awaitFiles waits until powstream -p has printed the names of n files with the
// suffix.
func (p *process) awaitFiles(t testing.TB, n int, suffix string) {
	t.Helper()
	p.await(t, p.stdout, fmt.Sprintf("%d files %s", n, suffix), func(text string) bool {
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
	*process
	port int
	data string // datadir
}

// serve starts the owampd of a suite on this host, for both IP versions. Port 0
// is any.
func (s suite) serve(t testing.TB, port int) *server {
	t.Helper()
	if port == 0 {
		port = freePort(t)
	}
	v := s.serveIn(t, here, fmt.Sprintf(":%d", port))
	v.port = port
	for !answers(port) { // the C suite's does not tell when it listens
		select {
		case <-v.ended:
			t.Fatalf("%v: %s", v.cmd, v.stderr)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return v
}

// serveIn starts the owampd of a suite at node.
func (s suite) serveIn(t testing.TB, start starter, node string, more ...string) *server {
	t.Helper()
	conf, data := t.TempDir(), t.TempDir()
	args := append([]string{"-Z", "-f", "-a", "O", "-c", conf, "-d", data, "-R", conf, "-S", node}, more...)
	if err := os.WriteFile(filepath.Join(conf, "owamp-server.conf"), []byte("dieby 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return &server{process: run(t, start, s.command("owampd", args...)), data: data}
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
