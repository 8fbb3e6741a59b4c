package store

import (
	"context"
	"fmt"
	"iter"

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
	// in memory; the first one reads less, for many want no more.
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
		return "folds", "start", "fold", " AND span = ?", []any{d.summary.Window}
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
	}, "SELECT "+time+", "+value+" FROM "+table+" WHERE key = ? AND series = ?"+where+
		" AND "+time+" >= ? AND "+time+" <= ? ORDER BY "+time+" LIMIT ? OFFSET ?", args...)
	return part, cut, err
}
