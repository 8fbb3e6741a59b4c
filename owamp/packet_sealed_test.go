package owamp_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"owl/owamp"
	"owl/owamp/internal/seal"
)

// A recording is some packets of a session that the C suite made, with the keys
// of its connection.
type recording struct {
	mode      owamp.Mode
	aes, hmac string
	sid       string
	packets   []captured
}

// A captured is a packet, and what it says.
type captured struct {
	wire string
	want owamp.Record
}

func (r *recording) seal(t testing.TB) owamp.Seal {
	t.Helper()
	return owamp.NewSeal(r.mode, &seal.Keys{AES: [16]byte(octets(t, r.aes)), HMAC: [32]byte(octets(t, r.hmac))}, owamp.SID(octets(t, r.sid)))
}

func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var recordings = []recording{
	{owamp.ModeAuthenticated, "aa758eeda57f76197f2a6b1f2254e80c", "af9a5a6a68b843837fea26bc3b1031857e5a98a2e05d782cea8f4060adbf57c3", "0a620002eeaba5f78d31444599f6e885", []captured{
		{"d59fcc57c8c3dce5b6af3215e425af5eeeaba5f8a192967000010000000000003a1d2e606f9964aac4fc2fd45f4f0a2c", owamp.Record{Seq: 0, Sent: 0xeeaba5f8a1929670, SentErr: 0x0001}},
		{"e62cc2ba23c0ffe5829b3831482baad8eeaba5f8a4e150110001000000000000f9e30547f6607c81c6ce0079de020c60", owamp.Record{Seq: 1, Sent: 0xeeaba5f8a4e15011, SentErr: 0x0001}},
		{"a2986fab800910554122aaec1dd8fcfdeeaba5f8ab4b513700010000000000000552b4ecd9bfbb2097894283b6559aac", owamp.Record{Seq: 2, Sent: 0xeeaba5f8ab4b5137, SentErr: 0x0001}},
	}},
	{owamp.ModeAuthenticated, "aa758eeda57f76197f2a6b1f2254e80c", "af9a5a6a68b843837fea26bc3b1031857e5a98a2e05d782cea8f4060adbf57c3", "0a620001eeaba5f78ecaab8a823fe184", []captured{
		{"500a8f945a673455281218af6bbde3d8eeaba5f893f97247000100000000000010c20284f09df5328cec65f5b6fe121c", owamp.Record{Seq: 0, Sent: 0xeeaba5f893f97247, SentErr: 0x0001}},
		{"8b8b84c674a86600d3489aa75bca0333eeaba5f89669f05e0001000000000000a372f7452b512b1f3ec711c8c54769e3", owamp.Record{Seq: 1, Sent: 0xeeaba5f89669f05e, SentErr: 0x0001}},
		{"e7621783cbbd9a7db0d7b0c03d7ca2c5eeaba5f89d373aff0001000000000000c6988c931afac4c7c4f97df809750a3a", owamp.Record{Seq: 2, Sent: 0xeeaba5f89d373aff, SentErr: 0x0001}},
	}},
	{owamp.ModeEncrypted, "2c9b383c090fca68dff5c86894491825", "6fc13dd2784c869b468842c7ed69f02e6e117c1882d6022fa531b42ddd35faff", "0a620002eeaba5ff7aa66dbdece331fe", []captured{
		{"aec65608668021d581325d9bb1aae6c36a93cdef97a464fcbe173dba32a3f7e4c4f91864f6639df2b31c0ab029499e92", owamp.Record{Seq: 0, Sent: 0xeeaba60075b456b4, SentErr: 0x0001}},
		{"b7ef51e97c1f319893797e2d7ab32e51b45b40248a2df9c51118990bdf2f7ad96e9c61c5f348e84bab5b10c8376047a2", owamp.Record{Seq: 1, Sent: 0xeeaba60090dc5500, SentErr: 0x0001}},
		{"507367a65521bdc8b7ec1a6dc0b4cd7ffcdc3548bc34b295b548db242fd019ab152fc47bfd33ec160d974e28811b18bd", owamp.Record{Seq: 2, Sent: 0xeeaba6009cc55432, SentErr: 0x0001}},
	}},
	{owamp.ModeEncrypted, "2c9b383c090fca68dff5c86894491825", "6fc13dd2784c869b468842c7ed69f02e6e117c1882d6022fa531b42ddd35faff", "0a620001eeaba5ff7ba6698bbcde4c6a", []captured{
		{"3451d77379596b8c9adca74eed1d5f973b0fcf1c83864a4f9b5ded30801c75bb0309bbd8e885cd1ead4e1c61055f844b", owamp.Record{Seq: 0, Sent: 0xeeaba6007b7b4a23, SentErr: 0x0001}},
		{"eb14477ae271c4327edcfb3bed3d15e01e2c8668d80e29fc16dfbc9fbf94ed6e4a141cb94185e50cff285818b37e2ebf", owamp.Record{Seq: 1, Sent: 0xeeaba6009223bff8, SentErr: 0x0001}},
		{"bb1115bb4a856b74347eed27877fc2c2aea02c5fcdde5b8d8fc30008b3a80a8a3e2cfa1b4224f02287f01ea7b860baa4", owamp.Record{Seq: 2, Sent: 0xeeaba600944f1a19, SentErr: 0x0001}},
	}},
}

