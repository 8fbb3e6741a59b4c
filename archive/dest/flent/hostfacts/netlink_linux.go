package hostfacts

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// typeMask is NLA_TYPE_MASK: an attribute's type without its flags.
const typeMask = 0x3fff

// dump asks the kernel's rtnetlink for all there is of a kind, of the interface
// that the request names.
func dump(kind int, request nl.NetlinkRequestData) ([][]byte, error) {
	r := nl.NewNetlinkRequest(kind, unix.NLM_F_DUMP)
	r.AddData(request)
	all, err := r.Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, nl.ErrDumpInterrupted) { // something changed meanwhile
		err = nil
	}
	return all, err
}

// attributes reads the attributes that b is; the last of a type counts.
func attributes(b []byte) map[uint16][]byte {
	all := make(map[uint16][]byte)
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			break
		}
		all[binary.NativeEndian.Uint16(b[2:])&typeMask] = b[unix.SizeofRtAttr:n]
		b = b[min((n+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
	}
	return all
}

// A route is where packets go.
type route struct {
	index           int // of the interface
	gateway, source netip.Addr
}

// routeTo asks which way packets to an address go.
func routeTo(to netip.Addr) (*route, error) {
	found, err := netlink.RouteGet(to.AsSlice())
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("rtnetlink: no route")
	}
	return routeOf(&found[0]), nil
}

// routeOf takes of a route what is wanted: of several ways the first.
func routeOf(r *netlink.Route) *route {
	index, gateway, via := r.LinkIndex, r.Gw, r.Via
	if index == 0 && len(r.MultiPath) > 0 {
		first := r.MultiPath[0]
		index, gateway, via = first.LinkIndex, first.Gw, first.Via
	}
	if other, ok := via.(*netlink.Via); ok { // of another family than the route
		gateway = other.Addr
	}
	return &route{index, addr(gateway), addr(r.Src)}
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// defaultGateways returns where packets go that have no way of their own.
func defaultGateways() []gateway {
	var all []gateway
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		// What changes while it is listed may be listed or not.
		_ = netlink.RouteListFilteredIter(family, &netlink.Route{}, netlink.RT_FILTER_DST, func(found netlink.Route) bool {
			r := routeOf(&found)
			link, err := net.InterfaceByIndex(r.index)
			if err == nil && r.gateway.IsValid() && link.Name != "lo" {
				all = append(all, gateway{r.gateway.String(), link.Name})
			}
			return true
		})
	}
	return all
}

// native32 reads a number; 0 if there is none.
func native32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// native64 likewise.
func native64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b)
}
