package owamp

import (
	"encoding/binary"
	"fmt"
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

// A Sealer makes the test packets of one session (RFC 4656 section 4.1.2). In
// open mode a packet is
//
//	0  sequence number
//	4  time stamp
//	12 error estimate
//	14 padding
//
// A packet is made in two steps, so that as little as possible lies between
// reading the clock and sending: [Sealer.Prepare], then [Sealer.Finish] on the
// same buffer, before another packet of the session is prepared. Padding is the
// caller's and stays as it is.
type Sealer struct{}

// NewSealer returns a Sealer of mode m. Only open mode is supported.
func NewSealer(m Mode) (*Sealer, error) {
	if err := checkPacketMode(m); err != nil {
		return nil, err
	}
	return &Sealer{}, nil
}

func checkPacketMode(m Mode) error {
	if m != ModeOpen {
		return fmt.Errorf("test packets in mode %v: want mode O (open)", m)
	}
	return nil
}

// Size returns how many octets a packet has without padding.
func (s *Sealer) Size() int { return OpenPacketSize }

// Prepare writes into buf all of packet seq that does not depend on when it is
// sent. buf holds [PacketSize] octets or more.
func (s *Sealer) Prepare(buf []byte, seq uint32) {
	binary.BigEndian.PutUint32(buf[:OpenPacketSize], seq)
}

// Finish completes the prepared packet in buf as sent at t by a clock of error
// e. It does not allocate.
func (s *Sealer) Finish(buf []byte, t Timestamp, e ErrorEstimate) {
	_ = buf[OpenPacketSize-1]
	binary.BigEndian.PutUint64(buf[4:], uint64(t))
	binary.BigEndian.PutUint16(buf[12:], uint16(e))
}

// An Opener reads the test packets of one session; see [Sealer].
type Opener struct{}

// NewOpener returns an Opener of mode m. Only open mode is supported.
func NewOpener(m Mode) (*Opener, error) {
	if err := checkPacketMode(m); err != nil {
		return nil, err
	}
	return &Opener{}, nil
}

// Open reads the packet in buf, which may be followed by padding, into Seq,
// Sent and SentErr of r, and reports whether it is a packet of the session: it
// is long enough and has a valid error estimate. If not, r is unchanged. Open
// does not allocate.
func (o *Opener) Open(buf []byte, r *Record) bool {
	if len(buf) < OpenPacketSize {
		return false
	}
	e := ErrorEstimate(binary.BigEndian.Uint16(buf[12:]))
	if !e.Valid() {
		return false
	}
	r.Seq = binary.BigEndian.Uint32(buf)
	r.Sent = Timestamp(binary.BigEndian.Uint64(buf[4:]))
	r.SentErr = e
	return true
}
