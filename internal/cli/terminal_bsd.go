//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package cli

import "golang.org/x/sys/unix"

const (
	getTermios      = unix.TIOCGETA
	setTermiosFlush = unix.TIOCSETAF
	noKey           = 0xff // _POSIX_VDISABLE
)
