package cli

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Source returns the local addresses that -S names, at least one, of the
// family: those of the interface called s, or else those of the host s, which
// may be an address. A global address stands before a link-local one, which has
// its zone. Whether an address is this host's is left to the socket that is
// bound to it.
func Source(ctx context.Context, r Resolver, s string, f Family) ([]netip.Addr, error) {
	ifi, err := net.InterfaceByName(s)
	if err != nil {
		return Resolve(ctx, r, s, f)
	}
	nets, err := ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w", s, err)
	}
	var found []netip.Addr
	for _, n := range nets {
		p, ok := n.(*net.IPNet)
		if !ok {
			continue
		}
		a, ok := netip.AddrFromSlice(p.IP)
		if !ok {
			continue
		}
		if a = a.Unmap(); a.Is6() && a.IsLinkLocalUnicast() {
			a = a.WithZone(s)
		}
		found = append(found, a)
	}
	slices.SortStableFunc(found, func(a, b netip.Addr) int { return cmp.Compare(scope(a), scope(b)) })
	kept, err := inFamily(s, found, f)
	if err != nil {
		return nil, fmt.Errorf("interface %q: no %v address", s, f)
	}
	return kept, nil
}

func scope(a netip.Addr) int {
	if a.IsLinkLocalUnicast() {
		return 1
	}
	return 0
}

// Pick returns the first of the source addresses that can talk to remote: one
// of the same version of IP, and of the same zone where both have one.
func Pick(sources []netip.Addr, remote netip.Addr) (netip.Addr, bool) {
	remote = remote.Unmap()
	for _, a := range sources {
		if a.Is4() == remote.Is4() && (a.Zone() == "" || remote.Zone() == "" || a.Zone() == remote.Zone()) {
			return a, true
		}
	}
	return netip.Addr{}, false
}
