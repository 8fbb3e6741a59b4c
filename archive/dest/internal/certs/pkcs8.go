package certs

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"hash"
)

// maxIterations bounds how long a key is derived of a password.
const maxIterations = 2_000_000

// Errors of an encrypted key.
var (
	errEncryption = errors.New("a key that is encrypted in a way that is not known here: want what openssl pkcs8 -topk8 -v2 aes256 makes of it")
	errPassword   = errors.New("a key that is encrypted with another password, or damaged")
)

// Names of what an encrypted key is made with (RFC 8018, appendix C).
var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}

	hashes = []struct {
		oid asn1.ObjectIdentifier
		new func() hash.Hash
	}{
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}, sha1.New},
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, sha256.New},
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 10}, sha512.New384},
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}, sha512.New},
	}
	ciphers = []struct {
		oid asn1.ObjectIdentifier
		key int // octets
	}{
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}, 16},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}, 24},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, 32},
	}
)

// An encryptedKey is the EncryptedPrivateKeyInfo of RFC 5208, section 6.
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// A pbes2 and a derivation are the parameters of RFC 8018, appendices A.4 and
// A.2.
type pbes2 struct {
	Derivation, Encryption pkix.AlgorithmIdentifier
}

type derivation struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	Hash       pkix.AlgorithmIdentifier `asn1:"optional"`
}

// decryptPKCS8 returns the key that is in an encrypted one: AES in CBC mode with
// a key that PBKDF2 derives of the password.
func decryptPKCS8(der []byte, password string) ([]byte, error) {
	var outer encryptedKey
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		return nil, errPassword
	}
	var scheme pbes2
	var how derivation
	var iv []byte
	if !outer.Algorithm.Algorithm.Equal(oidPBES2) || !parameters(outer.Algorithm, &scheme) ||
		!scheme.Derivation.Algorithm.Equal(oidPBKDF2) || !parameters(scheme.Derivation, &how) ||
		how.Iterations < 1 || how.Iterations > maxIterations {
		return nil, errEncryption
	}
	newHash, size := hashOf(how.Hash.Algorithm), keySize(scheme.Encryption.Algorithm)
	if newHash == nil || size == 0 || !parameters(scheme.Encryption, &iv) || len(iv) != aes.BlockSize {
		return nil, errEncryption
	}
	key, err := pbkdf2.Key(newHash, password, how.Salt, how.Iterations, size)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	data := outer.Data
	if len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, errPassword
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
	return unpadded(data)
}

// parameters reads the parameters of an algorithm.
func parameters(a pkix.AlgorithmIdentifier, v any) bool {
	rest, err := asn1.Unmarshal(a.Parameters.FullBytes, v)
	return err == nil && len(rest) == 0
}

// hashOf returns a hash by its name, SHA-1 if it has none; nil: it is not known.
func hashOf(oid asn1.ObjectIdentifier) func() hash.Hash {
	if len(oid) == 0 {
		return sha1.New
	}
	for _, h := range hashes {
		if oid.Equal(h.oid) {
			return h.new
		}
	}
	return nil
}

// keySize returns the size of a cipher's key in octets; 0: it is not known.
func keySize(oid asn1.ObjectIdentifier) int {
	for _, c := range ciphers {
		if oid.Equal(c.oid) {
			return c.key
		}
	}
	return 0
}

// unpadded returns data without the padding of RFC 8018, section 6.1.1, which is
// wrong if the password was.
func unpadded(data []byte) ([]byte, error) {
	n := int(data[len(data)-1])
	if n < 1 || n > aes.BlockSize {
		return nil, errPassword
	}
	for _, b := range data[len(data)-n:] {
		if int(b) != n {
			return nil, errPassword
		}
	}
	return data[:len(data)-n], nil
}
