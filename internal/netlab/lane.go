package netlab

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// reorderWait is how long a packet waits for others to overtake it.
const reorderWait = 200 * time.Millisecond

// underway is a packet, or a duplicate, on its way.
type underway struct {
	entry  Entry
	octets []byte
	jitter time.Duration
	due    time.Time
}

// A lane is what happens in one direction: pure, and fed with packets and time
// by its owner. What it decides depends on its seed and on the UDP packets that
// have entered, on nothing else.
type lane struct {
	seed   uint64
	dice   rand.PCG
	script []Step // at least one
	since  time.Time

	entered int // packets of all kinds
	tests   int // UDP packets
	inBurst bool

	queue []underway // by due time
	held  *underway  // waits for others to overtake it
	await int        // how many of them
	until time.Time

	log []Entry
}

// play replaces the script, which begins now.
func (l *lane) play(script []Step, now time.Time) { l.script, l.since = script, now }

// path returns what happens now.
func (l *lane) path(now time.Time) *Path {
	for len(l.script) > 1 && now.Sub(l.since) >= l.script[0].For {
		l.since = l.since.Add(l.script[0].For)
		l.script = l.script[1:]
	}
	return &l.script[0].Path
}

// The kinds of packets that dice are cast for, each on its own.
const (
	diceOfTests = iota
	diceOfOthers
	kindsOfDice
)

// cast lets the dice for the n-th packet of a kind fall as they always do.
func (l *lane) cast(kind, n int) { l.dice.Seed(l.seed, uint64(n*kindsOfDice+kind)) }

// chance returns a number in [0, 1).
func (l *lane) chance() float64 { return float64(l.dice.Uint64()>>11) / (1 << 53) }

// enter takes a packet, which the lane then owns, at the time at which it came
// in.
func (l *lane) enter(octets []byte, in time.Time) {
	p := l.path(in)
	u := underway{octets: octets, entry: Entry{Packet: parse(octets), N: l.entered, In: in.Round(0)}}
	l.entered++
	if !u.entry.UDP() {
		l.cast(diceOfOthers, u.entry.N)
		if jitter := l.jitter(p); l.treat(p, &u) {
			l.push(p, u, in, jitter)
		}
		return
	}
	l.cast(diceOfTests, l.tests)
	l.tests++
	// All dice are cast for all packets, so that what happens to one does not
	// depend on what else its path does.
	lost, duplicated, reordered := l.chance() < p.Loss, l.chance() < p.Duplicate, l.chance() < p.Reorder
	l.burst(p.Bursts, l.chance())
	jitter, again := l.jitter(p), l.jitter(p)

	if (lost || l.inBurst) && !p.Down {
		l.end(u.entry, Lost)
		return
	}
	if !l.treat(p, &u) {
		return
	}
	if reordered && l.held == nil {
		u.jitter = jitter
		l.held, l.await, l.until = &u, max(p.Extent, 1), in.Add(reorderWait)
		return
	}
	l.push(p, u, in, jitter)
	if duplicated {
		u.entry.Action = Copied
		u.octets = slices.Clone(octets)
		l.push(p, u, in, again)
	}
	if l.held != nil {
		if l.await--; l.await == 0 {
			l.release(in)
		}
	}
}

// end logs a packet that will not come out.
func (l *lane) end(e Entry, a Action) {
	e.Action = a
	l.log = append(l.log, e)
}

// burst begins and ends bursts.
func (l *lane) burst(b Bursts, chance float64) {
	if l.inBurst {
		l.inBurst = chance*max(b.Mean, 1) >= 1
	} else {
		l.inBurst = chance < b.Begin
	}
}

func (l *lane) jitter(p *Path) time.Duration {
	c := l.chance()
	if p.Jitter == nil {
		return 0
	}
	return max(p.Jitter(c), 0)
}

// treat does what a path does to all packets but to delay them, and reports
// whether the packet has survived it.
func (l *lane) treat(p *Path, u *underway) bool {
	switch {
	case p.Down:
		l.end(u.entry, CutOff)
	case !lowerTTL(u.octets, p.Hops):
		l.end(u.entry, Expired)
	default:
		if p.DSCP != nil {
			remark(u.octets, *p.DSCP)
		}
		return true
	}
	return false
}

// push puts a packet among those under way.
func (l *lane) push(p *Path, u underway, now time.Time, jitter time.Duration) {
	u.due = now.Add(p.Delay + jitter)
	at := len(l.queue)
	if p.Overtake {
		at, _ = slices.BinarySearchFunc(l.queue, u.due, func(q underway, due time.Time) int {
			return cmp.Or(q.due.Compare(due), -1) // behind its equals
		})
	} else if at > 0 && l.queue[at-1].due.After(u.due) {
		u.due = l.queue[at-1].due
	}
	l.queue = slices.Insert(l.queue, at, u)
}

// release lets the packet go that has waited for others to overtake it.
func (l *lane) release(now time.Time) {
	l.push(l.path(now), *l.held, now, l.held.jitter)
	l.held = nil
}

// A deliverer hands a packet over and says when it began and ended to do so, and
// whether the packet was taken.
type deliverer func(octets []byte) (out, done time.Time, ok bool)

// leave hands over what has arrived by now and returns when to ask again; the
// zero time when nothing is under way.
func (l *lane) leave(now time.Time, deliver deliverer) (next time.Time) {
	if l.held != nil && !l.until.After(now) {
		l.release(now)
	}
	n := 0
	for n < len(l.queue) && !l.queue[n].due.After(now) {
		u := &l.queue[n]
		out, done, ok := deliver(u.octets)
		n++
		if !ok {
			l.end(u.entry, Refused)
			continue
		}
		e, p := u.entry, parse(u.octets)
		e.Out, e.Done, e.OutTTL, e.OutDSCP = out.Round(0), done.Round(0), p.TTL, p.DSCP
		l.log = append(l.log, e)
	}
	l.queue = slices.Delete(l.queue, 0, n)
	if len(l.queue) > 0 {
		next = l.queue[0].due
	}
	if l.held != nil && (next.IsZero() || l.until.Before(next)) {
		next = l.until
	}
	return next
}
