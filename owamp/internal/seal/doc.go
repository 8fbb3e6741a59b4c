// Package seal holds the ciphers of authenticated and encrypted mode (RFC 4656
// sections 3.1, 4.1.2 and 6): how a pass-phrase becomes the keys of a connection,
// what encrypts and authenticates its messages, and the keys of a test session.
//
// AES is AES-128, the MAC is HMAC-SHA1 cut off after 16 octets. MACs are
// compared in constant time.
package seal

// BlockSize is the length of a block of AES and of a MAC in octets.
const BlockSize = 16
