package serve

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
)

// TestIntroduce: whom a request is from.
func TestIntroduce(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:1::/48")}
	for _, c := range []struct {
		from   string
		claims []string
		want   string
	}{
		{"198.51.100.1:5", []string{"203.0.113.1"}, "198.51.100.1"},
		{"[::ffff:198.51.100.1]:5", nil, "198.51.100.1"},
		{"[fe80::1%eth0]:5", nil, "fe80::1"},
		{"192.0.2.1:5", nil, "192.0.2.1"},
		{"192.0.2.1:5", []string{"203.0.113.1"}, "203.0.113.1"},
		{"[::ffff:192.0.2.1]:5", []string{"::ffff:203.0.113.1"}, "203.0.113.1"},
		{"192.0.2.1:5", []string{"203.0.113.1, 203.0.113.2"}, "203.0.113.2"},
		{"192.0.2.1:5", []string{"203.0.113.1", "203.0.113.2 "}, "203.0.113.2"},
		{"192.0.2.1:5", []string{"203.0.113.1, 2001:db8:1::5, 192.0.2.9"}, "203.0.113.1"},
		{"192.0.2.1:5", []string{"nonsense, 192.0.2.9"}, "192.0.2.9"},
		{"192.0.2.1:5", []string{"203.0.113.1, nonsense"}, "192.0.2.1"},
		{"192.0.2.1:5", []string{"203.0.113.1, "}, "192.0.2.1"},
		{"192.0.2.1:5", []string{"203.0.113.1:80"}, "192.0.2.1"},
		{"@", []string{"203.0.113.1"}, "invalid IP"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.from
		r.Header["X-Forwarded-For"] = c.claims
		if got := introduce(r, trusted); got.String() != c.want {
			t.Errorf("%s, who says %q: %v, want %s", c.from, c.claims, got, c.want)
		}
	}
}

// FuzzIntroduce: who is not trusted is who he is, and says nothing of others; who is
// trusted names an address, or is it himself. Whatever is asked for has a route.
func FuzzIntroduce(f *testing.F) {
	f.Add("192.0.2.1:5", "203.0.113.1, 192.0.2.9", "GET", "/esmond/perfsonar/archive/KEY/throughput/base")
	f.Add("198.51.100.1:5", ", ,", "PUT", "/perfsonar/archive//")
	f.Add("[fe80::1%eth0]:5", "::1%lo", "M", "//")
	trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	f.Fuzz(func(t *testing.T, from, claims, method, path string) {
		r := &http.Request{RemoteAddr: from, Header: http.Header{"X-Forwarded-For": {claims}, "X-Request-Id": {claims}}}
		client := introduce(r, trusted)
		peer, err := netip.ParseAddrPort(from)
		known := err == nil && within(trusted, peer.Addr().Unmap().WithZone(""))
		if !known && (len(r.Header) != 0 || r.RemoteAddr != from || client != peer.Addr().Unmap().WithZone("")) {
			t.Errorf("%s, who says %q, is taken for %v at %s, with %v", from, claims, client, r.RemoteAddr, r.Header)
		}
		if known {
			at, err := netip.ParseAddrPort(r.RemoteAddr)
			if err != nil || at.Addr() != client || client.Zone() != "" {
				t.Errorf("%s, who says %q, is taken for %v at %s", from, claims, client, r.RemoteAddr)
			}
		}
		if route := routeOf(method, path); !slices.Contains(routes, route) {
			t.Errorf("%s %s has the route %q", method, path, route)
		}
	})
}
