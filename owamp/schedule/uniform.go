package schedule

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
)

// uniforms are the next uniform numbers of a schedule. Number n is word n mod 4
// of the encrypted 128-bit number n - n mod 4.
type uniforms struct {
	numbers [16]uint32
	at      int    // those before it are used up
	next    uint64 // the number that follows the last of numbers, a multiple of 4
	block   [aes.BlockSize]byte
}

// refill draws as many numbers as there is room for.
func (u *uniforms) refill(block cipher.Block) {
	left := u.numbers[u.at:]
	drawn := u.at &^ 3
	u.at -= drawn
	copy(u.numbers[u.at:], left)
	for to := u.numbers[len(u.numbers)-drawn:]; len(to) > 0; to = to[4:] {
		clear(u.block[:8])
		binary.BigEndian.PutUint64(u.block[8:], u.next)
		block.Encrypt(u.block[:], u.block[:])
		unpack(to, u.block[:])
		u.next += 4
	}
}

// unpack reads the four numbers of a block.
func unpack(to []uint32, block []byte) {
	_, _ = to[3], block[aes.BlockSize-1]
	to[0] = binary.BigEndian.Uint32(block[0:])
	to[1] = binary.BigEndian.Uint32(block[4:])
	to[2] = binary.BigEndian.Uint32(block[8:])
	to[3] = binary.BigEndian.Uint32(block[12:])
}

// bulkSize is how many numbers a bulk draws at a time.
const bulkSize = 1024

// A bulk draws many uniform numbers, with a cipher stream in counter mode, which
// encrypts blocks side by side. The stream counts in steps of 1, of which every
// fourth is wanted; still it takes half of the time that single blocks do.
type bulk struct {
	stream  cipher.Stream
	numbers [bulkSize + 16]uint32
	left    []uint32 // at the end of numbers
	next    uint64   // see uniforms
	key     [bulkSize * aes.BlockSize]byte
}

// newBulk goes on where u stands.
func newBulk(block cipher.Block, u *uniforms) *bulk {
	var count [aes.BlockSize]byte
	binary.BigEndian.PutUint64(count[8:], u.next)
	b := &bulk{stream: cipher.NewCTR(block, count[:]), next: u.next}
	b.left = append(b.numbers[:0], u.numbers[u.at:]...)
	return b
}

// refill draws more numbers. There are at most 16 left.
func (b *bulk) refill() {
	n := copy(b.numbers[:], b.left)
	clear(b.key[:])
	b.stream.XORKeyStream(b.key[:], b.key[:])
	to := b.numbers[n:][:bulkSize]
	for i := 0; i < len(to); i += 4 {
		unpack(to[i:], b.key[i*aes.BlockSize:])
	}
	b.left = b.numbers[:n+bulkSize]
	b.next += bulkSize
}

// putBack has u go on where b stands.
func (b *bulk) putBack(u *uniforms) {
	ahead := max(0, len(b.left)-len(u.numbers)+3) &^ 3 // whole blocks that u has no room for
	b.left = b.left[:len(b.left)-ahead]
	u.next = b.next - uint64(ahead)
	u.at = len(u.numbers) - len(b.left)
	copy(u.numbers[u.at:], b.left)
}
