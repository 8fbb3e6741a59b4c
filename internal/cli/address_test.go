package cli

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseHostPort(t *testing.T) {
	for _, c := range []struct{ in, host, port string }{
		{"node", "node", "861"},
		{"node.example.org:8861", "node.example.org", "8861"},
		{"192.0.2.1", "192.0.2.1", "861"},
		{"192.0.2.1:0", "192.0.2.1", "0"},
		{"[2001:db8::1]:8861", "2001:db8::1", "8861"},
		{"[2001:db8::1]", "2001:db8::1", "861"},
		{"2001:db8::1", "2001:db8::1", "861"},
		{"::", "::", "861"},
		{"fe80::1%eth0", "fe80::1%eth0", "861"},
		{"[fe80::1%eth0]:1", "fe80::1%eth0", "1"},
		{"[192.0.2.1]:1", "192.0.2.1", "1"},
		{":8861", "", "8861"},
		{"node:owamp-control", "node", "owamp-control"},
	} {
		host, port, err := ParseHostPort(c.in, DefaultPort)
		if err != nil || host != c.host || port != c.port {
			t.Errorf("ParseHostPort(%q) = %q, %q, %v; want %q, %q", c.in, host, port, err, c.host, c.port)
		}
	}
	for _, in := range []string{"", "node:", "node:65536", "node:-1", "[::1", "[]:1", "[::1]x", "[::1]:", "a:b:c", "2001:db8::g",
		"no de", "node:8 61", "node\n", "node:99999999999999999999", "[a]b]:1", strings.Repeat("a", 400)} {
		host, port, err := ParseHostPort(in, DefaultPort)
		if err == nil {
			t.Errorf("ParseHostPort(%q) = %q, %q, want an error", in, host, port)
		} else if !strings.HasPrefix(err.Error(), "address ") || !strings.Contains(err.Error(), "want ") {
			t.Errorf("ParseHostPort(%q): %v names neither what it got nor what it wanted", in, err)
		}
	}
}

func FuzzParseHostPort(f *testing.F) {
	for _, s := range []string{"node", "node:861", "[::1]:861", "::1", ":1", "[", "fe80::1%lo:1", "a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, err := ParseHostPort(s, DefaultPort)
		if err != nil {
			return
		}
		// What was understood can be said again, in Go's form as well.
		for _, again := range []string{net.JoinHostPort(host, port), "[" + host + "]:" + port} {
			if host == "" && again[0] == '[' {
				continue
			}
			h, p, err := ParseHostPort(again, DefaultPort)
			if err != nil || h != host || p != port {
				t.Fatalf("%q is %q, %q; %q is %q, %q, %v", s, host, port, again, h, p, err)
			}
		}
	})
}

type fakeDNS map[string][]netip.Addr

func (f fakeDNS) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := f[host]; ok {
		return a, nil
	}
	if host == "broken" {
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func addrs(s ...string) []netip.Addr {
	var a []netip.Addr
	for _, x := range s {
		a = append(a, netip.MustParseAddr(x))
	}
	return a
}

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestResolve(t *testing.T) {
	dns := fakeDNS{
		"both":   addrs("192.0.2.1", "2001:db8::1", "192.0.2.2", "::ffff:192.0.2.1"),
		"only4":  addrs("192.0.2.1"),
		"silent": nil,
	}
	for _, c := range []struct {
		host   string
		family Family
		want   []netip.Addr
		err    string
	}{
		{host: "both", want: addrs("2001:db8::1", "192.0.2.1", "192.0.2.2")},
		{host: "both", family: IPv4, want: addrs("192.0.2.1", "192.0.2.2")},
		{host: "both", family: IPv6, want: addrs("2001:db8::1")},
		{host: "::ffff:192.0.2.9", family: IPv4, want: addrs("192.0.2.9")},
		{host: "fe80::1%lo", want: addrs("fe80::1%lo")},
		{host: "192.0.2.1", family: IPv6, err: `host "192.0.2.1": no IPv6 address`},
		{host: "only4", family: IPv6, err: `host "only4": no IPv6 address`},
		{host: "silent", err: `host "silent": no IP address`},
		{host: "absent", err: `host "absent": no such host`},
		{host: "broken", err: `host "broken": server misbehaving`},
	} {
		got, err := Resolve(t.Context(), dns, c.host, c.family)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("Resolve(%q, %v): %v, want %s", c.host, c.family, err, c.err)
			}
			continue
		}
		if d := cmp.Diff(c.want, got, sameAddr); err != nil || d != "" {
			t.Errorf("Resolve(%q, %v): %v\n%s", c.host, c.family, err, d)
		}
	}
}

func TestSource(t *testing.T) {
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for i < len(ifs) && ifs[i].Flags&net.FlagLoopback == 0 {
		i++
	}
	if i == len(ifs) {
		t.Skip("SKIPPED: no loopback interface")
	}
	got, err := Source(t.Context(), fakeDNS{}, ifs[i].Name, IPv4)
	if d := cmp.Diff(addrs("127.0.0.1"), got, sameAddr); err != nil || d != "" {
		t.Errorf("Source(%q): %v\n%s", ifs[i].Name, err, d)
	}
	got, err = Source(t.Context(), fakeDNS{}, "192.0.2.7", AnyFamily)
	if d := cmp.Diff(addrs("192.0.2.7"), got, sameAddr); err != nil || d != "" {
		t.Errorf("Source of an address: %v\n%s", err, d)
	}
	if _, err = Source(t.Context(), fakeDNS{}, "nosuch0", AnyFamily); err == nil || err.Error() != `host "nosuch0": no such host` {
		t.Errorf("Source of nothing: %v", err)
	}
}

func TestPick(t *testing.T) {
	src := addrs("fe80::1%eth0", "fe80::1%eth1", "192.0.2.1", "2001:db8::1")
	for remote, want := range map[string]string{"192.0.2.9": "192.0.2.1", "::ffff:192.0.2.9": "192.0.2.1", "fe80::9%eth1": "fe80::1%eth1"} {
		if got, ok := Pick(src, netip.MustParseAddr(remote)); !ok || got.String() != want {
			t.Errorf("Pick for %s = %v, %v; want %s", remote, got, ok, want)
		}
	}
	if got, ok := Pick(addrs("192.0.2.1"), netip.MustParseAddr("2001:db8::9")); ok {
		t.Errorf("Pick across versions = %v", got)
	}
}

func TestResolveKeepsContextErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Resolve(ctx, resolverFunc(func(ctx context.Context) error { return ctx.Err() }), "node", AnyFamily)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

type resolverFunc func(context.Context) error

func (f resolverFunc) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	return nil, f(ctx)
}
