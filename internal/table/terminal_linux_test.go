package table

import (
	"bytes"
	"os"
	"testing"

	"owl/internal/testprog"
)

func TestTerminalSize(t *testing.T) {
	terminal := testprog.NewTerminal(t)
	size := terminalSize(terminal.Program)
	if size == nil {
		t.Fatal("a pseudo-terminal is not taken for a terminal")
	}
	if c, r := size(); c != 80 || r != 24 {
		t.Errorf("a terminal that does not know its size is %d×%d, want 80×24", c, r)
	}
	terminal.Resize(t, 132, 43)
	if c, r := size(); c != 132 || r != 43 {
		t.Errorf("size %d×%d, want 132×43", c, r)
	}
	if !New(terminal.Program).Live() || NewLines(terminal.Program).Live() {
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
