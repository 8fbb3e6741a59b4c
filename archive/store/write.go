package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"owl/archive/series"
)

// An Outcome is what a write has done.
type Outcome uint8

// The outcomes.
const (
	Written  Outcome = iota + 1 // something is there now that was not
	Repeated                    // all was there already, equal
)

// Write stores samples of a measurement, all or, with an error, none. When it
// returns they are on the disk, and in all summaries. An error is [ErrUnknownKey],
// an [UnregisteredError], a [ConflictError] or a [series.InvalidError], of more than
// summaries can take; or else the database's, and then it may do to try again: what
// has been written after all is found to be [Repeated].
func (s *Store) Write(ctx context.Context, metadataKey string, samples []series.Sample) (Outcome, error) {
	outcome, err := s.put(ctx, metadataKey, samples)
	switch {
	case err != nil:
		s.counts.refused.Add(1)
	case outcome == Repeated:
		s.counts.repeated.Add(1)
	default:
		s.counts.written.Add(1)
		s.counts.samples.Add(int64(len(samples)))
	}
	return outcome, err
}

func (s *Store) put(ctx context.Context, metadataKey string, samples []series.Sample) (outcome Outcome, err error) {
	k, ok := parseKey(metadataKey)
	if !ok {
		return 0, ErrUnknownKey
	}
	err = s.change(ctx, k, func(t *tx) (err error) {
		outcome, err = t.write(k, samples, s.options.Now().Unix())
		return err
	})
	return outcome, err
}

// A place is where a value is within the rows of a key.
type place struct{ at, id int64 }

// A window is where a fold is within the rows of a key.
type window struct{ span, start int64 }

// A registered event type of the key that is written.
type registered struct {
	eventRow
	kind    series.Kind
	windows []int64 // those that have a fold
}

// A put is a value on its way to its place.
type put struct {
	place
	event *registered
	value series.Value
	old   series.Value // that it replaces
	isNew bool         // it replaces none
}

// write stores samples, and notes that their event types were updated then.
func (t *tx) write(k key, samples []series.Sample, updated int64) (Outcome, error) {
	events, err := t.events(k)
	if err != nil {
		return 0, err
	}
	puts, err := t.puts(k, events, samples)
	if err != nil || len(puts) == 0 && len(samples) > 0 {
		return Repeated, err
	}
	folds, err := t.fold(k, puts)
	if err != nil {
		return 0, err
	}
	return Written, t.save(k, puts, folds, updated)
}

// events returns the event types of a key, and keeps other writers off it.
func (t *tx) events(k key) (map[series.EventType]*registered, error) {
	events := make(map[series.EventType]*registered)
	found := false
	err := t.all([]statement{
		{"SELECT key FROM metadata WHERE key = ?" + t.w.store.dialect.lock(), []any{k[:]}, func(row) error {
			found = true
			return nil
		}},
		{"SELECT event, id, updated, latest, summaries FROM events WHERE key = ?", []any{k[:]}, func(r row) error {
			e, err := scanRegistered(r)
			if err != nil {
				return fmt.Errorf("metadata %s: %w", k, err)
			}
			events[series.EventType(e.event)] = e
			return nil
		}},
	})
	if err == nil && !found {
		err = ErrUnknownKey
	}
	return events, err
}

func scanRegistered(r row) (*registered, error) {
	e := new(registered)
	if err := r.Scan(&e.event, &e.id, &e.updated, &e.latest, &e.summaries); err != nil {
		return nil, err
	}
	var known bool
	if e.kind, known = series.EventType(e.event).Kind(); !known {
		return nil, fmt.Errorf("the archive is damaged: event type %q", e.event)
	}
	summaries, err := e.parseSummaries()
	for _, s := range summaries {
		if s.Window > 0 && !slices.Contains(e.windows, s.Window) {
			e.windows = append(e.windows, s.Window)
		}
	}
	return e, err
}

