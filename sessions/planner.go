package sessions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"owl/owamp"
	"owl/probe/clock"
)

// A planner strings sessions together: each begins where the one before it
// ends, to the bit, and is requested ahead of its start, so that as many exist
// at once as lead, time-out and length of a session make necessary.
//
// The planner is anchored while it knows where the chain goes on. At first,
// and when the last session of the chain has failed, one session is set up by
// itself; its start, as soon as can be, anchors the chain anew, and the time
// between is a gap. Its reason is what broke the chain: whatever else goes
// wrong before it is whole again does not change what was told of the gap.
type planner struct {
	*Stream
	events chan event

	anchored bool
	opening  bool            // a session that shall join the chain is being set up
	asked    owamp.Timestamp // when the first session was asked for; 0: not yet
	next     owamp.Timestamp // where the next session begins; 0 before the first
	chain    []*session      // in order of start; what precedes is accounted for
	live     int             // sessions whose goroutine runs
	local    netip.Addr      // this host's address on the last path
	rtt      time.Duration   // of that path
	retry    time.Duration   // the last wait after a failure
	retryAt  time.Time       // no session is tried before
	reason   GapReason       // why the planner is not anchored
	why      string          // what has failed since a session was set up; empty: nothing
	short    bool            // it was told that sessions are short
	told     string          // the last failure that was logged; empty: it has worked since
	silent   owamp.Timestamp // within an outage: when the next result says so; 0: there is none

	steps clock.Steps   // of the clock, before the run began
	step  time.Duration // by how much it was set since, once that is too much
}

// look is how often it is looked whether the clock was set.
const look = 5 * time.Second

func newPlanner(s *Stream) *planner {
	return &planner{
		Stream:  s,
		events:  make(chan event),
		retryAt: time.Now().Add(s.cfg.Delay),
		short:   s.length() < shortest,
		steps:   s.cfg.Clock.Steps(),
	}
}

// An event is what a session tells the planner: that it is granted, that it is
// set up, or that its life is over.
type event struct {
	s       *session
	granted bool // of a session that this host sends: its end is known
	up      bool
	reason  GapReason       // of a failure, else empty
	err     error           // with a reason
	until   owamp.Timestamp // at the end: where the time ends that it measured
}

// run plans sessions until ctx is done, a restart is asked for or the clock is
// set, and returns when all of them are over. It reports whether to go on.
func (p *planner) run(ctx context.Context) (again bool) {
	life, end := context.WithCancelCause(ctx)
	defer end(nil)
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := life.Done()
	for done != nil || p.live > 0 {
		select {
		case e := <-p.events:
			p.watchClock(end)
			p.handle(e, life.Err() == nil)
		case <-p.restart:
			end(nil)
		case <-timer.C:
			p.watchClock(end)
			p.trim(p.cfg.Clock.Now())
		case <-done:
			done = nil
		}
		if life.Err() == nil {
			timer.Reset(min(p.plan(life), p.reportOutage(), look))
			p.tally.SetState(p.state())
		}
	}
	p.trim(p.next) // no session ends later
	reason := GapRestarted
	if p.step != 0 {
		reason = GapClockInvalid
	}
	if p.anchored {
		p.unanchor(reason, p.next)
	}
	if p.step != 0 {
		p.steps.Sum += p.step
		p.shift()
	} else {
		p.steps = p.cfg.Clock.Steps()
	}
	if ctx.Err() != nil {
		end := p.cfg.Clock.Now()
		if p.next.After(end) {
			end = p.next // a gap, or a session, was to last until then
		}
		p.tally.End(end)
		return false
	}
	p.retry, p.retryAt = 0, time.Now()
	return true
}

// watchClock ends the running sessions when the clock was set since the run
// began: by more than a time-out, so that it makes packets late or early that are
// not, or by so much that sessions would not be set up in time. A lesser step
// only marks their summaries.
func (p *planner) watchClock(end context.CancelCauseFunc) {
	step := p.cfg.Clock.Steps().Since(p.steps).Sum
	if step == p.step || step.Abs() <= min(max(p.cfg.Timeout.Duration(), time.Second), lead/2) {
		return
	}
	p.step = step
	p.log.Warn(fmt.Sprintf("the clock was set by %v: beginning anew", step.Round(time.Millisecond)))
	end(errClockSet)
}

