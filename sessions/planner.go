package sessions

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"time"

	"owl/owamp"
)

// A planner strings sessions together: each begins where the one before it
// ends, to the bit, and is requested ahead of its start, so that as many exist
// at once as lead, time-out and length of a session make necessary.
//
// The planner is anchored while it knows where the chain goes on. At first,
// and when the last session of the chain has failed, one session is set up by
// itself; its start, as soon as can be, anchors the chain anew, and the time
// between is a gap with a reason.
type planner struct {
	*Stream
	events chan event

	anchored bool
	opening  bool            // the session that shall anchor the chain is being set up
	next     owamp.Timestamp // where the next session begins; 0 before the first
	chain    []*session      // in order of start; what precedes is accounted for
	live     int             // sessions whose goroutine runs
	local    netip.Addr      // this host's address on the last path
	retry    time.Duration   // the last wait after a failure
	retryAt  time.Time       // no session is tried before
	reason   GapReason       // why the planner is not anchored
}

// An event is what a session tells the planner: that it is set up, or that its
// life is over.
type event struct {
	s      *session
	up     bool
	reason GapReason       // of a failure, else empty
	err    error           // with a reason
	until  owamp.Timestamp // at the end: where the time ends that it measured
}

// run plans sessions until ctx is done or a restart is asked for, and returns
// when all of them are over. It reports whether to go on.
func (p *planner) run(ctx context.Context) (again bool) {
	life, end := context.WithCancel(ctx)
	defer end()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	done := life.Done()
	for done != nil || p.live > 0 {
		if done != nil {
			timer.Reset(p.plan(life))
		}
		select {
		case e := <-p.events:
			p.handle(e, done != nil)
		case <-p.restart:
			again = true
			end()
		case <-done:
			done = nil
		case <-timer.C:
		}
	}
	if !again || ctx.Err() != nil {
		return false
	}
	p.trim()
	p.unanchor(GapRestarted)
	p.retry, p.retryAt = 0, time.Now()
	return true
}

// plan begins to set up every session that is due, and says when to look again
// if no event comes first.
func (p *planner) plan(ctx context.Context) time.Duration {
	const untilEvent = time.Hour
	for p.live < maxOverlap {
		if !p.anchored {
			if p.opening {
				return untilEvent
			}
			if wait := time.Until(p.retryAt); wait > 0 {
				return wait
			}
			p.opening = true
			p.tally.SetState(StateConnecting)
			p.launch(ctx, &session{Stream: p.Stream, start: p.next})
			return untilEvent
		}
		if wait := p.next.Sub(p.cfg.Clock.Now()) - lead; wait > 0 {
			return wait
		}
		s := &session{Stream: p.Stream, start: p.next, fixed: true}
		var err error
		if s.spec, s.end, err = p.spec(p.next, p.local); err != nil {
			p.unanchor(GapLocalOverload)
			p.fail(GapLocalOverload, err)
			continue
		}
		p.chain = append(p.chain, s)
		p.next = s.end
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
	if e.up {
		p.up(s)
		return
	}
	p.live--
	if !s.fixed && !s.up {
		p.opening = false
	}
	s.over, s.until, s.reason = true, e.until, cmp.Or(e.reason, GapRestarted)
	if !going {
		return
	}
	if e.err != nil {
		p.fail(e.reason, e.err)
	}
	p.trim()
	if e.err == nil && !p.anchored && p.reason == GapRefused {
		p.retryAt = time.Now() // the server may have room for one more now
	}
}

// up notes that s is set up: its first packet will be sent at its start.
func (p *planner) up(s *session) {
	s.up = true
	p.retry = 0
	p.local = s.spec.Receiver.Addr()
	p.tally.SetState(StateRunning)
	p.tally.Resume()
	if s.fixed {
		return
	}
	p.opening, p.anchored = false, true
	if p.next == 0 {
		p.tally.Begin(s.start)
	} else {
		p.gap(p.reason, p.next, s.start)
	}
	p.next = s.end
	p.chain = append(p.chain, s)
}

// fail notes a failure and puts off the next try.
func (p *planner) fail(reason GapReason, err error) {
	p.retry = min(max(2*p.retry, firstRetry), p.cfg.RetryCap)
	p.retryAt = time.Now().Add(p.retry)
	p.log.Warn(fmt.Sprintf("%v; trying again in %v", err, p.retry))
	if !p.anchored {
		p.reason = reason
	}
}

// trim accounts for the sessions that are over. Those at the end of the chain
// that failed make room for others; failed ones with a successor leave a gap
// before it.
func (p *planner) trim() {
	for n := len(p.chain); n > 0; n-- {
		last := p.chain[n-1]
		if !last.over || last.until == last.end {
			break
		}
		p.next = last.until
		p.unanchor(last.reason)
		p.chain = p.chain[:n-1]
		if last.until != last.start {
			break
		}
	}
	for len(p.chain) > 0 && p.chain[0].over {
		first := p.chain[0]
		p.gap(first.reason, first.until, first.end)
		p.chain[0] = nil
		p.chain = p.chain[1:]
	}
}

// unanchor notes that the chain goes on at p.next only when another session has
// been set up.
func (p *planner) unanchor(reason GapReason) {
	p.anchored, p.reason = false, reason
	p.tally.SetState(StateWaiting)
	p.tally.Outage(reason, p.next)
}

// gap accounts for a time that no session covers.
func (p *planner) gap(reason GapReason, from, to owamp.Timestamp) {
	if from == to {
		return
	}
	length := to.Sub(from)
	p.tally.Gap(reason, length)
	p.log.Warn(fmt.Sprintf("no data for %.3f s from %s: %s", length.Seconds(), from.Time().Format("2006-01-02T15:04:05.000Z"), reason))
}
