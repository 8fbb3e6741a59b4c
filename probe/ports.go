package probe

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A PortRange is a range of UDP ports, both ends inclusive. The zero PortRange
// leaves the choice to the kernel.
type PortRange struct{ Low, High uint16 }

// ParsePortRange reads a range as the -P options write it: "low-high", a single
// port, or "0" for any that the kernel likes.
func ParsePortRange(s string) (PortRange, error) {
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	l, errLow := strconv.ParseUint(low, 10, 16)
	h, errHigh := strconv.ParseUint(high, 10, 16)
	if errLow != nil || errHigh != nil || l > h || l == 0 && h != 0 {
		return PortRange{}, fmt.Errorf("port range %q: want a port, low-high with ports from 1 to 65535, or 0", s)
	}
	return PortRange{uint16(l), uint16(h)}, nil
}

// String returns what [ParsePortRange] reads.
func (r PortRange) String() string {
	if r.Low == r.High {
		return strconv.Itoa(int(r.Low))
	}
	return fmt.Sprintf("%d-%d", r.Low, r.High)
}

// Contains reports whether port is in the range; the zero PortRange has all.
func (r PortRange) Contains(port uint16) bool {
	return r == (PortRange{}) || r.Low <= port && port <= r.High
}

// ports returns how many ports the range has; 0: any.
func (r PortRange) ports() int {
	if r == (PortRange{}) {
		return 0
	}
	return int(r.High) - int(r.Low) + 1
}

// PortConfig says where a [Port] is.
type PortConfig struct {
	// Addr is the local address. It must be a certain one, for a peer ignores
	// packets from another address than the one that was agreed on. A
	// link-local IPv6 address needs its zone.
	Addr netip.Addr
	// Ports are the ports to choose from, at random.
	Ports PortRange
	// Device is the network device that the port is bound to; empty: any.
	Device string
}
