package queue

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// ErrUnused says that a line is not used any more.
var ErrUnused = errors.New("the destination is not configured any more")

// A Line is what a destination has of a queue: new results, in the order of their
// coming, and those that have failed and wait, in the order in which they are due.
// Its methods may be called by many goroutines at once.
type Line struct {
	q    *Queue
	id   int64
	key  string
	news chan struct{} // there may be something to do; one is enough
	turn sync.Mutex    // of who looks for the next result

	// Whose turn it is has this one:
	newNext bool // a new result is to be handed out before one that has waited

	// Guarded by q.mu:
	name    string
	used    bool
	cursor  int64          // all results up to there are settled, or wait
	moved   bool           // the cursor is not in the file
	read    int64          // up to there new results have been handed out, or are ahead
	ahead   []*Result      // new results that were read and not handed out, in their order
	out     []*handed      // new results that were handed out, in their order
	due     time.Time      // none that waits is due before; zero: nobody knows
	ready   []*Entry       // results that have waited, were read and not handed out
	taken   map[int64]bool // results that wait and are ready, handed out, or not in the file as they are
	changed map[int64]bool // results that wait and have changed while they were read; nil: nobody reads
	pending []change       // of results that wait, not in the file yet
	waiting int64          // results that wait, by the file
	dead    int64          // results that are dead, by the file
	version int            // how often what others have read has become stale
	counts  Counts
}

// handed is a new result that has been handed out.
type handed struct {
	*Entry
	settled bool // or waits
	over    bool // will not be tried again
}

// newLine returns a line without anything.
func newLine(q *Queue) *Line {
	return &Line{
		q:      q,
		news:   make(chan struct{}, 1),
		taken:  make(map[int64]bool),
		counts: newCounts(),
	}
}

// Name returns what the destination is called; no two have the same name.
func (l *Line) Name() string {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return l.name
}

// wake tells those who wait for something to do. q.mu may be held.
func (l *Line) wake() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// longestWait bounds a wait, so that a step of the clock is noticed.
const longestWait = time.Minute

// Next returns the next result: one that has waited and is due, or a new one, in
// turns if there are both. Without any it waits. It returns ErrUnused or
// ErrClosed when there will be none.
func (l *Line) Next(ctx context.Context) (*Entry, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		e, wait, err := l.next()
		if e != nil || err != nil {
			l.wake() // there may be one more, for another one who waits
			return e, err
		}
		timer.Reset(wait)
		select {
		case <-l.news:
		case <-timer.C:
		case <-ctx.Done():
			l.wake()
			return nil, ctx.Err()
		}
	}
}

// TryNext is Next without waiting: the entry is nil if there is nothing to do
// now.
func (l *Line) TryNext() (*Entry, error) {
	e, _, err := l.next()
	return e, err
}

