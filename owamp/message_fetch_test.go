package owamp

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFetchWhole(t *testing.T) {
	for _, test := range []struct {
		begin, end uint32
		want       bool
	}{{0, math.MaxUint32, true}, {1, math.MaxUint32, false}, {0, math.MaxUint32 - 1, false}, {0, 0, false}} {
		if got := (FetchSession{Begin: test.begin, End: test.end}).Whole(); got != test.want {
			t.Errorf("packets %d to %d are the whole session: %v, want %v", test.begin, test.end, got, test.want)
		}
	}
}

// The first record of a session that the reference's server sent.
func TestRecordOctets(t *testing.T) {
	octets := []byte("\x00\x00\x00\x02\x00\x01\x80\x83\xee\xab\xa5\xf0\x8c\x12\xad\x81\xee\xab\xa5\xf0\x8c\xaa\xa7\xde\xff")
	want := Record{Seq: 2, SentErr: 1, RecvErr: 0x8083, Sent: 0xeeaba5f08c12ad81, Recv: 0xeeaba5f08caaa7de, TTL: 255}
	got, err := ParseRecord((*[RecordSize]byte)(octets))
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	flagged := want
	flagged.Flags, flagged.DSCP = FlagDSCP|FlagDuplicate, 46
	if again := flagged.Append([]byte("x")); !bytes.Equal(again[1:], octets) || again[0] != 'x' {
		t.Errorf("encoded %x, want %x", again, octets)
	}
}

func TestRecordRefused(t *testing.T) {
	for at, want := range map[int]string{
		5: "record of packet 7 with the error estimates 0x0000 and 0x0001: want no multiplier of 0",
		7: "record of packet 7 with the error estimates 0x0001 and 0x0000: want no multiplier of 0",
	} {
		b := (&Record{Seq: 7, SentErr: 1, RecvErr: 1}).Append(nil)
		b[at] = 0
		if _, err := ParseRecord((*[RecordSize]byte)(b)); err == nil || err.Error() != want {
			t.Errorf("octet %d zero: %v, want %s", at, err, want)
		}
	}
}

func TestSkipOctets(t *testing.T) {
	skips := []SkipRange{{1, 0x01020304}, {7, 7}, {9, math.MaxUint32}}
	want := [][]byte{
		{},
		{0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0},
		{0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 0, 7, 0, 0, 0, 7},
		{0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 0, 7, 0, 0, 0, 7, 0, 0, 0, 9, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0},
	}
	for n := range len(skips) + 1 {
		b := AppendSkips([]byte{}, skips[:n])
		if diff := cmp.Diff(want[n], b); diff != "" {
			t.Errorf("%d ranges (-want +got):\n%s", n, diff)
		}
		for i, s := range skips[:n] {
			if got, err := ParseSkip((*[SkipRangeSize]byte)(b[i*SkipRangeSize:])); err != nil || got != s {
				t.Errorf("range %d: %v, %v; want %v", i, got, err, s)
			}
		}
	}
	if _, err := ParseSkip(&[SkipRangeSize]byte{3: 2, 7: 1}); err == nil {
		t.Error("range 2 to 1: want an error")
	}
}

// What is accepted encodes to the octets that it was.
func FuzzRecord(f *testing.F) {
	rng := rand.New(rand.NewPCG(4656, 39))
	f.Add([]byte{})
	for range 3 {
		r := Record{Seq: rng.Uint32(), SentErr: 1, RecvErr: 0x8101, Sent: Timestamp(rng.Uint64()), Recv: Timestamp(rng.Uint64()), TTL: 64}
		f.Add(r.Append(nil))
	}
	f.Add((&Record{Seq: 1, SentErr: UnknownError, RecvErr: 0x8001, Sent: 5, TTL: 255}).Append(nil))
	f.Add(AppendSkips(nil, []SkipRange{{1, 2}, {2, 1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= RecordSize {
			r, err := ParseRecord((*[RecordSize]byte)(b))
			if valid := r.SentErr.Valid() && r.RecvErr.Valid(); valid != (err == nil) {
				t.Errorf("%x: %v, both error estimates valid: %v", b, err, valid)
			}
			if again := r.Append(nil); !bytes.Equal(again, b[:RecordSize]) {
				t.Errorf("%x encodes to %x", b, again)
			}
		}
		if len(b) >= SkipRangeSize {
			s, err := ParseSkip((*[SkipRangeSize]byte)(b))
			if err == nil && (s.First > s.Last || !bytes.Equal(AppendSkips(nil, []SkipRange{s})[:SkipRangeSize], b[:SkipRangeSize])) {
				t.Errorf("%x is range %v", b, s)
			}
		}
	})
}
