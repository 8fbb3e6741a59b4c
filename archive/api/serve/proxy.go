package serve

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// forwarded are the headers by which a proxy says for whom it asks, and how.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"}

// introduce makes a request its client's, in RemoteAddr from here on. A proxy that
// is trusted says who that is; what all others say of the kind is taken off. It
// returns the client, none if nobody can tell.
func introduce(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	client := peer.Addr().Unmap().WithZone("")
	if err != nil || !within(trusted, client) {
		for _, name := range forwarded {
			r.Header.Del(name)
		}
		return client
	}
	// Each proxy has put its peer behind what it was told. So the last one's word
	// comes last, and the one before it counts if that is a proxy's again.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		if client = a.Unmap().WithZone(""); !within(trusted, client) {
			break
		}
	}
	r.RemoteAddr = net.JoinHostPort(client.String(), "0")
	return client
}

// within reports whether an address is in one of the networks.
func within(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
