package queue

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Target says for which destination a line is.
type Target struct {
	Key  string // stays the same for as long as it is the same destination
	Name string // for people
}

// load reads what the file has.
func (q *Queue) load() error {
	// After a crash results may wait although some before them were not settled;
	// see letPass.
	err := q.store.transaction(false, func() error {
		const last = "(SELECT max(w.seq) FROM waiting w WHERE w.line = l.id)"
		err := q.store.exec("INSERT OR IGNORE INTO waiting (line, seq, state, next, tries, last, error)"+
			" SELECT l.id, r.seq, ?, 0, 0, 0, '' FROM lines l JOIN results r ON r.seq > l.cursor AND r.seq <= "+last+" WHERE l.used", stateWaiting)
		if err != nil {
			return err
		}
		return q.store.exec("UPDATE lines AS l SET cursor = max(cursor, coalesce(" + last + ", 0)) WHERE used")
	})
	one := func(query string, into *int64) {
		if err == nil {
			err = q.store.look(background, func(rows *sql.Rows) (bool, error) { return false, rows.Scan(into) }, query)
		}
	}
	one("SELECT max(coalesce((SELECT max(seq) FROM results), 0), coalesce((SELECT max(cursor) FROM lines), 0))", &q.last)
	one("SELECT n FROM octets", &q.size)
	if err != nil {
		return err
	}
	q.recent.from, q.store.last = q.last, q.last
	byID := make(map[int64]*Line)
	err = q.store.look(background, func(rows *sql.Rows) (bool, error) {
		l := newLine(q)
		if err := rows.Scan(&l.id, &l.key, &l.name, &l.used, &l.cursor); err != nil {
			return false, err
		}
		l.read = l.cursor
		q.lines[l.key], byID[l.id] = l, l
		return true, nil
	}, "SELECT id, key, name, used, cursor FROM lines")
	if err != nil {
		return err
	}
	return q.store.look(background, func(rows *sql.Rows) (bool, error) {
		var id, n int64
		var st state
		if err := rows.Scan(&id, &st, &n); err != nil {
			return false, err
		}
		l := byID[id]
		switch {
		case l == nil:
			return false, fmt.Errorf("the file is damaged: results wait for destination %d, which is not there", id)
		case st == stateDead:
			l.dead = n
		default:
			l.waiting = n
		}
		return true, nil
	}, "SELECT line, state, count(*) FROM waiting GROUP BY line, state")
}

// Use says which destinations there are, and returns their lines, in the same
// order. A new one gets the results that come from then on. What is queued for one
// that is not used any more waits, until it is used again, dropped or too old. A
// name that another line has gets a number.
func (q *Queue) Use(ctx context.Context, targets ...Target) ([]*Line, error) {
	var leaving []*Line
	parked := make(map[*Line]int64) // how many results of it wait in addition
	lines := make([]*Line, len(targets))
	names := make([]string, len(targets))
	var last int64
	q.letPass()
	err := q.change(ctx, job{
		do: func(s *store) error {
			last = s.last
			for _, l := range q.lines {
				if !l.used || slices.ContainsFunc(targets, func(t Target) bool { return t.Key == l.key }) {
					continue
				}
				leaving = append(leaving, l)
				var err error
				if parked[l], err = s.park(l, last); err != nil {
					return err
				}
				if err := s.exec("UPDATE lines SET used = 0 WHERE id = ?", l.id); err != nil {
					return err
				}
			}
			taken := make(map[string]string) // the keys of names
			for _, l := range q.lines {
				taken[l.name] = l.key
			}
			for i, t := range targets {
				l := q.lines[t.Key]
				if l == nil {
					l = newLine(q)
					l.key = t.Key
				}
				if slices.ContainsFunc(targets[:i], func(o Target) bool { return o.Key == t.Key }) {
					return fmt.Errorf("destination %s: want it once, it is there twice", t.Name)
				}
				lines[i] = l
				if names[i] = l.name; !isNamed(l.name, t.Name) {
					names[i] = uniqueName(t, taken)
				}
				taken[names[i]] = t.Key
				if err := s.use(l, names[i], last); err != nil {
					return err
				}
			}
			return nil
		},
		after: func() {
			for _, l := range leaving {
				l.waiting += parked[l]
				l.park(last)
				l.used = false
			}
			for i, l := range lines {
				l.name = names[i]
				if !l.used {
					l.park(last)
					l.used = true
				}
				q.lines[l.key] = l
			}
		},
	})
	return lines, err
}

// park lets all new results of a line wait, and be due; it returns how many.
func (s *store) park(l *Line, last int64) (int64, error) {
	n, err := s.count("INSERT OR IGNORE INTO waiting (line, seq, state, next, tries, last, error)"+
		" SELECT l.id, r.seq, ?, 0, 0, 0, '' FROM lines l JOIN results r ON r.seq > l.cursor WHERE l.id = ?", stateWaiting, l.id)
	if err != nil {
		return 0, err
	}
	return n, s.saveCursor(l.id, last)
}

// use notes that a line is used.
func (s *store) use(l *Line, name string, last int64) error {
	switch {
	case l.id == 0:
		res, err := s.change("INSERT INTO lines (key, name, used, cursor) VALUES (?, ?, 1, ?)", l.key, name, last)
		if err != nil {
			return err
		}
		l.id, err = res.LastInsertId()
		return err
	case !l.used:
		return s.exec("UPDATE lines SET used = 1, name = ?, cursor = ? WHERE id = ?", name, last, l.id)
	case l.name != name:
		return s.exec("UPDATE lines SET name = ? WHERE id = ?", name, l.id)
	}
	return nil
}

// isNamed reports whether name is wanted, or wanted with a number.
func isNamed(name, wanted string) bool {
	rest, ok := strings.CutPrefix(name, wanted)
	if ok && rest != "" {
		_, err := strconv.ParseUint(strings.TrimPrefix(rest, " "), 10, 31)
		ok = rest[0] == ' ' && err == nil
	}
	return ok
}

// uniqueName returns the name of t, or that with a number, such that no other key
// has it.
func uniqueName(t Target, taken map[string]string) string {
	name := t.Name
	for n := 2; taken[name] != "" && taken[name] != t.Key; n++ {
		name = fmt.Sprintf("%s %d", t.Name, n)
	}
	return name
}

// byName returns all lines. The writer calls it, or who holds q.mu.
func (q *Queue) byName() []*Line {
	return slices.SortedFunc(maps.Values(q.lines), func(a, b *Line) int { return cmp.Compare(a.name, b.name) })
}
