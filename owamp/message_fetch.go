package owamp

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Lengths in octets.
const (
	FetchSessionSize = 48
	FetchAckSize     = 32
	SkipRangeSize    = 8
	RecordSize       = 25
)

// A FetchSession asks for the records of a session (RFC 4656 section 3.9):
//
//	 0  4         u8
//	 1  MBZ[7]
//	 8  Begin Seq u32
//	12  End Seq   u32
//	16  SID[16]
//	32  HMAC[16]
//
// Begin 0 with End 0xFFFFFFFF is the whole session, which must have ended.
type FetchSession struct {
	Begin, End uint32 // sequence numbers, both ends inclusive
	SID        SID
}

// Whole reports whether f asks for the whole session.
func (f FetchSession) Whole() bool { return f.Begin == 0 && f.End == math.MaxUint32 }

// Append appends the 48 octets of f to b.
func (f FetchSession) Append(b []byte) []byte {
	b = appendZeros(append(b, byte(CommandFetchSession)), 7)
	b = binary.BigEndian.AppendUint32(b, f.Begin)
	b = binary.BigEndian.AppendUint32(b, f.End)
	b = append(b, f.SID[:]...)
	return appendZeros(b, BlockSize)
}

// ParseFetchSession refuses another command.
func ParseFetchSession(b *[FetchSessionSize]byte) (FetchSession, error) {
	if err := CommandFetchSession.check(b[0]); err != nil {
		return FetchSession{}, err
	}
	return FetchSession{
		Begin: binary.BigEndian.Uint32(b[8:]),
		End:   binary.BigEndian.Uint32(b[12:]),
		SID:   SID(b[16:]),
	}, nil
}

// A FetchAck answers a Fetch-Session (RFC 4656 section 3.9):
//
//	 0  Accept      u8
//	 1  Finished    u8
//	 2  MBZ[2]
//	 4  Next Seqno  u32
//	 8  Skip ranges u32
//	12  Records     u32
//	16  HMAC[16]
//
// Nothing follows one that is not [AcceptOK], and its other fields are zero.
// After one that is come four parts, each with an HMAC block at its end:
//
//	the Request-Session of the session, with the ports and the SID that it had
//	its slots
//	skip ranges, filled up with zeros to a whole block
//	records, likewise
type FetchAck struct {
	Accept   Accept
	Finished uint8  // as in the .owp file: 0 failed, 1 normal, 2 incomplete
	NextSeq  uint32 // as in SendReport
	Skips    uint32 // ranges that follow
	Records  uint32 // that follow
}

// Append appends the 32 octets of a to b.
func (a FetchAck) Append(b []byte) []byte {
	if a.Accept != AcceptOK {
		a = FetchAck{Accept: a.Accept}
	}
	b = append(b, byte(a.Accept), a.Finished, 0, 0)
	b = binary.BigEndian.AppendUint32(b, a.NextSeq)
	b = binary.BigEndian.AppendUint32(b, a.Skips)
	b = binary.BigEndian.AppendUint32(b, a.Records)
	return appendZeros(b, BlockSize)
}

// ParseFetchAck reads a Fetch-Ack; it refuses an accept code that RFC 4656
// does not define.
func ParseFetchAck(b *[FetchAckSize]byte) (FetchAck, error) {
	a, err := parseAccept(b[0])
	if err != nil || a != AcceptOK {
		return FetchAck{Accept: a}, err
	}
	return FetchAck{
		Finished: b[1],
		NextSeq:  binary.BigEndian.Uint32(b[4:]),
		Skips:    binary.BigEndian.Uint32(b[8:]),
		Records:  binary.BigEndian.Uint32(b[12:]),
	}, nil
}

// AppendSkips appends skip ranges, and zeros up to a whole block, to b:
//
//	0  First u32
//	4  Last  u32
func AppendSkips(b []byte, skips []SkipRange) []byte {
	for _, s := range skips {
		b = binary.BigEndian.AppendUint32(b, s.First)
		b = binary.BigEndian.AppendUint32(b, s.Last)
	}
	return appendZeros(b, len(skips)%2*SkipRangeSize)
}

// ParseSkip reads one skip range; it refuses one that ends before it begins.
func ParseSkip(b *[SkipRangeSize]byte) (SkipRange, error) {
	s := SkipRange{binary.BigEndian.Uint32(b[0:]), binary.BigEndian.Uint32(b[4:])}
	if s.First > s.Last {
		return s, fmt.Errorf("skip range %d to %d: want its end not before its begin", s.First, s.Last)
	}
	return s, nil
}

// Append appends the 25 octets of r to b, its flags and DSCP left out (RFC 4656
// section 3.9):
//
//	 0  Seq      u32
//	 4  Sent Err u16
//	 6  Recv Err u16
//	 8  Sent     Timestamp
//	16  Recv     Timestamp, 0 for a lost packet
//	24  TTL      u8
func (r *Record) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, r.Seq)
	b = binary.BigEndian.AppendUint16(b, uint16(r.SentErr))
	b = binary.BigEndian.AppendUint16(b, uint16(r.RecvErr))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Sent))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Recv))
	return append(b, r.TTL)
}

// ParseRecord reads one record; it refuses an error estimate that is not valid,
// for no receiver writes one.
func ParseRecord(b *[RecordSize]byte) (Record, error) {
	var r [1]Record
	_, err := ParseRecords(r[:], b[:])
	return r[0], err
}

// ParseRecords reads as many records from b as there is room for in recs, which
// b has, and returns how many there are before the first that [ParseRecord]
// refuses.
func ParseRecords(recs []Record, b []byte) (good int, err error) {
	for i := range recs {
		b := b[i*RecordSize:][:RecordSize:RecordSize]
		estimates := binary.BigEndian.Uint32(b[4:])
		r := &recs[i]
		*r = Record{
			Seq:     binary.BigEndian.Uint32(b[0:]),
			SentErr: ErrorEstimate(estimates >> 16),
			RecvErr: ErrorEstimate(estimates),
			Sent:    Timestamp(binary.BigEndian.Uint64(b[8:])),
			Recv:    Timestamp(binary.BigEndian.Uint64(b[16:])),
			TTL:     b[24],
		}
		if !r.SentErr.Valid() || !r.RecvErr.Valid() {
			return i, r.Validate()
		}
	}
	return len(recs), nil
}

// Validate refuses a record that no receiver writes, for no clock's error is
// zero. It is how a record is told from octets that never reached the disk.
func (r *Record) Validate() error {
	if r.SentErr.Valid() && r.RecvErr.Valid() {
		return nil
	}
	return fmt.Errorf("record of packet %d with the error estimates %#04x and %#04x: want no multiplier of 0",
		r.Seq, uint16(r.SentErr), uint16(r.RecvErr))
}
