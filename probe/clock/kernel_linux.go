package clock

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// readKernel asks adjtimex, changing nothing.
func readKernel() (Kernel, error) {
	var tx unix.Timex
	if _, err := unix.Adjtimex(&tx); err != nil {
		return Kernel{}, os.NewSyscallError("adjtimex", err)
	}
	return kernelOf(&tx), nil
}

// kernelOf reads what adjtimex says. The offset is in nanoseconds where STA_NANO
// says so, else in microseconds; the errors are in microseconds.
func kernelOf(tx *unix.Timex) Kernel {
	unit := time.Microsecond
	if tx.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	return Kernel{
		Offset:       time.Duration(tx.Offset) * unit,
		Error:        time.Duration(tx.Esterror) * time.Microsecond,
		MaxError:     time.Duration(tx.Maxerror) * time.Microsecond,
		Synchronized: tx.Status&(unix.STA_UNSYNC|unix.STA_CLOCKERR) == 0,
	}
}
