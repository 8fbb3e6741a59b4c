package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"owl/archive/series"
)

// Import reads what [Store.Export] has written, and stores what is not there yet.
// So it may be done again, be it after it was interrupted. Measurements keep their
// keys, unless the same measurement is there under another one; event types keep
// the times at which they were updated. Summaries are made anew; of those whose
// values were not all exported the one with more values in it stays. As with writes,
// a number that is there with another value is a [ConflictError], and anything else
// takes the place of what is there. All errors say in which line.
func (s *Store) Import(ctx context.Context, r io.Reader) (Transferred, error) {
	i := &importer{store: s, ctx: ctx}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		i.line++
		if err := i.read(lines.Bytes()); err != nil {
			return i.done, fmt.Errorf("line %d: %w", i.line, err)
		}
	}
	if err := lines.Err(); err != nil {
		return i.done, fmt.Errorf("line %d: %w", i.line+1, err)
	}
	if !i.ended {
		return i.done, fmt.Errorf("line %d: the text ends before its end: want all that was exported", i.line+1)
	}
	return i.done, nil
}

// An importer reads lines.
type importer struct {
	store *Store
	ctx   context.Context
	line  int64
	ended bool
	done  Transferred

	key     key // of the measurement that lines belong to
	started bool
	updated map[series.EventType]int64
	// Values that are not stored yet.
	samples []series.Sample
	size    int
}

var errNoExport = errors.New(`want {"owl-archive":1}, with which an export of an archive begins`)

// parseLine reads a line as JSON.
func parseLine(text []byte) (*transferLine, error) {
	l := new(transferLine)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(l)
	if err == nil {
		if _, behind := d.Token(); !errors.Is(behind, io.EOF) {
			err = errors.New("more behind it")
		}
	}
	return l, err
}

// read reads a line.
func (i *importer) read(text []byte) error {
	l, err := parseLine(text)
	switch {
	case err != nil && i.line > 1:
		return fmt.Errorf("want a JSON object as in an export of an archive: %w", err)
	case err != nil || i.line == 1 && l.Format == 0:
		return errNoExport
	case i.line == 1 && l.Format != transferFormat:
		return fmt.Errorf("the format is %d, from a newer Owl: want %d", l.Format, transferFormat)
	case i.line == 1:
		return nil
	case i.ended:
		return errors.New("more behind the end: want nothing")
	case l.Metadata != nil:
		if err := i.flush(); err != nil {
			return err
		}
		return i.measurement(l.Metadata)
	case l.End != nil:
		if l.End.Lines != i.line-1 {
			return fmt.Errorf("%d lines before the end, of %d that were exported: want all of them", i.line-1, l.End.Lines)
		}
		i.ended = true
		return i.flush()
	case l.Time == nil || len(l.Values) == 0:
		return errors.New("want metadata, or values with their ts")
	case !i.started:
		return errors.New("values before all metadata: want metadata first")
	case l.Window != 0:
		if err := i.flush(); err != nil {
			return err
		}
		return i.folds(*l.Time, l.Window, l.Values)
	}
	samples, err := l.samples()
	if err != nil {
		return err
	}
	i.samples = append(i.samples, samples...)
	i.size += len(text)
	if len(i.samples) >= restoreAtOnce || i.size >= restoreSize {
		return i.flush()
	}
	return nil
}

// samples returns the values of a line.
func (l *transferLine) samples() ([]series.Sample, error) {
	if *l.Time < -series.MaxTime || *l.Time > series.MaxTime {
		return nil, fmt.Errorf("ts %d: want one before the year 10000", *l.Time)
	}
	var all []series.Sample
	for _, v := range l.Values {
		kind, ok := v.Event.Kind()
		if !ok {
			return nil, fmt.Errorf("event-type %q: want one that there is", v.Event)
		}
		value, err := series.Parse(kind, v.Value)
		if err != nil {
			return nil, fmt.Errorf("%s at %d: %w", v.Event, *l.Time, err)
		}
		all = append(all, series.Sample{Time: *l.Time, Event: v.Event, Value: value})
	}
	return all, nil
}

// measurement begins a measurement.
func (i *importer) measurement(t *transferMetadata) error {
	m, err := imported(t)
	if err != nil {
		return err
	}
	return i.begin(m)
}

// begin begins a measurement, whose values follow.
func (i *importer) begin(m *series.Metadata) error {
	switch there, err := i.store.Metadata(i.ctx, m.Key); {
	case errors.Is(err, ErrUnknownKey):
	case err != nil:
		return err
	case there.Identity != m.Identity:
		return fmt.Errorf("metadata-key %s is that of another measurement here", m.Key)
	}
	stored, err := i.store.Register(i.ctx, m)
	if err != nil {
		return err
	}
	i.key, i.started = mustKey(stored.Key), true
	i.updated = make(map[series.EventType]int64, len(m.Events))
	for _, e := range m.Events {
		i.updated[e.Type] = e.Updated
	}
	i.done.Measurements++
	return nil
}

// flush stores the values that are not stored yet.
func (i *importer) flush() error {
	if len(i.samples) == 0 {
		return nil
	}
	var n int
	err := i.store.change(i.ctx, i.key, func(t *tx) (err error) {
		n, err = t.restore(i.key, i.samples, i.updated, false)
		return err
	})
	i.samples, i.size = i.samples[:0], 0
	i.done.Values += int64(n)
	return err
}

