package probe

import (
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A poller finds descriptors that are readable. It is an epoll instance of our
// own, on which each descriptor reports once and for reading only: the runtime's
// would be woken by every packet, even by those sent. One goroutine waits, in the
// kernel and not by the runtime's timers and poller, for each of which two or
// three threads would have to wake up.
type poller struct {
	epoll int
	quit  int // eventfd, readable from the end on
}

func newPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	quit, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &poller{epoll, quit}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(quit)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, quit, &event); err != nil {
		return nil, errors.Join(os.NewSyscallError("epoll_ctl", err), p.close())
	}
	return p, nil
}

// watch has the poller report once when fd is readable. The operation is to add
// fd, or to modify what there is.
func (p *poller) watch(fd, op int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epoll, op, fd, &event))
}

// wait waits until descriptors are readable and returns how many; 0: the end has
// come.
func (p *poller) wait(events []unix.EpollEvent) int {
	for {
		n, err := unix.EpollWait(p.epoll, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0
		}
		for _, e := range events[:n] {
			if e.Fd == int32(p.quit) {
				return 0
			}
		}
		return n
	}
}

// rawRest is the longest rest that the runtime need not know of. Its monitor
// wakes up a thousand times a second while goroutines come and go from and to the
// kernel, and every 10 ms while one of them seems to run; a collector that does
// not want to wait for it interrupts it by a signal.
const rawRest = 10 * time.Millisecond

// rest does nothing for d. It reports false if the end has come.
func (p *poller) rest(d time.Duration) bool {
	for end := time.Now().Add(d); d > 0; d = time.Until(end) {
		fd := unix.PollFd{Fd: int32(p.quit), Events: unix.POLLIN}
		ts := unix.NsecToTimespec(int64(d))
		var n uintptr
		var errno unix.Errno
		if d <= rawRest {
			n, _, errno = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fd)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		} else {
			n, _, errno = unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fd)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		}
		if errno == 0 {
			return n == 0
		}
	}
	return true
}

// end ends all waiting, that of later calls, too.
func (p *poller) end() {
	// It cannot fail but for a full counter, which is readable all the same.
	_, _ = unix.Write(p.quit, []byte{7: 1})
}

// close gives back what the poller has. Nobody waits any longer.
func (p *poller) close() error {
	return errors.Join(os.NewSyscallError("close", unix.Close(p.epoll)), os.NewSyscallError("close", unix.Close(p.quit)))
}
