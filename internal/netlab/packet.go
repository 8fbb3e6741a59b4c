package netlab

import (
	"encoding/binary"
	"net/netip"
)

// Protocol numbers of IP.
const (
	ProtocolTCP = 6
	ProtocolUDP = 17
)

// A Packet is what tells an IP packet from others. The zero Packet is that of
// octets that are no IP packet.
type Packet struct {
	// From and To have port 0 where the packet itself has none: those of other
	// protocols than UDP and TCP, and fragments but the first.
	From, To netip.AddrPort
	// Protocol is what IP carries, also in fragments but the first.
	Protocol uint8
	// TTL is IPv4's TTL or IPv6's hop limit, DSCP the upper six bits of the
	// traffic class.
	TTL, DSCP uint8
	// ID is IPv4's identification, or that of IPv6's fragment header. Together
	// with the addresses it tells which fragments belong together.
	ID uint32
	// Offset is where in its datagram a fragment begins, in octets. More says
	// that another fragment follows.
	Offset int
	More   bool
	// Size is that of the whole IP packet in octets.
	Size int
	// Head is the beginning of what UDP carries, filled up with zeros: in an
	// OWAMP test packet of open mode the sequence number and the sender's time
	// stamp.
	Head [16]byte
}

// UDP reports whether the packet is one of UDP, or a fragment of one.
func (p *Packet) UDP() bool { return p.Protocol == ProtocolUDP }

// Where the fields of an IP header are.
const (
	tos4, id4, fragment4, ttl4, protocol4, checksum4 = 1, 4, 6, 8, 9, 10
	source4, dest4, header4                          = 12, 16, 20

	next6, hopLimit6, source6, dest6, header6 = 6, 7, 8, 24, 40
	extension6                                = 8 // the least extension header, and the fragment's
)

// version returns 4 or 6 if b may be a packet of that version: it has the fixed
// part of the header.
func version(b []byte) int {
	switch {
	case len(b) >= header4 && b[0]>>4 == 4:
		return 4
	case len(b) >= header6 && b[0]>>4 == 6:
		return 6
	}
	return 0
}

// parse reads as much of a packet as there is.
func parse(b []byte) Packet {
	p := Packet{Size: len(b)}
	var payload []byte
	switch version(b) {
	case 4:
		fragment := binary.BigEndian.Uint16(b[fragment4:])
		p.Protocol, p.TTL, p.DSCP = b[protocol4], b[ttl4], b[tos4]>>2
		p.ID = uint32(binary.BigEndian.Uint16(b[id4:]))
		p.Offset, p.More = int(fragment&0x1fff)*8, fragment&0x2000 != 0
		p.From = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[source4:])), 0)
		p.To = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[dest4:])), 0)
		payload = b[min(len(b), max(header4, int(b[0]&0xf)*4)):]
	case 6:
		p.TTL, p.DSCP = b[hopLimit6], b[0]<<4>>2|b[1]>>6
		p.From = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[source6:])), 0)
		p.To = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[dest6:])), 0)
		payload = p.extensions(b[next6], b[header6:])
	default:
		return p
	}
	if p.Offset == 0 {
		p.transport(payload)
	}
	return p
}

// extensions reads the extension headers of IPv6 up to what they precede, and
// returns that.
func (p *Packet) extensions(next uint8, b []byte) []byte {
	const hopByHop, routing, fragment, destination = 0, 43, 44, 60
	for {
		p.Protocol = next
		size := 0
		switch next {
		case hopByHop, routing, destination:
			if len(b) >= extension6 {
				size = (int(b[1]) + 1) * 8
			}
		case fragment:
			if len(b) >= extension6 {
				size = extension6
				at := binary.BigEndian.Uint16(b[2:])
				p.Offset, p.More = int(at&^7), at&1 != 0
				p.ID = binary.BigEndian.Uint32(b[4:])
			}
		default:
			return b
		}
		if size == 0 || size > len(b) {
			return nil
		}
		next, b = b[0], b[size:]
		if p.Offset > 0 {
			p.Protocol = next
			return nil
		}
	}
}

// transport reads the ports, and the head of what UDP carries.
func (p *Packet) transport(b []byte) {
	const udpHeader = 8
	if p.Protocol != ProtocolUDP && p.Protocol != ProtocolTCP || len(b) < 4 {
		return
	}
	p.From = netip.AddrPortFrom(p.From.Addr(), binary.BigEndian.Uint16(b))
	p.To = netip.AddrPortFrom(p.To.Addr(), binary.BigEndian.Uint16(b[2:]))
	if p.UDP() && len(b) > udpHeader {
		copy(p.Head[:], b[udpHeader:])
	}
}

// lowerTTL lowers the TTL or hop limit by n, and reports whether the packet
// survives that.
func lowerTTL(b []byte, n uint8) bool {
	at := ttl4
	switch version(b) {
	case 0:
		return true
	case 6:
		at = hopLimit6
	}
	if n == 0 {
		return true
	}
	if b[at] <= n {
		return false
	}
	set(b, at, b[at]-n)
	return true
}

// remark sets the DSCP and leaves the two bits of ECN.
func remark(b []byte, dscp uint8) {
	switch version(b) {
	case 4:
		set(b, tos4, dscp<<2|b[tos4]&3)
	case 6:
		b[0] = b[0]&0xf0 | dscp>>2&0xf
		b[1] = b[1]&0x3f | dscp<<6
	}
}

// set changes an octet of the header. IPv4's checksum follows by RFC 1624,
// equation 3; IPv6 has none, and those of UDP and TCP cover neither TTL nor DSCP.
func set(b []byte, at int, v byte) {
	if version(b) != 4 {
		b[at] = v
		return
	}
	word := at &^ 1
	old := binary.BigEndian.Uint16(b[word:])
	b[at] = v
	sum := uint32(^binary.BigEndian.Uint16(b[checksum4:])) + uint32(^old) + uint32(binary.BigEndian.Uint16(b[word:]))
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(b[checksum4:], ^uint16(sum))
}
