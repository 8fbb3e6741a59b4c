package clock

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// leastStep is what the reading of the two clocks may be off beside the time
	// that it takes.
	leastStep = time.Microsecond
	// drifts says that slewing comes between the wall clock and the monotonic one.
	drifts = false
)

// watchSet calls set each time that the wall clock was set, until ctx is done:
// the kernel then cancels timers of that clock which ask for it, so that nobody
// has to look. Where there are no such timers it returns at once.
func watchSet(ctx context.Context, set func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "timer")
	defer f.Close()
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	// When the timer expires, in 2038, it can still be cancelled.
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: 1<<31 - 1}}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil); err != nil {
		return
	}
	var expirations [8]byte
	for {
		switch _, err := f.Read(expirations[:]); {
		case errors.Is(err, unix.ECANCELED):
			set()
		case err != nil:
			return
		}
	}
}
