package seal

import "crypto/cipher"

// Packets encrypts the test packets of one session.
type Packets struct {
	block cipher.Block
	MAC   *PacketMAC
}

// NewPackets returns what the keys of a session, see [Keys.Session], do to its
// packets.
func NewPackets(k *Keys) *Packets {
	return &Packets{block: newAES(k.AES), MAC: NewPacketMAC(&k.HMAC)}
}

// Encrypt encrypts one block from src to dst.
func (p *Packets) Encrypt(dst, src *[BlockSize]byte) { p.block.Encrypt(dst[:], src[:]) }

// Decrypt decrypts one block from src to dst.
func (p *Packets) Decrypt(dst, src *[BlockSize]byte) { p.block.Decrypt(dst[:], src[:]) }
