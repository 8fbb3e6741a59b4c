package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"owl/probe"
)

// DefaultPort is the port of OWAMP-Control (RFC 4656 section 2).
const DefaultPort = "861"

// TestPorts are the UDP ports for test packets unless others are asked for: the C
// suite's.
var TestPorts = probe.PortRange{Low: 8760, High: 9960}

// MaxPadding fills the greatest UDP packet over IPv4, with what a test packet has
// in open mode before it, in octets.
const MaxPadding = 65507 - 14

// maxHost bounds the name of a host (RFC 1035 section 2.3.4, and some room for
// an IPv6 zone).
const maxHost = 300

// ParseHostPort splits s into a host and a port as the C programs read a
// testaddr, a servaddr or a srcnode: node, node:port, [node], [node]:port,
// :port, or an IPv6 address as it is. The port is a number or a service's name,
// and defaultPort where s has none; the host is empty where s has none. Nothing
// is looked up.
func ParseHostPort(s, defaultPort string) (host, port string, err error) {
	bad := func(want string) (string, string, error) {
		return "", "", fmt.Errorf("address %q: want %s", s, want)
	}
	host, port = s, defaultPort
	switch {
	case s == "":
		return bad("a host, host:port or [host]:port")
	case s[0] == '[':
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return bad("] after the host")
		}
		host = s[1:end]
		if host == "" {
			return bad("a host between the brackets")
		}
		if rest := s[end+1:]; rest != "" {
			if rest[0] != ':' {
				return bad("nothing or :port after ]")
			}
			port = rest[1:]
		}
	case strings.Count(s, ":") == 1:
		host, port, _ = strings.Cut(s, ":")
	case strings.Contains(s, ":"): // an IPv6 address, with or without a zone
		if _, err := netip.ParseAddr(s); err != nil {
			return bad("brackets around an IPv6 address")
		}
	}
	if len(host) > maxHost || strings.ContainsFunc(host, notInHost) {
		return bad("the name or address of a host")
	}
	if !validPort(port) {
		return bad("a port from 0 to 65535 or the name of a service")
	}
	return host, port, nil
}

func notInHost(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`[]/"'`, r) }

func validPort(s string) bool {
	if s == "" || len(s) > 32 || strings.ContainsFunc(s, notInHost) || strings.Contains(s, ":") {
		return false
	}
	if s[0] < '0' || s[0] > '9' {
		return s[0] != '-' && s[0] != '+' // the name of a service
	}
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// A Family restricts addresses to one version of IP: the options -4 and -6.
type Family uint8

// AnyFamily is what there is without -4 and -6.
const (
	AnyFamily Family = 0
	IPv4      Family = 4
	IPv6      Family = 6
)

// Has reports whether a belongs to the family. An IPv4-mapped IPv6 address is
// an IPv4 one.
func (f Family) Has(a netip.Addr) bool {
	switch f {
	case IPv4:
		return a.Unmap().Is4()
	case IPv6:
		return a.Is6() && !a.Is4In6()
	}
	return a.IsValid()
}

func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return "IP"
}

// A Resolver looks up the addresses of a host; a [net.Resolver] is one. The
// network is always "ip".
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Resolve returns the addresses of host that belong to the family, at least
// one, without doubles: IPv6 before IPv4, as the C programs try them, and
// otherwise in the resolver's order. An address stands for itself. The caller's
// context bounds how long it may take.
func Resolve(ctx context.Context, r Resolver, host string, f Family) ([]netip.Addr, error) {
	found, err := lookup(ctx, r, host)
	if err != nil {
		return nil, err
	}
	return inFamily(host, found, f)
}

func lookup(ctx context.Context, r Resolver, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	found, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		if d, ok := errors.AsType[*net.DNSError](err); ok {
			if d.IsNotFound {
				return nil, fmt.Errorf("host %q: no such host", host)
			}
			return nil, fmt.Errorf("host %q: %s", host, d.Err)
		}
		return nil, fmt.Errorf("host %q: %w", host, err)
	}
	return found, nil
}

// inFamily keeps what belongs to the family, IPv6 first.
func inFamily(host string, found []netip.Addr, f Family) ([]netip.Addr, error) {
	var v6, v4 []netip.Addr
	for _, a := range found {
		switch a = a.Unmap(); {
		case !f.Has(a):
		case a.Is6() && !slices.Contains(v6, a):
			v6 = append(v6, a)
		case a.Is4() && !slices.Contains(v4, a):
			v4 = append(v4, a)
		}
	}
	if len(v6)+len(v4) == 0 {
		return nil, fmt.Errorf("host %q: no %v address", host, f)
	}
	return append(v6, v4...), nil
}
