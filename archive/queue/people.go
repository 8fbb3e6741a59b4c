package queue

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A State is how a result stands with a destination.
type State string

// The states.
const (
	Queued  State = "queued"  // it was not tried, or is on its way
	Waiting State = "waiting" // it has failed and is tried again
	Dead    State = "dead"    // it has failed and is not tried again
	Settled State = "settled" // it was delivered or dropped, or is not for it
)

// A Standing is how a result stands with a destination.
type Standing struct {
	Destination string    `json:"destination"`
	ID          string    `json:"id"`
	State       State     `json:"state"`
	Arrived     time.Time `json:"arrived"`
	Size        int64     `json:"size"`           // octets of the result
	Tries       int64     `json:"tries,omitzero"` // that have failed
	Last        time.Time `json:"last,omitzero"`  // when the last of them was
	Next        time.Time `json:"next,omitzero"`  // when the next is to be, if it waits
	Error       string    `json:"error,omitzero"` // of the last try
}

// A Selection says which results are meant, of which destinations. Empty it means
// all.
type Selection struct {
	Destination string    // its name
	State       State     // Queued, Waiting or Dead
	IDs         []string  // of results
	Since       time.Time // when they came: not before
	Before      time.Time // when they came: before
}

// maxIDs bounds those of a selection.
const maxIDs = 1000

// where is the condition that a selection is for results, called r.
func (sel *Selection) where() (string, []any) {
	where := []string{"1"}
	var args []any
	if len(sel.IDs) > 0 {
		where = append(where, "r.id IN (?"+strings.Repeat(", ?", len(sel.IDs)-1)+")")
		for _, id := range sel.IDs {
			args = append(args, id)
		}
	}
	if !sel.Since.IsZero() {
		where = append(where, "r.arrived >= ?")
		args = append(args, sel.Since.UnixNano())
	}
	if !sel.Before.IsZero() {
		where = append(where, "r.arrived < ?")
		args = append(args, sel.Before.UnixNano())
	}
	return strings.Join(where, " AND "), args
}

// has reports whether results of a state are meant.
func (sel *Selection) has(st State) bool { return sel.State == "" || sel.State == st }

// of returns the lines that a selection means. The writer calls it, or who holds
// q.mu.
func (q *Queue) of(sel *Selection) ([]*Line, error) {
	var lines []*Line
	names := []string{}
	for _, l := range q.byName() {
		names = append(names, l.name)
		if sel.Destination == "" || sel.Destination == l.name {
			lines = append(lines, l)
		}
	}
	switch {
	case sel.Destination != "" && len(lines) == 0:
		return nil, fmt.Errorf("destination %q: want one of %q", sel.Destination, names)
	case !slices.Contains([]State{"", Queued, Waiting, Dead}, sel.State):
		return nil, fmt.Errorf("state %q: want one of %q", sel.State, []State{Queued, Waiting, Dead})
	case len(sel.IDs) > maxIDs:
		return nil, fmt.Errorf("%d results: want at most %d", len(sel.IDs), maxIDs)
	}
	return lines, nil
}

// List returns how selected results stand, at most so many: by destination, and
// there the dead in the order of their deaths, those that wait in the order in
// which they are due, and the others in that of their coming.
func (q *Queue) List(ctx context.Context, sel Selection, limit int) ([]Standing, error) {
	q.mu.Lock()
	lines, err := q.of(&sel)
	q.mu.Unlock()
	if err != nil {
		return nil, q.because(err)
	}
	where, args := sel.where()
	var all []Standing
	for _, l := range lines {
		passed := l.passed()
		for _, from := range []struct {
			state State
			query string
		}{
			{Dead, " FROM waiting w JOIN lines l ON l.id = w.line JOIN results r ON r.seq = w.seq WHERE " + isState[Dead] + " AND l.id = ? AND " + where + " ORDER BY w.next, w.seq"},
			{Waiting, " FROM waiting w JOIN lines l ON l.id = w.line JOIN results r ON r.seq = w.seq WHERE " + isState[Waiting] + " AND l.id = ? AND " + where + " ORDER BY w.next, w.seq"},
			{Queued, " FROM waiting w JOIN lines l ON l.id = w.line JOIN results r ON r.seq = w.seq WHERE " + isState[Queued] + " AND l.id = ? AND " + where + " ORDER BY w.next, w.seq"},
			{Queued, " FROM lines l JOIN results r ON r.seq > l.cursor LEFT JOIN waiting w ON w.line = l.id AND w.seq = r.seq WHERE l.used AND w.seq IS NULL AND l.id = ? AND " + where + " ORDER BY r.seq"},
		} {
			if !sel.has(from.state) || len(all) >= limit {
				continue
			}
			err := q.store.look(ctx, func(rows *sql.Rows) (bool, error) {
				s, seq, err := scanStanding(rows)
				if from.state != Queued || !passed[seq] {
					all = append(all, s)
				}
				return len(all) < limit, err
			}, "SELECT "+standing+from.query, append([]any{l.id}, args...)...)
			if err != nil {
				return nil, q.because(err)
			}
		}
	}
	return all, nil
}

