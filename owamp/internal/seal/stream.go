package seal

import "crypto/cipher"

// A Stream is one direction of a control connection: a stream of blocks in AES
// CBC mode whose initialization vector runs on from message to message, and the
// MAC of all that was in it since the last MAC.
type Stream struct {
	mode    cipher.BlockMode
	mac     *MAC
	sealing bool
}

// NewSealing returns the direction in which this side sends.
func NewSealing(k *Keys, iv [16]byte) *Stream {
	return &Stream{mode: cipher.NewCBCEncrypter(newAES(k.AES), iv[:]), mac: NewMAC(k.HMAC[:]), sealing: true}
}

// NewOpening returns the direction in which this side reads.
func NewOpening(k *Keys, iv [16]byte) *Stream {
	return &Stream{mode: cipher.NewCBCDecrypter(newAES(k.AES), iv[:]), mac: NewMAC(k.HMAC[:])}
}

// Blocks encrypts or decrypts b, whole blocks, in place.
func (s *Stream) Blocks(b []byte) {
	if s.sealing {
		s.mac.Write(b)
		s.mode.CryptBlocks(b, b)
	} else {
		s.mode.CryptBlocks(b, b)
		s.mac.Write(b)
	}
}

// Sign writes the MAC of what was sent since the last one to b, encrypted.
func (s *Stream) Sign(b *[BlockSize]byte) {
	s.mac.Sum(b)
	s.mode.CryptBlocks(b[:], b[:])
}

// Check reports whether b, which is encrypted, is the MAC of what was read
// since the last one.
func (s *Stream) Check(b *[BlockSize]byte) bool {
	s.mode.CryptBlocks(b[:], b[:])
	return s.mac.Check(b)
}
