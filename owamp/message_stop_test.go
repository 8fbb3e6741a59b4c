package owamp

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	sidA = "0a620002eeaba5ef91118c1997e743f8"
	sidB = "0a620001eeaba5ef9214bdfd6fa69e0f"
	zero = "00000000000000000000000000000000"
)

// known are the sessions of the tests here.
var known = map[SID]uint32{sid(sidA): 100, sid(sidB): 10}

// readStop reads a whole Stop-Sessions but its HMAC block, and returns what is
// left.
func readStop(b []byte, maxSkips int) (StopSessions, []byte, error) {
	r := bytes.NewReader(b[BlockSize:])
	s, err := ReadStopSessions((*[BlockSize]byte)(b), r, known, maxSkips)
	left, _ := io.ReadAll(r)
	return s, left, err
}

func TestStopSessions(t *testing.T) {
	tests := []struct {
		name   string
		stop   StopSessions
		octets string
	}{
		{"no session", StopSessions{}, "03000000 00000000 00000000 00000000" + zero},
		{"failed", StopSessions{Accept: AcceptInternalError}, "03020000 00000000 00000000 00000000" + zero},
		{
			"one range beside the counts",
			StopSessions{Reports: []SendReport{{sid(sidA), 100, []SkipRange{{7, 9}}}}},
			"03000000 00000001 00000000 00000000" + sidA + "00000064 00000001 00000007 00000009" + zero,
		},
		{
			"two ranges, padded",
			StopSessions{Reports: []SendReport{{sid(sidA), 99, []SkipRange{{0, 0}, {98, 98}}}}},
			"03000000 00000001 00000000 00000000" + sidA +
				"00000063 00000002 00000000 00000000" + "00000062 00000062 00000000 00000000" + zero,
		},
		{
			"two sessions",
			StopSessions{Reports: []SendReport{
				{sid(sidB), 10, []SkipRange{{1, 1}, {3, 4}, {6, 9}}},
				{sid(sidA), 0, nil},
			}},
			"03000000 00000002 00000000 00000000" +
				sidB + "0000000a 00000003 00000001 00000001" + "00000003 00000004 00000006 00000009" +
				sidA + "00000000 00000000 00000000 00000000" + zero,
		},
	}
	for _, test := range tests {
		want := octetsOf(test.octets)
		if got := test.stop.Append(nil); !bytes.Equal(got, want) {
			t.Errorf("%s: encoded\n%x, want\n%x", test.name, got, want)
		}
		got, left, err := readStop(want, 5)
		if err != nil || len(left) != BlockSize {
			t.Errorf("%s: %v, %d octets left, want the HMAC block", test.name, err, len(left))
		}
		if diff := cmp.Diff(test.stop, got); diff != "" {
			t.Errorf("%s: decoded (-want +got):\n%s", test.name, diff)
		}
		for n := BlockSize; n < len(want)-BlockSize; n++ {
			if _, _, err := readStop(want[:n], 5); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: cut to %d octets: error %v, want an unexpected EOF", test.name, n, err)
			}
		}
	}
}

