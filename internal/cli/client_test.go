package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
)

func TestClientOptions(t *testing.T) {
	var o ClientOptions
	for _, opt := range [][2]string{{"6", ""}, {"6", ""}, {"A", "ao"}, {"S", "eth0"}, {"B", "eth1"}, {"u", "joe"}, {"k", "file"}, {"max-pbkdf2-count", "1024"}} {
		if ok, err := o.Set(opt[0], opt[1]); !ok || err != nil {
			t.Errorf("-%s %s: %v, %v", opt[0], opt[1], ok, err)
		}
	}
	want := ClientOptions{Family: IPv6, Modes: owamp.ModeAuthenticated | owamp.ModeOpen, Source: "eth0", Device: "eth1", User: "joe", KeyFile: "file", MaxCount: 1024}
	if d := cmp.Diff(want, o); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if ok, err := o.Set("c", "5"); ok || err != nil {
		t.Errorf("-c is taken for one of these options: %v, %v", ok, err)
	}
	for _, opt := range [][2]string{{"4", ""}, {"A", ""}, {"A", "x"}, {"B", "eth1"}} {
		if ok, err := o.Set(opt[0], opt[1]); !ok || err == nil {
			t.Errorf("-%s %s: %v, %v; want an error", opt[0], opt[1], ok, err)
		}
	}
}

func TestClientDialer(t *testing.T) {
	for _, tt := range []struct{ test, server, wantTest, wantServer, wantPort string }{
		{"a", "", "a", "a", "861"},
		{"a:8", "", "a", "a", "8"},
		{"[::1]:8", "", "::1", "::1", "8"},
		{"a", "b", "a", "b", "861"},
		{"a:8", "b", "a", "b", "861"},
		{"a", "b:9", "a", "b", "9"},
		{"", "b:9", "", "b", "9"},
	} {
		d, err := (&ClientOptions{Family: IPv4, Source: "s", Device: "d"}).Dialer(nil, tt.test, tt.server)
		if err != nil {
			t.Errorf("%q, %q: %v", tt.test, tt.server, err)
			continue
		}
		want := Dialer{Test: tt.wantTest, Server: tt.wantServer, Port: tt.wantPort, Family: IPv4, Source: "s", Device: "d"}
		if d := cmp.Diff(want, *d); d != "" {
			t.Errorf("%q, %q (-want +got)\n%s", tt.test, tt.server, d)
		}
	}
	for _, tt := range [][2]string{{":8", ""}, {"a", ":8"}, {"a b", ""}, {"a", "[b"}, {"a:70000", ""}} {
		if d, err := (&ClientOptions{}).Dialer(nil, tt[0], tt[1]); err == nil {
			t.Errorf("%q, %q: %+v, want an error", tt[0], tt[1], d)
		}
	}
}