// shift moves what the planner remembers to where it is by the clock as it is
// now. By which clock the last packets were sent nobody knows; the chain goes on
// from now at the latest.
func (p *planner) shift() {
	p.tally.Shift(p.step)
	if p.asked != 0 {
		p.asked = p.asked.AddDuration(p.step)
	}
	if p.next != 0 {
		p.next = p.next.AddDuration(p.step)
		if p.silent != 0 {
			p.silent = p.silent.AddDuration(p.step)
		}
		if now := p.cfg.Clock.Now(); p.next.After(now) {
			p.next = now
			p.tally.Outage(p.reason, now)
		}
	}
	p.step = 0
}

// state says what the stream is doing.
func (p *planner) state() State {
	for _, s := range p.chain {
		if s.up && !s.over {
			return StateRunning
		}
	}
	if p.live > 0 {
		return StateConnecting
	}
	return StateWaiting
}

// plan begins to set up every session that is due, and says when to look again
// if no event comes first.
func (p *planner) plan(ctx context.Context) time.Duration {
	const untilEvent = time.Hour
	for p.live < maxOverlap {
		if p.opening {
			return untilEvent
		}
		if wait := time.Until(p.retryAt); wait > 0 {
			return wait
		}
		now := p.cfg.Clock.Now()
		if !p.anchored {
			if p.asked == 0 {
				p.asked = now
			}
			p.opening = true
			p.launch(ctx, p.newSession(p.next, false))
			return untilEvent
		}
		wait := p.next.Sub(now)
		if wait < 0 {
			// More sessions than may exist at once would be needed, or this
			// host stood still.
			p.unanchor(GapLocalOverload, p.next)
			continue
		}
		if ahead := lead + setupTrips*p.rtt + p.broker.gathers(); wait > ahead {
			return wait - ahead
		}
		s := p.newSession(p.next, true)
		s.rtt = p.rtt
		if p.cfg.Send {
			p.opening = true
			p.launch(ctx, s)
			return untilEvent
		}
		var err error
		if s.spec, s.end, err = p.spec(p.next, p.local); err != nil {
			p.unanchor(GapLocalOverload, p.next)
			p.fail(event{reason: GapLocalOverload, err: err})
			continue
		}
		p.join(s)
		p.launch(ctx, s)
	}
	return untilEvent
}

func (p *planner) launch(ctx context.Context, s *session) {
	p.live++
	go s.run(ctx, p.events)
}

// handle takes note of what a session says. While the stream itself is going
// on, what failed is tried again.
func (p *planner) handle(e event, going bool) {
	s := e.s
	switch {
	case e.granted:
		p.opening = false
		p.anchor(s)
		p.fetcher.add(s)
		return
	case e.up:
		p.up(s)
		return
	}
	p.live--
	s.over, s.until, s.reason = true, e.until, e.reason
	if e.err != nil {
		s.why = e.err.Error()
	}
	if p.results != nil && e.until == s.start {
		p.results.drop(s.start)
	}
	if !s.joined {
		p.opening = false
	}
	if !going {
		if s.reason = GapRestarted; p.step != 0 {
			s.reason = GapClockInvalid
		}
		if s.up && e.err != nil {
			p.log.Warn(e.err.Error())
		}
		return
	}
	if !s.joined && p.anchored {
		p.unanchor(e.reason, s.start)
	}
	if e.err != nil {
		if e.until == s.start {
			p.retry = max(p.retry, s.retry) // to be set up is not yet to work
		}
		p.fail(e)
	}
	p.trim(p.cfg.Clock.Now())
	if e.err == nil && !p.anchored && p.reason == GapRefused {
		p.retry, p.retryAt = 0, time.Now() // the server may have room for one more now
	}
}

// up notes that s is set up: its first packet will be sent at its start.
func (p *planner) up(s *session) {
	s.up = true
	s.retry, p.retry = p.retry, 0
	if p.told != "" && p.fetcher != nil {
		p.fetcher.retry() // the peer is back
	}
	p.told = ""
	p.local, p.rtt = s.lease.Port.Addr().Addr(), s.rtt
	if !p.short && p.length() < p.shortestTrips()*s.rtt {
		p.short = true
		p.warnShort()
	}
	if !s.joined {
		p.opening = false
		p.anchor(s)
	}
	p.why = ""
}

