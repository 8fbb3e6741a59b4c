package probe

import (
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A host that has been quiet for some milliseconds needs ten times as long to
// send a packet, for nothing of what that needs is in the processor's caches any
// longer. So what the delay of the first packet after a rest would show is the
// host, not the network. The lane therefore sends a few copies of the packet to
// itself, over the loopback interface, while it waits for the packet to be due.
const (
	// quietAfter is how long nothing must have been sent for that.
	quietAfter = 4 * time.Millisecond
	// warmLead is how long before a packet is due the lane begins.
	warmLead = 150 * time.Microsecond
	// warmCopies is how many copies it sends if time allows.
	warmCopies = 4
	// warmGuard is how long before the packet is due it sends no copy any
	// longer.
	warmGuard = 8 * time.Microsecond
	// longestCopy bounds a copy, in octets: the rest is padding.
	longestCopy = 1472
)

// A sink is a socket on the loopback interface that sends to itself.
type sink struct {
	fd int
	to sockaddr
}

// newSink returns a sink of IPv6 or IPv4.
func newSink(ipv6 bool) (*sink, error) {
	domain := unix.AF_INET
	var at unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if ipv6 {
		domain = unix.AF_INET6
		at = &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	k := &sink{fd: fd, to: sockaddr{len: unix.SizeofSockaddrInet6}}
	if err := unix.Bind(fd, at); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&k.to.raw)), uintptr(unsafe.Pointer(&k.to.len))); errno != 0 {
		unix.Close(fd)
		return nil, os.NewSyscallError("getsockname", errno)
	}
	return k, nil
}

// copiesTo returns where copies go.
func (l *lane) copiesTo() (to []netip.AddrPort) {
	for _, k := range l.sinks {
		if k != nil {
			to = append(to, k.to.addrPort())
		}
	}
	return to
}

func (k *sink) close() error { return os.NewSyscallError("close", unix.Close(k.fd)) }

// send sends a copy of the packet of s from the socket that it will be sent from,
// whose state in the kernel is to be warm as well. A socket that is bound to a
// device might send it out of that, so the sink's own takes its place.
func (k *sink) send(s *Sending) syscall.Errno {
	fd, packet := s.port.fd, s.packet
	switch {
	case s.port.onDevice:
		fd = k.fd
	case s.raw != nil:
		return s.raw.transmitCopy()
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&packet[0])), uintptr(min(len(packet), longestCopy)),
		0, uintptr(unsafe.Pointer(&k.to.raw)), uintptr(k.to.len))
	return errno
}

// drain takes out what has been sent.
func (k *sink) drain() {
	var b [1]byte
	for range 2 * warmCopies {
		_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(k.fd), uintptr(unsafe.Pointer(&b)), 1, unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			return
		}
	}
}
