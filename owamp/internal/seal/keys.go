package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/subtle"
)

// Keys are what both ends of a control connection share, chosen by the client
// for it alone: the AES Session-key and the HMAC Session-key.
type Keys struct {
	AES  [16]byte
	HMAC [32]byte
}

// A Secret is the key that is derived from a pass-phrase, with which a client
// proves that it has it.
type Secret [16]byte

// Derive derives the secret of a pass-phrase with PBKDF2-HMAC-SHA1, in count
// iterations, which must be 1 or more: one costs about a microsecond.
func Derive(passphrase []byte, salt [16]byte, count uint32) (Secret, error) {
	key, err := pbkdf2.Key(sha1.New, string(passphrase), salt[:], int(count), len(Secret{}))
	if err != nil {
		return Secret{}, err
	}
	return Secret(key), nil
}

// The token of a Set-Up-Response has the challenge and the keys, encrypted with
// the secret.
const tokenSize = BlockSize + 16 + 32

// Token returns what answers a challenge and hands the keys over.
func (s Secret) Token(challenge [16]byte, k *Keys) (token [tokenSize]byte) {
	copy(token[:], challenge[:])
	copy(token[16:], k.AES[:])
	copy(token[32:], k.HMAC[:])
	cipher.NewCBCEncrypter(newAES(s), make([]byte, BlockSize)).CryptBlocks(token[:], token[:])
	return token
}

// Open returns the keys that a token hands over, and whether it answers the
// challenge: whether its maker has the same secret.
func (s Secret) Open(token [tokenSize]byte, challenge [16]byte) (k Keys, ok bool) {
	cipher.NewCBCDecrypter(newAES(s), make([]byte, BlockSize)).CryptBlocks(token[:], token[:])
	ok = subtle.ConstantTimeCompare(token[:16], challenge[:]) == 1
	return Keys{AES: [16]byte(token[16:]), HMAC: [32]byte(token[32:])}, ok
}

// Session returns the keys of the test packets of a session: those of the
// connection, encrypted with the session's ID as the key (RFC 4656 section
// 4.1.2).
func (k *Keys) Session(sid [16]byte) Keys {
	block := newAES(sid)
	var s Keys
	block.Encrypt(s.AES[:], k.AES[:])
	cipher.NewCBCEncrypter(block, make([]byte, BlockSize)).CryptBlocks(s.HMAC[:], k.HMAC[:])
	return s
}

// newAES returns AES with a key of 16 octets.
func newAES(key [16]byte) cipher.Block {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // of another length only
	}
	return block
}
