package probe

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A peer is an address and port as a map's key: 16 octets of address, of which
// IPv4 uses the first four, four of scope and two of port.
type peer [22]byte

// A sockaddr is a struct sockaddr_in or sockaddr_in6 as the kernel has it.
type sockaddr struct {
	raw unix.RawSockaddrInet6 // the larger of the two
	len uint32
}

// sockaddrOf returns the address at for a socket of IPv6 or IPv4.
func sockaddrOf(at netip.AddrPort, ipv6 bool) (sockaddr, error) {
	addr := at.Addr().Unmap()
	var s sockaddr
	switch {
	case !addr.IsValid(), addr.Is4() == ipv6:
		return s, fmt.Errorf("address %q: want one of %s", at.Addr(), family(ipv6))
	case addr.Is4():
		raw := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		raw.Family = unix.AF_INET
		raw.Addr = addr.As4()
		putPort(&raw.Port, at.Port())
		s.len = unix.SizeofSockaddrInet4
	default:
		scope, err := scopeOf(addr)
		if err != nil {
			return s, err
		}
		s.raw.Family = unix.AF_INET6
		s.raw.Addr = addr.As16()
		s.raw.Scope_id = scope
		putPort(&s.raw.Port, at.Port())
		s.len = unix.SizeofSockaddrInet6
	}
	return s, nil
}

// key returns the peer that the address names. Only link-local addresses have a
// scope.
func (s *sockaddr) key() (k peer) {
	if s.raw.Family == unix.AF_INET {
		raw := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		copy(k[:16], raw.Addr[:])
	} else {
		copy(k[:16], s.raw.Addr[:])
		binary.NativeEndian.PutUint32(k[16:], s.raw.Scope_id)
	}
	binary.NativeEndian.PutUint16(k[20:], s.raw.Port)
	return k
}

// addrPort returns the address in Go's form, without its zone.
func (s *sockaddr) addrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&s.raw.Port))[:])
	if s.raw.Family == unix.AF_INET {
		raw := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		return netip.AddrPortFrom(netip.AddrFrom4(raw.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(s.raw.Addr), port)
}

func putPort(field *uint16, port uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(field))[:], port)
}

func family(ipv6 bool) string {
	if ipv6 {
		return "IPv6"
	}
	return "IPv4"
}

// scopeOf returns the number of the interface that is addr's zone.
func scopeOf(addr netip.Addr) (uint32, error) {
	zone := addr.Zone()
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	dev, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("address %q: zone: %w", addr, err)
	}
	return uint32(dev.Index), nil
}
