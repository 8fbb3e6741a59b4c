package store

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"owl/archive/series"
)

// A Query says what of a series is read.
type Query struct {
	Key     string
	Event   series.EventType
	Summary series.Summary // the zero value: the values themselves
	// From and To are the times of values, or the starts of windows, in s since
	// 1970, both included.
	From, To int64
	// Offset leaves out the first ones; Limit is how many follow at most, below
	// 0: all.
	Offset, Limit int
}

// A Reading is a value of a series, or a summary.
type Reading struct {
	// Time is that of the value, or the start of the window; s since 1970.
	Time int64
	// Type is what was asked for.
	Type series.SummaryType
	// Value is what was measured; of a window it is none.
	Value series.Value
	// Fold is what a window's summaries are made of; nil: it is a value.
	Fold *series.Fold
}

// AppendJSON appends the value or the summary as JSON.
func (r *Reading) AppendJSON(dst []byte) []byte {
	if r.Fold != nil {
		return r.Fold.AppendJSON(dst, r.Type)
	}
	return r.Value.AppendSummary(dst, r.Type)
}

const (
	// readingsAtOnce and octetsAtOnce bound what is read by one query, and held
	// in memory.
	readingsAtFirst = 64
	readingsAtOnce  = 512
	octetsAtOnce    = 1 << 20
)

// Read returns the readings of a series in the order of time; none if there is no
// such measurement, event type or summary. It ends with an error if it cannot
// read on.
func (s *Store) Read(ctx context.Context, q Query) iter.Seq2[Reading, error] {
	return func(yield func(Reading, error) bool) {
		k, ok := parseKey(q.Key)
		if !ok {
			return
		}
		r := s.reader(ctx)
		d, err := r.find(k, q.Event, q.Summary)
		if err != nil {
			yield(Reading{}, err)
			return
		}
		if d == nil {
			return
		}
		from, offset, left, size := q.From, max(q.Offset, 0), q.Limit, readingsAtFirst
		for left != 0 {
			want := size
			if left > 0 {
				want = min(want, left)
			}
			part, cut, err := r.part(k, d, from, q.To, want, offset)
			for _, reading := range part {
				if !yield(reading, nil) {
					return
				}
			}
			if err != nil {
				yield(Reading{}, err)
				return
			}
			if !cut && len(part) < want {
				return
			}
			// What a server sends beyond a cut is in vain.
			if size = min(4*size, readingsAtOnce); cut {
				size = len(part)
			}
			from, offset = part[len(part)-1].Time+1, 0
			if left > 0 {
				left -= len(part)
			}
		}
	}
}

// A drawer is where the rows of a series are, and what they are.
type drawer struct {
	event   series.EventType
	kind    series.Kind
	summary series.Summary
	id      int64
}

// columns returns the table that rows are in, its columns of time and of what is
// there then, and what else is to hold of them.
func (d *drawer) columns() (table, time, value, where string, args []any) {
	if d.summary.Window > 0 {
		return "folds", "start", "fold", " AND q.span = ?", []any{d.summary.Window}
	}
	return "points", "ts", "value", "", nil
}

// reading makes a reading of a row.
func (d *drawer) reading(at int64, stored []byte) (Reading, error) {
	r := Reading{Time: at, Type: d.summary.Type}
	var err error
	if d.summary.Window > 0 {
		r.Fold, err = series.DecodeFold(d.kind, stored)
	} else {
		r.Value, err = series.Decode(d.kind, stored)
	}
	if err != nil {
		err = fmt.Errorf("%s of %s at %d: %w", d.summary, d.event, at, err)
	}
	return r, err
}

// find returns where a series is; nil: there is none.
func (r reader) find(k key, event series.EventType, summary series.Summary) (*drawer, error) {
	kind, ok := event.Kind()
	if !ok {
		return nil, nil
	}
	like, ok := registeredAs(summary)
	if !ok {
		return nil, nil
	}
	var d *drawer
	err := r.query(func(r row) error {
		d = &drawer{event: event, kind: kind, summary: summary}
		return r.Scan(&d.id)
	}, "SELECT id FROM events WHERE key = ? AND event = ? AND summaries LIKE ?", k[:], string(event), like)
	return d, err
}

