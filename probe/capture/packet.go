package capture

import (
	"encoding/binary"
	"net/netip"

	"owl/owamp"
)

// A Kind is what [Packet.Parse] has found.
type Kind uint8

const (
	// Other is what is no UDP: not even damaged, and nobody's business here.
	Other Kind = iota
	// Damaged is what the host would not take: it is shorter than it says, its
	// lengths contradict each other, or a checksum is wrong.
	Damaged
	// Fragment is a part of a datagram of UDP, to be given to an [Assembler].
	Fragment
	// Datagram is a whole datagram.
	Datagram
)

// A Packet is a UDP datagram and what its headers say. It is meant to be used
// again for one packet after another.
type Packet struct {
	// Source and Destination have no zone.
	Source, Destination netip.AddrPort
	Time                owamp.Timestamp // of arrival by the kernel's wall clock
	TTL                 uint8           // TTL or hop limit
	DSCP                uint8
	// Length is the number of octets that the datagram carries.
	Length int
	// Payload is what the datagram carries, valid as long as the frame is. Of a
	// datagram that came in fragments it is only the begin; see [Assembler].
	Payload []byte

	part part
}

// A part is where a fragment belongs.
type part struct {
	id     uint32
	offset int    // in octets, of body in what was fragmented
	more   bool   // it is not the last
	header int    // where in body the header of UDP is; only if offset is 0
	body   []byte // what was fragmented, of this part
}

// The Ethernet types that matter here.
const (
	typeIPv4    = 0x0800
	typeIPv6    = 0x86dd
	typeVLAN    = 0x8100 // IEEE 802.1Q
	typeService = 0x88a8 // IEEE 802.1ad, the outer one of two
	typeQinQ    = 0x9100 // the same before it was standardized
)

const (
	tagSize = 4
	maxTags = 4 // more in a frame make it Other

	protocolUDP = 17
	udpHeader   = 8

	ipv6Header = 40
	// maxHeaders is how many extension headers a packet may have; more make it
	// Other.
	maxHeaders = 8

	hopByHop    = 0
	routing     = 43
	fragmented  = 44
	destination = 60
)

// Parse reads a frame. It does not allocate. Where the kernel has told the type of
// what is behind a second VLAN tag (it does since Linux 6.12), it makes f.Type
// that of the tag. Unless it returns [Fragment] or
// [Datagram], p holds nothing of use; for a Fragment, no ports either, which only
// the first one has.
func (p *Packet) Parse(f *Frame) Kind {
	p.Time = f.Time
	if f.HasTag && hidesTag(f) {
		f.Type = typeVLAN
	}
	proto, b := f.Type, f.Data
	for range maxTags {
		switch proto {
		case typeIPv4:
			return p.ipv4(b, f.Sound)
		case typeIPv6:
			return p.ipv6(b, f.Sound)
		case typeVLAN, typeService, typeQinQ:
			if len(b) < tagSize {
				return Damaged
			}
			proto, b = binary.BigEndian.Uint16(b[2:]), b[tagSize:]
		default:
			return Other
		}
	}
	return Other
}

// hidesTag reports whether a frame begins with a VLAN tag and not, as its type
// says, with IP.
func hidesTag(f *Frame) bool {
	b := f.Data
	if len(b) < tagSize {
		return false
	}
	switch binary.BigEndian.Uint16(b[2:]) {
	case typeIPv4, typeIPv6, typeVLAN, typeService, typeQinQ:
	default:
		return false
	}
	switch f.Type {
	case typeIPv4:
		return headerLength4(b) == 0
	case typeIPv6:
		return len(b) < ipv6Header || b[0]>>4 != 6 || int(binary.BigEndian.Uint16(b[4:])) > len(b)-ipv6Header
	default:
		return false
	}
}

// headerLength4 returns the length of the header of IPv4 that b begins with; 0:
// it is none, or damaged.
func headerLength4(b []byte) int {
	if len(b) < 20 || b[0]>>4 != 4 {
		return 0
	}
	n, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if n < 20 || total < n || total > len(b) || sum(b[:n]) != 0xffff {
		return 0
	}
	return n
}

// ipv4 reads a packet of IPv4 (RFC 791).
func (p *Packet) ipv4(b []byte, sound bool) Kind {
	header := headerLength4(b)
	if header == 0 {
		return Damaged
	}
	if b[9] != protocolUDP {
		return Other
	}
	p.DSCP, p.TTL = b[1]>>2, b[8]
	p.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), 0)
	p.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:])), 0)
	// What follows the packet is the padding of a short frame.
	body := b[header:binary.BigEndian.Uint16(b[2:])]
	const moreFragments, offset = 0x2000, 0x1fff
	if field := binary.BigEndian.Uint16(b[6:]); field&(moreFragments|offset) != 0 {
		return p.fragment(part{
			id:     uint32(binary.BigEndian.Uint16(b[4:])),
			offset: int(field&offset) * 8,
			more:   field&moreFragments != 0,
			body:   body,
		})
	}
	return p.udp(body, sound)
}

