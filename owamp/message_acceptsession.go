package owamp

import "encoding/binary"

// AcceptSessionSize is the length of an Accept-Session in octets.
const AcceptSessionSize = 48

// Append appends the 48 octets of an Accept-Session, the server's answer to a
// Request-Session, to b (RFC 4656 section 3.5):
//
//	 0  Accept  u8
//	 1  MBZ
//	 2  Port    u16
//	 4  SID[16]
//	20  MBZ[12]
//	32  HMAC[16]
//
// An answer that is not [AcceptOK] has port and SID zero.
func (a Accepted) Append(b []byte) []byte {
	if a.Accept != AcceptOK {
		a = Accepted{Accept: a.Accept}
	}
	b = append(b, byte(a.Accept), 0)
	b = binary.BigEndian.AppendUint16(b, a.Port)
	b = append(b, a.SID[:]...)
	return appendZeros(b, 12+BlockSize)
}

// ParseAcceptSession reads an Accept-Session; it refuses an accept code that
// RFC 4656 does not define. Port and SID are zero unless the answer is
// [AcceptOK].
func ParseAcceptSession(b *[AcceptSessionSize]byte) (Accepted, error) {
	a, err := parseAccept(b[0])
	if err != nil || a != AcceptOK {
		return Accepted{Accept: a}, err
	}
	return Accepted{Port: binary.BigEndian.Uint16(b[2:]), SID: SID(b[4:])}, nil
}
