package stamp

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"owl/owamp"
)

const (
	// truthful stamps in a row are enough to trust those to come; so many
	// trials are made to get them.
	truthful = 4
	trials   = 32
	// rest is how long a packet of a trial lies in the socket before it is
	// read, so that the time of arrival and that of reading differ clearly.
	rest = time.Millisecond
	// trialTimeout bounds the wait for a packet on the loopback interface. Its
	// sender is a thread of this process, which a busy host may keep waiting.
	trialTimeout = 3 * time.Second
)

var errLate = errors.New("stamped when it was read, not when it arrived")

// Open opens a socket on the loopback interface, sends itself packets, and
// learns from them whether the kernel stamps packets on arrival. That takes some
// 10 ms where it does and at most a few seconds where it does not. The caller
// closes the Source when it has no use for stamps any longer.
func Open() *Source {
	s := &Source{Wake: unknownWake, socket: -1}
	if s.Err = s.open(); s.Err != nil {
		s.Departures.Err = s.Err
		return s
	}
	s.Departures = s.tryDepartures()
	wake, run, lies := time.Duration(0), 0, 0
	for range trials {
		t, err := s.trial()
		if err != nil && !errors.Is(err, errLate) {
			s.Err = err
			return s
		}
		wake = max(wake, t.wake)
		if err != nil {
			run, s.Precision = 0, 0
			lies++
			time.Sleep(time.Duration(lies) * rest)
			continue
		}
		s.Precision = max(s.Precision, t.stamp)
		if run++; run == truthful {
			s.Wake = wake
			return s
		}
	}
	s.Wake = wake
	s.Err = fmt.Errorf("time stamps: %d of %d packets on the loopback interface were %w", lies, trials, errLate)
	return s
}

// Close closes the socket. Open stamping sockets go on to be stamped.
func (s *Source) Close() error {
	if s.socket < 0 {
		return nil
	}
	fd := s.socket
	s.socket = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

// open makes a socket that is its own peer.
func (s *Source) open() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("time stamps: %w", os.NewSyscallError("socket", err))
	}
	s.socket = fd
	if err := Enable(fd, false); err != nil {
		return fmt.Errorf("time stamps: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("time stamps: binding to the loopback interface: %w", err)
	}
	self, err := unix.Getsockname(fd)
	if err == nil {
		err = unix.Connect(fd, self)
	}
	if err != nil {
		return fmt.Errorf("time stamps: joining a socket with itself: %w", err)
	}
	return nil
}

// latencies are times since just before a packet was sent.
type latencies struct{ stamp, wake time.Duration }

// trial sends one packet while this thread waits for it, lets it rest, reads it
// and looks at its stamp.
func (s *Source) trial() (latencies, error) {
	sent := make(chan time.Time, 1)
	go func() {
		time.Sleep(rest) // until the other thread waits
		now := time.Now()
		if _, err := unix.Write(s.socket, []byte{0}); err != nil {
			now = time.Time{}
		}
		sent <- now
	}()
	woken, ready := s.wait()
	before := <-sent
	if before.IsZero() || !ready {
		return latencies{}, errors.New("time stamps: a packet on the loopback interface did not arrive")
	}
	time.Sleep(rest)
	reading := owamp.FromTime(time.Now())
	var datagram [16]byte
	var control [ControlSize]byte
	_, n, _, _, err := unix.Recvmsg(s.socket, datagram[:], control[:], 0)
	if err != nil {
		return latencies{}, fmt.Errorf("time stamps: %w", os.NewSyscallError("recvmsg", err))
	}
	t := latencies{wake: woken.Sub(before)}
	stamp := Parse(control[:n]).Time
	if stamp == 0 || !stamp.Before(reading) {
		return t, errLate
	}
	t.stamp = max(stamp.Sub(owamp.FromTime(before)), time.Nanosecond)
	return t, nil
}

// wait waits for a packet and returns when this thread was awake.
func (s *Source) wait() (woken time.Time, ready bool) {
	fds := []unix.PollFd{{Fd: int32(s.socket), Events: unix.POLLIN}}
	for deadline := time.Now().Add(trialTimeout); ; {
		left := time.Until(deadline)
		if left <= 0 {
			return time.Now(), false
		}
		ts := unix.NsecToTimespec(int64(left))
		n, err := unix.Ppoll(fds, &ts, nil)
		if n > 0 {
			return time.Now(), true
		}
		if err != nil && err != unix.EINTR {
			return time.Now(), false
		}
	}
}
