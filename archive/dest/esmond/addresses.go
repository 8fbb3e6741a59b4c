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
// destination are of one family, IPv6 if there is a choice, and so is that of the
// agent if it has one. An end that has no address is null, or missing, as from
// pScheduler; the archive then says what it makes of that.
func (d *destination) address(ctx context.Context, r *mapping.Record) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found := make(map[string][]netip.Addr)
	for _, host := range []string{r.Source, r.Destination, r.Agent} {
		if _, ok := found[host]; ok || host == "" {
			continue
		}
		var err error
		if found[host], err = d.addresses(ctx, host); err != nil {
			return nil, fmt.Errorf("unable to resolve %.255q: %w", host, err)
		}
	}
	all := maps.Clone(r.Metadata)
	all["source"], all["measurement-agent"] = nil, nil
	agents := found[r.Agent]
	for _, is := range []func(netip.Addr) bool{netip.Addr.Is6, netip.Addr.Is4} {
		source, ok := least(found[r.Source], is)
		destination, ok2 := least(found[r.Destination], is)
		if !ok || !ok2 && r.Destination != "" {
			continue
		}
		all["source"] = source.String()
		if ok2 {
			all["destination"] = destination.String()
		}
		if agent, ok := least(agents, is); ok {
			all["measurement-agent"] = agent.String()
			return all, nil
		}
		break
	}
	if agent, ok := least(agents, netip.Addr.IsValid); ok {
		all["measurement-agent"] = agent.String()
	}
	return all, nil
}

// addresses returns the addresses of a host: none if there is no such host.
func (d *destination) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap().WithZone("")}, nil
	}
	all, err := d.find(ctx, "ip", host)
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return nil, nil
	}
	for i := range all {
		all[i] = all[i].Unmap().WithZone("")
	}
	return all, err
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
