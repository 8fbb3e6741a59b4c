package esmond

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"

	"owl/archive/dest/esmond/mapping"
)

// address completes metadata by the addresses of their hosts: those of source and
// destination as [Ends] has them, and that of the agent of the same family if it
// has one. An end that has no address is null, or missing, as from pScheduler; the
// archive then says what it makes of that.
func (d *destination) address(ctx context.Context, r *mapping.Record) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	all := maps.Clone(r.Metadata)
	all["source"], all["measurement-agent"] = nil, nil
	source, destination, err := Ends(ctx, d.find, r.Source, r.Destination)
	if err != nil {
		return nil, err
	}
	if source.IsValid() {
		all["source"] = source.String()
	}
	if destination.IsValid() {
		all["destination"] = destination.String()
	}
	agents, err := d.find.addresses(ctx, r.Agent)
	if err != nil {
		return nil, err
	}
	agent, ok := least(agents, func(a netip.Addr) bool { return source.IsValid() && a.Is6() == source.Is6() })
	if !ok {
		agent, ok = least(agents, netip.Addr.IsValid)
	}
	if ok {
		all["measurement-agent"] = agent.String()
	}
	return all, nil
}

// Ends returns the addresses that an archive has for a measurement between two
// hosts, or at one, source, if the other has no name: of one family, IPv6 if there
// is a choice. Both are zero if there are none such.
func Ends(ctx context.Context, find Lookup, source, destination string) (from, to netip.Addr, err error) {
	sources, err := find.addresses(ctx, source)
	if err != nil {
		return from, to, err
	}
	destinations, err := find.addresses(ctx, destination)
	if err != nil {
		return from, to, err
	}
	for _, is := range []func(netip.Addr) bool{netip.Addr.Is6, netip.Addr.Is4} {
		from, ok := least(sources, is)
		to, ok2 := least(destinations, is)
		if ok && (ok2 || destination == "") {
			return from, to, nil
		}
	}
	return from, to, nil
}

// addresses returns the addresses of a host: none if there is no such host.
func (find Lookup) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if host == "" {
		return nil, nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap().WithZone("")}, nil
	}
	all, err := find(ctx, "ip", host)
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("unable to resolve %.255q: %w", host, err)
	}
	for i := range all {
		all[i] = all[i].Unmap().WithZone("")
	}
	return all, nil
}

// least returns the least of those addresses that are wanted: a host with several
// of them is one measurement, in whatever order they come.
func least(all []netip.Addr, wanted func(netip.Addr) bool) (a netip.Addr, ok bool) {
	for _, b := range all {
		if wanted(b) && (!ok || b.Less(a)) {
			a, ok = b, true
		}
	}
	return a, ok
}
