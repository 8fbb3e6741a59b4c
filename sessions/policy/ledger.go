package policy

import (
	"fmt"
	"math"
	"sync"
)

// A Request is what a session is to hold.
type Request struct {
	Bandwidth  uint64 // bits per second; see [BandwidthOf]
	Disk       uint64 // octets of its file, if this host keeps one; see [DiskOf]
	PacketRate uint64 // packets per second, if this host sends them; see [PacketRateOf]
	Sessions   int    // one, as a rule; not negative
}

// A DeniedError says that a request does not fit in a limit.
type DeniedError struct {
	Class    string // whose limit it is: the class of the peer, or one above
	Resource string // the key of the limit
	Asked    uint64
	Used     uint64 // by others, before
	Limit    uint64
}

// Error reads as the line that the C suite logs, which operators look for.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("ResReq DENIED: %s:request:%s = %d (result = %d, limit = %d)",
		e.Class, e.Resource, e.Asked, e.Used, e.Limit)
}

// A resource is one of those that all sessions of a class share.
type resource struct {
	name     string
	limit    func(*Class) uint64
	amount   func(*Request) *uint64
	stretchy bool // the limit may be stretched for what is there already
}

var resources = []resource{
	{"bandwidth", (*Class).Bandwidth, func(r *Request) *uint64 { return &r.Bandwidth }, false},
	{"disk", (*Class).Disk, func(r *Request) *uint64 { return &r.Disk }, true},
	{"packet_rate", (*Class).PacketRate, func(r *Request) *uint64 { return &r.PacketRate }, false},
}

// A Ledger knows what the sessions of each class hold, and lets none hold more
// than the limits allow. It may be used by many goroutines at once.
type Ledger struct {
	mu     sync.Mutex
	limits *Limits
	used   map[*Class]*Request       // at the class and all below it
	held   map[*Reservation]struct{} // that have not been released
}

// NewLedger returns a ledger for l in which nothing is reserved.
func NewLedger(l *Limits) *Ledger {
	g := &Ledger{held: make(map[*Reservation]struct{})}
	g.Replace(l)
	return g
}

// Limits returns the limits in force.
func (g *Ledger) Limits() *Limits {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limits
}

// Replace puts l in force. What is reserved stays so, even where it is more
// than l allows, and counts from now on for the class of l that has the name of
// the class that it was reserved for, or else for the root.
func (g *Ledger) Replace(l *Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits = l
	g.used = make(map[*Class]*Request, len(l.classes))
	for _, c := range l.classes {
		g.used[c] = new(Request)
	}
	for r := range g.held {
		g.add(r.class, r.req)
	}
}

// current returns the class in force that has the name, or else the root.
func (g *Ledger) current(name string) *Class {
	if c := g.limits.byName[name]; c != nil {
		return c
	}
	return g.limits.Root()
}

// Used returns what the sessions of c, and of the classes below it, hold.
func (g *Ledger) Used(c *Class) Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return *g.used[g.current(c.name)]
}

func (g *Ledger) add(class string, req Request) {
	for c := g.current(class); c != nil; c = c.parent {
		used := g.used[c]
		for _, res := range resources {
			*res.amount(used) += *res.amount(&req)
		}
		used.Sessions += req.Sessions
	}
}

func (g *Ledger) remove(class string, req Request) {
	for c := g.current(class); c != nil; c = c.parent {
		used := g.used[c]
		for _, res := range resources {
			*res.amount(used) -= *res.amount(&req)
		}
		used.Sessions -= req.Sessions
	}
}

// fits returns a [DeniedError] unless req fits at all levels from c, which is
// in force, up to the root. fudge stretches the limits that may be.
func (g *Ledger) fits(c *Class, req Request, fudge float64) error {
	for _, res := range resources {
		asked := *res.amount(&req)
		if asked == 0 {
			continue
		}
		for c := c; c != nil; c = c.parent {
			used, limit := *res.amount(g.used[c]), res.limit(c)
			switch {
			case limit == 0:
				limit = math.MaxUint64 // a sum that wraps would be no account
			case res.stretchy:
				limit = stretch(limit, fudge)
			}
			if used > limit || asked > limit-used {
				return &DeniedError{c.name, res.name, asked, used, limit}
			}
		}
	}
	return nil
}

