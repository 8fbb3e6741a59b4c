package owamp

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/bits"
	"net/netip"
	"strings"
)

// A SID names a session (RFC 4656 section 3.5). The party that receives the
// test packets makes it. It also seeds the schedule.
type SID [16]byte

// NewSID makes the SID of a session whose receiver has the address addr, at
// the time now: the IPv4 address or the last four octets of an IPv6 one, the
// time, and four octets from random.
func NewSID(addr netip.Addr, now Timestamp, random io.Reader) (SID, error) {
	var s SID
	b := addr.Unmap().AsSlice()
	if len(b) < 4 {
		return s, fmt.Errorf("session ID: %q is not an address", addr)
	}
	copy(s[:4], b[len(b)-4:])
	binary.BigEndian.PutUint64(s[4:], uint64(now))
	if _, err := io.ReadFull(random, s[12:]); err != nil {
		return s, fmt.Errorf("session ID: %w", err)
	}
	return s, nil
}

// ParseSID reads the 32 hexadecimal digits that [SID.String] writes.
func ParseSID(s string) (SID, error) {
	var id SID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("session ID %q: want 32 hexadecimal digits", s)
	}
	copy(id[:], b)
	return id, nil
}

func (s SID) String() string { return hex.EncodeToString(s[:]) }

// A Mode is a bit mask of the security modes of RFC 4656 section 3.1.
type Mode uint32

const (
	ModeOpen          Mode = 1
	ModeAuthenticated Mode = 2
	ModeEncrypted     Mode = 4
)

// ParseMode reads a set of modes as the -A options write it: any of the
// letters A, E and O, in either case.
func ParseMode(s string) (Mode, error) {
	var m Mode
	for _, c := range strings.ToUpper(s) {
		switch c {
		case 'O':
			m |= ModeOpen
		case 'A':
			m |= ModeAuthenticated
		case 'E':
			m |= ModeEncrypted
		default:
			return 0, fmt.Errorf("mode %q: want letters out of A, E and O", s)
		}
	}
	if m == 0 {
		return 0, fmt.Errorf("mode %q: want letters out of A, E and O", s)
	}
	return m, nil
}

func (m Mode) String() string {
	var b []byte
	for _, l := range []struct {
		m Mode
		c byte
	}{{ModeAuthenticated, 'A'}, {ModeEncrypted, 'E'}, {ModeOpen, 'O'}} {
		if m&l.m != 0 {
			b = append(b, l.c)
			m &^= l.m
		}
	}
	if m != 0 || len(b) == 0 {
		return fmt.Sprintf("%s(%#x)", b, uint32(m))
	}
	return string(b)
}

// An Accept is the answer to a request (RFC 4656 section 3.3).
type Accept uint8

const (
	AcceptOK             Accept = 0 // as asked
	AcceptReject         Accept = 1 // failure, reason unspecified; also denied by policy
	AcceptInternalError  Accept = 2
	AcceptNotSupported   Accept = 3 // some aspect of the request
	AcceptPermanentLimit Accept = 4 // cannot perform it due to permanent resource limits
	AcceptTemporaryLimit Accept = 5 // cannot perform it due to temporary resource limits
	acceptGreatest              = AcceptTemporaryLimit
)

// Valid reports whether RFC 4656 defines a.
func (a Accept) Valid() bool { return a <= acceptGreatest }

func (a Accept) String() string {
	switch a {
	case AcceptOK:
		return "accepted"
	case AcceptReject:
		return "refused"
	case AcceptInternalError:
		return "internal error"
	case AcceptNotSupported:
		return "not supported"
	case AcceptPermanentLimit:
		return "permanent resource limit"
	case AcceptTemporaryLimit:
		return "temporary resource limit"
	}
	return fmt.Sprintf("accept code %d", uint8(a))
}

// A SlotType says how the waiting time of a [Slot] is drawn.
type SlotType uint8

const (
	SlotExponential SlotType = 0 // exponentially distributed with mean Parameter
	SlotFixed       SlotType = 1 // always Parameter
)

// A Slot is one entry of a session's schedule (RFC 4656 section 3.5).
type Slot struct {
	Type      SlotType
	Parameter Interval
}

// A SessionSpec is what a Request-Session asks for, and what an .owp file
// remembers of it.
type SessionSpec struct {
	ConfSender   bool // the server sends
	ConfReceiver bool // the server receives
	Slots        []Slot
	Packets      uint32         // how many are scheduled
	Sender       netip.AddrPort // test packets come from here
	Receiver     netip.AddrPort // and go there; both of one address family
	SID          SID
	Padding      uint32 // octets after the packet proper
	Start        Timestamp
	Timeout      Interval // after it a packet that has not come is lost
	TypeP        uint32   // RFC 4656 section 3.5 Type-P descriptor; see DSCP
}

// typePDSCP are the bits of a Type-P descriptor that carry a DSCP.
const typePDSCP = 0x3f << 24

// TypePOf returns the Type-P descriptor of a DSCP (6 bits).
func TypePOf(dscp uint8) uint32 { return uint32(dscp) << 24 & typePDSCP }

// DSCP returns the differentiated services code point that the Type-P
// descriptor asks for; ok is false where it asks for something else, which
// this implementation cannot send.
func (s *SessionSpec) DSCP() (dscp uint8, ok bool) {
	return uint8(s.TypeP >> 24), s.TypeP&^typePDSCP == 0
}

// MeanInterval returns the mean time between two packets, 0 without slots.
func (s *SessionSpec) MeanInterval() Interval {
	if len(s.Slots) == 0 {
		return 0
	}
	var hi, lo, carry uint64
	for _, sl := range s.Slots {
		lo, carry = bits.Add64(lo, uint64(sl.Parameter), 0)
		hi += carry
	}
	mean, _ := bits.Div64(hi, lo, uint64(len(s.Slots)))
	return Interval(mean)
}

// Accepted is a server's answer to one Request-Session.
type Accepted struct {
	Accept Accept
	Port   uint16 // the server's test port
	SID    SID
}

// A SkipRange is a range of sequence numbers, both ends inclusive, that the
// sender never sent (RFC 4656 section 3.8).
type SkipRange struct{ First, Last uint32 }

// A SendReport is what the sending side says of one session in Stop-Sessions.
type SendReport struct {
	SID     SID
	NextSeq uint32 // the first sequence number that was not considered for sending
	Skips   []SkipRange
}
