package table

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (program, user *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("NOT CHECKED: no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("NOT CHECKED: no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	return program, user
}

func TestTerminalSize(t *testing.T) {
	program, user := openTerminal(t)
	size := terminalSize(program)
	if size == nil {
		t.Fatal("a pseudo-terminal is not taken for a terminal")
	}
	if c, r := size(); c != 80 || r != 24 {
		t.Errorf("a terminal that does not know its size is %d×%d, want 80×24", c, r)
	}
	if err := unix.IoctlSetWinsize(int(user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 132, Row: 43}); err != nil {
		t.Fatal(err)
	}
	if c, r := size(); c != 132 || r != 43 {
		t.Errorf("size %d×%d, want 132×43", c, r)
	}
	if !New(program).Live() || NewLines(program).Live() {
		t.Error("New must draw on a terminal, NewLines must not")
	}
}

func TestNoTerminal(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	closed, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if New(null).Live() || New(w).Live() || New(closed).Live() || New(new(bytes.Buffer)).Live() {
		t.Error("/dev/null, a pipe, a closed file or a buffer is taken for a terminal")
	}
}
