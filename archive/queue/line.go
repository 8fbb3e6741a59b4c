package queue

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"
)

// ErrUnused says that a line is not used any more.
var ErrUnused = errors.New("the destination is not configured any more")

// A Line is what a destination has of a queue. Its methods may be called by many
// goroutines at once.
type Line struct {
	q    *Queue
	id   int64
	key  string
	news chan struct{} // there may be something to do; one is enough
	turn chan struct{} // has an element: somebody is looking for the next result

	// The one's whose turn it is:
	ahead   []*Result // read, and not handed out
	newNext bool      // a new result is to be handed out before one that has waited

	// Guarded by q.mu:
	name     string
	used     bool
	cursor   int64 // all results up to there are settled, or wait
	moved    bool  // the cursor is not on the disk
	read     int64 // up to there results have been handed out, or are ahead
	out      []handed
	again    map[int64]bool // waiting results that are handed out
	waiting  int64          // results that wait, those handed out included
	dead     int64
	due      time.Time // none that waits is due before
	counts   Counts
	epoch    int  // how often the line has begun anew
	awaiting bool // it is known that nothing is due before due
}

// handed is a new result that has been handed out.
type handed struct {
	seq     int64
	settled bool
}

// Counts are what became of the results of a line since the queue was opened.
type Counts struct {
	Delivered uint64
	Discarded uint64 // nobody wanted them there
	Retried   uint64 // tries that failed, of results that wait for another
	Dead      uint64
	Dropped   map[string]uint64 // by reason
}

// Reasons of results being dropped.
const (
	ReasonTTL     = "ttl"     // the destination does not want it so late
	ReasonAge     = "age"     // see [Config.MaxAge]
	ReasonSize    = "size"    // see [Config.MaxSize]
	ReasonRequest = "request" // somebody said so
)

// An Entry is a result that a line has handed out. One of its methods is to be
// called, once: until then the result is not handed out again.
type Entry struct {
	*Result
	Tries int64     // that have failed
	Last  time.Time // when the last of them was
	line  *Line
	again bool // it has waited
	epoch int
}

func compareNames(a, b *Line) int {
	return strings.Compare(a.name+"\x00"+a.key, b.name+"\x00"+b.key)
}

// wake tells those who wait for something to do. q.mu may be held.
func (l *Line) wake() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// Next returns the next result: one that has waited and is due, or a new one, in
// turns if there are both. Without any it waits. It returns ErrUnused or
// ErrClosed when there will be none.
func (l *Line) Next(ctx context.Context) (*Entry, error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		e, wait, err := l.next(ctx)
		if e != nil || err != nil {
			return e, err
		}
		timer.Reset(wait)
		select {
		case <-l.news:
		case <-timer.C:
		case <-ctx.Done():
			l.wake() // for the next one who asks
			return nil, ctx.Err()
		}
	}
}

// longestWait bounds a wait, so that a step of the clock is noticed.
const longestWait = time.Minute

// next returns the next result, or how long there will be none.
func (l *Line) next(ctx context.Context) (*Entry, time.Duration, error) {
	first, second := l.nextDue, l.nextNew
	if l.newNext {
		first, second = second, first
	}
	for _, look := range []func(context.Context) (*Entry, error){first, second} {
		e, err := look(ctx)
		if err != nil {
			return nil, 0, err
		}
		if e != nil {
			l.newNext = e.again
			return e, 0, nil
		}
	}
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	switch {
	case l.q.closed:
		return nil, 0, ErrClosed
	case !l.used:
		return nil, 0, ErrUnused
	}
	wait := longestWait
	if l.waiting > 0 && l.awaiting {
		wait = min(wait, l.due.Sub(l.q.cfg.Now()))
	}
	return nil, max(wait, 0), nil
}

