package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
)

// A Go program cannot fork: its threads would be missing in the child. To go to
// the background owampd starts itself anew, and waits until that process, the
// daemon, says over a pipe that it listens, or why it does not.
//
// What goes through the pipe is what the daemon prints while it starts, and then
// starterReady, which no line contains.
const (
	starterEnv   = "OWAMPD_STARTER" // tells the daemon the number of the pipe's descriptor
	starterFD    = 3
	starterReady = 0
)

// detach starts the daemon, in a session of its own and without a terminal,
// passes on what it says until it listens, and returns the exit code.
func detach(ctx context.Context, args []string, stderr io.Writer) int {
	err := startDaemon(ctx, args, stderr)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errTold):
		return 1
	}
	return program.Refuse(stderr, fmt.Errorf("going to the background: %w", err))
}

// errTold says that the daemon has said itself why it does not start.
var errTold = errors.New("the daemon has ended")

func startDaemon(ctx context.Context, args []string, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	pipe, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer pipe.Close()
	cmd := exec.Command(self)
	cmd.Args = args
	cmd.Env = append(cmd.Environ(), starterEnv+"="+strconv.Itoa(starterFD))
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // it holds nothing yet
	said, ready := relay(stderr, pipe)
	if stop(); ready {
		return cmd.Process.Release()
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case said:
		return errTold
	case err == nil:
		return errors.New("the daemon has ended without a word")
	}
	return err
}

// relay copies what the daemon says to w. It reports whether it said anything,
// and whether it is ready.
func relay(w io.Writer, pipe io.Reader) (said, ready bool) {
	buf := make([]byte, 4096)
	for !ready {
		n, err := pipe.Read(buf)
		var text []byte
		text, _, ready = bytes.Cut(buf[:n], []byte{starterReady})
		if len(text) > 0 {
			said = true
			_, _ = w.Write(text) // the daemon starts, whether anyone reads or not
		}
		if err != nil {
			break
		}
	}
	return said, ready
}

// A starter is the process that has started this one, the daemon: it prints what
// is written, until it has been told that the daemon is ready.
type starter struct {
	mu   sync.Mutex
	pipe *os.File // nil: it is gone
}

// findStarter returns the process that has started this one to be the daemon,
// nil if none has.
func findStarter(getenv func(string) string) *starter {
	if getenv(starterEnv) != strconv.Itoa(starterFD) {
		return nil
	}
	os.Unsetenv(starterEnv)
	syscall.CloseOnExec(starterFD)
	return &starter{pipe: os.NewFile(starterFD, "starter")}
}

// Write passes p on. It never fails: nobody may be there any more.
func (s *starter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pipe != nil {
		_, _ = s.pipe.Write(p)
	}
	return len(p), nil
}

// ready tells the starter that it may end, and leaves the directory that it was
// started in, which is returned, so that its file system can be unmounted.
func (s *starter) ready() (dir string, err error) {
	if dir, err = os.Getwd(); err == nil {
		err = os.Chdir("/")
	}
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.pipe.Write([]byte{starterReady})
	s.pipe.Close()
	s.pipe = nil
	return dir, nil
}
