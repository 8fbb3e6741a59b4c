package seal

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"hash"
)

// A MAC computes HMAC-SHA1, cut off after 16 octets, of one message after
// another. It does not allocate.
type MAC struct {
	hash hash.Hash
	sum  [sha1.Size]byte
}

// NewMAC returns a MAC with a key.
func NewMAC(key []byte) *MAC {
	m := &MAC{hash: hmac.New(sha1.New, key)}
	m.hash.Reset() // has it keep the state behind the key
	return m
}

// Write adds p to the message.
func (m *MAC) Write(p []byte) { m.hash.Write(p) }

// Sum writes the MAC of the message to dst, and begins the next message.
func (m *MAC) Sum(dst *[BlockSize]byte) {
	copy(dst[:], m.hash.Sum(m.sum[:0]))
	m.hash.Reset()
}

// Check reports whether b is the MAC of the message, and begins the next one.
func (m *MAC) Check(b *[BlockSize]byte) bool {
	var want [BlockSize]byte
	m.Sum(&want)
	return subtle.ConstantTimeCompare(want[:], b[:]) == 1
}
