package owamp_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"owl/owamp"
)

func openMode() (*owamp.Sealer, *owamp.Opener) { return owamp.Seal{}.Sealer(), owamp.Seal{}.Opener() }

func TestPacketSize(t *testing.T) {
	for m, want := range map[owamp.Mode]int{
		owamp.ModeOpen: 14, owamp.ModeAuthenticated: 48, owamp.ModeEncrypted: 48,
	} {
		if got := owamp.PacketSize(m); got != want {
			t.Errorf("mode %v: %d, want %d", m, got, want)
		}
	}
}

func TestSealerSize(t *testing.T) {
	s, _ := openMode()
	if got, want := s.Size(), owamp.PacketSize(owamp.ModeOpen); got != want {
		t.Errorf("%d, want %d", got, want)
	}
}

// TestOpenPackets makes and reads packets that the reference sent.
func TestOpenPackets(t *testing.T) {
	s, o := openMode()
	for _, tt := range []struct {
		wire string
		want owamp.Record
	}{
		{"00000000eeaba5f08c12ad810001", owamp.Record{Seq: 0, Sent: 0xeeaba5f08c12ad81, SentErr: 1}},
		{"00000002eeaba5f0cca526950001", owamp.Record{Seq: 2, Sent: 0xeeaba5f0cca52695, SentErr: 1}},
		{"fffefdfceeaba5f0cca526958d84", owamp.Record{Seq: 0xfffefdfc, Sent: 0xeeaba5f0cca52695, SentErr: 0x8d84}},
	} {
		wire, err := hex.DecodeString(tt.wire)
		if err != nil {
			t.Fatal(err)
		}
		const padding = "padding"
		buf := append(make([]byte, owamp.OpenPacketSize), padding...)
		s.Prepare(buf, tt.want.Seq)
		s.Finish(buf, tt.want.Sent, tt.want.SentErr)
		if want := append(wire, padding...); !bytes.Equal(buf, want) {
			t.Errorf("packet %x, want %x", buf, want)
		}
		// What the packet does not tell stays.
		r := owamp.Record{Recv: 5, RecvErr: 6, TTL: 7, DSCP: 8, Flags: owamp.FlagDSCP}
		want := tt.want
		want.Recv, want.RecvErr, want.TTL, want.DSCP, want.Flags = r.Recv, r.RecvErr, r.TTL, r.DSCP, r.Flags
		if !o.Open(wire, &r) || r != want {
			t.Errorf("%s became %+v, want %+v", tt.wire, r, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	_, o := openMode()
	whole := []byte{0, 0, 0, 1, 0xee, 0xab, 0xa5, 0xf0, 0, 0, 0, 0, 0x8d, 0x84}
	invalid := append(bytes.Clone(whole[:13]), 0)
	for _, buf := range [][]byte{nil, whole[:1], whole[:13], invalid, append(invalid, 1, 2, 3)} {
		r := owamp.Record{Seq: 9, Sent: 9, SentErr: 9}
		if o.Open(buf, &r) || r != (owamp.Record{Seq: 9, Sent: 9, SentErr: 9}) {
			t.Errorf("%x was taken as %+v", buf, r)
		}
	}
}

func TestPacketsDoNotAllocate(t *testing.T) {
	s, o := openMode()
	buf := make([]byte, 100)
	r := new(owamp.Record)
	if n := testing.AllocsPerRun(1000, func() {
		s.Prepare(buf, 1)
		s.Finish(buf, 2, 3)
		o.Open(buf, r)
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func FuzzOpener(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0xee, 0xab, 0xa5, 0xf0, 0x8c, 0x12, 0xad, 0x81, 0, 1})
	f.Add(make([]byte, owamp.OpenPacketSize))
	f.Add(bytes.Repeat([]byte{0xff}, 48))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, o := openMode()
		var r owamp.Record
		if !o.Open(data, &r) {
			if r != (owamp.Record{}) {
				t.Fatalf("a refused packet left %+v", r)
			}
			return
		}
		buf := bytes.Clone(data)
		clear(buf[:owamp.OpenPacketSize])
		s.Prepare(buf, r.Seq)
		s.Finish(buf, r.Sent, r.SentErr)
		if !bytes.Equal(buf, data) {
			t.Fatalf("%x came back as %x", data, buf)
		}
	})
}
