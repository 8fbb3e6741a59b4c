package queue

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another process has the queue open.
var ErrBusy = errors.New("another process has it open")

// lockSuffix makes the name of the lock of that of the queue.
const lockSuffix = ".lock"

// lockFile takes the lock that is the file path, until that is closed.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if err != unix.EWOULDBLOCK {
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
		var b [16]byte
		n, _ := f.ReadAt(b[:], 0) // an empty file says nothing
		if pid := strings.TrimSpace(string(b[:n])); pid != "" {
			return nil, fmt.Errorf("%w: that with the PID %s", ErrBusy, pid)
		}
		return nil, ErrBusy
	}
	// One that root has made must not keep the queue's owner out.
	if owner, err := os.Stat(strings.TrimSuffix(path, lockSuffix)); err == nil && os.Geteuid() == 0 {
		if s, ok := owner.Sys().(*syscall.Stat_t); ok {
			_ = f.Chown(int(s.Uid), int(s.Gid))
		}
	}
	// Who it is is told to those who come in vain.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return f, nil
}
