package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"owl/archive/series"
)

// A Source is another archive of which values are copied, such as remote.Archive.
type Source interface {
	// String names the archive, each time alike.
	String() string
	// Measurements returns all there are. Their keys are those that the other
	// methods take.
	Measurements(context.Context) iter.Seq2[*series.Metadata, error]
	// Values returns a series in the order of time.
	Values(context.Context, *series.Metadata, series.EventType) iter.Seq2[series.Point, error]
	// Folds returns the summaries over a window that start before a time, in the
	// order of time: as if of so many values as least says of a start, or as
	// many more as the archive lets know.
	Folds(ctx context.Context, m *series.Metadata, event series.EventType, window, before int64, least func(start int64) (int64, error)) iter.Seq2[FoldAt, error]
}

// A FoldAt is a fold with the start of its window.
type FoldAt struct {
	Start int64
	Fold  *series.Fold
}

// Copy stores what another archive has and this one has not; a value that is there
// stays as it is. Measurements keep their keys, unless the same measurement is
// there under another one. Summaries are made anew from values; those that begin
// before the first value that is left of a series are taken as they are.
//
// It may be done again, after an interruption or later: a series that was complete
// is looked at again only if the other archive says that it has been updated since.
// progress is called with each measurement that is complete; nil: nothing is.
func (s *Store) Copy(ctx context.Context, from Source, progress func(*series.Metadata, Transferred)) (Transferred, error) {
	var done Transferred
	for m, err := range from.Measurements(ctx) {
		if err != nil {
			return done, err
		}
		c := &copying{store: s, ctx: ctx, from: from, m: m}
		if err := c.measurement(); err != nil {
			return done, fmt.Errorf("measurement %s: %w", m, err)
		}
		done.Measurements++
		done.Values += c.done.Values
		done.Summaries += c.done.Summaries
		if progress != nil {
			progress(m, done)
		}
	}
	return done, nil
}

// A copying is that of a measurement.
type copying struct {
	store *Store
	ctx   context.Context
	from  Source
	m     *series.Metadata // there
	key   key              // here
	done  Transferred
}

func (c *copying) measurement() error {
	here := *c.m
	if _, ok := parseKey(here.Key); !ok {
		here.Key = "" // then it gets one
	}
	here.Events = slices.Clone(c.m.Events)
	for i := range here.Events {
		here.Events[i].Updated = 0 // they are not written yet
	}
	stored, err := c.store.Register(c.ctx, &here)
	if err != nil {
		return err
	}
	c.key = mustKey(stored.Key)
	complete, err := c.complete()
	if err != nil {
		return err
	}
	for _, e := range c.m.Events {
		if e.Updated == complete[e.Type] { // or never
			continue
		}
		if err := c.series(&e); err != nil {
			return fmt.Errorf("event type %s: %w", e.Type, err)
		}
	}
	return nil
}

// complete returns when the series that are complete were updated.
func (c *copying) complete() (map[series.EventType]int64, error) {
	all := make(map[series.EventType]int64)
	err := c.store.reader(c.ctx).query(func(r row) error {
		var event string
		var updated int64
		err := r.Scan(&event, &updated)
		all[series.EventType(event)] = updated
		return err
	}, "SELECT event, updated FROM copies WHERE key = ? AND source = ?", c.key[:], c.from.String())
	return all, err
}

// series copies a series.
func (c *copying) series(e *series.Event) error {
	var samples []series.Sample
	updated := map[series.EventType]int64{e.Type: e.Updated}
	flush := func() error {
		if len(samples) == 0 {
			return nil
		}
		var n int
		err := c.store.change(c.ctx, c.key, func(t *tx) (err error) {
			n, err = t.restore(c.key, samples, updated, true)
			return err
		})
		c.done.Values += int64(n)
		samples = samples[:0]
		return err
	}
	first := int64(series.MaxTime) + 1
	for p, err := range c.from.Values(c.ctx, c.m, e.Type) {
		if err != nil {
			return errors.Join(flush(), err)
		}
		first = min(first, p.Time)
		samples = append(samples, series.Sample{Time: p.Time, Event: e.Type, Value: p.Value})
		if len(samples) == restoreAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	looked := make(map[int64]bool)
	for _, s := range e.Summaries {
		if s.Window > 0 && !looked[s.Window] {
			looked[s.Window] = true
			if err := c.folds(e, s.Window, first); err != nil {
				return fmt.Errorf("summaries over %d s: %w", s.Window, err)
			}
		}
	}
	return c.store.change(c.ctx, c.key, func(t *tx) error {
		if _, err := t.exec("UPDATE events SET updated = ? WHERE key = ? AND event = ? AND updated < ?", e.Updated, c.key[:], string(e.Type), e.Updated); err != nil {
			return err
		}
		return t.insert("INSERT INTO copies (key, event, source, updated)", " ON CONFLICT (key, event, source) DO UPDATE SET updated = excluded.updated", 4,
			[]any{c.key[:], string(e.Type), c.from.String(), e.Updated})
	})
}

// folds copies the summaries over a window that begin before the first value.
func (c *copying) folds(e *series.Event, span, first int64) error {
	here := func(start int64) (*series.Fold, error) {
		return storedFold(c.store.reader(c.ctx), c.key, e.Type, window{span, start})
	}
	least := func(start int64) (int64, error) {
		f, err := here(start)
		if f == nil {
			return 1, err
		}
		return f.Count() + 1, err
	}
	for f, err := range c.from.Folds(c.ctx, c.m, e.Type, span, first, least) {
		if err != nil {
			return err
		}
		mine, err := here(f.Start)
		if err != nil {
			return err
		}
		if mine != nil && agree(mine, f.Fold, e.Summaries, span) {
			continue // all of its values are here, or it was copied before
		}
		var stored bool
		err = c.store.change(c.ctx, c.key, func(t *tx) (err error) {
			stored, err = t.restoreFold(c.key, e.Type, window{span, f.Start}, f.Fold)
			return err
		})
		if err != nil {
			return err
		}
		if stored {
			c.done.Summaries++
		}
	}
	return nil
}

// agree reports whether two folds make the same sum and the same mean, as far as
// they are registered.
func agree(a, b *series.Fold, registered []series.Summary, span int64) bool {
	return !slices.ContainsFunc(registered, func(s series.Summary) bool {
		return s.Window == span && s.Type != series.Statistics && !bytes.Equal(a.AppendJSON(nil, s.Type), b.AppendJSON(nil, s.Type))
	})
}