// ipv6 reads a packet of IPv6 (RFC 8200).
func (p *Packet) ipv6(b []byte, sound bool) Kind {
	if len(b) < ipv6Header || b[0]>>4 != 6 {
		return Damaged
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length > len(b)-ipv6Header {
		return Damaged
	}
	p.DSCP, p.TTL = uint8(binary.BigEndian.Uint16(b)>>6)&0x3f, b[7]
	p.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])), 0)
	p.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[24:])), 0)
	next, body := b[6], b[ipv6Header:ipv6Header+length]
	first := true
	for range maxHeaders {
		switch next {
		case protocolUDP:
			return p.udp(body, sound)
		case fragmented:
			if len(body) < 8 {
				return Damaged
			}
			f := part{id: binary.BigEndian.Uint32(body[4:]), body: body[8:]}
			field := binary.BigEndian.Uint16(body[2:])
			f.offset, f.more = int(field&^7), field&1 != 0
			next, body = body[0], body[8:]
			if f.offset == 0 && !f.more {
				break // a whole packet (RFC 6946)
			}
			if f.offset == 0 {
				skipped, kind := skipHeaders(next, f.body)
				if kind != Datagram {
					return kind
				}
				f.header = skipped
			}
			return p.fragment(f)
		case hopByHop, routing, destination:
			n := headerLength(next, body, first)
			if n == 0 {
				return Damaged
			}
			if next == routing && body[3] != 0 {
				return Other // it is not here that it ends
			}
			next, body = body[0], body[n:]
		default:
			return Other
		}
		first = false
	}
	return Other
}

// headerLength returns the length of the extension header that body begins with;
// 0: it is no such header. Hop-by-hop options come first or not at all.
func headerLength(kind uint8, body []byte, first bool) int {
	if len(body) < 8 || kind == hopByHop && !first {
		return 0
	}
	n := 8 + int(body[1])*8
	if n > len(body) {
		return 0
	}
	return n
}

// skipHeaders finds the header of UDP in the first fragment of a packet, which
// has all headers (RFC 7112): Datagram says that it is there, whole.
func skipHeaders(next uint8, body []byte) (at int, kind Kind) {
	for range maxHeaders {
		switch next {
		case protocolUDP:
			if len(body)-at < udpHeader {
				return 0, Damaged
			}
			return at, Datagram
		case routing, destination:
			n := headerLength(next, body[at:], false)
			if n == 0 {
				return 0, Damaged
			}
			if next == routing && body[at+3] != 0 {
				return 0, Other
			}
			next, at = body[at], at+n
		default:
			return 0, Other
		}
	}
	return 0, Other
}

// fragment notes a part of a datagram and, of the first one, the ports. All parts
// but the last have a multiple of eight octets.
func (p *Packet) fragment(f part) Kind {
	if len(f.body) == 0 || f.more && len(f.body)%8 != 0 || f.offset+len(f.body) > maxLength {
		return Damaged
	}
	if f.offset == 0 {
		if len(f.body)-f.header < udpHeader {
			return Damaged
		}
		p.setPorts(f.body[f.header:])
	}
	p.part = f
	return Fragment
}

// udp reads a whole datagram (RFC 768), which may be followed by what is not a
// part of it.
func (p *Packet) udp(b []byte, sound bool) Kind {
	if len(b) < udpHeader {
		return Damaged
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < udpHeader || length > len(b) {
		return Damaged
	}
	p.setPorts(b)
	if !p.checked(binary.BigEndian.Uint16(b[6:]), sound, length, b[:length]) {
		return Damaged
	}
	p.Length, p.Payload = length-udpHeader, b[udpHeader:length]
	return Datagram
}

func (p *Packet) setPorts(b []byte) {
	p.Source = netip.AddrPortFrom(p.Source.Addr(), binary.BigEndian.Uint16(b))
	p.Destination = netip.AddrPortFrom(p.Destination.Addr(), binary.BigEndian.Uint16(b[2:]))
}

// checked reports whether a datagram of the given length passes its checksum.
// IPv4 may leave it out, IPv6 may not.
func (p *Packet) checked(checksum uint16, sound bool, length int, datagram []byte) bool {
	switch {
	case checksum == 0:
		return p.Source.Addr().Is4()
	case sound:
		return true
	default:
		return add(p.pseudoHeader(length), sum(datagram)) == 0xffff
	}
}

// pseudoHeader returns the sum of what the checksum of UDP covers beside the
// datagram.
func (p *Packet) pseudoHeader(length int) uint16 {
	s := add(protocolUDP, uint16(length))
	if p.Source.Addr().Is4() {
		from, to := p.Source.Addr().As4(), p.Destination.Addr().As4()
		return add(s, add(sum(from[:]), sum(to[:])))
	}
	from, to := p.Source.Addr().As16(), p.Destination.Addr().As16()
	return add(s, add(sum(from[:]), sum(to[:])))
}