// nextDue returns a result that has waited and is due.
func (l *Line) nextDue(ctx context.Context) (*Entry, error) {
	q := l.q
	now := q.cfg.Now()
	q.mu.Lock()
	busy := len(l.again)
	idle := l.waiting == 0 || l.awaiting && now.Before(l.due) || !l.used || q.closed
	if !idle {
		l.awaiting, l.due = true, now.Add(longestWait) // unless one is found, or comes meanwhile
	}
	q.mu.Unlock()
	if idle {
		return nil, nil
	}
	var found *Entry
	var next int64
	err := q.store.look(ctx, func(rows *sql.Rows) error {
		if found != nil {
			return nil
		}
		e := &Entry{Result: new(Result), line: l, again: true, epoch: -1}
		var last int64
		if err := e.scan(rows, &next, &e.Tries, &last); err != nil {
			return err
		}
		if last > 0 {
			e.Last = time.Unix(0, last)
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if !l.again[e.seq] {
			found = e
		}
		return nil
	}, "SELECT "+columns+", w.next, w.tries, w.last FROM waiting w JOIN results r ON r.seq = w.seq"+
		" WHERE w.line = ? AND w.dead = 0 ORDER BY w.next LIMIT ?", l.id, busy+1)
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case err != nil:
		l.awaiting = false
		return nil, q.because(err)
	case found == nil:
		return nil, nil
	case time.Unix(0, next).After(now):
		if at := time.Unix(0, next); at.Before(l.due) {
			l.due = at
		}
		return nil, nil
	}
	l.awaiting = false // there may be more
	l.again[found.seq] = true
	return found, nil
}

// nextNew returns the first result that has not been handed out.
func (l *Line) nextNew(ctx context.Context) (*Entry, error) {
	q := l.q
	for {
		q.mu.Lock()
		if !l.used || q.closed {
			q.mu.Unlock()
			return nil, nil
		}
		if len(l.ahead) > 0 {
			r := l.ahead[0]
			l.ahead = l.ahead[1:]
			e := l.handOut(r)
			q.mu.Unlock()
			return e, nil
		}
		r, known := q.recent.behind(l.read)
		if known && r != nil {
			l.read = r.seq
			e := l.handOut(r)
			q.mu.Unlock()
			return e, nil
		}
		from, last := l.read, q.last
		q.mu.Unlock()
		if known || from >= last {
			return nil, nil
		}
		if err := l.readAhead(ctx, from, last); err != nil {
			return nil, q.because(err)
		}
	}
}

// handOut returns r, whose turn it is. q.mu is held.
func (l *Line) handOut(r *Result) *Entry {
	l.out = append(l.out, handed{seq: r.seq})
	return &Entry{Result: r, line: l, epoch: l.epoch}
}

// Bounds of what is read ahead.
const (
	aheadResults = 32
	aheadSize    = 4 << 20
)

// readAhead reads the results behind from, of which last is the newest.
func (l *Line) readAhead(ctx context.Context, from, last int64) error {
	size := 0
	var all []*Result
	stop := errors.New("enough")
	err := l.q.store.look(ctx, func(rows *sql.Rows) error {
		if size > aheadSize {
			return stop
		}
		r := new(Result)
		if err := r.scan(rows); err != nil {
			return err
		}
		size += len(r.Body)
		all = append(all, r)
		return nil
	}, "SELECT "+columns+" FROM results r WHERE r.seq > ? AND r.seq <= ?"+
		" AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.line = ? AND w.seq = r.seq) ORDER BY r.seq LIMIT ?", from, last, l.id, aheadResults)
	if err != nil && !errors.Is(err, stop) {
		return err
	}
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	// What was dropped meanwhile is before the cursor.
	l.ahead = slices.DeleteFunc(all, func(r *Result) bool { return r.seq <= l.cursor })
	read := last
	if err != nil || len(all) == aheadResults { // there may be more
		read = all[len(all)-1].seq
	}
	l.read = max(l.read, read)
	l.advance()
	return nil
}

// advance moves the cursor to behind what is settled. q.mu is held.
func (l *Line) advance() {
	for len(l.out) > 0 && l.out[0].settled {
		l.moveTo(l.out[0].seq)
		l.out = l.out[1:]
	}
	switch {
	case len(l.out) > 0:
	case len(l.ahead) > 0:
		l.moveTo(l.ahead[0].seq - 1)
	default:
		l.moveTo(l.read)
	}
}

