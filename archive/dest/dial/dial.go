// Package dial connects to destinations: from a local address if one is given,
// and to each address of a host in its turn.
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"owl/archive"
)

// An Endpoint is where a destination listens, and how it is reached.
type Endpoint struct {
	Host    string // a name or an address
	Port    uint16
	Bind    string        // the local address, or a name of it; empty: any
	Version int           // of IP, 4 or 6; 0: either, IPv6 first
	Timeout time.Duration // of connecting to one address
	// Lookup finds the addresses of a name; network is ip4 or ip6. nil: the
	// host's resolver.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// errFamilies is the one that pScheduler's archivers tell of, too.
var errFamilies = errors.New("host and bind have mismatched socket families")

// Connect connects to the first address that answers; network is tcp or udp. An
// error is an [archive.FinalError] if there is no address to connect to, and
// never will be.
func (e *Endpoint) Connect(ctx context.Context, network string) (net.Conn, error) {
	pairs, err := e.pairs(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, p := range pairs {
		conn, err := p.connect(ctx, network, e)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, together(errs)
}

// several are errors in one line.
type several []error

func (s several) Unwrap() []error { return s }

func (s several) Error() string {
	var all []string
	for _, err := range s {
		if text := err.Error(); !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return strings.Join(all, "; ")
}

// together returns errors as one that tells each thing once.
func together(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return several(errs)
}

// A pair is from where to connect to where.
type pair struct {
	local, remote netip.Addr // local may be none
}

func (p pair) connect(ctx context.Context, network string, e *Endpoint) (net.Conn, error) {
	d := net.Dialer{Timeout: e.Timeout}
	switch {
	case !p.local.IsValid():
	case network == "udp":
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.local, 0))
	default:
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.local, 0))
	}
	return d.DialContext(ctx, network, net.JoinHostPort(p.remote.String(), strconv.Itoa(int(e.Port))))
}

// pairs returns what is to be tried, in that order.
func (e *Endpoint) pairs(ctx context.Context) ([]pair, error) {
	both := []string{"ip6", "ip4"}
	families := both
	if e.Version != 0 {
		families = []string{"ip" + strconv.Itoa(e.Version)}
	}
	remotes, err := e.lookup(ctx, "host", e.Host, families)
	if err != nil {
		return nil, err
	}
	var all []pair
	if e.Bind == "" {
		for _, r := range remotes {
			all = append(all, pair{remote: r})
		}
		return all, nil
	}
	locals, err := e.lookup(ctx, "bind", e.Bind, both)
	if err != nil {
		return nil, err
	}
	for _, r := range remotes {
		for _, l := range locals {
			if l.Is4() == r.Is4() {
				all = append(all, pair{l, r})
				break
			}
		}
	}
	if len(all) == 0 {
		return nil, archive.Final(errFamilies)
	}
	return all, nil
}

// lookup returns the addresses of a name, which is what says.
func (e *Endpoint) lookup(ctx context.Context, what, name string, families []string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		if a = a.Unmap(); len(families) == 1 && families[0] == "ip4" != a.Is4() {
			return nil, archive.Final(fmt.Errorf("unable to resolve %s %s: it is not an address of IPv%s", what, name, families[0][2:]))
		}
		return []netip.Addr{a}, nil
	}
	find := e.Lookup
	if find == nil {
		find = net.DefaultResolver.LookupNetIP
	}
	var all []netip.Addr
	var errs []error
	never := true
	for _, family := range families {
		found, err := find(ctx, family, name)
		if err != nil {
			errs = append(errs, err)
			d, ok := errors.AsType[*net.DNSError](err)
			_, unsuitable := errors.AsType[*net.AddrError](err)
			never = never && (ok && d.IsNotFound || unsuitable)
		}
		for _, a := range found {
			all = append(all, a.Unmap())
		}
	}
	if len(all) > 0 {
		return all, nil
	}
	err := fmt.Errorf("unable to resolve %s %s: %w", what, name, together(errs))
	if never {
		err = archive.Final(err)
	}
	return nil, err
}
