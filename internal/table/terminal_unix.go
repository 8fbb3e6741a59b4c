//go:build unix

package table

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminalSize returns a function that asks for w's width and height in
// characters, or nil if w is not a terminal. A terminal that does not know its
// size is taken for the usual one.
func terminalSize(w io.Writer) func() (columns, rows int) {
	f, ok := w.(syscall.Conn)
	if !ok {
		return nil
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	ask := func() (size *unix.Winsize, err error) {
		if e := conn.Control(func(fd uintptr) {
			size, err = unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ)
		}); e != nil {
			return nil, e
		}
		return size, err
	}
	if _, err := ask(); err != nil {
		return nil
	}
	return func() (columns, rows int) {
		size, err := ask()
		if err != nil || size.Col == 0 || size.Row == 0 {
			return 80, 24
		}
		return int(size.Col), int(size.Row)
	}
}
