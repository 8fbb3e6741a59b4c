package queue

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// An Entry is a result that a line has handed out. One of its methods is to be
// called, once: until then the result is not handed out again. What they note is
// known to the queue at once, and in the file soon after.
type Entry struct {
	*Result
	Tries int64     // that have failed
	Last  time.Time // when the last of them was; zero: there was none
	line  *Line
	again bool // it is among those that wait; guarded by q.mu
}

const (
	// maxError bounds the error that is kept, in octets.
	maxError = 2000
	// maxOut bounds how many results are handed out behind one that is neither
	// settled nor waits: after a crash all of them would be delivered again.
	maxOut = 1000
	// maxPending bounds the changes of a line that are not in the file yet.
	maxPending = 1024
)

// A change is one of a result that waits.
type change struct {
	seq   int64
	isNew bool // it has not waited before
	gone  bool // it waits no longer
	taken bool // it stays handed out
	state state
	next  time.Time
	tries int64
	last  time.Time
	why   string
}

// Delivered settles the result: its destination has it.
func (e *Entry) Delivered() {
	took := e.line.q.cfg.Now().Sub(e.Arrived)
	e.over(func(c *Counts) { c.deliver(took) })
}

// Discarded settles the result: it is not wanted there.
func (e *Entry) Discarded() { e.over(func(c *Counts) { c.Discarded++ }) }

// Expired settles the result: it is not wanted so late.
func (e *Entry) Expired() { e.over(func(c *Counts) { c.Dropped[ReasonTTL]++ }) }

// over settles the result.
func (e *Entry) over(count func(*Counts)) {
	e.line.settle(func(l *Line) {
		count(&l.counts)
		if e.again {
			l.pending = append(l.pending, change{seq: e.seq, gone: true})
			if i, ok := l.place(e.seq); ok {
				l.out[i].over = true
			}
		} else {
			l.pass(e, true)
		}
	})
}

// Again notes that a try has failed, and when the next is to be.
func (e *Entry) Again(next time.Time, why string) {
	e.keep(stateWaiting, next, why, func(c *Counts) { c.Retried++ })
}

// Bury notes that a try has failed and that there will be no other, unless
// somebody wants one: see [Queue.Retry].
func (e *Entry) Bury(why string) {
	e.keep(stateDead, e.line.q.cfg.Now(), why, func(c *Counts) { c.Buried++ })
}

func (e *Entry) keep(st state, next time.Time, why string, count func(*Counts)) {
	if len(why) > maxError {
		why = why[:maxError] + "…"
	}
	c := change{seq: e.seq, state: st, next: next, tries: e.Tries + 1, last: e.line.q.cfg.Now(), why: strings.ToValidUTF8(why, "\uFFFD")}
	e.line.settle(func(l *Line) {
		count(&l.counts)
		if c.isNew = !e.again; c.isNew {
			l.taken[e.seq] = true // until it is in the file
			l.pass(e, false)
		}
		l.pending = append(l.pending, c)
	})
}

// Return gives the result back untried: it is handed out again, in its turn.
func (e *Entry) Return() {
	e.line.settle(func(l *Line) {
		defer l.wake()
		if e.again {
			delete(l.taken, e.seq)
			l.due = time.Time{}
			return
		}
		i, ok := l.place(e.seq)
		if !ok {
			return // it was dropped
		}
		l.out = slices.Delete(l.out, i, i+1)
		at, _ := slices.BinarySearchFunc(l.ahead, e.seq, func(r *Result, seq int64) int { return cmp.Compare(r.seq, seq) })
		l.ahead = slices.Insert(l.ahead, at, e.Result)
	})
}

// settle does do, and sees to it that what changes goes into the file.
func (l *Line) settle(do func(*Line)) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	do(l)
	if l.moved || len(l.pending) > 0 {
		select {
		case l.q.settled <- struct{}{}:
		default:
		}
	}
}

// pass notes that a new result is settled, and if over for good, or waits. q.mu is
// held.
func (l *Line) pass(e *Entry, over bool) {
	i, ok := l.place(e.seq)
	if !ok {
		return // it was dropped
	}
	l.out[i].settled, l.out[i].over = true, over
	l.advance()
}

// stepAside lets others pass a new result that takes long: from now on it waits,
// handed out. q.mu is held.
func (l *Line) stepAside(h *handed) {
	l.pending = append(l.pending, change{seq: h.seq, isNew: true, taken: true, next: l.q.cfg.Now(), tries: h.Tries, last: h.Last})
	h.again = true
	l.taken[h.seq] = true
	l.pass(h.Entry, false)
}

// advance moves the cursor to behind what is settled. q.mu is held.
func (l *Line) advance() {
	to := l.read
	if len(l.ahead) > 0 {
		to = l.ahead[0].seq - 1
	}
	for len(l.out) > 0 && l.out[0].settled && l.out[0].seq <= to {
		l.out = l.out[1:]
	}
	if len(l.out) > 0 {
		to = min(to, l.out[0].seq-1)
	}
	if to > l.cursor {
		l.cursor, l.moved = to, true
	}
}

// letPass lets results that are settled, or wait, pass those before them that are
// neither, so that the file knows what was settled: otherwise it would take one
// that waits no longer for one that has not been handed out. q.mu is held.
func (l *Line) letPass() {
	n := len(l.out)
	for n > 0 && !l.out[n-1].settled {
		n--
	}
	if n == 0 {
		return
	}
	last := l.out[n-1].seq
	for _, h := range slices.Clone(l.out[:n]) {
		if !h.settled {
			l.stepAside(h)
		}
	}
	for len(l.ahead) > 0 && l.ahead[0].seq < last { // was returned
		l.pending = append(l.pending, change{seq: l.ahead[0].seq, isNew: true})
		l.taken[l.ahead[0].seq] = true
		l.ahead = l.ahead[1:]
	}
	l.advance()
}

// letPass does it for all lines.
func (q *Queue) letPass() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.lines {
		l.letPass()
	}
}

// park lets all new results of a line wait, up to last: that they do is in the
// file already. q.mu is held.
func (l *Line) park(last int64) {
	for _, h := range l.out {
		switch {
		case h.over:
			l.pending = append(l.pending, change{seq: h.seq, gone: true})
			l.taken[h.seq] = true
		case !h.settled:
			h.again = true
			l.taken[h.seq] = true
		}
	}
	l.stale()
	l.out, l.ahead = nil, nil
	l.cursor, l.read, l.moved = last, last, false
}

// stale forgets what was read of results that wait. q.mu is held.
func (l *Line) stale() {
	for _, e := range l.ready {
		delete(l.taken, e.seq)
	}
	l.ready, l.due = nil, time.Time{}
	l.version++
	l.wake()
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
