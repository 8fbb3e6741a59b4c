package policy

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Limits is what a limits file says: a tree of classes, and who belongs to
// which. It does not change.
type Limits struct {
	file    string // its name, for errors
	classes []*Class
	byName  map[string]*Class
	assigns []assignment

	// The assignments by what is looked up.
	users    map[string]*Class
	nets     map[netip.Prefix]*Class
	lengths4 []int // of the nets that there are, descending
	lengths6 []int
	fallback *Class
}

// An assignment is an assign line. At most one of user and net is there; the
// default has none.
type assignment struct {
	user  string
	net   netip.Prefix
	class *Class
	line  int
}

// Unlimited returns the limits of a server that has no limits file: one class,
// default, in which everything has its default.
func Unlimited() *Limits {
	l := newLimits("")
	l.add(&Class{name: "default", settings: defaults})
	return l
}

func newLimits(file string) *Limits {
	return &Limits{
		file:   file,
		byName: make(map[string]*Class),
		users:  make(map[string]*Class),
		nets:   make(map[netip.Prefix]*Class),
	}
}

func (l *Limits) add(c *Class) {
	l.classes = append(l.classes, c)
	l.byName[c.name] = c
}

// assign adds an assignment that contradicts none.
func (l *Limits) assign(a assignment) {
	l.assigns = append(l.assigns, a)
	switch {
	case a.user != "":
		l.users[a.user] = a.class
	case a.net.IsValid():
		l.nets[a.net] = a.class
		lengths := &l.lengths6
		if a.net.Addr().Is4() {
			lengths = &l.lengths4
		}
		if !slices.Contains(*lengths, a.net.Bits()) {
			*lengths = append(*lengths, a.net.Bits())
			slices.SortFunc(*lengths, func(x, y int) int { return y - x })
		}
	default:
		l.fallback = a.class
	}
}

// Root returns the class that is above all others.
func (l *Limits) Root() *Class { return l.classes[0] }

// Classes returns all classes in the order of their definition: the root
// first, each after its parent.
func (l *Limits) Classes() []*Class { return slices.Clone(l.classes) }

// Lookup returns the class of that name.
func (l *Limits) Lookup(name string) (*Class, bool) {
	c, ok := l.byName[name]
	return c, ok
}

// Class returns the class of a peer. user is who it has proved to be, "" in
// open mode. There always is one; see the package's documentation for the rule.
func (l *Limits) Class(peer netip.Addr, user string) *Class {
	if user != "" {
		if c := l.byName[user]; c != nil {
			return c
		}
		if c := l.users[user]; c != nil {
			return c
		}
	}
	peer = plain(peer)
	lengths := l.lengths6
	if peer.Is4() {
		lengths = l.lengths4
	}
	for _, bits := range lengths {
		if net, err := peer.Prefix(bits); err == nil {
			if c := l.nets[net]; c != nil {
				return c
			}
		}
	}
	if l.fallback != nil {
		return l.fallback
	}
	return l.Root()
}

// plain returns addr as files write addresses: IPv4 if it is a mapped one, and
// without a zone.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// CheckUsers returns an error that names the first line which assigns a class
// to a user that is not known.
func (l *Limits) CheckUsers(known func(user string) bool) error {
	for _, a := range l.assigns {
		if a.user != "" && !known(a.user) {
			return fmt.Errorf("%s:%d: user %q: want one that has a pass-phrase", l.file, a.line, a.user)
		}
	}
	return nil
}

// String returns the limits in force as a file that says the same: every class
// with all its values, those that it inherits and defaults too.
func (l *Limits) String() string {
	b, _ := l.AppendText(nil)
	return string(b)
}

// AppendText appends what [Limits.String] returns to b. It never fails.
func (l *Limits) AppendText(b []byte) ([]byte, error) {
	for _, c := range l.classes {
		b = append(b, "limit "...)
		b = append(b, c.name...)
		b = append(b, " with"...)
		sep := " "
		if c.parent != nil {
			b = append(b, " parent="...)
			b = append(b, c.parent.name...)
			sep = ", "
		}
		for _, k := range keys {
			if k.rootOnly && c.parent != nil {
				continue
			}
			if k.breaks {
				sep = strings.TrimSuffix(sep, " ") + " \\\n\t"
			}
			b = append(b, sep...)
			b = append(b, k.name...)
			b = append(b, '=')
			b, _ = k.value(&c.settings).AppendText(b)
			sep = ", "
		}
		b = append(b, '\n')
	}
	for _, a := range l.assigns {
		b = append(b, "assign "...)
		switch {
		case a.user != "":
			b = append(b, "user "...)
			b = append(b, a.user...)
		case a.net.IsValid():
			b = append(b, "net "...)
			b = a.net.AppendTo(b)
		default:
			b = append(b, "default"...)
		}
		b = append(b, ' ')
		b = append(b, a.class.name...)
		b = append(b, '\n')
	}
	return b, nil
}

// A Class is a limit class: what the peers that belong to it may do. It does
// not change.
type Class struct {
	name   string
	parent *Class // nil: the root
	settings
}

// Name returns the name of c.
func (c *Class) Name() string { return c.name }

// Parent returns the class above c, nil if c is the root.
func (c *Class) Parent() *Class { return c.parent }

// Path returns the names from the root down to c, separated by slashes: the
// directory in which the sessions of c are kept.
func (c *Class) Path() string {
	if c.parent == nil {
		return c.name
	}
	return path.Join(c.parent.Path(), c.name)
}

// Bandwidth returns how many bits a second all sessions of c together may send
// and receive; 0 is unlimited, here and below, at this level.
func (c *Class) Bandwidth() uint64 { return uint64(c.bandwidth) }

// Disk returns how many octets all sessions of c together may take on disk.
func (c *Class) Disk() uint64 { return uint64(c.disk) }

// PacketRate returns how many packets a second this host may send in all
// sessions together. Only the root has it.
func (c *Class) PacketRate() uint64 { return uint64(c.packetRate) }

// TestSessions returns how many sessions a control connection may have.
func (c *Class) TestSessions() uint64 { return uint64(c.testSessions) }

// AllowOpen reports whether open mode is to be offered. It is asked of the
// class that the peer has in open mode.
func (c *Class) AllowOpen() bool { return bool(c.allowOpen) }

// DeleteOnFetch reports whether a session of c is to be deleted once it has
// been fetched whole.
func (c *Class) DeleteOnFetch() bool { return bool(c.deleteOnFetch) }

// ThirdParty reports whether tests in open mode may go toward another address
// than that of the control connection.
func (c *Class) ThirdParty() bool { return bool(c.thirdParty) }

// ConnectionRate returns how many control connections a second one peer may
// make; see [Rates]. It is asked of the class that the peer has in open mode:
// it has not said yet who it is.
func (c *Class) ConnectionRate() uint64 { return uint64(c.connectionRate) }

// RequestRate returns how many requests a second one peer may make; see
// [Rates].
func (c *Class) RequestRate() uint64 { return uint64(c.requestRate) }

// Fetch returns who may fetch the sessions of c.
func (c *Class) Fetch() FetchRight { return c.fetch }
