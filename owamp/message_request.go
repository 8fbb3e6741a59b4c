package owamp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Lengths in octets.
const (
	RequestSize = 112 // of the fixed part of a Request-Session, with its HMAC block
	SlotSize    = 16
)

// AppendRequest appends the 112 octets of the fixed part of a Request-Session
// (RFC 4656 section 3.5) to b; the slots, see [AppendSlots], and one more HMAC
// block follow on the wire and in an .owp file:
//
//	 0  1             u8
//	 1  MBZ | IPVN    u8, 4 or 6 in the low 4 bits
//	 2  Conf-Sender   u8
//	 3  Conf-Receiver u8
//	 4  Slots         u32
//	 8  Packets       u32
//	12  Sender Port   u16
//	14  Receiver Port u16
//	16  Sender Address[16]
//	32  Receiver Address[16], both 4 octets and zeros with IPVN 4; an IPv4
//	    address beside an IPv6 one is sent mapped into IPv6
//	48  SID[16]
//	64  Padding       u32
//	68  Start         Timestamp
//	76  Timeout       Interval
//	84  Type-P        u32
//	88  MBZ[8]
//	96  HMAC[16]
func (s *SessionSpec) AppendRequest(b []byte) []byte {
	version := byte(6)
	sender, receiver := s.Sender.Addr().As16(), s.Receiver.Addr().As16()
	if a, b := s.Sender.Addr().Unmap(), s.Receiver.Addr().Unmap(); !a.Is6() && !b.Is6() {
		version = 4
		sender, receiver = first4(a), first4(b)
	}
	b = append(b, byte(CommandRequestSession), version, octet(s.ConfSender), octet(s.ConfReceiver))
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.Slots)))
	b = binary.BigEndian.AppendUint32(b, s.Packets)
	b = binary.BigEndian.AppendUint16(b, s.Sender.Port())
	b = binary.BigEndian.AppendUint16(b, s.Receiver.Port())
	b = append(b, sender[:]...)
	b = append(b, receiver[:]...)
	b = append(b, s.SID[:]...)
	b = binary.BigEndian.AppendUint32(b, s.Padding)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Start))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Timeout))
	b = binary.BigEndian.AppendUint32(b, s.TypeP)
	return appendZeros(b, 8+BlockSize)
}

// first4 returns a, IPv4 or not set, in the first 4 of 16 octets.
func first4(a netip.Addr) (b [16]byte) {
	copy(b[:], a.AsSlice())
	return b
}

func octet(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// ParseRequest reads the fixed part of a Request-Session and says how many
// slots follow, of which there may be up to 2^32-1: it is for the caller to
// bound them. It refuses an IP version other than 4 and 6 and a request in
// which the server neither sends nor receives.
func ParseRequest(b *[RequestSize]byte) (spec SessionSpec, slots uint32, err error) {
	if err := CommandRequestSession.check(b[0]); err != nil {
		return spec, 0, err
	}
	spec.ConfSender, spec.ConfReceiver = b[2] != 0, b[3] != 0
	if !spec.ConfSender && !spec.ConfReceiver {
		return spec, 0, errors.New("the server neither sends nor receives")
	}
	var sender, receiver netip.Addr
	switch version := b[1] & 0xf; version {
	case 4:
		sender, receiver = netip.AddrFrom4([4]byte(b[16:])), netip.AddrFrom4([4]byte(b[32:]))
	case 6:
		sender, receiver = netip.AddrFrom16([16]byte(b[16:])), netip.AddrFrom16([16]byte(b[32:]))
	default:
		return spec, 0, fmt.Errorf("IP version %d, want 4 or 6", version)
	}
	spec.Packets = binary.BigEndian.Uint32(b[8:])
	spec.Sender = netip.AddrPortFrom(sender, binary.BigEndian.Uint16(b[12:]))
	spec.Receiver = netip.AddrPortFrom(receiver, binary.BigEndian.Uint16(b[14:]))
	spec.SID = SID(b[48:])
	spec.Padding = binary.BigEndian.Uint32(b[64:])
	spec.Start = Timestamp(binary.BigEndian.Uint64(b[68:]))
	spec.Timeout = Interval(binary.BigEndian.Uint64(b[76:]))
	spec.TypeP = binary.BigEndian.Uint32(b[84:])
	return spec, binary.BigEndian.Uint32(b[4:]), nil
}

// AppendSlots appends 16 octets for each slot to b (RFC 4656 section 3.6):
//
//	0  Type      u8
//	1  MBZ[7]
//	8  Parameter Interval
func AppendSlots(b []byte, slots []Slot) []byte {
	for _, s := range slots {
		b = appendZeros(append(b, byte(s.Type)), 7)
		b = binary.BigEndian.AppendUint64(b, uint64(s.Parameter))
	}
	return b
}

// ParseSlot reads one slot; it refuses a type that RFC 4656 does not define.
func ParseSlot(b *[SlotSize]byte) (Slot, error) {
	s := Slot{Type: SlotType(b[0]), Parameter: Interval(binary.BigEndian.Uint64(b[8:]))}
	if s.Type != SlotExponential && s.Type != SlotFixed {
		return s, fmt.Errorf("slot type %d, want 0 or 1", b[0])
	}
	return s, nil
}
