package owamp

import "encoding/binary"

// Lengths in octets.
const (
	FetchSessionSize = 48
	FetchAckSize     = 32
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
