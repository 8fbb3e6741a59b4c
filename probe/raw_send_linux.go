package probe

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawSendBuffer is the size of a raw socket's buffer, which holds what devices
// have not sent yet, of all sessions that share it. The kernel doubles it.
const rawSendBuffer = 4 << 20

// rawSockets are the raw sockets of an engine: one for each local address, for
// the kernel chooses a route by the address that a socket is bound to, and for
// each device that ports are bound to.
type rawSockets struct {
	mu   sync.Mutex
	open map[rawKey]*rawSocket
}

type rawKey struct {
	addr   netip.Addr
	device string
}

// A rawSocket sends the packets of the ports that share it. It receives nothing:
// what ICMP says of its packets comes to the UDP socket of the port, whose errors
// nobody trips over who sends from another.
type rawSocket struct {
	fd      int
	users   int // guarded by rawSockets.mu
	reports reporter
}

// rawAvailable returns nil if the process may open raw sockets, or why not.
func rawAvailable() error {
	fd, err := openRaw(unix.AF_INET)
	if err != nil {
		return err
	}
	return os.NewSyscallError("close", unix.Close(fd))
}

func openRaw(domain int) (fd int, err error) {
	fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err == unix.EPERM || err == unix.EACCES {
		return -1, fmt.Errorf("raw socket: %w, want the capability CAP_NET_RAW", err)
	}
	return fd, os.NewSyscallError("socket", err)
}

// take returns the socket for a port of addr, which may be bound to a device.
func (r *rawSockets) take(addr netip.Addr, device string) (*rawSocket, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := rawKey{addr, device}
	s := r.open[key]
	if s == nil {
		var err error
		if s, err = newRawSocket(addr, device); err != nil {
			return nil, err
		}
		if r.open == nil {
			r.open = make(map[rawKey]*rawSocket)
		}
		r.open[key] = s
	}
	s.users++
	return s, nil
}

// release gives back what take returned.
func (r *rawSockets) release(addr netip.Addr, device string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := rawKey{addr, device}
	s := r.open[key]
	if s.users--; s.users > 0 {
		return nil
	}
	delete(r.open, key)
	return os.NewSyscallError("close", unix.Close(s.fd))
}

func newRawSocket(addr netip.Addr, device string) (*rawSocket, error) {
	domain := unix.AF_INET
	if addr.Is6() {
		domain = unix.AF_INET6
	}
	fd, err := openRaw(domain)
	if err != nil {
		return nil, err
	}
	if err := setRawOptions(fd, addr, device); err != nil {
		unix.Close(fd)
		return nil, err
	}
	s := &rawSocket{fd: fd}
	s.reports.fd = fd
	return s, nil
}

func setRawOptions(fd int, addr netip.Addr, device string) error {
	// Without it nobody is told of a device's full queue.
	level, name := unix.IPPROTO_IP, unix.IP_RECVERR
	if addr.Is6() {
		level, name = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	if err := unix.SetsockoptInt(fd, level, name, 1); err != nil {
		return os.NewSyscallError("setsockopt IP_RECVERR", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, rawSendBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, rawSendBuffer); err != nil {
			return os.NewSyscallError("setsockopt SO_SNDBUF", err)
		}
	}
	if device != "" {
		if err := unix.BindToDevice(fd, device); err != nil {
			return fmt.Errorf("device %q: %w", device, os.NewSyscallError("setsockopt SO_BINDTODEVICE", err))
		}
	}
	to, err := sockaddrOf(netip.AddrPortFrom(addr, 0), addr.Is6())
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&to.raw)), uintptr(to.len)); errno != 0 {
		return os.NewSyscallError("bind", errno)
	}
	return nil
}

// A rawSession is what a session that is sent raw has beside its packet.
type rawSession struct {
	fd       int
	datagram []byte // header and packet
	sealed   int    // octets of the packet before its padding
	header   rawHeader
	to       sockaddr
	// What copies have instead; see sink.
	copyHeader rawHeader
	copyTo     sockaddr
}

// setRaw makes the session be sent raw, unless its packets are too long for that.
func (s *Sending) setRaw(k *sink) {
	p := s.port
	size, sealed := ipv4Header+udpHeader, s.spec.Sealer.Size()
	if p.ipv6 {
		size = ipv6Header + udpHeader
	}
	if size+len(s.packet) > rawLongest {
		return
	}
	r := &rawSession{fd: p.raw.fd, datagram: make([]byte, size+len(s.packet)), sealed: sealed, to: s.to}
	padding := s.packet[sealed:]
	r.header = newRawHeader(p.addr, s.to.addrPort(), s.spec.DSCP, len(s.packet), padding)
	if k != nil {
		r.copyHeader = newRawHeader(p.addr, k.to.addrPort(), s.spec.DSCP, len(s.packet), padding)
		r.copyTo = k.to
		putPort(&r.copyTo.raw.Port, 0)
	}
	// The port stands in the header; here it would be a protocol (raw(7)).
	putPort(&r.to.raw.Port, 0)
	copy(r.datagram, r.header.octets[:size])
	copy(r.datagram[size:], s.packet)
	s.packet = r.datagram[size:]
	s.raw = r
}

// transmit hands the packet to the kernel, and asks when it leaves if asking is
// not nil.
func (r *rawSession) transmit(asking *unix.Msghdr) syscall.Errno {
	return r.send(&r.header, &r.to, asking)
}

// transmitCopy sends the packet where copies go.
func (r *rawSession) transmitCopy() syscall.Errno {
	size := r.header.size
	copy(r.datagram, r.copyHeader.octets[:size])
	errno := r.send(&r.copyHeader, &r.copyTo, nil)
	copy(r.datagram, r.header.octets[:size])
	return errno
}

func (r *rawSession) send(h *rawHeader, to *sockaddr, asking *unix.Msghdr) syscall.Errno {
	d := r.datagram
	put16(d[h.size-2:], int(h.checksum(d[h.size:h.size+r.sealed])))
	if asking != nil {
		_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(r.fd), uintptr(unsafe.Pointer(asking)), 0)
		return errno
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(r.fd), uintptr(unsafe.Pointer(&d[0])), uintptr(len(d)),
		0, uintptr(unsafe.Pointer(&to.raw)), uintptr(to.len))
	return errno
}
