package sessions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"owl/owamp"
	"owl/owamp/control"
)

// A cohort is a control connection and the sessions that are requested, started
// and stopped on it together.
//
// Each session has a seat and goes from step to step as if the connection were
// its own. A step is done when all who have a seat have asked for it, or for a
// later one; who leaves is not waited for. So one session's trouble is not that
// of the others, but one cannot be stopped alone either: what the peer sends of a
// session whose seat is empty comes to nobody, and of one that this host was to
// send the peer is told in the end how far that got.
type cohort struct {
	broker *Broker
	life   context.Context // ends when all seats are empty
	cancel context.CancelFunc
	wake   chan struct{} // all have asked, or left
	done   chan struct{} // closed when the connection is
	client *control.Client

	// Guarded by the broker's mutex.
	boarded     int // seats that were given away
	due         time.Time
	first, last owamp.Timestamp // the ends of sessions
	begun       bool            // no longer being set up

	mu       sync.Mutex // guards what follows; locked after the broker's, if both are
	departed bool
	seats    []*seat            // that are taken
	thinking int                // seats that want nothing now
	owed     []owamp.SendReport // of the granted sessions that this host sends
	over     bool               // the connection is closed
	after    []func()           // what is to be done then
}

// A step is what a session wants of its connection.
type step int

const (
	toGoOn    step = iota // nothing: it runs, or thinks
	toConnect             // a new one
	toRequest             // the answer to a request
	toAgree               // that the others have what they want, too
	toStart               // Start-Sessions
	toStop                // Stop-Sessions
)

// A seat is the place of one session in a cohort.
type seat struct {
	*cohort
	stopped chan error // told when the peer stops the sessions, or of the loss of the connection
	reply   chan reply

	// Guarded by the cohort's mutex.
	wants step
	spec  owamp.SessionSpec // to be answered
	left  bool
}

// A reply is what has come of a step.
type reply struct {
	path    Path
	client  *control.Client
	answer  owamp.Accepted
	reports []owamp.SendReport
	err     error
}

// errAnew says that the sessions of a cohort are to be asked for once more, on
// another connection.
var errAnew = errors.New("to be asked for anew")

