package hostfacts

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	netlinkTimeout = 2 * time.Second
	netlinkBuffer  = 64 << 10
	maxMessages    = 1 << 16 // of one answer
	typeMask       = 0x3fff  // NLA_TYPE_MASK: an attribute's type without its flags
)

// ask sends one request to the kernel's rtnetlink and returns the messages of the
// answer: many if the request says that it is a dump.
func ask(kind uint16, flags uint16, body []byte) ([]syscall.NetlinkMessage, error) {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	timeout := unix.NsecToTimeval(int64(netlinkTimeout))
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	request := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	*(*unix.NlMsghdr)(unsafe.Pointer(&request[0])) = unix.NlMsghdr{
		Len: uint32(cap(request)), Type: kind, Flags: unix.NLM_F_REQUEST | flags, Seq: 1,
	}
	if err := unix.Sendto(s, append(request, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	var all []syscall.NetlinkMessage
	buffer := make([]byte, netlinkBuffer)
	for len(all) < maxMessages {
		n, _, err := unix.Recvfrom(s, buffer, 0)
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(append([]byte(nil), buffer[:n]...))
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch {
			case m.Header.Type == unix.NLMSG_DONE:
				return all, nil
			case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
				return nil, os.NewSyscallError("rtnetlink", syscall.Errno(-int32(binary.NativeEndian.Uint32(m.Data))))
			}
			all = append(all, m)
			if flags&unix.NLM_F_DUMP == 0 {
				return all, nil
			}
		}
	}
	return nil, errors.New("rtnetlink: an answer without an end")
}

// attributes reads the attributes that b is; the last of a type counts.
func attributes(b []byte) map[uint16][]byte {
	all := make(map[uint16][]byte)
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			break
		}
		all[binary.NativeEndian.Uint16(b[2:])&typeMask] = b[unix.SizeofRtAttr:n]
		b = b[min((n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
	}
	return all
}

// A route is where packets go.
type route struct {
	index           int // of the interface
	gateway, source netip.Addr
}

// routeTo asks which way packets to an address go.
func routeTo(to netip.Addr) (*route, error) {
	family := unix.AF_INET6
	if to.Is4() {
		family = unix.AF_INET
	}
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1] = byte(family), byte(to.BitLen())
	address := to.AsSlice()
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(address)))
	b = binary.NativeEndian.AppendUint16(b, unix.RTA_DST)
	b = append(b, address...)
	messages, err := ask(unix.RTM_GETROUTE, 0, b)
	if err != nil {
		return nil, err
	}
	if len(messages) == 0 {
		return nil, errors.New("rtnetlink: no route")
	}
	return readRoute(messages[0].Data), nil
}

// readRoute reads a message about a route.
func readRoute(b []byte) *route {
	if len(b) < unix.SizeofRtMsg {
		return &route{}
	}
	a := attributes(b[unix.SizeofRtMsg:])
	r := &route{index: int(native32(a[unix.RTA_OIF]))}
	r.gateway, _ = netip.AddrFromSlice(a[unix.RTA_GATEWAY])
	r.source, _ = netip.AddrFromSlice(a[unix.RTA_PREFSRC])
	if via := a[unix.RTA_VIA]; len(via) > 2 { // of another family than the route
		r.gateway, _ = netip.AddrFromSlice(via[2:])
	}
	if paths := a[unix.RTA_MULTIPATH]; r.index == 0 && len(paths) >= unix.SizeofRtNexthop {
		// Of several ways the first.
		r.index = int(native32(paths[4:]))
		n := min(max(int(binary.NativeEndian.Uint16(paths)), unix.SizeofRtNexthop), len(paths))
		r.gateway, _ = netip.AddrFromSlice(attributes(paths[unix.SizeofRtNexthop:n])[unix.RTA_GATEWAY])
	}
	return r
}

// defaultGateways returns where packets go that have no way of their own.
func defaultGateways() []gateway {
	var all []gateway
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		messages, err := ask(unix.RTM_GETROUTE, unix.NLM_F_DUMP, append([]byte{family}, make([]byte, unix.SizeofRtMsg-1)...))
		if err != nil {
			continue
		}
		for _, m := range messages {
			// Octet 1 is the length of the prefix, octet 4 the table.
			if len(m.Data) < unix.SizeofRtMsg || m.Data[1] != 0 || m.Data[4] != unix.RT_TABLE_MAIN {
				continue
			}
			r := readRoute(m.Data)
			link, err := net.InterfaceByIndex(r.index)
			if err == nil && r.gateway.IsValid() && link.Name != "lo" {
				all = append(all, gateway{r.gateway.String(), link.Name})
			}
		}
	}
	return all
}

// native32 reads a number; 0 if there is none.
func native32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// native64 likewise.
func native64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b)
}
