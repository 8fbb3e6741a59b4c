package capture

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Loopback is the name of the loopback interface.
const Loopback = "lo"

// An Interface is a network interface of a network namespace. Two that are equal
// are the same.
type Interface struct {
	Index     int
	Name      string
	namespace uint64 // 0: the kernel (before 5.14) does not tell
}

// Interfaces returns the interfaces over which packets to addr come, those of the
// calling thread's network namespace: the given device or, if that is empty, the
// address's zone or all interfaces that have the address; and the loopback
// interface, which takes what the host sends to itself.
func Interfaces(addr netip.Addr, device string) ([]Interface, error) {
	ns, err := namespace()
	if err != nil {
		return nil, err
	}
	if device == "" {
		device = addr.Zone()
	}
	devices, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var found []Interface
	has := false
	for _, dev := range devices {
		own := dev.Name == device || strconv.Itoa(dev.Index) == addr.Zone()
		if device == "" {
			if own, err = owns(&dev, addr); err != nil {
				return nil, fmt.Errorf("interface %q: %w", dev.Name, err)
			}
		}
		if own || dev.Flags&net.FlagLoopback != 0 {
			found = append(found, Interface{dev.Index, dev.Name, ns})
		}
		has = has || own
	}
	switch {
	case has:
		return found, nil
	case device != "":
		return nil, fmt.Errorf("interface %q: there is none", device)
	default:
		return nil, fmt.Errorf("address %v: no interface has it", addr)
	}
}

// owns reports whether packets to addr come in over dev. All of a loopback
// interface's network is its own.
func owns(dev *net.Interface, addr netip.Addr) (bool, error) {
	addrs, err := dev.Addrs()
	if err != nil {
		return false, err
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if dev.Flags&net.FlagLoopback != 0 && n.Contains(addr.AsSlice()) || n.IP.Equal(addr.AsSlice()) {
			return true, nil
		}
	}
	return false, nil
}

// namespace returns what tells the calling thread's network namespace from
// others; 0 if the kernel does not tell.
func namespace() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, nil // an older kernel, where all have the same number
	}
	return cookie, nil
}