// next returns the next result, or how long there will be none.
func (l *Line) next() (*Entry, time.Duration, error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	q := l.q
	q.mu.Lock()
	closed, used, stuck := q.closed, l.used, len(l.pending) >= maxPending
	q.mu.Unlock()
	switch {
	case closed:
		return nil, 0, ErrClosed
	case !used:
		return nil, 0, ErrUnused
	case stuck: // the file cannot be written, and what happens must not pile up in memory
		return nil, longestWait, nil
	}
	for _, isNew := range []bool{l.newNext, !l.newNext} {
		look := l.nextDue
		if isNew {
			look = l.nextNew
		}
		e, err := look()
		if err != nil {
			return nil, 0, q.because(err)
		}
		if e != nil {
			l.newNext = !isNew
			return e, 0, nil
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	wait := longestWait
	if l.waiting > 0 {
		wait = min(wait, l.due.Sub(q.cfg.Now()))
	}
	return nil, max(wait, 0), nil
}

// Bounds of what is read ahead.
const (
	aheadResults = 32
	aheadSize    = 1 << 20
)

// nextNew returns the first result that has not been handed out.
func (l *Line) nextNew() (*Entry, error) {
	q := l.q
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if !l.used {
			return nil, nil
		}
		if len(l.ahead) > 0 {
			r := l.ahead[0]
			l.ahead = l.ahead[1:]
			return l.handOut(r), nil
		}
		if l.read >= q.last {
			return nil, nil
		}
		if r, known := q.recent.behind(l.read); known && r != nil {
			l.read = r.seq
			return l.handOut(r), nil
		}
		if err := l.readAhead(); err != nil {
			return nil, err
		}
	}
}

// readAhead reads the results behind those that have been read. q.mu is held, and
// given up meanwhile.
func (l *Line) readAhead() error {
	q := l.q
	version, from, last := l.version, l.read, q.last
	q.mu.Unlock()
	size := 0
	var all []*Result
	enough := false
	err := q.store.look(background, func(rows *sql.Rows) (bool, error) {
		r := new(Result)
		if err := r.scan(rows); err != nil {
			return false, err
		}
		all = append(all, r)
		size += len(r.Body)
		enough = size > aheadSize || len(all) == aheadResults
		return !enough, nil
	}, "SELECT "+columns+" FROM results r WHERE r.seq > ? AND r.seq <= ?"+
		" AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.line = ? AND w.seq = r.seq) ORDER BY r.seq LIMIT ?", from, last, l.id, aheadResults)
	q.mu.Lock()
	if err != nil || l.version != version {
		return err
	}
	if l.read = last; enough {
		l.read = all[len(all)-1].seq
	}
	l.ahead = append(l.ahead, all...)
	l.advance()
	return nil
}

// handOut returns r, whose turn it is. q.mu is held.
func (l *Line) handOut(r *Result) *Entry {
	e := &Entry{Result: r, line: l}
	i, _ := l.place(r.seq) // the last one, unless it was returned
	l.out = slices.Insert(l.out, i, &handed{Entry: e})
	if len(l.out) > maxOut && !l.out[0].settled {
		l.stepAside(l.out[0])
	}
	return e
}

// place returns where in l.out a result is, or would be. q.mu is held.
func (l *Line) place(seq int64) (int, bool) {
	return slices.BinarySearchFunc(l.out, seq, func(h *handed, seq int64) int { return cmp.Compare(h.seq, seq) })
}

// nextDue returns a result that has waited and is due.
func (l *Line) nextDue() (*Entry, error) {
	q := l.q
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.cfg.Now()
	if len(l.ready) == 0 && l.used && l.waiting > 0 && !now.Before(l.due) {
		if err := l.readDue(now); err != nil {
			return nil, err
		}
	}
	if len(l.ready) == 0 {
		return nil, nil
	}
	e := l.ready[0]
	l.ready = l.ready[1:]
	return e, nil
}

// readDue reads results that wait and are due. q.mu is held, and given up
// meanwhile.
func (l *Line) readDue(now time.Time) error {
	q := l.q
	version := l.version
	// What changes while this reads may be in what it reads as it was before.
	taken := maps.Clone(l.taken)
	l.changed = make(map[int64]bool)
	l.due = now.Add(longestWait) // unless one is found, or comes meanwhile
	q.mu.Unlock()
	found, next, err := q.store.due(l, now, taken)
	q.mu.Lock()
	changed := l.changed
	l.changed = nil
	if err != nil || l.version != version {
		l.due = time.Time{}
		return err
	}
	l.due = earlier(l.due, next)
	for _, e := range found {
		if !l.taken[e.seq] && !changed[e.seq] {
			l.taken[e.seq] = true
			l.ready = append(l.ready, e)
		}
	}
	return nil
}

// due reads results that wait for l and are due, save those that are taken; and
// when the next one is due, zero if some may be.
func (s *store) due(l *Line, now time.Time, taken map[int64]bool) (found []*Entry, next time.Time, err error) {
	next = now.Add(longestWait)
	err = s.look(background, func(rows *sql.Rows) (bool, error) {
		e := &Entry{Result: new(Result), line: l, again: true}
		var due, last int64
		if err := rows.Scan(&e.seq, &due, &e.Tries, &last); err != nil {
			return false, err
		}
		e.Last = fromNano(last)
		switch {
		case fromNano(due).After(now):
			next = fromNano(due)
		case len(found) == aheadResults:
			next = time.Time{}
		default:
			if !taken[e.seq] {
				found = append(found, e)
			}
			return true, nil
		}
		return false, nil
	}, "SELECT seq, next, tries, last FROM waiting WHERE line = ? AND state = ? ORDER BY next, seq", l.id, stateWaiting)
	size := 0
	for i, e := range found {
		if err != nil || size > aheadSize {
			return found[:i], time.Time{}, err
		}
		err = s.look(background, func(rows *sql.Rows) (bool, error) {
			return false, e.scan(rows)
		}, "SELECT "+columns+" FROM results r WHERE r.seq = ?", e.seq)
		size += len(e.Body)
	}
	// What was dropped meanwhile is not there.
	return slices.DeleteFunc(found, func(e *Entry) bool { return e.ID == "" }), next, err
}