// passed returns the new results that are settled although one before them is not,
// which the file does not know.
func (l *Line) passed() map[int64]bool {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	passed := make(map[int64]bool)
	for _, h := range l.out {
		if h.over {
			passed[h.seq] = true
		}
	}
	return passed
}

// isState are the conditions of results that wait being in a state.
var isState = map[State]string{
	Queued:  "w.state = 0 AND w.tries = 0",
	Waiting: "w.state = 0 AND w.tries > 0",
	Dead:    "w.state = 1",
}

// standing are the columns of a Standing.
const standing = "l.name, r.id, r.arrived, r.size, coalesce(w.tries, 0), coalesce(w.last, 0), coalesce(w.next, 0), coalesce(w.error, ''), w.state, l.used AND r.seq > l.cursor, r.seq"

func scanStanding(rows *sql.Rows) (s Standing, seq int64, err error) {
	var arrived, last, next int64
	var waits sql.Null[state]
	var ahead bool
	err = rows.Scan(&s.Destination, &s.ID, &arrived, &s.Size, &s.Tries, &last, &next, &s.Error, &waits, &ahead, &seq)
	s.Arrived, s.Last = fromNano(arrived), fromNano(last)
	switch {
	case waits.Valid && waits.V == stateDead:
		s.State = Dead
	case waits.Valid && s.Tries > 0:
		s.State, s.Next = Waiting, fromNano(next)
	case waits.Valid || ahead:
		s.State = Queued
	default:
		s.State = Settled
	}
	return s, seq, err
}

// Show returns the result of an ID and how it stands with each destination; nil if
// there is none.
func (q *Queue) Show(ctx context.Context, id string) (*Result, []Standing, error) {
	var r *Result
	var all []Standing
	err := q.store.look(ctx, func(rows *sql.Rows) (bool, error) {
		r = new(Result)
		return false, r.scan(rows)
	}, "SELECT "+columns+" FROM results r WHERE id = ?", id)
	if err != nil || r == nil {
		return nil, nil, q.because(err)
	}
	passed := make(map[string]bool)
	q.mu.Lock()
	for _, l := range q.lines {
		i, ok := l.place(r.seq)
		passed[l.name] = ok && l.out[i].over
	}
	q.mu.Unlock()
	err = q.store.look(ctx, func(rows *sql.Rows) (bool, error) {
		s, _, err := scanStanding(rows)
		if passed[s.Destination] {
			s.State = Settled
		}
		all = append(all, s)
		return true, err
	}, "SELECT "+standing+" FROM results r JOIN lines l LEFT JOIN waiting w ON w.line = l.id AND w.seq = r.seq WHERE r.seq = ? ORDER BY l.name", r.seq)
	return r, all, q.because(err)
}

// Retry lets selected results that wait or are dead be tried at once, and says how
// many. For those that are dead all tries count as never made.
func (q *Queue) Retry(ctx context.Context, sel Selection) (int64, error) {
	return q.touch(ctx, sel, func(s *store, l *Line, t *touched) error {
		now := q.cfg.Now().UnixNano()
		return sel.each(s, l, "UPDATE waiting AS w SET next = ?, tries = iif(state = 1, 0, tries), state = 0", []any{now}, func(st State, n int64) {
			t.n += n
			if st == Dead {
				t.dead -= n
				t.waiting += n
			}
		})
	})
}