func newCohort(b *Broker) *cohort {
	c := &cohort{broker: b, wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.life, c.cancel = context.WithCancel(context.Background())
	return c
}

// fits reports whether there is room for a session that is over at over. The
// broker's mutex is held.
func (c *cohort) fits(over owamp.Timestamp) bool {
	return c.boarded < maxSeats && over.Sub(c.first) <= maxSpread && c.last.Sub(over) <= maxSpread
}

// add gives a seat away. The broker's mutex is held.
func (c *cohort) add(due time.Time, over owamp.Timestamp) *seat {
	if c.boarded == 0 || due.Before(c.due) {
		c.due = due
	}
	if c.boarded == 0 || over.Before(c.first) {
		c.first = over
	}
	if c.boarded == 0 || over.After(c.last) {
		c.last = over
	}
	c.boarded++
	t := &seat{cohort: c, stopped: make(chan error, 1), reply: make(chan reply, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seats = append(c.seats, t)
	c.thinking++
	return t
}

// connect waits for the departure of the cohort, and for a new connection.
func (t *seat) connect(ctx context.Context) (Path, *control.Client, error) {
	r := t.ask(ctx, toConnect)
	return r.path, r.client, r.err
}

// request asks for a session. What is granted and not started stays granted
// until the connection is another one.
func (t *seat) request(ctx context.Context, spec owamp.SessionSpec) (owamp.Accepted, error) {
	t.mu.Lock()
	t.spec = spec
	t.mu.Unlock()
	r := t.ask(ctx, toRequest)
	return r.answer, r.err
}

// agree waits until the others have their sessions, too; errAnew says that one
// could not use what it was granted.
func (t *seat) agree(ctx context.Context) error { return t.ask(ctx, toAgree).err }

// start starts the sessions.
func (t *seat) start(ctx context.Context) error { return t.ask(ctx, toStart).err }

// stop waits until all sessions are to be stopped, and stops them. sent, nil if
// the peer sends, is what is to be said of this one.
func (t *seat) stop(ctx context.Context, sent *owamp.SendReport) ([]owamp.SendReport, error) {
	t.report(sent)
	r := t.ask(ctx, toStop)
	return r.reports, r.err
}

// report notes what is to be said of a session in the end.
func (t *seat) report(sent *owamp.SendReport) {
	if sent == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.owed {
		if t.owed[i].SID == sent.SID {
			t.owed[i] = *sent
		}
	}
}

// ask waits for a step. Who loses patience while there are others leaves; the
// last one ends what is being done, and hears what came of it.
func (t *seat) ask(ctx context.Context, wants step) reply {
	t.mu.Lock()
	if len(t.reply) == 0 { // not stranded
		t.wants = wants
		t.thinking--
	}
	t.look()
	t.mu.Unlock()
	select {
	case r := <-t.reply:
		return r
	case <-ctx.Done():
	}
	err := t.impatience(ctx, wants)
	t.mu.Lock()
	answered, alone := t.wants == toGoOn, t.departed && len(t.seats) == 1
	if !answered && !alone {
		t.empty()
		t.mu.Unlock()
		t.broker.drop(t.cohort)
		return reply{err: err}
	}
	t.mu.Unlock()
	if !answered {
		t.cancel()
	}
	return <-t.reply
}

// impatience says that there was no more time for a step, and why it took so
// long.
func (t *seat) impatience(ctx context.Context, wants step) error {
	if wants > toConnect {
		return &failure{GapHandshakeFailed, fmt.Errorf("waiting for the sessions of the same connection: %w", context.Cause(ctx))}
	}
	if away := t.broker.absent(); away != nil {
		return away
	}
	return &failure{GapPeerUnreachable, fmt.Errorf("waiting for a control connection: %w", context.Cause(ctx))}
}

// empty empties the seat. The cohort's mutex is held.
func (t *seat) empty() {
	t.left = true
	t.seats = slices.DeleteFunc(t.seats, func(other *seat) bool { return other == t })
	if t.wants == toGoOn {
		t.thinking--
	}
	t.look()
}

// look wakes the cohort when nobody is left to be waited for. The cohort's mutex
// is held.
func (c *cohort) look() {
	if c.thinking == 0 {
		wake(c.wake)
	}
}

// leave empties the seat, if that is not so yet. The last one closes the
// connection.
func (t *seat) leave() {
	t.mu.Lock()
	if !t.left {
		t.empty()
	}
	departed, last := t.departed, len(t.seats) == 0
	t.mu.Unlock()
	switch {
	case !departed:
		t.broker.drop(t.cohort)
	case last:
		t.cancel()
		<-t.done
	}
}

// afterwards does f when the connection is closed: until then the peer may go on
// with what it was asked for.
func (t *seat) afterwards(f func()) {
	t.mu.Lock()
	if !t.over {
		t.after = append(t.after, f)
		f = func() {}
	}
	t.mu.Unlock()
	f()
}

// strand ends, for err, a cohort that does not depart.
func (c *cohort) strand(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.seats {
		t.answer(reply{err: err})
	}
	c.departed, c.over = true, true
	c.cancel()
	close(c.done)
}

// answer tells who waits, or will ask, what has come of it. The cohort's mutex is
// held.
func (t *seat) answer(r reply) {
	if t.wants != toGoOn {
		t.wants = toGoOn
		t.thinking++
	}
	t.reply <- r
}

// run does what the sessions want until all seats are empty.
func (c *cohort) run() {
	var reading sync.WaitGroup
	defer c.end(&reading)
	setup, cancel := context.WithTimeout(c.life, setupTimeout)
	defer cancel()
	for {
		wants, asking := c.turn()
		switch wants {
		case toGoOn:
			return
		case toConnect:
			c.connect(setup, asking)
		case toRequest:
			c.request(setup, asking)
		case toAgree:
			c.tell(asking, reply{})
		case toStart:
			if err := c.client.Start(setup); err != nil {
				c.tell(asking, reply{err: refusal(err, "Start-Sessions")})
				continue
			}
			cancel()
			c.settled()
			client := c.client
			reading.Go(func() { c.await(client) })
			c.tell(asking, reply{})
		case toStop:
			reports, err := c.stop()
			c.tell(asking, reply{reports: reports, err: err})
		}
	}
}

// turn waits until all have asked for something, and returns the earliest step,
// and who wants it; toGoOn if all seats are empty.
func (c *cohort) turn() (step, []*seat) {
	for ; ; <-c.wake {
		c.mu.Lock()
		wants, asking := c.earliest()
		c.mu.Unlock()
		if len(asking) > 0 || wants == toGoOn {
			return wants, asking
		}
	}
}

// earliest is turn without the waiting: nobody asks if somebody is still to be
// waited for. The cohort's mutex is held.
func (c *cohort) earliest() (wants step, asking []*seat) {
	const none = toStop + 1
	if len(c.seats) == 0 {
		return toGoOn, nil
	}
	if c.thinking > 0 {
		return none, nil
	}
	wants = none
	for _, t := range c.seats {
		wants = min(wants, t.wants)
	}
	for _, t := range c.seats {
		if t.wants == wants {
			asking = append(asking, t)
		}
	}
	if wants != toConnect || len(asking) == len(c.seats) {
		return wants, asking
	}
	// What the others have is on the connection that is to be given up.
	for _, t := range c.seats {
		if t.wants != wants {
			t.answer(reply{err: errAnew})
		}
	}
	return none, nil
}

// tell answers those who have not left meanwhile.
func (c *cohort) tell(asking []*seat, r reply) {
	c.tellEach(asking, func(int) reply { return r })
}

// tellEach is tell where the i-th of them has an answer of his own.
func (c *cohort) tellEach(asking []*seat, r func(i int) reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, t := range asking {
		if !t.left {
			t.answer(r(i))
		}
	}
}

// connect opens a connection, in the place of the one that there is.
func (c *cohort) connect(ctx context.Context, asking []*seat) {
	c.hangUp()
	late := ctx.Err() != nil
	client, path, err := c.broker.connect(ctx)
	if err != nil {
		why := err
		if late || c.life.Err() != nil {
			why = nil // the server was not given any time, or nobody waits any more
		}
		c.tell(asking, reply{err: &putOff{err, c.broker.missed(why)}})
		return
	}
	c.broker.met()
	c.client = client
	c.tell(asking, reply{path: path, client: client})
}

// connect opens a control connection.
func (b *Broker) connect(ctx context.Context) (*control.Client, Path, error) {
	path, err := b.cfg.Dial(ctx)
	if err != nil {
		return nil, path, &failure{GapPeerUnreachable, err}
	}
	client, err := control.Connect(ctx, path.Conn, b.cfg.Control)
	if err != nil {
		return nil, path, refusal(err, path.Conn.RemoteAddr().String())
	}
	return client, path, nil
}

// request asks for sessions.
func (c *cohort) request(ctx context.Context, asking []*seat) {
	c.mu.Lock()
	specs := make([]owamp.SessionSpec, len(asking))
	for i, t := range asking {
		specs[i] = t.spec
	}
	c.mu.Unlock()
	answers, err := c.client.Request(ctx, specs)
	if err != nil {
		c.tell(asking, reply{err: refusal(err, "Request-Session")})
		return
	}
	c.mu.Lock()
	for i, a := range answers {
		if a.Accept == owamp.AcceptOK && specs[i].ConfReceiver {
			c.owed = append(c.owed, owamp.SendReport{SID: a.SID})
		}
	}
	c.mu.Unlock()
	c.tellEach(asking, func(i int) reply { return reply{answer: answers[i]} })
}

// await tells the sessions when the peer has stopped them, or is lost.
func (c *cohort) await(client *control.Client) {
	_, err := client.Await(context.WithoutCancel(c.life))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.seats {
		t.stopped <- err
	}
}

// stop exchanges Stop-Sessions, for which the peer has as long as for a set-up.
func (c *cohort) stop() ([]owamp.SendReport, error) {
	ctx, cancel := context.WithTimeout(c.life, setupTimeout)
	defer cancel()
	c.mu.Lock()
	owed := slices.Clone(c.owed)
	c.mu.Unlock()
	return c.client.Stop(ctx, owed)
}

// settled notes that c is not being set up any more.
func (c *cohort) settled() {
	b := c.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if !c.begun {
		c.begun = true
		b.settingUp--
		b.dispatch()
	}
}

// hangUp closes the connection, if there is one.
func (c *cohort) hangUp() {
	if c.client != nil {
		c.client.Close()
	}
	c.client = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owed = nil
}

// end gives back what c has, when all seats are empty; reading is what reads
// from its connection.
func (c *cohort) end(reading *sync.WaitGroup) {
	c.cancel()
	c.hangUp()
	reading.Wait()
	c.settled()
	c.mu.Lock()
	c.over = true
	after := c.after
	c.mu.Unlock()
	for _, f := range after {
		f()
	}
	close(c.done)
}

// refusal tells a peer that says no from one that does not keep to the
// protocol or went away in the middle of it.
func refusal(err error, step string) error {
	if _, denied := errors.AsType[*control.DeniedError](err); denied {
		return &failure{GapRefused, err}
	}
	return &failure{GapHandshakeFailed, fmt.Errorf("%s: %w", step, err)}
}
