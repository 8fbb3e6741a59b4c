package policy

import (
	"net/netip"
	"strings"
	"testing"
)

// Who asked for a session is written in one line, and read again.
func TestPeerText(t *testing.T) {
	for text, want := range map[string]Peer{
		"192.0.2.1":                      {Addr: netip.MustParseAddr("192.0.2.1")},
		"2001:db8::1 joe":                {netip.MustParseAddr("2001:db8::1"), "joe"},
		"::1 " + strings.Repeat("x", 80): {netip.MustParseAddr("::1"), strings.Repeat("x", 80)},
	} {
		var got Peer
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
		if b, err := want.AppendText([]byte("by ")); err != nil || string(b) != "by "+text {
			t.Errorf("%+v: %q, %v", want, b, err)
		}
	}
	scoped := Peer{Addr: netip.MustParseAddr("fe80::1%eth0")}
	if b, err := scoped.AppendText(nil); err != nil || string(b) != "fe80::1" {
		t.Errorf("%+v: %q, %v", scoped, b, err)
	}
	for _, text := range []string{"", " ", "joe", "192.0.2.1 ", "192.0.2.1 a\nb", "192.0.2.1 two words", "::1 " + strings.Repeat("x", 81), "192.0.2"} {
		if err := new(Peer).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
	for _, p := range []Peer{{}, {User: "joe"}, {netip.MustParseAddr("::1"), "a\nb"}, {netip.MustParseAddr("::1"), strings.Repeat("x", 81)}} {
		if b, err := p.AppendText(nil); err == nil {
			t.Errorf("%+v: %q, want an error", p, b)
		}
	}
}

func FuzzPeerText(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "2001:db8::1 joe", "fe80::1%eth0", "::ffff:192.0.2.1 a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var p, again Peer
		if p.UnmarshalText(text) != nil {
			return
		}
		b, err := p.AppendText(nil)
		if err != nil {
			t.Fatalf("%q: %+v: %v", text, p, err)
		}
		p.Addr = p.Addr.WithZone("")
		if err := again.UnmarshalText(b); err != nil || again != p {
			t.Fatalf("%q: %+v, then %+v, %v", text, p, again, err)
		}
	})
}

func TestHostOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1":             "192.0.2.1",
		"::ffff:192.0.2.1":      "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":  "2001:db8:1:2::",
		"2001:db8:1:2:ff:4:5:6": "2001:db8:1:2::",
		"fe80::1%eth0":          "fe80::",
	} {
		if got := HostOf(netip.MustParseAddr(addr)); got != netip.MustParseAddr(want) {
			t.Errorf("%s: %v, want %s", addr, got, want)
		}
	}
	if got := HostOf(netip.Addr{}); got.IsValid() {
		t.Errorf("no address: %v", got)
	}
}
