package queue

import (
	"context"
	"database/sql"
	"fmt"
)

// newLine returns a line without anything.
func newLine(q *Queue) *Line {
	return &Line{
		q:      q,
		news:   make(chan struct{}, 1),
		turn:   make(chan struct{}, 1),
		again:  make(map[int64]bool),
		counts: Counts{Dropped: make(map[string]uint64)},
	}
}

// load reads what the file has.
func (q *Queue) load() error {
	var err error
	one := func(query string, into *int64) {
		if err == nil {
			err = q.store.look(background, func(rows *sql.Rows) error { return rows.Scan(into) }, query)
		}
	}
	one("SELECT seq FROM sqlite_sequence WHERE name = 'results'", &q.last)
	one("SELECT n FROM octets", &q.size)
	if err != nil {
		return err
	}
	q.recent.from = q.last
	byID := make(map[int64]*Line)
	err = q.store.look(background, func(rows *sql.Rows) error {
		l := newLine(q)
		if err := rows.Scan(&l.id, &l.key, &l.name, &l.used, &l.cursor); err != nil {
			return err
		}
		l.read = l.cursor
		q.lines[l.key], byID[l.id] = l, l
		return nil
	}, "SELECT id, key, name, used, cursor FROM lines")
	if err != nil {
		return err
	}
	return q.store.look(background, func(rows *sql.Rows) error {
		var id, n int64
		var dead bool
		if err := rows.Scan(&id, &dead, &n); err != nil {
			return err
		}
		switch l := byID[id]; {
		case l == nil:
			return fmt.Errorf("the file is damaged: results wait for line %d, which is not there", id)
		case dead:
			l.dead = n
		default:
			l.waiting = n
		}
		return nil
	}, "SELECT line, dead, count(*) FROM waiting GROUP BY line, dead")
}

// Use says which destinations there are, by their keys, which stay the same for
// as long as it is the same destination, and their names for people. A new one
// gets the results that come from then on. What is queued for one that is not
// used any more waits, until it is used again, dropped or too old. It returns the
// lines by key.
func (q *Queue) Use(ctx context.Context, names map[string]string) (map[string]*Line, error) {
	leaving := make(map[*Line]int64) // and how many results of it wait in addition
	var staying []*Line
	var last int64
	err := q.change(ctx, job{
		do: func(s *store) error {
			q.mu.Lock()
			defer q.mu.Unlock()
			clear(leaving)
			staying = nil
			var err error
			if last, err = s.last(); err != nil {
				return err
			}
			for key, l := range q.lines {
				if _, stays := names[key]; stays || !l.used {
					continue
				}
				// What it has handed out is settled, or waits, in vain.
				res, err := s.change("INSERT OR IGNORE INTO waiting (line, seq, dead, next, tries, last, error) SELECT ?, seq, 0, 0, 0, 0, '' FROM results WHERE seq > ?", l.id, l.cursor)
				if err == nil {
					leaving[l], err = res.RowsAffected()
				}
				if err == nil {
					err = s.exec("UPDATE lines SET used = 0, cursor = ? WHERE id = ?", last, l.id)
				}
				if err != nil {
					return err
				}
			}
			for key, name := range names {
				l := q.lines[key]
				switch {
				case l == nil:
					l = newLine(q)
					l.key, l.cursor, l.read = key, last, last
					res, err := s.change("INSERT INTO lines (key, name, used, cursor) VALUES (?, ?, 1, ?)", key, name, last)
					if err == nil {
						l.id, err = res.LastInsertId()
					}
					if err != nil {
						return err
					}
				case !l.used:
					if err := s.exec("UPDATE lines SET used = 1, name = ?, cursor = ? WHERE id = ?", name, last, l.id); err != nil {
						return err
					}
				case l.name != name:
					if err := s.exec("UPDATE lines SET name = ? WHERE id = ?", name, l.id); err != nil {
						return err
					}
				}
				staying = append(staying, l)
			}
			return nil
		},
		after: func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			for l, n := range leaving {
				l.waiting += n
				l.reset(last)
				l.used = false
				l.wake()
			}
			for _, l := range staying {
				l.name = names[l.key]
				if !l.used {
					l.reset(last)
					l.used = true
				}
				q.lines[l.key] = l
			}
		},
	})
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	lines := make(map[string]*Line)
	for key := range names {
		lines[key] = q.lines[key]
	}
	return lines, nil
}

// reset lets a line begin behind seq: what it has handed out before does not
// move its cursor any more. q.mu is held.
func (l *Line) reset(seq int64) {
	l.cursor, l.read, l.moved = seq, seq, false
	l.out, l.ahead, l.awaiting = nil, nil, false
	l.epoch++
}
