package testprog

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for something that must come.
const Patience = time.Minute

// quickExit keeps programs that run under the race detector from waiting for a
// second before they exit.
const quickExit = "GORACE=atexit_sleep_ms=0"

// Build compiles a program of this repository, such as "owl/cmd/owampd", and
// returns its path.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return path
}

// An Output is what a process prints. Each write of the process's own that is
// shorter than a pipe's buffer arrives as one.
type Output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed when there is more
}

// Write appends p.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *Output) get() (text string, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}

// String returns all that was printed.
func (o *Output) String() string {
	text, _ := o.get()
	return text
}

// Lines returns the whole lines that were printed, without their ends.
func (o *Output) Lines() []string {
	lines := strings.Split(o.String(), "\n")
	return lines[:len(lines)-1]
}

// A Place is where a program runs: [Here], or a host of package netlab.
type Place interface {
	Start(*exec.Cmd) error
}

// Here is this host.
var Here Place = thisHost{}

type thisHost struct{}

func (thisHost) Start(cmd *exec.Cmd) error { return cmd.Start() }

// A Process is a program that runs, in a process group of its own with all that
// it starts.
type Process struct {
	Cmd            *exec.Cmd
	Stdout, Stderr *Output
	ended          chan struct{}
}

// Start starts cmd on this host; see [StartIn].
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	return StartIn(t, Here, cmd)
}

// StartIn starts cmd somewhere. Stdout, Stderr and the environment are the
// command's own if it has them already. What is left of the process's group is
// killed when the process ends, and all of it at the end of the test.
func StartIn(t testing.TB, place Place, cmd *exec.Cmd) *Process {
	t.Helper()
	cmd.Env = append(cmd.Environ(), quickExit)
	p := &Process{Cmd: cmd, ended: make(chan struct{})}
	p.Stdout, p.Stderr = &Output{changed: make(chan struct{})}, &Output{changed: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.Stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.Stderr
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = !cmd.SysProcAttr.Setsid // a session begins with a group
	cmd.WaitDelay = 5 * time.Second                   // a child that lives on keeps the pipes open
	if err := place.Start(cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // ExitCode has what matters of it
		p.SignalGroup(syscall.SIGKILL)
	}()
	t.Cleanup(func() {
		select {
		case <-p.ended:
		default:
			p.SignalGroup(syscall.SIGKILL)
			<-p.ended
		}
		if t.Failed() {
			t.Logf("%v printed on stderr\n%s", cmd, p.Stderr)
		}
	})
	return p
}

// Signal sends a signal; to a process that has ended it does nothing.
func (p *Process) Signal(s syscall.Signal) { _ = p.Cmd.Process.Signal(s) }

// SignalGroup sends a signal to a process that has not ended and to all that it
// has started.
func (p *Process) SignalGroup(s syscall.Signal) { _ = syscall.Kill(-p.Cmd.Process.Pid, s) }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// ExitCode waits for the end of the process and returns its exit code, -1 if a
// signal has ended it.
func (p *Process) ExitCode(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(Patience):
		t.Fatalf("%v has not ended", p.Cmd)
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Terminate ends the process as an operator does and returns its exit code.
func (p *Process) Terminate(t testing.TB) int {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	return p.ExitCode(t)
}

// Await waits until what the process has printed to o is ok, and returns it. It
// is told what is waited for.
func (p *Process) Await(t testing.TB, o *Output, what string, ok func(text string) bool) string {
	t.Helper()
	return p.AwaitFor(t, Patience, o, what, ok)
}

// AwaitFor is Await with a patience of its own.
func (p *Process) AwaitFor(t testing.TB, patience time.Duration, o *Output, what string, ok func(text string) bool) string {
	t.Helper()
	timeout := time.After(patience)
	for ended := p.ended; ; {
		text, changed := o.get()
		if ok(text) {
			return text
		}
		if ended == nil {
			t.Fatalf("%v has ended without %s, after printing\n%s", p.Cmd, what, text)
		}
		select {
		case <-changed:
		case <-ended:
			ended = nil
		case <-timeout:
			t.Fatalf("%v: no %s within %v, only\n%s", p.Cmd, what, patience, text)
		}
	}
}

// AwaitText waits until o contains text n times.
func (p *Process) AwaitText(t testing.TB, o *Output, text string, n int) {
	t.Helper()
	p.Await(t, o, fmt.Sprintf("%q, %d times", text, n), func(s string) bool { return strings.Count(s, text) >= n })
}

// Until calls done until it gives no error, again and again with short pauses:
// for what nothing can tell of when it happens.
func Until(t testing.TB, what string, done func() error) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	err := errors.New("not tried")
	for time.Now().Before(deadline) {
		if err = done(); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s: %v", what, err)
}
