package queue

import (
	"context"
	"errors"
	"time"
)

const (
	// jobsAtOnce bounds what one transaction changes.
	jobsAtOnce = 1024
	// settleWithin bounds how long it takes until what is settled is on the
	// disk: after a crash it would be delivered again.
	settleWithin = 20 * time.Millisecond
	// sweepEvery is how often results are looked for that nobody waits for any
	// longer.
	sweepEvery = time.Second
)

// A job is a change of the file, made together with others.
type job struct {
	do    func(*store) error
	after func()     // once it is on the disk; nil: nothing
	done  chan error // nil: nobody waits for it
}

// change makes a change and waits until it is on the disk, or not made.
func (q *Queue) change(ctx context.Context, j job) error {
	j.done = make(chan error, 1)
	select {
	case <-q.closing:
		return q.because(ErrClosed)
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
	settle := time.NewTicker(settleWithin)
	defer settle.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		var jobs []job
		open := true
		select {
		case j := <-q.work:
			jobs = append(jobs, j)
		case <-settle.C:
		case <-sweep.C:
			jobs = append(jobs, q.sweep())
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
		if !open && len(jobs) < jobsAtOnce {
			return
		}
	}
}

// commit makes jobs, and writes down what lines have settled.
func (q *Queue) commit(jobs []job) {
	settled := q.takeSettled()
	if len(jobs) == 0 && len(settled) == 0 {
		return
	}
	errs := make([]error, len(jobs))
	err := q.store.transaction(func() error {
		for i, j := range jobs {
			var broken error
			if errs[i], broken = q.store.apart(j.do); broken != nil {
				return broken
			}
		}
		for l, cursor := range settled {
			if err := q.store.saveCursor(l.id, cursor); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		q.mu.Lock()
		q.size += q.store.takeGrown()
		q.mu.Unlock()
	} else {
		q.store.takeGrown()
		q.settleAgain(settled)
	}
	for i, j := range jobs {
		failed := errors.Join(errs[i], err)
		if failed == nil && j.after != nil {
			j.after()
		}
		if j.done != nil {
			j.done <- failed
		} else if failed != nil {
			err = failed
		}
	}
	switch {
	case err != nil && !q.failing:
		q.cfg.Log.Error("the queue cannot be written, and tries on", "queue", q.cfg.Path, "error", err)
	case err == nil && q.failing:
		q.cfg.Log.Info("the queue is written again", "queue", q.cfg.Path)
	}
	q.failing = err != nil
}

// takeSettled returns the cursors that have moved.
func (q *Queue) takeSettled() map[*Line]int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	var settled map[*Line]int64
	for _, l := range q.lines {
		if l.moved {
			if settled == nil {
				settled = make(map[*Line]int64)
			}
			settled[l], l.moved = l.cursor, false
		}
	}
	return settled
}

// settleAgain notes that cursors are not on the disk after all.
func (q *Queue) settleAgain(settled map[*Line]int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for l := range settled {
		l.moved = true
	}
}
