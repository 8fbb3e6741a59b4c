package queue

import (
	"database/sql"
	"time"
)

// sweepAtOnce is how many results one transaction looks at that nobody needs any
// longer.
const sweepAtOnce = 5000

// sweep is the change that deletes results which nobody needs any longer, and
// those that are too old or too many.
func (q *Queue) sweep() job {
	dropped := make(map[*Line]map[string]int64)
	return job{
		do: func(s *store) error {
			clear(dropped)
			now := q.cfg.Now()
			if err := q.dropBefore(s, now.Add(-q.cfg.MaxAge), dropped); err != nil {
				return err
			}
			if err := q.dropBeyond(s, dropped); err != nil {
				return err
			}
			return q.dropDone(s, now.Add(-q.cfg.Keep))
		},
		after: func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			for l, reasons := range dropped {
				for reason, n := range reasons {
					l.counts.Dropped[reason] += uint64(n)
					q.cfg.Log.Warn("results were dropped", "destination", l.name, "reason", reason, "results", n)
				}
			}
		},
	}
}

// dropBefore drops the results that came before at.
func (q *Queue) dropBefore(s *store, at time.Time, dropped map[*Line]map[string]int64) error {
	var last sql.NullInt64
	// They are in the order of their coming, nearly.
	err := s.conn.QueryRowContext(background, "SELECT max(seq) FROM (SELECT seq FROM results WHERE arrived < ? ORDER BY arrived LIMIT ?)", at.UnixNano(), sweepAtOnce).Scan(&last)
	if err != nil || !last.Valid {
		return err
	}
	return q.drop(s, last.Int64, ReasonAge, dropped)
}

// dropBeyond drops the oldest results as long as there are too many octets.
func (q *Queue) dropBeyond(s *store, dropped map[*Line]map[string]int64) error {
	beyond := q.Size() + s.grown - q.cfg.MaxSize
	if beyond <= 0 || q.cfg.Full != DropOldest {
		return nil
	}
	last := int64(0)
	err := s.each(func(rows *sql.Rows) error {
		var size int64
		if beyond <= 0 {
			return nil
		}
		err := rows.Scan(&last, &size)
		beyond -= size
		return err
	}, "SELECT seq, size FROM results ORDER BY seq LIMIT ?", sweepAtOnce)
	if err != nil {
		return err
	}
	return q.drop(s, last, ReasonSize, dropped)
}

// drop drops the results up to last, wherever they are still wanted.
func (q *Queue) drop(s *store, last int64, reason string, dropped map[*Line]map[string]int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.lines {
		n := int64(0)
		if l.cursor < last {
			err := s.conn.QueryRowContext(background, "SELECT count(*) FROM results WHERE seq > ? AND seq <= ?"+
				" AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.line = ? AND w.seq = results.seq)", l.cursor, last, l.id).Scan(&n)
			if err != nil {
				return err
			}
			for _, h := range l.out {
				if h.seq <= last {
					n-- // is on its way
				}
			}
		}
		var waiting, dead int64
		if err := s.conn.QueryRowContext(background, "SELECT count(*) - total(dead), total(dead) FROM waiting WHERE line = ? AND seq <= ?", l.id, last).Scan(&waiting, &dead); err != nil {
			return err
		}
		l.waiting -= waiting
		l.dead -= dead
		if l.cursor < last {
			l.dropTo(last)
			if err := s.saveCursor(l.id, l.cursor); err != nil {
				return err
			}
		}
		if n += waiting + dead; n > 0 {
			if dropped[l] == nil {
				dropped[l] = make(map[string]int64)
			}
			dropped[l][reason] += n
		}
	}
	if err := s.exec("DELETE FROM waiting WHERE seq <= ?", last); err != nil {
		return err
	}
	return s.delete("DELETE FROM results WHERE seq <= ?", last)
}

// dropTo moves the line behind seq. q.mu is held.
func (l *Line) dropTo(seq int64) {
	for len(l.ahead) > 0 && l.ahead[0].seq <= seq {
		l.ahead = l.ahead[1:]
	}
	for len(l.out) > 0 && l.out[0].seq <= seq {
		l.out = l.out[1:]
	}
	l.read = max(l.read, seq)
	l.moveTo(seq)
	l.advance()
}

// dropDone deletes results that are settled everywhere, and came before at.
func (q *Queue) dropDone(s *store, at time.Time) error {
	q.mu.Lock()
	last := q.last
	for _, l := range q.lines {
		if l.used {
			last = min(last, l.cursor)
		}
	}
	q.mu.Unlock()
	if last <= q.done {
		return nil
	}
	done, n := q.done, 0
	young := false
	err := s.each(func(rows *sql.Rows) error {
		var seq, arrived int64
		if err := rows.Scan(&seq, &arrived); err != nil || young {
			return err
		}
		if n++; arrived > at.UnixNano() {
			young = true
			return nil
		}
		done = seq
		return nil
	}, "SELECT seq, arrived FROM results WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", q.done, last, sweepAtOnce)
	if err != nil {
		return err
	}
	if !young && n < sweepAtOnce {
		done = last
	}
	if done == q.done {
		return nil
	}
	err = s.delete("DELETE FROM results WHERE seq > ? AND seq <= ? AND NOT EXISTS (SELECT 1 FROM waiting WHERE waiting.seq = results.seq)", q.done, done)
	if err != nil {
		return err
	}
	q.done = done
	return s.exec("PRAGMA incremental_vacuum(1000)")
}

// each calls do for each row that the running transaction sees.
func (s *store) each(do func(*sql.Rows) error, query string, args ...any) error {
	rows, err := s.conn.QueryContext(background, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
