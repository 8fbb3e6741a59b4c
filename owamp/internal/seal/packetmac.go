package seal

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding"
	"encoding/binary"
	"hash"
)

// A PacketMAC computes the MAC of test packets, which [MAC] does, too, in less
// time: between stamp and wire there is little else. It does not allocate.
//
// HMAC hashes the message behind a block that only depends on the key, and the
// sum of that behind another such block. The states behind both blocks are
// kept. Whatever follows fits a block together with its padding, so that it is
// padded here, and hash.Hash has no more to do than to hash it.
type PacketMAC struct {
	hash         sha1State // nil: only slow is as expected
	inner, outer []byte    // states
	state        []byte
	block        [sha1.BlockSize]byte
	slow         *MAC // nil unless hash is
}

// sha1State is what sha1.New returns.
type sha1State interface {
	hash.Hash
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// maxMessage is what fits a block of SHA-1 beside the padding.
const maxMessage = sha1.BlockSize - 9

// Where the five words of the hash lie in the state that crypto/sha1 marshals:
// behind a mark of 4 octets.
const firstWord, lastWord = 4, 4 + sha1.Size

// NewPacketMAC returns a PacketMAC with a key of 32 octets.
func NewPacketMAC(key *[32]byte) *PacketMAC {
	m := &PacketMAC{slow: NewMAC(key[:])}
	h, ok := sha1.New().(sha1State)
	if !ok {
		return m
	}
	m.inner, m.outer = behind(h, key, 0x36), behind(h, key, 0x5c)
	if m.inner == nil || m.outer == nil {
		return m
	}
	m.hash, m.state = h, make([]byte, 0, len(m.inner))
	// The layout of a state is not promised to stay.
	var quick, slow [BlockSize]byte
	m.Sum(&quick, key[:])
	m.slow.Write(key[:])
	m.slow.Sum(&slow)
	if quick == slow {
		m.slow = nil
	} else {
		m.hash = nil
	}
	return m
}

// behind returns the state of h behind the key, of which each octet has the bits
// of pad turned over. It is nil if there is none.
func behind(h sha1State, key *[32]byte, pad byte) []byte {
	var block [sha1.BlockSize]byte
	copy(block[:], key[:])
	for i := range block {
		block[i] ^= pad
	}
	h.Reset()
	h.Write(block[:])
	state, err := h.AppendBinary(nil)
	if err != nil || len(state) < lastWord {
		return nil
	}
	return state
}

// Sum writes the MAC of a message to dst. The message has 55 octets at most.
func (m *PacketMAC) Sum(dst *[BlockSize]byte, message []byte) {
	if m.hash == nil {
		m.slow.Write(message)
		m.slow.Sum(dst)
		return
	}
	m.finish(m.inner, message)
	m.finish(m.outer, m.state[firstWord:lastWord])
	copy(dst[:], m.state[firstWord:])
}

// finish hashes what follows a state, and keeps the last state.
func (m *PacketMAC) finish(state, rest []byte) {
	n := copy(m.block[:maxMessage], rest)
	m.block[n] = 0x80
	clear(m.block[n+1 : maxMessage+1])
	binary.BigEndian.PutUint64(m.block[maxMessage+1:], uint64(sha1.BlockSize+n)*8)
	// Neither fails with a state of its own.
	_ = m.hash.UnmarshalBinary(state)
	m.hash.Write(m.block[:])
	m.state, _ = m.hash.AppendBinary(m.state[:0])
}

// Check reports whether b is the MAC of a message of 55 octets at most.
func (m *PacketMAC) Check(b *[BlockSize]byte, message []byte) bool {
	var want [BlockSize]byte
	m.Sum(&want, message)
	return subtle.ConstantTimeCompare(want[:], b[:]) == 1
}