// Packets of the C suite are read, and made again octet for octet.
func TestSealedPackets(t *testing.T) {
	for _, rec := range recordings {
		s, o := rec.seal(t).Sealer(), rec.seal(t).Opener()
		if s.Size() != owamp.SealedPacketSize || o.Size() != owamp.SealedPacketSize {
			t.Errorf("mode %v: packets of %d and %d octets", rec.mode, s.Size(), o.Size())
		}
		for _, p := range rec.packets {
			wire := append(octets(t, p.wire), "padding"...)
			buf := append(bytes.Repeat([]byte{0xaa}, owamp.SealedPacketSize), "padding"...)
			s.Prepare(buf, p.want.Seq)
			s.Finish(buf, p.want.Sent, p.want.SentErr)
			if !bytes.Equal(buf, wire) {
				t.Errorf("mode %v: packet %x, want %x", rec.mode, buf, wire)
			}
			var r owamp.Record
			if !o.Open(wire, &r) || r != p.want {
				t.Errorf("mode %v: %x is read as %+v, want %+v", rec.mode, wire, r, p.want)
			}
		}
	}
}

// No bit that is protected can be changed unseen, and the packets of one session
// are none of another's.
func TestSealedPacketForged(t *testing.T) {
	for i, rec := range recordings {
		o, wire := rec.seal(t).Opener(), octets(t, rec.packets[0].wire)
		for bit := range len(wire) * 8 {
			forged := bytes.Clone(wire)
			forged[bit/8] ^= 1 << (bit % 8)
			var r owamp.Record
			taken := o.Open(forged, &r)
			// In authenticated mode the second block is in clear, and nothing
			// protects it. An error estimate of 0 is none.
			inClear := rec.mode == owamp.ModeAuthenticated && bit/8 >= 16 && bit/8 < 32
			if wrong := forged[24] == 0 && forged[25] == 0; taken != (inClear && !wrong) {
				t.Errorf("mode %v: with bit %d changed: taken %v as %+v", rec.mode, bit, taken, r)
			}
			if !taken && r != (owamp.Record{}) {
				t.Errorf("mode %v: a refused packet left %+v", rec.mode, r)
			}
		}
		var r owamp.Record
		if !o.Open(wire, &r) {
			t.Errorf("mode %v: a good packet after bad ones is refused", rec.mode)
		}
		for n := range wire {
			if o.Open(wire[:n], &r) {
				t.Errorf("mode %v: %d octets are taken", rec.mode, n)
			}
		}
		for j, other := range recordings {
			if i != j && other.seal(t).Opener().Open(wire, &r) {
				t.Errorf("a packet of recording %d is taken for one of %d", i, j)
			}
		}
	}
}

func TestSealedPacketsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	for _, rec := range recordings {
		s, o := rec.seal(t).Sealer(), rec.seal(t).Opener()
		buf := make([]byte, 100)
		r := new(owamp.Record)
		if n := testing.AllocsPerRun(1000, func() {
			s.Prepare(buf, 1)
			s.Finish(buf, 2, 3)
			o.Open(buf, r)
		}); n != 0 {
			t.Errorf("mode %v: %v allocations a packet", rec.mode, n)
		}
	}
}

// However a seal is printed, its keys are not.
func TestSealPrints(t *testing.T) {
	rec := &recordings[0]
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		for _, v := range []any{rec.seal(t), struct{ S owamp.Seal }{rec.seal(t)}} {
			text := fmt.Sprintf(format, v)
			if len(text) > 40 || strings.ContainsAny(text, "0123456789") {
				t.Errorf("%s: %s", format, text)
			}
		}
	}
}

func FuzzSealedOpener(f *testing.F) {
	for i, rec := range recordings {
		for _, p := range rec.packets {
			f.Add(uint8(i), octets(f, p.wire))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		rec := &recordings[int(which)%len(recordings)]
		var r owamp.Record
		if !rec.seal(t).Opener().Open(data, &r) {
			if r != (owamp.Record{}) {
				t.Fatalf("a refused packet left %+v", r)
			}
			return
		}
		// Whoever has no key has only the recorded packets' protected parts.
		for _, p := range rec.packets {
			if p.want.Seq == r.Seq {
				return
			}
		}
		t.Fatalf("%x is taken as %+v", data, r)
	})
}

// benchmarked are recordings of the three modes; what the open one has of keys
// is not looked at.
func benchmarked() []recording {
	open := recordings[0]
	open.mode = owamp.ModeOpen
	return []recording{open, recordings[0], recordings[2]}
}

// What a mode costs before the stamp, and between it and the handing over.
func BenchmarkSealer(b *testing.B) {
	for _, rec := range benchmarked() {
		buf := make([]byte, owamp.SealedPacketSize)
		b.Run("Prepare/"+rec.mode.String(), func(b *testing.B) {
			s := rec.seal(b).Sealer()
			b.ReportAllocs()
			for b.Loop() {
				s.Prepare(buf, 1)
			}
		})
		b.Run("Finish/"+rec.mode.String(), func(b *testing.B) {
			s := rec.seal(b).Sealer()
			s.Prepare(buf, 1)
			b.ReportAllocs()
			for b.Loop() {
				s.Finish(buf, 2, 3)
			}
		})
	}
}

// BenchmarkStamp is all that sending does to a packet: what can be done ahead,
// the clock, and the rest. The clock of the engine takes some more; see
// probe/clock.
func BenchmarkStamp(b *testing.B) {
	for _, rec := range benchmarked() {
		buf := make([]byte, owamp.SealedPacketSize)
		b.Run(rec.mode.String(), func(b *testing.B) {
			s := rec.seal(b).Sealer()
			b.ReportAllocs()
			for b.Loop() {
				s.Prepare(buf, 1)
				s.Finish(buf, owamp.FromTime(time.Now()), 3)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, rec := range benchmarked() {
		seal := rec.seal(b)
		s, o := seal.Sealer(), seal.Opener()
		buf := make([]byte, owamp.SealedPacketSize)
		s.Prepare(buf, 1)
		s.Finish(buf, 2, 3)
		b.Run(rec.mode.String(), func(b *testing.B) {
			b.ReportAllocs()
			var r owamp.Record
			for b.Loop() {
				if !o.Open(buf, &r) {
					b.Fatal("not a packet")
				}
			}
		})
	}
}
