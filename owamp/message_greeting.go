package owamp

import "encoding/binary"

// ServerGreetingSize is the length of a Server-Greeting in octets.
const ServerGreetingSize = 64

// A ServerGreeting opens a control connection, from the server, in clear (RFC
// 4656 section 3.1):
//
//	 0  unused[12]
//	12  Modes      u32
//	16  Challenge[16]
//	32  Salt[16]
//	48  Count      u32
//	52  MBZ[12]
//
// A server that offers no mode does not want to talk.
type ServerGreeting struct {
	Modes     Mode // offered
	Challenge [16]byte
	Salt      [16]byte
	Count     uint32 // iterations of the key derivation, at least 1024 by the RFC
}

// Append appends the 64 octets of g to b.
func (g ServerGreeting) Append(b []byte) []byte {
	b = appendZeros(b, 12)
	b = binary.BigEndian.AppendUint32(b, uint32(g.Modes))
	b = append(b, g.Challenge[:]...)
	b = append(b, g.Salt[:]...)
	b = binary.BigEndian.AppendUint32(b, g.Count)
	return appendZeros(b, 12)
}

// ParseServerGreeting reads a Server-Greeting; there is none that it refuses.
func ParseServerGreeting(b *[ServerGreetingSize]byte) ServerGreeting {
	return ServerGreeting{
		Modes:     Mode(binary.BigEndian.Uint32(b[12:])),
		Challenge: [16]byte(b[16:]),
		Salt:      [16]byte(b[32:]),
		Count:     binary.BigEndian.Uint32(b[48:]),
	}
}
