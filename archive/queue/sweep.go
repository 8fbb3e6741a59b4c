package queue

import (
	"database/sql"
	"time"
)

const (
	// sweepAtOnce is how many results one transaction looks at that nobody needs
	// any longer.
	sweepAtOnce = 5000
	// pagesAtOnce is how many pages of the file one transaction gives back to the
	// system, and how many may be free.
	pagesAtOnce = 1000
)

// dropped is what was dropped of a line.
type dropped struct {
	line          *Line
	reason        string
	last          int64 // the results up to there
	queued        int64
	waiting, dead int64
}

// sweep is the change that deletes results which nobody needs any longer, and
// those that are too old or too many.
func (q *Queue) sweep() job {
	var all []dropped
	var gone []*Line
	var done int64
	return job{
		do: func(s *store) (err error) {
			q.unswept, q.fresh = false, 0
			now := q.cfg.Now()
			if all, err = q.dropOld(s, now.Add(-q.cfg.MaxAge)); err != nil {
				return err
			}
			more, err := q.dropBeyond(s)
			if err != nil {
				return err
			}
			all = append(all, more...)
			if done, err = q.deleteDone(s, now); err != nil {
				return err
			}
			if gone, err = q.deleteLines(s); err != nil {
				return err
			}
			return q.shrink(s)
		},
		after: func() {
			q.done = done
			for _, d := range all {
				d.line.dropTo(d)
			}
			for _, l := range gone {
				delete(q.lines, l.key)
			}
		},
	}
}

// dropOld drops results from before at, from the oldest in the order to the first
// that is younger: one whose time is wrong takes no other with it.
func (q *Queue) dropOld(s *store, at time.Time) ([]dropped, error) {
	last, n := int64(0), 0
	err := s.each(func(rows *sql.Rows) (bool, error) {
		var seq, arrived int64
		if err := rows.Scan(&seq, &arrived); err != nil || arrived >= at.UnixNano() {
			return false, err
		}
		last = seq
		n++
		return true, nil
	}, "SELECT seq, arrived FROM results ORDER BY seq LIMIT ?", sweepAtOnce)
	if err != nil || n == 0 {
		return nil, err
	}
	q.unswept = q.unswept || n == sweepAtOnce
	return q.drop(s, last, ReasonAge)
}

// dropBeyond drops the oldest results as long as there are too many octets.
func (q *Queue) dropBeyond(s *store) ([]dropped, error) {
	beyond := q.Size() + s.grown - q.cfg.MaxSize
	if beyond <= 0 || q.cfg.Full != DropOldest {
		return nil, nil
	}
	last, n := int64(0), 0
	err := s.each(func(rows *sql.Rows) (bool, error) {
		var size int64
		err := rows.Scan(&last, &size)
		beyond -= size
		n++
		return beyond > 0, err
	}, "SELECT seq, size FROM results ORDER BY seq LIMIT ?", sweepAtOnce)
	if err != nil {
		return nil, err
	}
	q.unswept = q.unswept || beyond > 0 && n == sweepAtOnce
	return q.drop(s, last, ReasonSize)
}

// drop drops the results up to last, wherever they are still wanted.
func (q *Queue) drop(s *store, last int64, reason string) ([]dropped, error) {
	var all []dropped
	for _, l := range q.lines {
		d := dropped{line: l, reason: reason, last: last}
		err := s.conn.QueryRowContext(background, "SELECT count(*) FROM lines l JOIN results r ON r.seq > l.cursor AND r.seq <= ?"+
			" WHERE l.id = ? AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.line = l.id AND w.seq = r.seq)", last, l.id).Scan(&d.queued)
		if err == nil {
			err = s.conn.QueryRowContext(background, "SELECT count(*) - coalesce(sum(state), 0), coalesce(sum(state), 0) FROM waiting WHERE line = ? AND seq <= ?", l.id, last).Scan(&d.waiting, &d.dead)
		}
		if err == nil {
			err = s.saveCursor(l.id, last)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	if err := s.exec("DELETE FROM waiting WHERE seq <= ?", last); err != nil {
		return nil, err
	}
	return all, s.delete("seq <= ?", last)
}

// dropTo notes what was dropped of the line. q.mu is held.
func (l *Line) dropTo(d dropped) {
	l.waiting -= d.waiting
	l.dead -= d.dead
	if n := d.queued + d.waiting + d.dead; n > 0 {
		l.counts.Dropped[d.reason] += uint64(n)
		l.q.cfg.Log.Warn("results were dropped", "destination", l.name, "reason", d.reason, "results", n)
	}
	for len(l.ahead) > 0 && l.ahead[0].seq <= d.last {
		l.ahead = l.ahead[1:]
	}
	for len(l.out) > 0 && l.out[0].seq <= d.last {
		l.out = l.out[1:]
	}
	l.stale()
	l.read = max(l.read, d.last)
	l.advance()
}

// deleteDone deletes results that are settled everywhere and need not be kept. It
// returns up to where there are none any more.
func (q *Queue) deleteDone(s *store, now time.Time) (int64, error) {
	var last int64
	err := s.conn.QueryRowContext(background, "SELECT coalesce(min(cursor), ?) FROM lines WHERE used", s.last).Scan(&last)
	if err != nil || last <= q.done {
		return q.done, err
	}
	done, n, young := q.done, 0, false
	err = s.each(func(rows *sql.Rows) (bool, error) {
		var seq, arrived int64
		if err := rows.Scan(&seq, &arrived); err != nil {
			return false, err
		}
		// One from the future has come before the clock was set back.
		young = arrived > now.Add(-q.cfg.Keep).UnixNano() && arrived <= now.UnixNano()
		if !young {
			done = seq
			n++
		}
		return !young, nil
	}, "SELECT seq, arrived FROM results WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", q.done, last, sweepAtOnce)
	if err != nil {
		return q.done, err
	}
	switch {
	case n == sweepAtOnce:
		q.unswept = true
	case !young:
		done = last
	}
	if done == q.done {
		return done, nil
	}
	return done, s.delete("seq > ? AND seq <= ? AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.seq = results.seq)", q.done, done)
}

// deleteLines deletes the lines that are not used and have nothing.
func (q *Queue) deleteLines(s *store) ([]*Line, error) {
	var gone []*Line
	for _, l := range q.lines {
		if l.used {
			continue
		}
		n, err := s.count("DELETE FROM lines WHERE id = ? AND NOT EXISTS (SELECT 1 FROM waiting WHERE line = id)", l.id)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			gone = append(gone, l)
		}
	}
	return gone, nil
}

// shrink gives pages back to the system if many are free. Some are left: they will
// be needed again.
func (q *Queue) shrink(s *store) error {
	var free, all int64
	for query, into := range map[string]*int64{"PRAGMA freelist_count": &free, "PRAGMA page_count": &all} {
		if err := s.conn.QueryRowContext(background, query).Scan(into); err != nil {
			return err
		}
	}
	if free < 2*pagesAtOnce || free < all/4 {
		return nil
	}
	return s.each(func(*sql.Rows) (bool, error) { return true, nil }, "PRAGMA incremental_vacuum(1000)")
}
