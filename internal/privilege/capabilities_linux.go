package privilege

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capNetRaw is the bit of the capability that raw and packet sockets take.
const capNetRaw = 1 << unix.CAP_NET_RAW

// dropCapabilities gives up all capabilities in all threads, for good, but for
// those of the bits kept that the process has.
func dropCapabilities(kept uint) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var held [2]unix.CapUserData
	if err := unix.Capget(&header, &held[0]); err != nil {
		return err
	}
	if held[0].Permitted|held[1].Permitted == 0 {
		return nil
	}
	var left [2]unix.CapUserData
	left[0].Permitted = held[0].Permitted & uint32(kept)
	left[0].Effective = left[0].Permitted
	return inAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&left)), 0)
}

// keepCapabilities lets capabilities stay permitted when root becomes another.
func keepCapabilities() error {
	return inAllThreads(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0)
}

func inAllThreads(trap, a1, a2, a3 uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(trap, a1, a2, a3)
	switch errno {
	case 0:
		return nil
	case unix.ENOTSUP: // there may be threads that Go does not know
		return errors.New("this program was built with cgo: build it with CGO_ENABLED=0, or start it as another than root, without capabilities")
	}
	return errno
}

// allowRealTime lets the process have real-time threads of the least priority
// when it is no longer root's, if it may say so.
func allowRealTime() error {
	err := unix.Setrlimit(unix.RLIMIT_RTPRIO, &unix.Rlimit{Cur: 1, Max: 1})
	if err == unix.EPERM {
		return nil // then its packets are sent by a thread that others may delay
	}
	return err
}
