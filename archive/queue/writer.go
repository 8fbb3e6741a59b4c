package queue

import (
	"context"
	"errors"
	"time"

	"modernc.org/sqlite"
)

const (
	// jobsAtOnce bounds what one transaction changes.
	jobsAtOnce = 1024
	// settleWithin is how long settled results are collected at most before they
	// are noted in the file: after a crash they would be delivered again.
	settleWithin = 2 * time.Millisecond
	// sweepEvery is how often results are looked for that nobody waits for any
	// longer, if not many have come.
	sweepEvery = 10 * time.Second
	// failEvery is how often is tried again what could not be written.
	failEvery = time.Second
)

// A job is a change of the file, made together with others.
type job struct {
	do    func(*store) error
	after func()     // once it is in the file, with q.mu held; nil: nothing
	done  chan error // nil: nobody waits for it, so it need not be synced
}

// change makes a change and waits until it is on the disk, or not made.
func (q *Queue) change(ctx context.Context, j job) error {
	j.done = make(chan error, 1)
	select {
	case <-q.closing:
		return q.because(ErrClosed)
	case <-ctx.Done():
		return q.because(ctx.Err())
	default:
	}
	select {
	case q.work <- j:
	case <-q.closing:
		return q.because(ErrClosed)
	case <-ctx.Done():
		return q.because(ctx.Err())
	}
	select { // whatever ctx says: it may be made already
	case err := <-j.done:
		return q.because(err)
	case <-q.ended:
	}
	select {
	case err := <-j.done:
		return q.because(err)
	default:
		return q.because(ErrClosed)
	}
}

// write makes the changes that are asked for, as many as there are in one
// transaction, until the queue is closed.
func (q *Queue) write() {
	defer close(q.ended)
	sweep := time.NewTimer(sweepEvery)
	defer sweep.Stop()
	due := time.Now().Add(sweepEvery)
	sweepWithin := func(d time.Duration) {
		if at := time.Now().Add(d); at.Before(due) {
			due = at
			sweep.Reset(d)
		}
	}
	collected := time.NewTimer(settleWithin)
	defer collected.Stop()
	var last time.Time // when something was written
	for open := true; open; {
		var jobs []job
		select {
		case j := <-q.work:
			jobs = append(jobs, j)
		case <-q.settled:
			if wait := settleWithin - time.Since(last); wait > 0 {
				collected.Reset(wait)
				continue
			}
		case <-collected.C:
		case <-sweep.C:
			sweep.Reset(sweepEvery)
			due = time.Now().Add(sweepEvery)
			if !q.cfg.Still {
				jobs = append(jobs, q.sweep())
			}
		case <-q.closing:
			open = false
		}
		for more := true; more && len(jobs) < jobsAtOnce; {
			select {
			case j := <-q.work:
				jobs = append(jobs, j)
			default:
				more = false
			}
		}
		q.commit(jobs)
		last = time.Now()
		switch {
		case q.failed():
			sweepWithin(failEvery)
		case q.unswept:
			q.unswept = false
			sweepWithin(0)
		}
		open = open || len(jobs) == jobsAtOnce // there may be more
	}
}

// commit makes jobs, and notes what lines have settled.
func (q *Queue) commit(jobs []job) {
	all := q.takeSettled()
	if len(jobs) == 0 && len(all) == 0 {
		return
	}
	synced := false
	for _, j := range jobs {
		synced = synced || j.done != nil
	}
	errs := make([]error, len(jobs))
	err := q.store.transaction(synced, func() error {
		for _, s := range all {
			if err := q.store.save(s, q.done); err != nil {
				return err
			}
		}
		for i, j := range jobs {
			var broken error
			if errs[i], broken = q.store.apart(j.do); broken != nil {
				return broken
			}
		}
		return nil
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	failed := err
	if err == nil {
		q.size += q.store.grown
		for _, s := range all {
			s.saved()
		}
	} else {
		for _, s := range all {
			s.giveBack()
		}
	}
	for i, j := range jobs {
		of := errors.Join(errs[i], err)
		if of == nil && j.after != nil {
			j.after()
		}
		if j.done != nil {
			j.done <- of
		}
		if _, ok := errors.AsType[*sqlite.Error](of); ok && failed == nil {
			failed = of
		}
	}
	q.tell(failed)
}

// tell notes whether the file could be written, and tells if that has changed.
// q.mu is held.
func (q *Queue) tell(err error) {
	switch {
	case err != nil && q.failing == nil:
		q.cfg.Log.Error("the queue cannot be written, and tries on", "queue", q.cfg.Path, "error", err)
	case err == nil && q.failing != nil:
		q.cfg.Log.Info("the queue is written again", "queue", q.cfg.Path)
	}
	q.failing = err
}

// failed reports whether the file could not be written the last time.
func (q *Queue) failed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failing != nil
}

// settled is what has become of results of a line.
type settled struct {
	line    *Line
	cursor  int64
	changes []change
	waiting int64 // how many more wait
	dead    int64 // how many more are dead
}

// takeSettled returns what is not in the file.
func (q *Queue) takeSettled() []*settled {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []*settled
	for _, l := range q.lines {
		if l.moved || len(l.pending) > 0 {
			all = append(all, &settled{line: l, cursor: l.cursor, changes: l.pending})
			l.moved, l.pending = false, nil
		}
	}
	return all
}

// giveBack notes that it is not in the file after all. q.mu is held.
func (s *settled) giveBack() {
	s.line.moved = true
	s.line.pending = append(s.changes, s.line.pending...)
}

// saved notes that it is in the file. q.mu is held.
func (s *settled) saved() {
	l := s.line
	l.waiting += s.waiting
	l.dead += s.dead
	for _, c := range s.changes {
		if !c.taken {
			delete(l.taken, c.seq)
		}
		if l.changed != nil {
			l.changed[c.seq] = true
		}
		if !c.gone && c.state == stateWaiting && !l.taken[c.seq] {
			l.due = earlier(l.due, c.next)
		}
	}
	if len(s.changes) > 0 {
		l.wake()
	}
}