func (l *Line) moveTo(seq int64) {
	if seq > l.cursor {
		l.cursor, l.moved = seq, true
	}
}

// settle notes that a new result is settled, or waits. q.mu is held.
func (l *Line) settle(seq int64) {
	if i, ok := slices.BinarySearchFunc(l.out, seq, func(h handed, seq int64) int { return int(h.seq - seq) }); ok {
		l.out[i].settled = true
		l.advance()
	}
}

// Delivered settles the result: its destination has it.
func (e *Entry) Delivered() { e.over(func(c *Counts) { c.Delivered++ }) }

// Discarded settles the result: it is not wanted there.
func (e *Entry) Discarded() { e.over(func(c *Counts) { c.Discarded++ }) }

// Expired settles the result: it is not wanted so late.
func (e *Entry) Expired() { e.over(func(c *Counts) { c.Dropped[ReasonTTL]++ }) }

// over settles the result.
func (e *Entry) over(count func(*Counts)) {
	l := e.line
	q := l.q
	q.mu.Lock()
	waits := e.waits()
	if !waits {
		count(&l.counts)
		l.settle(e.seq)
	}
	q.mu.Unlock()
	if !waits {
		return
	}
	q.later(job{
		do: func(s *store) error { return s.forget(l.id, e.seq, q.done) },
		after: func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			count(&l.counts)
			delete(l.again, e.seq)
			l.waiting--
		},
	})
}

// waits reports whether the result is among those that wait: it was from the
// start, or the line has begun anew since. q.mu is held.
func (e *Entry) waits() bool { return e.again || e.epoch != e.line.epoch }

// later makes a change that nobody waits for.
func (q *Queue) later(j job) {
	select {
	case q.work <- j:
	case <-q.ended: // it is made after the next start
	}
}

// Again notes that a try has failed, and when the next is to be.
func (e *Entry) Again(ctx context.Context, next time.Time, why string) error {
	return e.keep(ctx, false, next, why)
}

// Bury notes that a try has failed and that there will be no other, unless
// somebody wants one: see [Line.Retry].
func (e *Entry) Bury(ctx context.Context, why string) error {
	return e.keep(ctx, true, e.line.q.cfg.Now(), why)
}

// maxError bounds the error that is kept, in octets.
const maxError = 2000

func (e *Entry) keep(ctx context.Context, dead bool, next time.Time, why string) error {
	l := e.line
	q := l.q
	if len(why) > maxError {
		why = strings.ToValidUTF8(why[:maxError], "") + "…"
	}
	now := q.cfg.Now()
	return q.change(ctx, job{
		do: func(s *store) error {
			return s.exec("INSERT OR REPLACE INTO waiting (line, seq, dead, next, tries, last, error) VALUES (?, ?, ?, ?, ?, ?, ?)",
				l.id, e.seq, dead, next.UnixNano(), e.Tries+1, now.UnixNano(), why)
		},
		after: func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			if e.waits() {
				delete(l.again, e.seq)
				l.waiting--
			} else {
				l.settle(e.seq)
			}
			if dead {
				l.dead++
				l.counts.Dead++
				return
			}
			l.waiting++
			l.counts.Retried++
			if next.Before(l.due) {
				l.due = next
			}
			l.wake()
		},
	})
}

// TryNext is Next without waiting: the entry is nil if there is nothing to do
// now.
func (l *Line) TryNext(ctx context.Context) (*Entry, error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	e, _, err := l.next(ctx)
	return e, err
}

// Hasten makes the results due whose last try was since: what they failed for is
// over.
func (l *Line) Hasten(ctx context.Context, since time.Time) error {
	now := l.q.cfg.Now()
	return l.q.change(ctx, job{
		do: func(s *store) error {
			return s.exec("UPDATE waiting SET next = ? WHERE line = ? AND dead = 0 AND next > ? AND last >= ?", now.UnixNano(), l.id, now.UnixNano(), since.UnixNano())
		},
		after: func() {
			l.q.mu.Lock()
			defer l.q.mu.Unlock()
			l.awaiting = false
			l.wake()
		},
	})
}
