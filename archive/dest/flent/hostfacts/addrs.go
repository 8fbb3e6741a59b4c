package hostfacts

import (
	"net"
	"net/netip"
)

// addrs returns the addresses of this host's interfaces.
func addrs() map[string][]string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	all := make(map[string][]string)
	for i := range interfaces {
		found, _ := interfaces[i].Addrs()
		for _, a := range found {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				all[interfaces[i].Name] = append(all[interfaces[i].Name], p.Addr().String())
			}
		}
	}
	return all
}
