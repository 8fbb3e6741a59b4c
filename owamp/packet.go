package owamp

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"

	"owl/owamp/internal/seal"
)

// Sizes of test packets without padding.
const (
	OpenPacketSize   = 14
	SealedPacketSize = 48 // authenticated and encrypted mode
)

// PacketSize returns the size of a test packet without padding in m, which is
// a single mode.
func PacketSize(m Mode) int {
	if m == ModeOpen {
		return OpenPacketSize
	}
	return SealedPacketSize
}

// A Seal is what protects the test packets of one session: the mode of its
// control connection and, but in open mode, keys of its own. The zero Seal is
// that of open mode. It prints as its mode.
type Seal struct {
	mode Mode // 0: open
	keys seal.Keys
}

// NewSeal returns the seal of a session of a connection that is in mode m, a
// single one, and has the keys k.
func NewSeal(m Mode, k *seal.Keys, sid SID) Seal {
	if m == ModeOpen {
		return Seal{}
	}
	return Seal{mode: m, keys: k.Session(sid)}
}

// Mode returns the mode of the session.
func (s Seal) Mode() Mode {
	if s.mode == 0 {
		return ModeOpen
	}
	return s.mode
}

// Format implements [fmt.Formatter]: no verb prints the keys.
func (s Seal) Format(f fmt.State, _ rune) { io.WriteString(f, s.Mode().String()) }

// packets returns the cipher of the session's packets, nil in open mode.
func (s Seal) packets() *seal.Packets {
	if s.Mode() == ModeOpen {
		return nil
	}
	return seal.NewPackets(&s.keys)
}

// A Sealer makes the test packets of one session (RFC 4656 section 4.1.2). In
// open mode a packet is
//
//	 0  sequence number
//	 4  time stamp
//	12  error estimate
//	14  padding
//
// and in the two others
//
//	 0  sequence number
//	 4  zeros[12]
//	16  time stamp
//	24  error estimate
//	26  zeros[6]
//	32  HMAC[16]
//	48  padding
//
// In authenticated mode the HMAC covers the first block, which is encrypted; in
// encrypted mode it covers two, which are. So it is only in encrypted mode that
// anything is left to be sealed when the stamp is known: a block and the HMAC.
//
// A packet is made in two steps, so that as little as possible lies between
// reading the clock and sending: [Sealer.Prepare], then [Sealer.Finish] on the
// same buffer, before another packet of the session is prepared. Padding is the
// caller's and stays as it is.
type Sealer struct {
	mode    Mode
	packets *seal.Packets // nil: open mode
	plain   [2 * seal.BlockSize]byte
}

// Sealer returns a Sealer for the session.
func (s Seal) Sealer() *Sealer { return &Sealer{mode: s.Mode(), packets: s.packets()} }

// Size returns how many octets a packet has without padding.
func (s *Sealer) Size() int { return PacketSize(s.mode) }

// Prepare writes into buf all of packet seq that does not depend on when it is
// sent. buf holds [Sealer.Size] octets or more.
func (s *Sealer) Prepare(buf []byte, seq uint32) {
	if s.mode == ModeOpen {
		binary.BigEndian.PutUint32(buf[:OpenPacketSize], seq)
		return
	}
	_ = buf[SealedPacketSize-1]
	first := (*[seal.BlockSize]byte)(s.plain[:])
	binary.BigEndian.PutUint32(first[:], seq)
	s.packets.Encrypt((*[seal.BlockSize]byte)(buf), first)
	if s.mode == ModeAuthenticated {
		clear(buf[16:32])
		s.packets.MAC.Sum((*[seal.BlockSize]byte)(buf[32:]), first[:])
	}
}

// Finish completes the prepared packet in buf as sent at t by a clock of error
// e. It does not allocate.
func (s *Sealer) Finish(buf []byte, t Timestamp, e ErrorEstimate) {
	switch s.mode {
	case ModeOpen:
		_ = buf[OpenPacketSize-1]
		binary.BigEndian.PutUint64(buf[4:], uint64(t))
		binary.BigEndian.PutUint16(buf[12:], uint16(e))
	case ModeAuthenticated:
		_ = buf[SealedPacketSize-1]
		binary.BigEndian.PutUint64(buf[16:], uint64(t))
		binary.BigEndian.PutUint16(buf[24:], uint16(e))
	default:
		_ = buf[SealedPacketSize-1]
		second := (*[seal.BlockSize]byte)(s.plain[seal.BlockSize:])
		binary.BigEndian.PutUint64(second[:], uint64(t))
		binary.BigEndian.PutUint16(second[8:], uint16(e))
		s.packets.MAC.Sum((*[seal.BlockSize]byte)(buf[32:]), s.plain[:])
		chained := (*[seal.BlockSize]byte)(buf[16:])
		subtle.XORBytes(chained[:], second[:], buf[:seal.BlockSize])
		s.packets.Encrypt(chained, chained)
	}
}

// An Opener reads the test packets of one session; see [Sealer].
type Opener struct {
	mode    Mode
	packets *seal.Packets // nil: open mode
	plain   [2 * seal.BlockSize]byte
}

// Opener returns an Opener for the session.
func (s Seal) Opener() *Opener { return &Opener{mode: s.Mode(), packets: s.packets()} }

// Size returns how many octets a packet has without padding.
func (o *Opener) Size() int { return PacketSize(o.mode) }

// Open reads the packet in buf, which may be followed by padding, into Seq,
// Sent and SentErr of r, and reports whether it is a packet of the session: it
// is long enough, its HMAC, if the mode has one, is right, and it has a valid
// error estimate. If not, r is unchanged. Open does not allocate.
func (o *Opener) Open(buf []byte, r *Record) bool {
	if len(buf) < o.Size() {
		return false
	}
	seq, sent := o.plain[:seal.BlockSize], o.plain[seal.BlockSize:]
	if o.mode == ModeOpen {
		seq, sent = buf[:4], buf[4:OpenPacketSize]
	} else if !o.unseal(buf) {
		return false
	}
	e := ErrorEstimate(binary.BigEndian.Uint16(sent[8:]))
	if !e.Valid() {
		return false
	}
	r.Seq = binary.BigEndian.Uint32(seq)
	r.Sent = Timestamp(binary.BigEndian.Uint64(sent))
	r.SentErr = e
	return true
}

// unseal decrypts the first two blocks of the packet in buf to o.plain, and
// reports whether its HMAC is right.
func (o *Opener) unseal(buf []byte) bool {
	first, second := (*[seal.BlockSize]byte)(o.plain[:]), (*[seal.BlockSize]byte)(o.plain[seal.BlockSize:])
	o.packets.Decrypt(first, (*[seal.BlockSize]byte)(buf))
	covered := first[:]
	if o.mode == ModeAuthenticated {
		copy(second[:], buf[seal.BlockSize:])
	} else {
		o.packets.Decrypt(second, (*[seal.BlockSize]byte)(buf[seal.BlockSize:]))
		subtle.XORBytes(second[:], second[:], buf[:seal.BlockSize])
		covered = o.plain[:]
	}
	return o.packets.MAC.Check((*[seal.BlockSize]byte)(buf[2*seal.BlockSize:]), covered)
}
