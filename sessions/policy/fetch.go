package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// A FetchRight says who may fetch a session.
type FetchRight uint8

const (
	FetchCreator FetchRight = iota // who asked for the session
	FetchClass                     // the peers of the class that the session belongs to
	FetchAny                       // anyone who may connect
)

var fetchRights = [...]string{FetchCreator: "creator", FetchClass: "class", FetchAny: "any"}

func (f FetchRight) String() string {
	if int(f) < len(fetchRights) {
		return fetchRights[f]
	}
	return fmt.Sprintf("fetch right %d", uint8(f))
}

// AppendText appends f as a limits file has it.
func (f FetchRight) AppendText(b []byte) ([]byte, error) { return append(b, f.String()...), nil }

// UnmarshalText reads what [FetchRight.AppendText] writes, in either case.
func (f *FetchRight) UnmarshalText(text []byte) error {
	for i, name := range fetchRights {
		if strings.EqualFold(string(text), name) {
			*f = FetchRight(i)
			return nil
		}
	}
	return fmt.Errorf("want one of %s", strings.Join(fetchRights[:], ", "))
}

// A Peer is the other end of a control connection.
type Peer struct {
	Addr netip.Addr
	User string // who it has proved to be; "" in open mode
}

// AppendText appends p as [Peer.UnmarshalText] reads it: the address without its
// zone, and after a blank the user, if there is one.
func (p Peer) AppendText(b []byte) ([]byte, error) {
	if !p.Addr.IsValid() {
		return b, errors.New("peer without an address")
	}
	b = p.Addr.WithZone("").AppendTo(b)
	if p.User == "" {
		return b, nil
	}
	if err := CheckUser(p.User); err != nil {
		return b, fmt.Errorf("user %.*q: %w", maxName, p.User, err)
	}
	b = append(b, ' ')
	return append(b, p.User...), nil
}

// UnmarshalText reads what [Peer.AppendText] writes.
func (p *Peer) UnmarshalText(text []byte) error {
	addr, user, named := strings.Cut(string(text), " ")
	var err error
	if p.Addr, err = netip.ParseAddr(addr); err != nil {
		return fmt.Errorf("peer %.200q: want an address", text)
	}
	p.User = user
	if !named {
		return nil
	}
	if err := CheckUser(user); err != nil {
		return fmt.Errorf("peer %.200q: user: %w", text, err)
	}
	return nil
}

// is reports whether p has the right of creator: it is the same user, or, where
// the session was asked for in open mode, has the same address.
func (p Peer) is(creator Peer) bool {
	if creator.User != "" {
		return p.User == creator.User
	}
	return creator.Addr.IsValid() && plain(p.Addr) == plain(creator.Addr)
}

// MayFetch reports whether peer may fetch a session of class owner that creator
// asked for. A zero creator is one that is not known: nobody then is the
// creator.
func (l *Limits) MayFetch(owner *Class, creator, peer Peer) bool {
	switch owner.fetch {
	case FetchAny:
		return true
	case FetchClass:
		return peer.is(creator) || l.Class(peer.Addr, peer.User).name == owner.name
	default:
		return peer.is(creator)
	}
}