// puts returns what is to be put where: none if all of it is there.
func (t *tx) puts(k key, events map[series.EventType]*registered, samples []series.Sample) ([]*put, error) {
	for _, s := range samples {
		if events[s.Event] == nil {
			return nil, &UnregisteredError{s.Event}
		}
	}
	there, err := t.there(k, samples)
	if err != nil {
		return nil, err
	}
	var puts []*put
	at := make(map[place]*put)
	var once *ConflictError // the first number that is there, and equal
	for _, s := range samples {
		e := events[s.Event]
		p := place{s.Time, e.id}
		if before := at[p]; before != nil { // in this body
			if e.kind.Once() && !before.value.Equal(s.Value) {
				return nil, &ConflictError{s.Event, s.Time}
			}
			before.value = s.Value
			continue
		}
		w := &put{place: p, event: e, value: s.Value, isNew: true}
		at[p] = w
		puts = append(puts, w)
		stored, is := there[p]
		if !is {
			continue
		}
		w.isNew = false
		if w.old, err = series.Decode(e.kind, stored); err != nil {
			return nil, fmt.Errorf("the value of %s at %d: %w", s.Event, s.Time, err)
		}
		if e.kind.Once() {
			if !w.old.Equal(s.Value) {
				return nil, &ConflictError{s.Event, s.Time}
			}
			if once == nil {
				once = &ConflictError{s.Event, s.Time}
			}
		}
	}
	changes := puts[:0]
	for _, p := range puts {
		if p.isNew || !p.old.Equal(p.value) {
			changes = append(changes, p)
		}
	}
	if len(changes) > 0 && once != nil {
		return nil, once
	}
	return changes, nil
}

// there returns what is stored at the times of samples.
func (t *tx) there(k key, samples []series.Sample) (map[place][]byte, error) {
	there := make(map[place][]byte)
	looked := make(map[int64]bool)
	var looks []statement
	for _, s := range samples {
		if looked[s.Time] {
			continue
		}
		looked[s.Time] = true
		looks = append(looks, statement{"SELECT series, value FROM points WHERE key = ? AND ts = ?", []any{k[:], s.Time}, func(r row) error {
			var id int64
			var value []byte
			err := r.Scan(&id, &value)
			there[place{s.Time, id}] = value
			return err
		}})
	}
	return there, t.all(looks)
}

// A foldKey is where a fold is within the rows of a key.
type foldKey struct {
	window
	id int64
}

// maxWindows bounds how many folds one write changes, all of which are in memory.
const maxWindows = 1 << 16

// fold returns the folds that change, with the values in them.
func (t *tx) fold(k key, puts []*put) (map[foldKey]*series.Fold, error) {
	changes := make(map[foldKey][]*put)
	looked := make(map[window]bool)
	stored := make(map[foldKey][]byte)
	var looks []statement
	for _, p := range puts {
		for _, span := range p.event.windows {
			w := window{span, series.WindowStart(p.at, span)}
			f := foldKey{w, p.id}
			changes[f] = append(changes[f], p)
			if len(changes) > maxWindows {
				return nil, &series.InvalidError{Detail: fmt.Sprintf("Request changes summaries of more than %d windows", maxWindows)}
			}
			if looked[w] {
				continue
			}
			looked[w] = true
			looks = append(looks, statement{"SELECT series, fold FROM folds WHERE key = ? AND span = ? AND start = ?", []any{k[:], w.span, w.start}, func(r row) error {
				var id int64
				var fold []byte
				err := r.Scan(&id, &fold)
				stored[foldKey{w, id}] = fold
				return err
			}})
		}
	}
	if err := t.all(looks); err != nil {
		return nil, err
	}
	folds := make(map[foldKey]*series.Fold, len(changes))
	for at, puts := range changes {
		e := puts[0].event
		f := series.NewFold(e.kind)
		var err error
		if b := stored[at]; b != nil {
			f, err = series.DecodeFold(e.kind, b)
		} else if at.start <= e.latest {
			// The values may have outlived it.
			f, err = t.recompute(k, at, e.kind, nil)
		}
		if err == nil {
			f, err = t.refold(k, f, at, puts)
		}
		if _, invalid := errors.AsType[*series.InvalidError](err); err != nil && !invalid {
			err = fmt.Errorf("the summary over %d s of %s at %d: %w", at.span, e.event, at.start, err)
		}
		if err != nil {
			return nil, err
		}
		folds[at] = f
	}
	return folds, nil
}