// anchor lets the chain go on with s, which is the first after a gap unless it
// begins where the chain has ended.
func (p *planner) anchor(s *session) {
	if p.next == 0 {
		p.tally.Begin(s.start)
	} else {
		p.tellGap(p.reason, p.next, s.start, p.why, p.silent != 0 && p.silent != p.next)
		p.tally.Resume(s.start)
	}
	p.anchored, p.silent = true, 0
	p.join(s)
}

// join appends s to the chain.
func (p *planner) join(s *session) {
	s.joined = true
	if p.results != nil {
		p.results.plan(s.start)
	}
	p.chain = append(p.chain, s)
	p.next = s.end
}

// fail notes a failure and puts off the next try, unless the broker does so for
// all. Failures of sessions that were there before the wait began are part of it.
func (p *planner) fail(e event) {
	level, wait := slog.LevelDebug, p.retry
	if put, ok := errors.AsType[*putOff](e.err); ok && put.wait > 0 {
		level, wait = slog.LevelWarn, put.wait
	} else if !time.Now().Before(p.retryAt) {
		level = slog.LevelWarn
		p.retry = min(max(2*p.retry, firstRetry), p.cfg.RetryCap)
		p.retryAt = time.Now().Add(p.retry)
		wait = p.retry
	}
	if e.err.Error() == p.told {
		level = slog.LevelDebug // what has been told, for as long as it lasts
	}
	p.told = e.err.Error()
	p.why = p.told
	p.log.Log(context.Background(), level, fmt.Sprintf("%v; trying again in %v", e.err, wait))
	if p.next == 0 {
		p.tally.Begin(p.asked)
		p.unanchor(e.reason, p.asked)
	}
}

// trim accounts for the sessions that are over. Those at the end of the chain
// that failed make room for others, as far as nothing behind them was measured
// or told of as a gap; other failed ones leave a gap. One whose end is after now
// is not told of yet: what broke it breaks others, too, which say so one by one,
// and when the last has done so the chain may go on from here.
func (p *planner) trim(now owamp.Timestamp) {
	for n := len(p.chain); n > 0; n-- {
		last := p.chain[n-1]
		if !last.over || last.until == last.end || last.end != p.next {
			break
		}
		p.chain[n-1] = nil
		p.chain = p.chain[:n-1]
		p.unanchor(last.reason, last.until)
	}
	for len(p.chain) > 0 && p.chain[0].over {
		first := p.chain[0]
		if first.until != first.end {
			if first.end.After(now) {
				break
			}
			p.tellGap(first.reason, first.until, first.end, first.why, false)
			p.tally.Gap(first.reason, first.end.Sub(first.until))
		}
		p.chain[0] = nil
		p.chain = p.chain[1:]
	}
}

// unanchor notes that the chain ends at at, and goes on only when another
// session has been set up. A gap that has begun keeps its reason.
func (p *planner) unanchor(reason GapReason, at owamp.Timestamp) {
	if p.anchored || !p.next.Before(p.cfg.Clock.Now()) || p.reason == "" {
		p.reason = reason
	}
	p.anchored, p.next = false, at
	p.tally.Outage(p.reason, at)
}

// maxSilent bounds the results that are made at once of an outage, which may have
// been noticed late.
const maxSilent = 60

// reportOutage makes a result when there is nothing to measure with any more, and
// another for each length of a session for which that goes on. It returns when to
// look again.
func (p *planner) reportOutage() time.Duration {
	const never, soon = time.Hour, time.Millisecond
	if p.results == nil || p.anchored || p.next == 0 {
		return never
	}
	now, every := p.cfg.Clock.Now(), max(p.length(), time.Second)
	if p.silent == 0 {
		if p.next.After(now) {
			return max(p.next.Sub(now), soon)
		}
		p.silent = p.next
	}
	if behind := now.Sub(p.silent) / every; behind > maxSilent {
		p.silent = p.silent.AddDuration((behind - maxSilent) * every)
	}
	for ; !p.silent.After(now); p.silent = p.silent.AddDuration(every) {
		if !p.results.outage(p.reason, p.next, p.silent, p.why) {
			return time.Second
		}
	}
	return max(p.silent.Sub(now), soon)
}
