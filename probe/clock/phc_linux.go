package clock

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// crossingsAtOnce is how many readings one system call makes, of which the
// narrowest counts.
const crossingsAtOnce = 10

// A PHC is the clock of a network card ("PTP hardware clock"), which is only read
// here. Whatever sets it, ptp4l say, need not set it to the time of day.
type PHC struct {
	file *os.File
	read func(fd int) (Crossing, error) // the best way that the driver has; nil: not known yet
}

// OpenPHC opens the clock /dev/ptp<index>, which takes the right to read that
// file. The caller closes it.
func OpenPHC(index int) (*PHC, error) {
	f, err := os.Open(fmt.Sprintf("/dev/ptp%d", index))
	if err != nil {
		return nil, fmt.Errorf("clock of a network card: %w", err)
	}
	return &PHC{file: f}, nil
}

// Close closes the clock.
func (p *PHC) Close() error { return p.file.Close() }

// Cross reads the clock and the wall clock at the same time. It must not be called
// by two goroutines at a time.
func (p *PHC) Cross() (Crossing, error) {
	ways := []func(int) (Crossing, error){crossPrecise, crossExtended, crossBetween}
	if p.read != nil {
		ways = []func(int) (Crossing, error){p.read}
	}
	var err error
	for _, read := range ways {
		var c Crossing
		if c, err = read(int(p.file.Fd())); err == nil {
			p.read = read
			return c, nil
		}
		if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOTTY) && !errors.Is(err, unix.EINVAL) {
			break // no other way would do better
		}
	}
	return Crossing{}, fmt.Errorf("%s: %w", p.file.Name(), err)
}

func nanoseconds(t unix.PtpClockTime) int64 { return t.Sec*1e9 + int64(t.Nsec) }

// crossPrecise has the hardware read both clocks at once, which few can.
func crossPrecise(fd int) (Crossing, error) {
	o, err := unix.IoctlPtpSysOffsetPrecise(fd)
	if err != nil {
		return Crossing{}, os.NewSyscallError("ioctl PTP_SYS_OFFSET_PRECISE", err)
	}
	return Crossing{Card: nanoseconds(o.Device), Wall: nanoseconds(o.Realtime)}, nil
}

// crossExtended has the driver read the wall clock directly before and after the
// register of the card.
func crossExtended(fd int) (Crossing, error) {
	o, err := unix.IoctlPtpSysOffsetExtended(fd, crossingsAtOnce)
	if err != nil {
		return Crossing{}, os.NewSyscallError("ioctl PTP_SYS_OFFSET_EXTENDED", err)
	}
	var r [crossingsAtOnce]reading
	for i := range r {
		r[i] = reading{nanoseconds(o.Ts[i][0]), nanoseconds(o.Ts[i][1]), nanoseconds(o.Ts[i][2])}
	}
	return narrowest(r[:])
}

// crossBetween has the kernel read the clocks in turns, which any driver can.
func crossBetween(fd int) (Crossing, error) {
	o := unix.PtpSysOffset{Samples: crossingsAtOnce}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.PTP_SYS_OFFSET, uintptr(unsafe.Pointer(&o))); errno != 0 {
		return Crossing{}, os.NewSyscallError("ioctl PTP_SYS_OFFSET", errno)
	}
	var r [crossingsAtOnce]reading
	for i := range r {
		r[i] = reading{nanoseconds(o.Ts[2*i]), nanoseconds(o.Ts[2*i+1]), nanoseconds(o.Ts[2*i+2])}
	}
	return narrowest(r[:])
}