// refoldMost is how many values are folded anew at most where one replaces
// another: a day of one a minute, and soon done.
const refoldMost = 1440

// refold returns a fold with values in it that were not. Where they replace others
// all values of the window are folded anew, if all of them are still there and they
// are not too many. Otherwise what they replace is taken out: all that cannot be
// known then is whether a label of a histogram stays that nobody counts any longer.
func (t *tx) refold(k key, f *series.Fold, at foldKey, puts []*put) (*series.Fold, error) {
	replaced := slices.ContainsFunc(puts, func(p *put) bool { return !p.isNew })
	if replaced && f.Count() <= refoldMost {
		anew, err := t.recompute(k, at, f.Kind(), puts)
		if err != nil || anew.Count() == f.Count() {
			f, puts = anew, slices.DeleteFunc(slices.Clone(puts), func(p *put) bool { return !p.isNew })
		}
		if err != nil {
			return nil, err
		}
	}
	for _, p := range puts {
		if !p.isNew {
			if err := f.Remove(p.old); err != nil {
				return nil, err
			}
		}
		if err := f.Add(p.value); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// recompute folds the values of a window that are there, with those that replace
// some of them.
func (t *tx) recompute(k key, at foldKey, kind series.Kind, puts []*put) (*series.Fold, error) {
	f := series.NewFold(kind)
	replaced := make(map[int64]series.Value)
	for _, p := range puts {
		if !p.isNew {
			replaced[p.at] = p.value
		}
	}
	var failed error
	err := t.query(func(r row) error {
		var ts int64
		var b []byte
		if err := r.Scan(&ts, &b); err != nil {
			return err
		}
		v, is := replaced[ts]
		if !is {
			if v, failed = series.Decode(kind, b); failed != nil {
				return errEnough
			}
		}
		if failed = f.Add(v); failed != nil {
			return errEnough
		}
		return nil
	}, "SELECT ts, value FROM points WHERE key = ? AND series = ? AND ts >= ? AND ts < ? ORDER BY ts", k[:], at.id, at.start, at.start+at.span)
	return f, errors.Join(err, failed)
}

// save writes values, folds, and when their event types were updated.
func (t *tx) save(k key, puts []*put, folds map[foldKey]*series.Fold, updated int64) error {
	var rows []any
	touched := make(map[int64]*registered)
	for _, p := range puts {
		rows = append(rows, k[:], p.at, p.id, p.value.AppendBinary(nil))
		p.event.latest = max(p.event.latest, p.at)
		touched[p.id] = p.event
	}
	all := inserts("INSERT INTO points (key, ts, series, value)", " ON CONFLICT (key, ts, series) DO UPDATE SET value = excluded.value", 4, rows)
	rows = nil
	for at, f := range folds {
		rows = append(rows, k[:], at.span, at.start, at.id, f.AppendBinary(nil))
	}
	all = append(all, inserts("INSERT INTO folds (key, span, start, series, fold)", " ON CONFLICT (key, span, start, series) DO UPDATE SET fold = excluded.fold", 5, rows)...)
	rows = nil
	for _, e := range touched {
		rows = append(rows, k[:], e.event, e.id, updated, e.latest, e.summaries)
	}
	return t.all(append(all, inserts("INSERT INTO events (key, event, id, updated, latest, summaries)", " ON CONFLICT (key, event) DO UPDATE SET updated = excluded.updated, latest = excluded.latest", 6, rows)...))
}