// stretch returns n times f, n if f is less than 1.
func stretch(n uint64, f float64) uint64 {
	if !(f > 1) {
		return n
	}
	if s := float64(n) * f; s < math.MaxUint64 {
		return uint64(s)
	}
	return math.MaxUint64
}

// Adopt reserves disk octets for a file that exists, even where that is more
// than the limits allow: at the start of a server that kept it. It counts for
// the class of that name or, as long as there is none, for the root.
func (g *Ledger) Adopt(class string, disk uint64) *Reservation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hold(new(Account), class, Request{Disk: disk})
}

func (g *Ledger) reserve(a *Account, c *Class, req Request) (*Reservation, error) {
	if err := a.fits(c, req.Sessions); err != nil {
		return nil, err
	}
	if err := g.fits(c, req, 1); err != nil {
		return nil, err
	}
	return g.hold(a, c.name, req), nil
}

func (g *Ledger) hold(a *Account, class string, req Request) *Reservation {
	r := &Reservation{ledger: g, account: a, class: class, req: req}
	a.sessions += req.Sessions
	g.add(class, req)
	g.held[r] = struct{}{}
	return r
}

// An Account is that of one control connection, whose sessions are limited in
// number, beside what all sessions of a class share.
type Account struct {
	ledger   *Ledger
	peer     Peer
	sessions int // guarded by the ledger
}

// Account returns an account for a control connection with peer. There is
// nothing to close.
func (g *Ledger) Account(peer Peer) *Account { return &Account{ledger: g, peer: peer} }

// Class returns the class of the account's peer by the limits in force.
func (a *Account) Class() *Class { return a.ledger.Limits().Class(a.peer.Addr, a.peer.User) }

// Reserve reserves req for a session of the account's peer: at every level from
// its class up to the root or, with a [DeniedError], at none.
func (a *Account) Reserve(req Request) (*Reservation, error) {
	g := a.ledger
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reserve(a, g.limits.Class(a.peer.Addr, a.peer.User), req)
}

func (a *Account) fits(c *Class, sessions int) error {
	if sessions <= 0 {
		return nil
	}
	for ; c != nil; c = c.parent {
		if limit := c.TestSessions(); limit != 0 && uint64(a.sessions+sessions) > limit {
			return &DeniedError{c.name, "test_sessions", uint64(sessions), uint64(a.sessions), limit}
		}
	}
	return nil
}

// A Reservation is what a session, or the file that it left, holds.
type Reservation struct {
	ledger  *Ledger
	account *Account
	class   string // the name, which there may be no more, and again later

	req Request // guarded by the ledger; zero once it was released
}

// Class returns the class that r counts for by the limits in force.
func (r *Reservation) Class() *Class {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	return r.ledger.current(r.class)
}

// Release gives back all that r holds. To release it again does nothing.
func (r *Reservation) Release() {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	r.ledger.remove(r.class, r.req)
	r.account.sessions -= r.req.Sessions
	r.req = Request{}
	delete(r.ledger.held, r)
}

// AdjustDisk makes the disk that r holds what the file of a session has really
// become. Duplicates may have made it greater than what was asked for: it then
// has to fit in the limits times fudge, or it is a [DeniedError], r holds what
// it held, and the file has to go. After Release there is nothing to adjust.
func (r *Reservation) AdjustDisk(actual uint64, fudge float64) error {
	g := r.ledger
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, held := g.held[r]; !held {
		return nil
	}
	if actual > r.req.Disk {
		more := Request{Disk: actual - r.req.Disk}
		if err := g.fits(g.current(r.class), more, fudge); err != nil {
			return err
		}
		g.add(r.class, more)
	} else {
		g.remove(r.class, Request{Disk: r.req.Disk - actual})
	}
	r.req.Disk = actual
	return nil
}

// Keep parts the disk from r: what it returns holds it from now on, until the
// file is deleted, and r all else, until the session ends.
func (r *Reservation) Keep() *Reservation {
	g := r.ledger
	g.mu.Lock()
	defer g.mu.Unlock()
	kept := Request{Disk: r.req.Disk}
	g.remove(r.class, kept)
	r.req.Disk = 0
	return g.hold(new(Account), r.class, kept)
}