// registeredAs returns what the column of summaries is like where there is one;
// false: there is none anywhere.
func registeredAs(s series.Summary) (string, bool) {
	if s.Type == series.Base {
		return "%", s.Window == 0
	}
	return fmt.Sprintf("%%,%s:%d,%%", s.Type, s.Window), s.Window >= 0
}

// part returns the next readings of a series, and whether they are fewer because
// they are long.
func (r reader) part(k key, d *drawer, from, to int64, limit, offset int) (part []Reading, cut bool, err error) {
	table, time, value, where, args := d.columns()
	octets := 0
	args = append(append([]any{k[:], d.id}, args...), from, to, limit, offset)
	err = r.query(func(r row) error {
		var at int64
		var stored []byte
		if err := r.Scan(&at, &stored); err != nil {
			return err
		}
		reading, err := d.reading(at, stored)
		if err != nil {
			return err
		}
		part = append(part, reading)
		if octets += len(stored); octets > octetsAtOnce {
			cut = true
			return errEnough
		}
		return nil
	}, "SELECT q."+time+", q."+value+" FROM "+table+" q WHERE q.key = ? AND q.series = ?"+where+
		" AND q."+time+" >= ? AND q."+time+" <= ? ORDER BY q."+time+" LIMIT ? OFFSET ?", args...)
	return part, cut, err
}

// A Keyed reading says of which measurement it is.
type Keyed struct {
	Key string
	Reading
}

// Latest returns the last reading of each measurement that has one of an event
// type from one time to another, both included, in the order of their keys.
func (s *Store) Latest(ctx context.Context, event series.EventType, summary series.Summary, from, to int64) iter.Seq2[Keyed, error] {
	return func(yield func(Keyed, error) bool) {
		kind, known := event.Kind()
		like, is := registeredAs(summary)
		if !known || !is {
			return
		}
		r := s.reader(ctx)
		d := &drawer{event: event, kind: kind, summary: summary}
		after := []byte{}
		for {
			part, cut, err := r.latest(d, like, after, from, to)
			for _, reading := range part {
				if !yield(reading, nil) {
					return
				}
			}
			if err != nil {
				yield(Keyed{}, err)
				return
			}
			if !cut && len(part) < readingsAtOnce {
				return
			}
			last, _ := parseKey(part[len(part)-1].Key)
			after = last[:]
		}
	}
}

// latest returns the last readings of the next measurements, and whether they are
// fewer because they are long.
func (r reader) latest(d *drawer, like string, after []byte, from, to int64) (part []Keyed, cut bool, err error) {
	table, time, value, where, args := d.columns()
	// A series that is written seldom is found at once by when it was, and the
	// others not far from their end.
	query := "SELECT e.key, p." + time + ", p." + value + " FROM events e JOIN " + table + " p ON p.key = e.key AND p.series = e.id" + strings.ReplaceAll(where, "q.", "p.") +
		" AND p." + time + " = (SELECT q." + time + " FROM " + table + " q WHERE q.key = e.key AND q.series = e.id" + where +
		" AND q." + time + " >= ? AND q." + time + " <= CASE WHEN e.latest < ? THEN e.latest ELSE ? END ORDER BY q." + time + " DESC LIMIT 1)" +
		" WHERE e.event = ? AND e.key > ? AND e.latest >= ? AND e.summaries LIKE ? ORDER BY e.key LIMIT ?"
	all := append(append(append([]any{}, args...), args...), from, to, to, string(d.event), after, from, like, readingsAtOnce)
	octets := 0
	err = r.query(func(r row) error {
		var k, stored []byte
		var at int64
		if err := r.Scan(&k, &at, &stored); err != nil {
			return err
		}
		id, err := scanKey(k)
		if err != nil {
			return err
		}
		reading, err := d.reading(at, stored)
		if err != nil {
			return err
		}
		part = append(part, Keyed{id.String(), reading})
		if octets += len(stored); octets > octetsAtOnce {
			cut = true
			return errEnough
		}
		return nil
	}, query, all...)
	return part, cut, err
}
