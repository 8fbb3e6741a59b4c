package clock

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// readKernel asks adjtimex, changing nothing.
func readKernel() (State, error) {
	var tx unix.Timex
	if _, err := unix.Adjtimex(&tx); err != nil {
		return State{}, os.NewSyscallError("adjtimex", err)
	}
	return stateOf(&tx), nil
}

// stateOf reads what adjtimex says. The offset is in nanoseconds where STA_NANO
// says so, else in microseconds; the errors are in microseconds.
func stateOf(tx *unix.Timex) State {
	unit := time.Microsecond
	if tx.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	return State{
		Offset:       time.Duration(tx.Offset) * unit,
		Error:        time.Duration(tx.Esterror) * time.Microsecond,
		MaxError:     time.Duration(tx.Maxerror) * time.Microsecond,
		Synchronized: tx.Status&(unix.STA_UNSYNC|unix.STA_CLOCKERR) == 0,
	}
}
