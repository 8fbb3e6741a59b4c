package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"testing"
)

func octets[T [16]byte | [32]byte | [64]byte](t testing.TB, text string) (b T) {
	t.Helper()
	var raw []byte
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	switch p := any(&b).(type) {
	case *[16]byte:
		*p = [16]byte(raw)
	case *[32]byte:
		*p = [32]byte(raw)
	case *[64]byte:
		*p = [64]byte(raw)
	}
	return b
}

// The keys of a recorded conversation of the C suite, whose pass-phrase is known.
func TestKeys(t *testing.T) {
	secret, err := Derive([]byte("correct horse battery"), octets[[16]byte](t, "6074aec5a36c57c4a208088bccaafcae"), 2048)
	if err != nil {
		t.Fatal(err)
	}
	if want := octets[[16]byte](t, "108f2e71b4b8e342941e694262bbf1c1"); secret != want {
		t.Fatalf("secret %x, want %x", secret, want)
	}
	challenge := octets[[16]byte](t, "8ec25824c0dd74264b3398d77547ca7f")
	keys := Keys{
		AES:  octets[[16]byte](t, "2c9b383c090fca68dff5c86894491825"),
		HMAC: octets[[32]byte](t, "6fc13dd2784c869b468842c7ed69f02e6e117c1882d6022fa531b42ddd35faff"),
	}
	token := secret.Token(challenge, &keys)
	if k, ok := secret.Open(token, challenge); !ok || k != keys {
		t.Errorf("token %x opens to %x, %v", token, k, ok)
	}
	for i := range 16 {
		bad := token
		bad[i] ^= 1
		if _, ok := secret.Open(bad, challenge); ok {
			t.Errorf("a token that is wrong in octet %d answers the challenge", i)
		}
	}
	want := Keys{
		AES:  octets[[16]byte](t, "260cd30d8376c2c7592918c8d15250e1"),
		HMAC: octets[[32]byte](t, "d95cd28a38609556b14cb13e7cbeebf9cf710c332fcc70835c968ad9b3743916"),
	}
	if got := keys.Session(octets[[16]byte](t, "0a620002eeaba5ff7aa66dbdece331fe")); got != want {
		t.Errorf("keys of the session %x, want %x", got, want)
	}
}

// The MAC of each message is its own, whatever came before.
func TestMAC(t *testing.T) {
	for _, keySize := range []int{0, 1, 32, 64} {
		key := make([]byte, keySize)
		rand.Read(key)
		m, reference := NewMAC(key), hmac.New(sha1.New, key)
		for n := range 200 {
			message := make([]byte, n)
			rand.Read(message)
			m.Write(message[:n/3])
			m.Write(message[n/3:])
			var got [BlockSize]byte
			m.Sum(&got)
			reference.Reset()
			reference.Write(message)
			if want := reference.Sum(nil)[:BlockSize]; !bytes.Equal(got[:], want) {
				t.Fatalf("key of %d octets, message of %d: %x, want %x", keySize, n, got, want)
			}
			m.Write(message)
			got[n%BlockSize] ^= 1 << (n % 8)
			if m.Check(&got) {
				t.Fatalf("message of %d octets: a MAC with a wrong bit is taken for right", n)
			}
		}
	}
}

// The MAC of a packet is the one that crypto/hmac makes, by way of the states of
// SHA-1 and without.
func TestPacketMAC(t *testing.T) {
	for range 20 {
		var key [32]byte
		rand.Read(key[:])
		m, reference := NewPacketMAC(&key), hmac.New(sha1.New, key[:])
		if m.hash == nil {
			t.Fatal("the states of crypto/sha1 are not as expected: MACs are right, but slow")
		}
		slow := &PacketMAC{slow: NewMAC(key[:])}
		for n := range maxMessage + 1 {
			message := make([]byte, n)
			rand.Read(message)
			reference.Reset()
			reference.Write(message)
			want := [BlockSize]byte(reference.Sum(nil))
			var got [BlockSize]byte
			if m.Sum(&got, message); got != want {
				t.Fatalf("message of %d octets: %x, want %x", n, got, want)
			}
			if slow.Sum(&got, message); got != want {
				t.Fatalf("message of %d octets, the slow way: %x, want %x", n, got, want)
			}
			if !m.Check(&want, message) {
				t.Fatalf("message of %d octets: the right MAC is refused", n)
			}
			want[n%BlockSize] ^= 1 << (n % 8)
			if m.Check(&want, message) {
				t.Fatalf("message of %d octets: a MAC with a wrong bit is taken for right", n)
			}
		}
	}
}

// What one side seals the other opens, and no bit of it can be changed unseen.
func TestStream(t *testing.T) {
	var keys Keys
	var iv [16]byte
	rand.Read(keys.AES[:])
	rand.Read(keys.HMAC[:])
	rand.Read(iv[:])
	const blocks = 3
	sealed := func() []byte {
		s := NewSealing(&keys, iv)
		var all []byte
		for message := range 2 {
			b := bytes.Repeat([]byte{byte(message + 1)}, blocks*BlockSize)
			s.Blocks(b)
			var mac [BlockSize]byte
			s.Sign(&mac)
			all = append(append(all, b...), mac[:]...)
		}
		return all
	}
	open := func(all []byte) (good int) {
		s := NewOpening(&keys, iv)
		for message := range 2 {
			b, rest := all[:blocks*BlockSize], all[blocks*BlockSize:]
			s.Blocks(b)
			mac := [BlockSize]byte(rest)
			if !s.Check(&mac) {
				return good
			}
			if want := bytes.Repeat([]byte{byte(message + 1)}, blocks*BlockSize); !bytes.Equal(b, want) {
				t.Fatalf("opened %x", b)
			}
			good++
			all = rest[BlockSize:]
		}
		return good
	}
	clean := sealed()
	if got := open(bytes.Clone(clean)); got != 2 {
		t.Fatalf("%d messages opened, want 2", got)
	}
	for i := range len(clean) * 8 {
		b := bytes.Clone(clean)
		b[i/8] ^= 1 << (i % 8)
		if got, want := open(b), i/8/((blocks+1)*BlockSize); got != want {
			t.Fatalf("with bit %d changed %d messages opened, want %d", i, got, want)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	m := NewMAC(make([]byte, 32))
	var sum [BlockSize]byte
	message := make([]byte, 32)
	if n := testing.AllocsPerRun(100, func() {
		m.Write(message)
		m.Sum(&sum)
	}); n != 0 {
		t.Errorf("a MAC allocates %v times", n)
	}
	p := NewPacketMAC(new([32]byte))
	if n := testing.AllocsPerRun(100, func() { p.Sum(&sum, message) }); n != 0 {
		t.Errorf("the MAC of a packet allocates %v times", n)
	}
}

func BenchmarkPacketMAC(b *testing.B) {
	m := NewPacketMAC(new([32]byte))
	message := make([]byte, 32)
	var sum [BlockSize]byte
	b.ReportAllocs()
	for b.Loop() {
		m.Sum(&sum, message)
	}
}

func BenchmarkMAC(b *testing.B) {
	m := NewMAC(make([]byte, 32))
	message := make([]byte, 32)
	var sum [BlockSize]byte
	b.ReportAllocs()
	for b.Loop() {
		m.Write(message)
		m.Sum(&sum)
	}
}
