//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package cli

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// hideEcho has the terminal that in is not show what is typed until show is
// called. If in is no terminal, neither does anything.
//
// What was typed before, and what is typed and not read when show is called, is
// thrown away: who reads the terminal next must not get parts of a secret. The
// keys that stop the program, or have it dump its stacks, do nothing meanwhile:
// they would leave the terminal mute.
func hideEcho(in io.Reader) (show func() error, err error) {
	none := func() error { return nil }
	f, ok := in.(syscall.Conn)
	if !ok {
		return none, nil
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return none, nil //nolint:nilerr // closed, as reading is going to find out
	}
	was, err := terminalState(conn)
	if err != nil {
		return none, nil //nolint:nilerr // no terminal
	}
	mute := *was
	mute.Lflag &^= unix.ECHO | unix.ECHONL
	mute.Cc[unix.VSUSP], mute.Cc[unix.VQUIT] = noKey, noKey
	if err := setTerminal(conn, &mute); err != nil {
		return nil, err
	}
	return func() error { return setTerminal(conn, was) }, nil
}

func terminalState(conn syscall.RawConn) (state *unix.Termios, err error) {
	if e := conn.Control(func(fd uintptr) { state, err = unix.IoctlGetTermios(int(fd), getTermios) }); e != nil {
		return nil, e
	}
	return state, err
}

// setTerminal throws away what was typed and not read.
func setTerminal(conn syscall.RawConn, state *unix.Termios) (err error) {
	if e := conn.Control(func(fd uintptr) { err = unix.IoctlSetTermios(int(fd), setTermiosFlush, state) }); e != nil {
		return e
	}
	return err
}