// Drop gives selected results up, and says how many. What is on its way may arrive.
func (q *Queue) Drop(ctx context.Context, sel Selection) (int64, error) {
	return q.touch(ctx, sel, func(s *store, l *Line, t *touched) error {
		if sel.has(Queued) && l.used {
			// Only what waits can be dropped out of its turn.
			if err := t.park(s, l, &sel); err != nil {
				return err
			}
		}
		err := sel.each(s, l, "DELETE FROM waiting AS w", nil, func(st State, n int64) {
			t.n += n
			t.dropped += n
			if st == Dead {
				t.dead -= n
			} else {
				t.waiting -= n
			}
		})
		if err != nil {
			return err
		}
		return s.delete("seq <= ? AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.seq = results.seq)", q.done)
	})
}

// Replay lets selected results be delivered again that are settled and still
// there, as [Config.Keep] has it, and says how many. The state of the selection
// must be empty. It is also how a new destination gets what came before it.
func (q *Queue) Replay(ctx context.Context, sel Selection) (int64, error) {
	if sel.State != "" {
		return 0, fmt.Errorf("state %q: want none, only what is settled is replayed", sel.State)
	}
	return q.touch(ctx, sel, func(s *store, l *Line, t *touched) error {
		if !l.used {
			return nil
		}
		where, args := sel.where()
		n, err := s.count("INSERT OR IGNORE INTO waiting (line, seq, state, next, tries, last, error)"+
			" SELECT l.id, r.seq, ?, ?, 0, 0, '' FROM lines l JOIN results r ON r.seq <= l.cursor WHERE l.id = ? AND "+where,
			append([]any{stateWaiting, q.cfg.Now().UnixNano(), l.id}, args...)...)
		t.n += n
		t.waiting += n
		return err
	})
}

// touched is what people have done to the results of a line.
type touched struct {
	n             int64 // how many results
	waiting, dead int64 // how many more are
	dropped       int64
	parked        int64 // new results up to there wait; 0: none
}

// park lets the new results of l wait, if any of them is selected.
func (t *touched) park(s *store, l *Line, sel *Selection) error {
	where, args := sel.where()
	var some bool
	err := s.conn.QueryRowContext(background, "SELECT EXISTS (SELECT 1 FROM lines l JOIN results r ON r.seq > l.cursor WHERE l.id = ? AND "+where+")", append([]any{l.id}, args...)...).Scan(&some)
	if err != nil || !some {
		return err
	}
	t.parked = s.last
	n, err := s.park(l, t.parked)
	t.waiting += n
	return err
}

// each makes a statement about what waits, called w, for each state that is
// selected, and has told how many results of it that were.
func (sel *Selection) each(s *store, l *Line, statement string, args []any, told func(State, int64)) error {
	where, among := sel.where()
	for _, st := range []State{Queued, Waiting, Dead} {
		if !sel.has(st) {
			continue
		}
		n, err := s.count(statement+" WHERE "+isState[st]+" AND w.line = ? AND w.seq IN (SELECT seq FROM results r WHERE "+where+")",
			slices.Concat(args, []any{l.id}, among)...)
		if err != nil {
			return err
		}
		told(st, n)
	}
	return nil
}

// touch does what people want to the results of each line that is selected.
func (q *Queue) touch(ctx context.Context, sel Selection, do func(*store, *Line, *touched) error) (n int64, err error) {
	all := make(map[*Line]*touched)
	q.letPass()
	err = q.change(ctx, job{
		do: func(s *store) error {
			lines, err := q.of(&sel)
			if err != nil {
				return err
			}
			for _, l := range lines {
				all[l] = new(touched)
				if err := do(s, l, all[l]); err != nil {
					return err
				}
				n += all[l].n
			}
			return nil
		},
		after: func() {
			for l, t := range all {
				l.waiting += t.waiting
				l.dead += t.dead
				l.counts.Dropped[ReasonRequest] += uint64(t.dropped)
				if t.parked > 0 {
					l.park(t.parked)
				}
				l.stale()
			}
		},
	})
	if err != nil {
		n = 0
	}
	return n, err
}

// Hasten makes the results due whose last try was since then: what they failed for
// is over.
func (l *Line) Hasten(ctx context.Context, since time.Time) error {
	now := l.q.cfg.Now().UnixNano()
	return l.q.change(ctx, job{
		do: func(s *store) error {
			return s.exec("UPDATE waiting SET next = ? WHERE line = ? AND state = ? AND next > ? AND last >= ?", now, l.id, stateWaiting, now, since.UnixNano())
		},
		after: l.stale,
	})
}
