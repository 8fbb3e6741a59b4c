package capture

import (
	"encoding/binary"
	"math/bits"
)

// sum returns the ones' complement sum of the 16-bit numbers in b (RFC 1071),
// the last one filled up with a zero. Over octets that hold their own checksum it
// is 0xffff.
func sum(b []byte) uint16 {
	// The sum of wider numbers is that of their halves, and the order of octets
	// matters only in the end.
	var s, carry uint64
	for len(b) >= 8 {
		s, carry = bits.Add64(s, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	var last [8]byte
	copy(last[:], b)
	s, carry = bits.Add64(s, binary.LittleEndian.Uint64(last[:]), carry)
	s, carry = bits.Add64(s, 0, carry)
	s += carry
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return bits.ReverseBytes16(uint16(s))
}

// add returns the ones' complement sum of a and b.
func add(a, b uint16) uint16 {
	s := uint32(a) + uint32(b)
	return uint16(s>>16 + s&0xffff)
}
