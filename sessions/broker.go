package sessions

import (
	"context"
	"slices"
	"sync"
	"time"

	"owl/owamp"
	"owl/owamp/control"
)

const (
	// maxSeats bounds the sessions of a cohort.
	maxSeats = 64
	// maxSpread bounds by how much the ends of a cohort's sessions lie apart, as
	// far as they are known before: the first waits for the last.
	maxSpread = 2 * time.Second
	// gathering is by how much earlier than it has to be a session is asked for,
	// so that others can join its cohort.
	gathering = 2 * time.Second
	// brief is for how long others are waited for by a session that begins as
	// soon as can be.
	brief = 100 * time.Millisecond
	// maxSettingUp bounds the cohorts that are set up at once: those of many
	// streams that all begin anew have to be in time for their sessions. With
	// round trips of 0.2 s so many are still 1000 sessions a second.
	maxSettingUp = 16
)

// A BrokerConfig says how a [Broker] reaches its server. Dial and Clock are
// needed.
type BrokerConfig struct {
	// Dial opens a control connection. It is called for each cohort, so that a
	// peer that has moved to another address is found again.
	Dial func(context.Context) (Path, error)
	// Control is how control connections are set up: in which modes, and as
	// whom. Its clock is the broker's.
	Control  control.ClientConfig
	Clock    Clock
	RetryCap time.Duration // the longest wait for a server that is away; 0: 60 s
}

// A Broker brings the sessions of many streams with one server together into
// cohorts, each of which has one control connection: at most 64 sessions that
// are due at about the same time and, as far as that is known before, end
// within 2 s, for one Stop-Sessions ends them all (RFC 4656 section 3.8).
//
// What is true of the server is found out once for all streams: when it is away
// one connection is tried, after waits that double, and when it is back all who
// wait follow.
type Broker struct {
	cfg   BrokerConfig
	alone bool       // each session has a connection of its own, and its stream waits by itself
	lines chan *line // those over which nobody fetches now
	all   []*line

	mu        sync.Mutex // guards what follows
	forming   []*cohort
	settingUp int // cohorts that have departed and not begun
	timer     *time.Timer
	away      absence
}

// An absence is what is known of a server that could not be reached.
type absence struct {
	wait  time.Duration // between the last try and the next; 0: it was there
	until time.Time     // the next
	tried bool          // somebody is about to find out
	err   error
}

// A putOff is that a server is away, and for how long the broker waits before it
// is tried again.
type putOff struct {
	error
	wait time.Duration // 0: that is up to the stream
}

func (p *putOff) Unwrap() error { return p.error }

// NewBroker returns a broker of sessions with the server that cfg.Dial reaches.
func NewBroker(cfg BrokerConfig) *Broker { return newBroker(cfg, maxLines) }

// newBroker returns a broker that fetches over that many lines at a time.
func newBroker(cfg BrokerConfig, lines int) *Broker {
	if cfg.RetryCap <= 0 {
		cfg.RetryCap = time.Minute
	}
	cfg.Control.Now = cfg.Clock.Now
	b := &Broker{cfg: cfg, lines: make(chan *line, lines)}
	for range lines {
		l := &line{broker: b}
		b.all = append(b.all, l)
		b.lines <- l
	}
	return b
}

// newLoner returns the broker of one stream, each of whose sessions has a
// connection of its own.
func newLoner(cfg BrokerConfig) *Broker {
	b := newBroker(cfg, 1)
	b.alone = true
	return b
}

// Close closes the connections that are kept for fetching. The streams of the
// broker have ended before.
func (b *Broker) Close() {
	for _, l := range b.all {
		l.mu.Lock()
		l.hangUp()
		l.mu.Unlock()
	}
}

// gathers returns by how much earlier than it has to be a session is asked for.
func (b *Broker) gathers() time.Duration {
	if b.alone {
		return 0
	}
	return gathering
}

// board gives a session that is due at due, and over at about over, a seat in a
// cohort.
func (b *Broker) board(due time.Time, over owamp.Timestamp) *seat {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.alone {
		c := newCohort(b)
		t := c.add(due, over)
		_ = b.depart(c) // it has a seat
		return t
	}
	i := slices.IndexFunc(b.forming, func(c *cohort) bool { return c.fits(over) })
	if i < 0 {
		i = len(b.forming)
		b.forming = append(b.forming, newCohort(b))
	}
	t := b.forming[i].add(due, over)
	b.dispatch()
	return t
}

// depart sets c up, unless all seats of it are empty: then whoever left the last
// is about to drop it. b.mu is held.
func (b *Broker) depart(c *cohort) (departed bool) {
	c.mu.Lock()
	c.departed = len(c.seats) > 0
	departed = c.departed
	c.mu.Unlock()
	if departed {
		b.settingUp++
		go c.run()
	}
	return departed
}

// dispatch lets the cohorts depart that are due, one at a time while the server
// is away. b.mu is held.
func (b *Broker) dispatch() {
	for len(b.forming) > 0 && b.settingUp < maxSettingUp && !b.away.tried {
		first := slices.MinFunc(b.forming, func(x, y *cohort) int { return x.due.Compare(y.due) })
		at := first.due
		if b.away.until.After(at) {
			at = b.away.until
		}
		if wait := time.Until(at); wait > 0 {
			b.lookAfter(wait)
			return
		}
		b.remove(first)
		if b.depart(first) {
			b.away.tried = b.away.wait > 0
		}
	}
}

// lookAfter dispatches again after wait. b.mu is held.
func (b *Broker) lookAfter(wait time.Duration) {
	if b.timer != nil {
		b.timer.Stop()
	}
	b.timer = time.AfterFunc(wait, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.dispatch()
	})
}

// remove removes c from the cohorts that form. b.mu is held.
func (b *Broker) remove(c *cohort) {
	b.forming = slices.DeleteFunc(b.forming, func(other *cohort) bool { return other == c })
}

// drop ends c if all seats of it are empty before it has departed.
func (b *Broker) drop(c *cohort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.mu.Lock()
	gone := !c.departed && len(c.seats) == 0
	c.mu.Unlock()
	if gone {
		b.remove(c)
		c.strand(nil)
	}
}

// missed notes that the server could not be reached, or did not let this host
// in, and tells all who should have gone by now. It returns after which wait the
// server is tried again, 0 if that is up to the stream. Who gave up before it was
// known says so with a nil err.
func (b *Broker) missed(err error) time.Duration {
	if b.alone {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a := &b.away
	a.tried = false
	if err != nil {
		now := time.Now()
		if !now.Before(a.until) {
			a.wait = min(max(2*a.wait, firstRetry), b.cfg.RetryCap)
			a.until = now.Add(a.wait)
		}
		a.err = err
		b.forming = slices.DeleteFunc(b.forming, func(c *cohort) bool {
			if c.due.After(now) {
				return false
			}
			c.strand(&putOff{err, a.wait})
			return true
		})
	}
	b.dispatch()
	return a.wait
}

// met notes that the server is there.
func (b *Broker) met() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = absence{}
	b.dispatch()
}

// absent returns why the server could not be reached the last time, nil if it
// could.
func (b *Broker) absent() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.away.err
}

// missing returns why the server is not to be tried now. It returns nil to who
// shall try.
func (b *Broker) missing() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := &b.away
	if a.tried || time.Now().Before(a.until) {
		return a.err
	}
	a.tried = a.wait > 0
	return nil
}
