package probe

import (
	"fmt"
	"net/netip"
)

// A Transmit is how an [Engine] hands packets to the kernel.
type Transmit uint8

const (
	// TransmitUDP sends each packet from the UDP socket of its port.
	TransmitUDP Transmit = iota
	// TransmitRaw sends the packets of all ports of one local address from one
	// raw socket, with IP and UDP headers of its own, and so costs the same for
	// many ports as for one. It needs CAP_NET_RAW. Packets that some path might
	// have to fragment are sent as with TransmitUDP.
	TransmitRaw
)

var transmits = [...]string{TransmitUDP: "udp", TransmitRaw: "raw"}

// ParseTransmit reads what [Transmit.String] returns: udp or raw.
func ParseTransmit(s string) (Transmit, error) {
	for t, name := range transmits {
		if s == name {
			return Transmit(t), nil
		}
	}
	return 0, fmt.Errorf("transmit %q: want udp or raw", s)
}

// String returns the name of the way to send.
func (t Transmit) String() string {
	if int(t) < len(transmits) {
		return transmits[t]
	}
	return fmt.Sprintf("transmit %d", uint8(t))
}

const (
	ipv4Header = 20 // octets, without options
	ipv6Header = 40
	udpHeader  = 8
	// rawLongest is the longest datagram, with its headers, that is sent raw:
	// what every link of an IPv6 path takes (RFC 8200 section 5). A raw socket
	// does not fragment, nor does it learn from routers what they cannot
	// forward.
	rawLongest = 1280
	// rawTTL is that of the UDP sockets, too (RFC 4656 section 4.1.2).
	rawTTL = 255
	// protocolUDP is UDP's number in IP headers.
	protocolUDP = 17
)

// A rawHeader is what precedes the packets of a session from one address and
// port to another: an IP header and a UDP header.
type rawHeader struct {
	octets [ipv6Header + udpHeader]byte
	size   int // of octets: the rest is not used
	// sum is that of all that a UDP checksum covers and that is the same in
	// each packet of the session: pseudo-header, UDP header and padding.
	sum uint64
}

// newRawHeader returns the header of packets that carry the given DSCP and whose
// payload is of length octets, the last of which are padding.
func newRawHeader(from, to netip.AddrPort, dscp uint8, length int, padding []byte) (h rawHeader) {
	var ip []byte
	udp := udpHeader + length
	source, destination := from.Addr().AsSlice(), to.Addr().AsSlice()
	if to.Addr().Is4() {
		h.size = ipv4Header + udpHeader
		ip = h.octets[:ipv4Header]
		ip[0] = 4<<4 | ipv4Header/4
		ip[1] = dscp << 2
		put16(ip[2:], h.size+length)
		// Whatever is not fragmented needs no identification (RFC 6864
		// section 4.1). The kernel adds the header's checksum.
		ip[6] = 1 << 6 // do not fragment
		ip[8] = rawTTL
		ip[9] = protocolUDP
		copy(ip[12:], source)
		copy(ip[16:], destination)
	} else {
		h.size = ipv6Header + udpHeader
		ip = h.octets[:ipv6Header]
		ip[0] = 6<<4 | dscp>>2
		ip[1] = dscp << 6
		put16(ip[4:], udp)
		ip[6] = protocolUDP
		ip[7] = rawTTL
		copy(ip[8:], source)
		copy(ip[24:], destination)
	}
	head := h.octets[len(ip):h.size]
	put16(head, int(from.Port()))
	put16(head[2:], int(to.Port()))
	put16(head[4:], udp)
	h.sum = sum16(source) + sum16(destination) + protocolUDP + uint64(udp) + sum16(head) + sum16(padding)
	return h
}

// checksum returns the UDP checksum of a packet, without its padding, behind the
// header (RFC 768, RFC 8200 section 8.1). Of octets is an even number.
func (h *rawHeader) checksum(packet []byte) uint16 {
	sum := h.sum + sum16(packet)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum == 0xffff {
		return 0xffff // 0 would say that there is no checksum
	}
	return ^uint16(sum)
}

// sum16 returns the sum of the 16-bit words of b, of which the last is filled up
// with zeros. It is right modulo 65535 only, as checksums are (RFC 1071).
func sum16(b []byte) (sum uint64) {
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	}
	switch len(b) {
	case 3:
		sum += uint64(b[0])<<8 | uint64(b[1]) + uint64(b[2])<<8
	case 2:
		sum += uint64(b[0])<<8 | uint64(b[1])
	case 1:
		sum += uint64(b[0]) << 8
	}
	return sum
}

func put16(b []byte, v int) { b[0], b[1] = byte(v>>8), byte(v) }
