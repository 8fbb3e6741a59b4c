package testprog

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Terminal is a terminal whose user is the test.
type Terminal struct {
	// Program is the end that programs have: what they write to it shows on the
	// screen, and what the user types is read from it.
	Program *os.File
	// Screen is what the user sees.
	Screen *Output

	user *os.File
	told *os.File // the exit code of the program
}

// NewTerminal opens a terminal, without which the test is skipped.
func NewTerminal(t testing.TB) *Terminal {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { user.Close() })
	n := 0
	control(t, user, func(fd int) (err error) {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	screen := &Output{changed: make(chan struct{})}
	go func() { _, _ = io.Copy(screen, user) }() // until it is closed
	return &Terminal{Program: program, Screen: screen, user: user}
}

// control calls do with the descriptor of f.
func control(t testing.TB, f *os.File, do func(fd int) error) {
	t.Helper()
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	closed := conn.Control(func(fd uintptr) { err = do(int(fd)) })
	if err := cmp.Or(closed, err); err != nil {
		t.Fatal(err)
	}
}

// leader is the process that the terminal is the controlling one of, a shell
// that starts the program, tells how it has ended, and then waits: with its
// leader a terminal dies, and nobody could see how the program has left it.
const leader = `trap : INT TERM HUP; "$@"; echo $? >&4; read -r _ <&5`

// Start starts cmd as [Start] does, with the terminal as what /dev/tty is to it.
// The process is a shell's, in one group with the program; see
// [Terminal.ExitCode].
func (x *Terminal) Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	told, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { told.Close() })
	wait, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close() })
	sh := exec.Command("sh", append([]string{"-c", leader, "sh", cmd.Path}, cmd.Args[1:]...)...)
	sh.Dir, sh.Env, sh.Stdin, sh.Stdout, sh.Stderr = cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr
	sh.ExtraFiles = []*os.File{x.Program, tell, wait}
	sh.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	p := Start(t, sh)
	tell.Close()
	wait.Close()
	x.told = told
	return p
}

// ExitCode waits for the end of the program that was started, and returns its
// exit code.
func (x *Terminal) ExitCode(t testing.TB) (code int) {
	t.Helper()
	if err := x.told.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanln(x.told, &code); err != nil {
		t.Fatalf("the program at the terminal has not ended: %v", err)
	}
	return code
}

// Type types keys; control-C is \x03.
func (x *Terminal) Type(t testing.TB, keys string) {
	t.Helper()
	if _, err := io.WriteString(x.user, keys); err != nil {
		t.Fatal(err)
	}
}

// Resize gives the screen another size.
func (x *Terminal) Resize(t testing.TB, columns, rows uint16) {
	t.Helper()
	control(t, x.user, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows})
	})
}

// State returns how the terminal is set.
func (x *Terminal) State(t testing.TB) (state unix.Termios) {
	t.Helper()
	control(t, x.Program, func(fd int) error {
		s, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			state = *s
		}
		return err
	})
	return state
}
