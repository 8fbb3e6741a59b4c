package policy

import (
	"math"
	"math/bits"

	"owl/owamp"
)

// BandwidthOf returns how many bits a second the packets of a session take,
// with their IP and UDP headers and on average over its schedule, rounded down.
// mode is a single mode. It is what the C suite reckons, but for a schedule
// without any time between its packets: these count as sent within a second. A
// result that does not fit is the greatest number.
func BandwidthOf(spec *owamp.SessionSpec, mode owamp.Mode) uint64 {
	const ipv4, ipv6, udp = 20, 40, 8
	size := uint64(ipv6)
	if spec.Receiver.Addr().Unmap().Is4() {
		size = ipv4
	}
	size += udp + uint64(owamp.PacketSize(mode)) + uint64(spec.Padding)
	mean := uint64(spec.MeanInterval())
	if mean == 0 {
		hi, lo := bits.Mul64(uint64(spec.Packets), size*8)
		if hi != 0 {
			return math.MaxUint64
		}
		return lo
	}
	hi, lo := bits.Mul64(size*8, 1<<32)
	if hi >= mean {
		return math.MaxUint64
	}
	rate, _ := bits.Div64(hi, lo, mean)
	return rate
}

// PacketRateOf returns how many packets a second a session sends on average
// over its schedule, rounded up, but no more than it has.
func PacketRateOf(spec *owamp.SessionSpec) uint64 {
	mean, most := uint64(spec.MeanInterval()), uint64(spec.Packets)
	if mean == 0 {
		return most
	}
	return min((1<<32-1)/mean+1, most)
}

// DiskOf returns how many octets the .owp file of a session takes if no packet
// is duplicated, as the C suite estimates it: 16 more than the header has. (The
// C suite's sum wraps at 2^32; this does not.)
func DiskOf(spec *owamp.SessionSpec) uint64 {
	const fixed, request, slot, record = 56, 112, 16, 25
	return fixed + request + slot*(uint64(len(spec.Slots))+1) + record*uint64(spec.Packets)
}