func TestStopSessionsRefused(t *testing.T) {
	one := "03000000 00000001 00000000 00000000"
	two := "03000000 00000002 00000000 00000000"
	tests := []struct{ name, octets, want string }{
		{"more than there are", "03000000 00000003 00000000 00000000", "reports on 3 sessions, want at most 2"},
		{"very many", "03000000 ffffffff 00000000 00000000", "reports on 4294967295 sessions, want at most 2"},
		{"unknown", one + strings.Repeat("11", 16) + zero, "report on session 11111111111111111111111111111111, which the peer does not send"},
		{"twice", two + sidA + zero + sidA + zero, "two reports on session " + sidA},
		{"beyond the packets", one + sidB + "0000000b 00000000" + zero, "session " + sidB + ": next sequence number 11, want at most 10"},
		{"more ranges than packets", one + sidB + "00000002 00000003" + zero, "session " + sidB + ": 3 skip ranges, want at most 2"},
		{"more ranges than the ceiling", one + sidA + "00000064 00000006" + zero, "session " + sidA + ": 6 skip ranges, want at most 5"},
		{"very many ranges", one + sidA + "00000064 ffffffff" + zero, "session " + sidA + ": 4294967295 skip ranges, want at most 5"},
		{"padding", one + sidA + "00000000 00000000 00000000 00000001", "session " + sidA + ": padding is not zero"},
		{"padding of the second block", one + sidA + "00000009 00000002 00000001 00000001 00000003 00000003 01000000 00000000", "session " + sidA + ": padding is not zero"},
	}
	for _, test := range tests {
		if _, _, err := readStop(octetsOf(test.octets), 5); err == nil || err.Error() != test.want {
			t.Errorf("%s: error %v, want %s", test.name, err, test.want)
		}
	}

	// What ValidateSkips refuses is refused here, and says of which session.
	octets := octetsOf(one + sidB + "0000000a 00000001 00000009 00000008")
	if _, _, err := readStop(octets, 5); err == nil || !strings.HasPrefix(err.Error(), "session "+sidB+": ") {
		t.Errorf("a range that ends before it begins: error %v, want one that names session %s", err, sidB)
	}

	// The ceiling is for all sessions together.
	octets = octetsOf(two + sidB + "0000000a 00000003 00000001 00000001 00000003 00000004 00000006 00000009" +
		sidA + "00000064 00000003 00000001 00000001 00000003 00000004 00000006 00000009")
	want := "session " + sidA + ": 3 skip ranges, want at most 2"
	if _, _, err := readStop(octets, 5); err == nil || err.Error() != want {
		t.Errorf("six ranges in two sessions: error %v, want %s", err, want)
	}
}

// An error of the reader comes back as it is.
func TestStopSessionsReadError(t *testing.T) {
	broken := errors.New("broken")
	head := [BlockSize]byte{3, 7: 1}
	r := io.MultiReader(bytes.NewReader(make([]byte, 5)), readerOf(broken))
	if _, err := ReadStopSessions(&head, r, known, 5); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func readerOf(err error) io.Reader { return failing{err} }

// Random reports come back as they went.
func TestStopSessionsRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var s StopSessions
		all := make(map[SID]uint32)
		for range r.IntN(5) {
			rep := SendReport{NextSeq: r.Uint32N(500)}
			for i := range rep.SID {
				rep.SID[i] = byte(r.Uint32())
			}
			for seq := r.Uint32N(9); seq < rep.NextSeq; seq += 1 + r.Uint32N(9) {
				last := min(seq+r.Uint32N(9), rep.NextSeq-1)
				rep.Skips = append(rep.Skips, SkipRange{seq, last})
				seq = last + 1
			}
			s.Reports = append(s.Reports, rep)
			all[rep.SID] = rep.NextSeq + r.Uint32N(2)
		}
		b := s.Append(nil)
		if len(b)%BlockSize != 0 {
			t.Fatalf("%d octets, want whole blocks", len(b))
		}
		rd := bytes.NewReader(b[BlockSize:])
		got, err := ReadStopSessions((*[BlockSize]byte)(b), rd, all, 10_000)
		if err != nil || rd.Len() != BlockSize {
			t.Fatalf("%v, %d octets left, want the HMAC block", err, rd.Len())
		}
		if diff := cmp.Diff(s, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("decoded (-want +got):\n%s", diff)
		}
	}
}

func FuzzStopSessions(f *testing.F) {
	f.Add(octetsOf("03000000 00000001 00000000 00000000" + sidA + "00000063 00000002 00000000 00000000" + "00000062 00000062 00000000 00000000" + zero))
	f.Add(octetsOf("03000000 00000002 00000000 00000000" + sidB + "0000000a 00000001 00000003 00000004" + sidA + zero + zero))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < BlockSize {
			return
		}
		s, left, err := readStop(b, 50)
		if err != nil {
			return
		}
		read := bytes.Clone(b[:len(b)-len(left)])
		clear(read[2:4])
		clear(read[8:16])
		if again := s.Append(nil); !bytes.Equal(again[:len(again)-BlockSize], read) {
			t.Errorf("%x\nis encoded as %x", read, again)
		}
		total := 0
		for _, r := range s.Reports {
			total += len(r.Skips)
			if err := ValidateSkips(r.Skips, r.NextSeq, known[r.SID]); err != nil {
				t.Error(err)
			}
		}
		if total > 50 {
			t.Errorf("%d skip ranges, want at most 50", total)
		}
	})
}
