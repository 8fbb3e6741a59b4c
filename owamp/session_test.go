package owamp_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/netip"
	"strings"
	"testing"

	"owl/owamp"
)

func TestNewSID(t *testing.T) {
	const now owamp.Timestamp = 0xeeaba5f0_877fe088
	random := []byte{0xa0, 0xa1, 0xa2, 0xa3, 0xa4}
	for _, tt := range []struct{ addr, want string }{
		{"10.98.0.2", "0a620002eeaba5f0877fe088a0a1a2a3"},
		{"::ffff:10.98.0.2", "0a620002eeaba5f0877fe088a0a1a2a3"},
		{"fd98::1:2", "00010002eeaba5f0877fe088a0a1a2a3"},
		{"fe80::1%eth0", "00000001eeaba5f0877fe088a0a1a2a3"},
	} {
		sid, err := owamp.NewSID(netip.MustParseAddr(tt.addr), now, bytes.NewReader(random))
		if err != nil || sid.String() != tt.want {
			t.Errorf("NewSID(%s) = %v, %v, want %s", tt.addr, sid, err, tt.want)
		}
	}
	if _, err := owamp.NewSID(netip.Addr{}, now, bytes.NewReader(random)); err == nil || err.Error() != `session ID: "invalid IP" is not an address` {
		t.Errorf("no address: %v", err)
	}
	_, err := owamp.NewSID(netip.IPv6Loopback(), now, bytes.NewReader(random[:3]))
	if !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "session ID: unexpected EOF" {
		t.Errorf("no random octets: %v", err)
	}
}

func TestParseSID(t *testing.T) {
	const s = "2872979303ab47eeac028dab3829dab2"
	for _, in := range []string{s, strings.ToUpper(s)} {
		if sid, err := owamp.ParseSID(in); err != nil || sid.String() != s || sid[0] != 0x28 {
			t.Errorf("ParseSID(%q) = %v, %v", in, sid, err)
		}
	}
	for _, in := range []string{"", s[1:], s[2:], s + "00", "x" + s[1:], " " + s} {
		if _, err := owamp.ParseSID(in); err == nil || !strings.HasSuffix(err.Error(), ": want 32 hexadecimal digits") {
			t.Errorf("ParseSID(%q): %v", in, err)
		}
	}
}

func FuzzParseSID(f *testing.F) {
	f.Add("2872979303ab47eeac028dab3829dab2")
	f.Add("FEED0FEED1FEED2FEED3FEED4FEED5AB")
	f.Add("0x72979303ab47eeac028dab3829dab2")
	f.Fuzz(func(t *testing.T, s string) {
		if sid, err := owamp.ParseSID(s); err == nil && sid.String() != strings.ToLower(s) {
			t.Fatalf("%q became %v", s, sid)
		}
	})
}

func TestMode(t *testing.T) {
	for _, tt := range []struct {
		in   string
		mode owamp.Mode
		out  string
	}{
		{"O", owamp.ModeOpen, "O"},
		{"a", owamp.ModeAuthenticated, "A"},
		{"e", owamp.ModeEncrypted, "E"},
		{"oEa", owamp.ModeOpen | owamp.ModeEncrypted | owamp.ModeAuthenticated, "AEO"},
		{"EE", owamp.ModeEncrypted, "E"},
	} {
		m, err := owamp.ParseMode(tt.in)
		if err != nil || m != tt.mode || m.String() != tt.out {
			t.Errorf("ParseMode(%q) = %v (%d), %v, want %s (%d)", tt.in, m, m, err, tt.out, tt.mode)
		}
	}
	for _, in := range []string{"", "X", "AEOX", " A"} {
		want := "mode \"" + strings.ToUpper(in) + "\": want letters out of A, E and O"
		if _, err := owamp.ParseMode(in); err == nil || !strings.EqualFold(err.Error(), want) {
			t.Errorf("ParseMode(%q): %v", in, err)
		}
	}
	for m, want := range map[owamp.Mode]string{0: "(0x0)", 8: "(0x8)", 9: "O(0x8)", 0x80000000: "(0x80000000)"} {
		if got := m.String(); got != want {
			t.Errorf("Mode(%d) is %q, want %q", uint32(m), got, want)
		}
	}
}

func FuzzParseMode(f *testing.F) {
	for _, s := range []string{"AEO", "o", "", "ſ", "Å"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := owamp.ParseMode(s)
		if err != nil {
			return
		}
		if m == 0 || m > 7 {
			t.Fatalf("%q is mode %d", s, uint32(m))
		}
		if again, err := owamp.ParseMode(m.String()); again != m || err != nil {
			t.Fatalf("%q is %v, which is %v, %v", s, m, again, err)
		}
	})
}

func TestAccept(t *testing.T) {
	for a, want := range []string{
		"accepted", "refused", "internal error", "not supported", "permanent resource limit", "temporary resource limit",
	} {
		if a := owamp.Accept(a); a.String() != want || !a.Valid() {
			t.Errorf("accept %d: %q, valid %v", uint8(a), a, a.Valid())
		}
	}
	for _, a := range []owamp.Accept{6, 255} {
		if a.Valid() {
			t.Errorf("accept %d is valid", uint8(a))
		}
	}
	if got := owamp.Accept(6).String(); got != "accept code 6" {
		t.Errorf("%q", got)
	}
}

func TestDSCP(t *testing.T) {
	for dscp := range uint8(64) {
		s := owamp.SessionSpec{TypeP: owamp.TypePOf(dscp)}
		if s.TypeP != uint32(dscp)<<24 {
			t.Errorf("DSCP %d is Type-P %08x", dscp, s.TypeP)
		}
		if got, ok := s.DSCP(); got != dscp || !ok {
			t.Errorf("Type-P %08x is DSCP %d, %v", s.TypeP, got, ok)
		}
	}
	if got := owamp.TypePOf(0xff); got != 0x3f000000 {
		t.Errorf("DSCP 255 is Type-P %08x", got)
	}
	for _, p := range []uint32{1, 0x2e000001, 0x2e010000, 0x40000000, 0x80000000} {
		s := owamp.SessionSpec{TypeP: p}
		if dscp, ok := s.DSCP(); ok {
			t.Errorf("Type-P %08x is DSCP %d", p, dscp)
		}
	}
}

func TestMeanInterval(t *testing.T) {
	for _, tt := range []struct {
		slots []owamp.Interval
		want  owamp.Interval
	}{
		{nil, 0},
		{[]owamp.Interval{7}, 7},
		{[]owamp.Interval{1, 2, 4}, 2},
		{[]owamp.Interval{math.MaxUint64, math.MaxUint64, math.MaxUint64 - 3}, math.MaxUint64 - 1},
	} {
		var s owamp.SessionSpec
		for _, p := range tt.slots {
			s.Slots = append(s.Slots, owamp.Slot{Parameter: p})
		}
		if got := s.MeanInterval(); got != tt.want {
			t.Errorf("mean of %v is %d, want %d", tt.slots, got, tt.want)
		}
	}
}
