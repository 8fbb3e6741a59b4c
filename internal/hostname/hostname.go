// Package hostname gives addresses the names that summaries show: from reverse
// DNS, without ever waiting long for it.
package hostname

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	// Patience is how long a name is waited for.
	Patience = 2 * time.Second
	// Unknown stands for the name of a host where the resolver failed, as in
	// the C suite.
	Unknown = "***"
	// maxLength is that of a name in DNS, RFC 1035 section 2.3.4.
	maxLength = 255
)

// A Resolver finds the names of an address; *net.Resolver is one.
type Resolver interface {
	LookupAddr(ctx context.Context, addr string) (names []string, err error)
}

// Name returns the name of addr: the first one in reverse DNS, the numeric
// address where there is none, and [Unknown] where the resolver fails or says
// nothing within [Patience] or before ctx is done. A resolver that ignores its
// context is left behind.
func Name(ctx context.Context, r Resolver, addr netip.Addr) string {
	addr = addr.Unmap()
	if !addr.IsValid() {
		return Unknown
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	answer := make(chan string, 1)
	go func() { answer <- ask(ctx, r, addr) }()
	select {
	case name := <-answer:
		return name
	case <-ctx.Done():
		return Unknown
	}
}

func ask(ctx context.Context, r Resolver, addr netip.Addr) string {
	names, err := r.LookupAddr(ctx, addr.WithZone("").String())
	if err != nil {
		if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
			return addr.String()
		}
		return Unknown
	}
	for _, name := range names {
		if name = strings.TrimSuffix(name, "."); printable(name) {
			return name
		}
	}
	return addr.String()
}

// printable reports whether a name can stand in a line of a text. Who answers
// for an address chooses its name.
func printable(name string) bool {
	return name != "" && len(name) <= maxLength &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '[' || r == ']' })
}
