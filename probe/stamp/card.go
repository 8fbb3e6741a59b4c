package stamp

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"owl/owamp"
	"owl/probe/clock"
)

const (
	// crossEvery is how often a card's clock is held against the wall clock.
	crossEvery = time.Second
	// crossingHolds is for how long after the last crossing stamps are believed.
	crossingHolds = 4 * time.Second
	// stepAbove is by how much a crossing may miss what the ones before it have
	// made expect: more than a clock drifts in seconds, and so one has been set.
	stepAbove = time.Millisecond
	// drifts is the greatest part by which the clocks may run apart.
	drifts = 1000 // parts in a million
	// latestKernel is how much later than the card the kernel stamps a packet at
	// most: cards hold packets back so as to interrupt less often.
	latestKernel = 10 * time.Millisecond
	// missDecay is after how many crossings a great miss counts half, about.
	missDecay = 8
)

var (
	errOneCrossing = errors.New("the card's clock was read but once")
	errStepped     = errors.New("the card's clock, or the wall clock, was set")
)

// Crosser reads the clock of a card; [clock.PHC] does.
type Crosser interface {
	Cross() (clock.Crossing, error)
}

// A Card turns the stamps of a network card, by the card's clock, into times of
// the wall clock. It knows how both clocks stand to each other at some times, and
// draws a line through the last two. Its methods may be called by any goroutine,
// [Card.Run] by one.
type Card struct {
	// Name is that of its network interface.
	Name string
	// Receives says that it stamps test packets that arrive, Sends that it stamps
	// those that leave.
	Receives, Sends bool

	clock Crosser
	line  atomic.Pointer[line] // nil: unknown
	last  clock.Crossing       // Run's own; zero: none
	state atomic.Pointer[CardState]
}

// CardState is what is known of the clock of a [Card].
type CardState struct {
	// Offset is what was to be added to the card's clock to get the wall clock.
	Offset time.Duration
	// Error is by how much times may be off that the card's stamps are turned
	// into, beside the error of the wall clock.
	Error time.Duration
	// Steps counts how often one of the two clocks was seen to have been set.
	Steps uint64
	// Err is why stamps cannot be turned into times now; nil: they can be.
	Err error
}

// NewCard returns the card of the interface with that name.
func NewCard(name string, c Crosser) *Card {
	card := &Card{Name: name, clock: c}
	card.state.Store(&CardState{Err: errOneCrossing})
	return card
}

// State returns what is known of the card's clock.
func (c *Card) State() CardState { return *c.state.Load() }

// A line is what two crossings say of the times about them.
type line struct {
	from, to clock.Crossing
	miss     time.Duration // how far off it may be
}

// wall returns the time of the wall clock when the card's was at card, and by how
// much that may be off.
func (l *line) wall(card int64) (ns int64, err time.Duration, ok bool) {
	after := card - l.to.Card
	if after > int64(crossingHolds) || card < l.from.Card-int64(crossEvery) {
		return 0, 0, false
	}
	// The crossings are about crossingHolds apart, at most, and the offset moves by
	// at most a thousandth of that, so the product fits.
	moved := (l.to.Wall - l.to.Card) - (l.from.Wall - l.from.Card)
	return l.to.Wall + after + moved*after/(l.to.Card-l.from.Card), l.to.Error + l.miss, true
}

// Run reads the clocks every second until ctx is done.
func (c *Card) Run(ctx context.Context) {
	ticker := time.NewTicker(crossEvery)
	defer ticker.Stop()
	for {
		c.cross()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// cross takes in one more crossing.
func (c *Card) cross() {
	state := c.State()
	defer func() { c.state.Store(&state) }()
	now, err := c.clock.Cross()
	if err != nil {
		// What was known stays known for a while.
		state.Err = err
		return
	}
	was, known := c.last, c.last != clock.Crossing{}
	c.last = now
	state.Offset = time.Duration(now.Wall - now.Card)
	old := c.line.Load()
	passed := now.Card - was.Card
	if !known || min(passed, now.Wall-was.Wall) > int64(crossingHolds) { // as good as none before
		c.line.Store(nil)
		state.Err = errOneCrossing
		return
	}
	moved := (now.Wall - now.Card) - (was.Wall - was.Card)
	stepped := passed <= 0 || abs(moved) > passed/1_000_000*drifts
	miss := time.Duration(abs(moved)) // all that may happen until the next crossing
	if old != nil && !stepped {
		if expected, _, ok := old.wall(now.Card); ok {
			missed := time.Duration(abs(now.Wall - expected))
			stepped = missed > stepAbove
			miss = max(missed, old.miss-old.miss/missDecay)
		}
	}
	if stepped {
		c.line.Store(nil)
		state.Steps++
		state.Err = errStepped
		return
	}
	l := &line{from: was, to: now, miss: miss}
	c.line.Store(l)
	state.Error, state.Err = now.Error+miss, nil
}

func abs(n int64) int64 { return max(n, -n) }

// Wall returns the time of the wall clock when the card's was at card, and by how
// much that may be off beside the error of the wall clock. It reports false if
// that is unknown. It does not allocate.
func (c *Card) Wall(card int64) (t owamp.Timestamp, err time.Duration, ok bool) {
	l := c.line.Load()
	if l == nil {
		return 0, 0, false
	}
	ns, err, ok := l.wall(card)
	if !ok || ns <= 0 {
		return 0, 0, false
	}
	return owamp.FromUnix(ns/1e9, ns%1e9), err, true
}

// Arrival returns when a packet arrived at the card, by the wall clock, and by how
// much that may be off. It reports false if the card does not say, or says what
// does not go with the kernel's own stamp, which comes shortly afterwards. It does
// not allocate.
func (c *Card) Arrival(a *Arrival) (t owamp.Timestamp, err time.Duration, ok bool) {
	if a.Card == 0 || a.Time == 0 {
		return 0, 0, false
	}
	t, err, ok = c.Wall(a.Card)
	if !ok {
		return 0, 0, false
	}
	later := a.Time.Sub(t)
	if later < -err || later > latestKernel+err {
		return 0, 0, false
	}
	return t, err, true
}
