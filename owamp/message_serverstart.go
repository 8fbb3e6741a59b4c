package owamp

import "encoding/binary"

// ServerStartSize is the length of a Server-Start in octets.
const ServerStartSize = 48

// A ServerStart ends the set-up of a connection (RFC 4656 section 3.1):
//
//	 0  MBZ[15]
//	15  Accept     u8
//	16  Server-IV[16]
//	32  Start-Time Timestamp
//	40  MBZ[8]
//
// The first two blocks are always in clear; the third is, with authentication
// or encryption, the first that is encrypted, and the HMAC of the server's next
// message covers it. A server that refuses sends zeros there.
type ServerStart struct {
	Accept Accept
	IV     [16]byte
	Start  Timestamp // when this instance of the server began
}

// Append appends the 48 octets of s to b.
func (s ServerStart) Append(b []byte) []byte {
	b = appendZeros(b, 15)
	b = append(b, byte(s.Accept))
	b = append(b, s.IV[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Start))
	return appendZeros(b, 8)
}

// ParseServerStart reads a Server-Start; it refuses an accept code that RFC
// 4656 does not define.
func ParseServerStart(b *[ServerStartSize]byte) (ServerStart, error) {
	a, err := parseAccept(b[15])
	if err != nil {
		return ServerStart{}, err
	}
	return ServerStart{
		Accept: a,
		IV:     [16]byte(b[16:]),
		Start:  Timestamp(binary.BigEndian.Uint64(b[32:])),
	}, nil
}