// folds stores summaries over a window.
func (i *importer) folds(start, span int64, values []transferValue) error {
	for _, v := range values {
		kind, _ := v.Event.Kind()
		f, err := series.DecodeFold(kind, v.Fold)
		if err != nil {
			return fmt.Errorf("the summary of %s: %w", v.Event, err)
		}
		var stored bool
		err = i.store.change(i.ctx, i.key, func(t *tx) (err error) {
			stored, err = t.restoreFold(i.key, v.Event, window{span, start}, f)
			return err
		})
		if err != nil {
			return err
		}
		if stored {
			i.done.Summaries++
		}
	}
	return nil
}

// mustKey reads a key that the store has given.
func mustKey(text string) key {
	k, ok := parseKey(text)
	if !ok {
		panic("store: " + text + " is no key")
	}
	return k
}

// restore stores values that are not there yet, and returns how many that were.
// Where a window has lost values its summaries stay as they are: nobody knows
// whether these are among them. updated is when event types were; keep is to leave
// alone what is there with another value.
func (t *tx) restore(k key, samples []series.Sample, updated map[series.EventType]int64, keep bool) (int, error) {
	events, err := t.events(k)
	if err != nil {
		return 0, err
	}
	missing, err := t.missing(k, events, samples, keep)
	if err != nil || len(missing) == 0 {
		return 0, err
	}
	puts, err := t.puts(k, events, missing)
	if err != nil {
		return 0, err
	}
	folds, err := t.fold(k, puts)
	if err != nil {
		return 0, err
	}
	if err := t.dropLossy(k, puts, folds); err != nil {
		return 0, err
	}
	before := make(map[*registered]int64)
	for _, p := range puts {
		before[p.event] = p.event.updated
	}
	now := t.w.store.options.Now().Unix()
	if err := t.save(k, puts, folds, now); err != nil {
		return 0, err
	}
	for e, was := range before {
		then := max(was, updated[series.EventType(e.event)])
		if then == 0 {
			then = now
		}
		if _, err := t.exec("UPDATE events SET updated = ? WHERE key = ? AND event = ?", then, k[:], e.event); err != nil {
			return 0, err
		}
	}
	return len(puts), nil
}

// missing returns the samples that are not there; without keep also those that are
// there with another value.
func (t *tx) missing(k key, events map[series.EventType]*registered, samples []series.Sample, keep bool) ([]series.Sample, error) {
	there, err := t.there(k, samples)
	if err != nil {
		return nil, err
	}
	var missing []series.Sample
	for _, s := range samples {
		if e := events[s.Event]; e != nil {
			if b, ok := there[place{s.Time, e.id}]; ok && (keep || bytes.Equal(b, s.Value.AppendBinary(nil))) {
				continue
			}
		}
		missing = append(missing, s)
	}
	return missing, nil
}

// dropLossy drops those folds, values added already, that have had values in them
// which are not there any longer.
func (t *tx) dropLossy(k key, puts []*put, folds map[foldKey]*series.Fold) error {
	counts := make(map[window]map[int64]int64)
	for at, f := range folds {
		if counts[at.window] == nil {
			counts[at.window] = make(map[int64]int64)
			if err := countWindow(t, k, at.span, at.start, counts[at.window]); err != nil {
				return err
			}
		}
		n := counts[at.window][at.id]
		for _, p := range puts {
			if p.isNew && p.id == at.id && series.WindowStart(p.at, at.span) == at.start {
				n++
			}
		}
		if n != f.Count() {
			delete(folds, at)
		}
	}
	return nil
}

// restoreFold stores a fold unless the one that is there has as many values.
func (t *tx) restoreFold(k key, event series.EventType, w window, f *series.Fold) (bool, error) {
	events, err := t.events(k)
	if err != nil {
		return false, err
	}
	e := events[event]
	if e == nil {
		return false, &UnregisteredError{event}
	}
	if !slices.Contains(e.windows, w.span) || series.WindowStart(w.start, w.span) != w.start {
		return false, fmt.Errorf("the summary of %s at %d over %d s: want one that is registered", event, w.start, w.span)
	}
	there, err := storedFold(t, k, event, w)
	if err != nil || there != nil && there.Count() >= f.Count() {
		return false, err
	}
	return true, t.insert("INSERT INTO folds (key, span, start, series, fold)", " ON CONFLICT (key, span, start, series) DO UPDATE SET fold = excluded.fold", 5,
		[]any{k[:], w.span, w.start, e.id, f.AppendBinary(nil)})
}

// storedFold returns a fold; nil: there is none.
func storedFold(q querier, k key, event series.EventType, w window) (f *series.Fold, err error) {
	var damaged error
	err = q.query(func(r row) error {
		var b []byte
		if err := r.Scan(&b); err != nil {
			return err
		}
		kind, _ := event.Kind()
		f, damaged = series.DecodeFold(kind, b)
		return nil
	}, "SELECT f.fold FROM folds f JOIN events e ON e.key = f.key AND e.id = f.series WHERE f.key = ? AND f.span = ? AND f.start = ? AND e.event = ?", k[:], w.span, w.start, string(event))
	return f, errors.Join(err, damaged)
}
