package store

import (
	"cmp"
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"time"

	"owl/archive/series"
)

// A Forecast says how an archive grows. It is made of what came in the last day, of
// some measurements for all.
type Forecast struct {
	Octets int64 // on the disk now
	Free   int64 // that the disk has left; -1: not known, as of a server
	PerDay int64 // octets that a day adds, while nothing is removed
	Values int64 // that a day adds
	// Full is when the disk is full if nothing is removed, and Kept if the rules
	// are kept to. Zero: never, or Free is not known.
	Full, Kept time.Time
	// Most is how many octets there will be once the rules remove as much as
	// comes; -1: some of it is kept forever.
	Most int64
}

const (
	// forecastKeys is how many measurements are looked at. Keys are random, and
	// so is which they are.
	forecastKeys = 64
	// farthest is how far a forecast looks, in days: what is farther off is
	// never.
	farthest = 100 * 365
)

// rowCost is what a row takes on the disk, beside what is in it: measured, with
// pages as full as they are on the average.
type rowCost struct {
	octets int64   // of keys, times and the like
	factor float64 // by which what is in a row is more on the disk
}

// A growth is what is kept equally long, of one span.
type growth struct {
	perDay float64 // octets
	left   float64 // days until as much is removed as comes
}

// Forecast returns how the archive grows, and will grow with rules.
func (s *Store) Forecast(ctx context.Context, rules []Rule) (Forecast, error) {
	f := &forecaster{reader: s.reader(ctx), rules: rules, now: s.options.Now().Unix(), growths: make(map[growthKey]*rates)}
	var all, looked int64
	if err := f.query(func(r row) error { return r.Scan(&all) }, "SELECT count(*) FROM metadata"); err != nil {
		return Forecast{}, err
	}
	err := s.eachMeasurement(ctx, func(k key, events []registration) error {
		if looked++; looked > forecastKeys {
			looked--
			return errEnough
		}
		return f.measurement(k, events)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return Forecast{}, err
	}
	result := Forecast{Free: -1}
	if result.Octets, err = s.Size(ctx); err != nil {
		return Forecast{}, err
	}
	scale := 1.0
	if looked > 0 {
		scale = float64(all) / float64(looked)
	}
	cost := rowCost{octets: 130, factor: 1.3}
	if d, ok := s.dialect.(*sqlite); ok {
		cost = rowCost{octets: 32, factor: 1.2}
		if n, ok := diskFree(filepath.Dir(d.path)); ok {
			result.Free = n
		}
	}
	var growths []growth
	for k, r := range f.growths {
		g := growth{perDay: scale * cost.factor * (r.octets + r.rows*float64(cost.octets)), left: math.Inf(1)}
		if k.keep > 0 {
			g.left = max(0, (k.keep.Seconds()+float64(k.span)-float64(f.now-r.oldest))/day)
		}
		growths = append(growths, g)
		result.PerDay += int64(g.perDay)
		if k.span == 0 {
			result.Values += int64(scale * r.rows)
		}
	}
	result.Most = most(result.Octets, growths)
	result.Kept = f.full(result.Free, growths)
	for i := range growths {
		growths[i].left = math.Inf(1)
	}
	result.Full = f.full(result.Free, growths)
	return result, nil
}

// most returns how much an archive will have.
func most(octets int64, growths []growth) int64 {
	sum := float64(octets)
	for _, g := range growths {
		if g.perDay > 0 {
			sum += g.perDay * g.left
		}
	}
	if sum >= math.MaxInt64 {
		return -1
	}
	return int64(sum)
}

// full returns when free octets are used up; zero: never.
func (f *forecaster) full(free int64, growths []growth) time.Time {
	if free < 0 {
		return time.Time{}
	}
	slices.SortFunc(growths, func(a, b growth) int { return cmp.Compare(a.left, b.left) })
	rate := 0.0
	for _, g := range growths {
		rate += g.perDay
	}
	days, left := 0.0, float64(free)
	for _, g := range growths {
		if grown := rate * (g.left - days); rate > 0 && grown >= left {
			break
		} else if !math.IsInf(g.left, 1) {
			left -= grown
			days = g.left
		}
		rate -= g.perDay
	}
	if rate <= 0 {
		return time.Time{}
	}
	if days += left / rate; days > farthest {
		return time.Time{}
	}
	return time.Unix(f.now, 0).Add(time.Duration(days * float64(24*time.Hour)))
}

// A forecaster looks at measurements.
type forecaster struct {
	reader
	rules   []Rule
	now     int64
	growths map[growthKey]*rates
}

type growthKey struct {
	span int64
	keep time.Duration
}

// rates are what a day adds, and when the first of it was.
type rates struct {
	rows, octets float64
	oldest       int64
}

// measurement adds what a day adds to a measurement.
func (f *forecaster) measurement(k key, events []registration) error {
	byID := make(map[int64]*registration)
	var spans []int64
	for i := range events {
		byID[events[i].id] = &events[i]
		spans = append(spans, events[i].spans()...)
	}
	slices.Sort(spans)
	for _, span := range slices.Compact(spans) {
		if err := f.span(k, byID, span); err != nil {
			return err
		}
	}
	return nil
}

// span adds what a day adds of one span.
func (f *forecaster) span(k key, events map[int64]*registration, span int64) error {
	table, at, value, where, args := "points", "ts", "value", "key = ?", []any{k[:]}
	if span > 0 {
		table, at, value, where, args = "folds", "start", "fold", "key = ? AND span = ?", []any{k[:], span}
	}
	oldest := f.now
	err := f.query(func(r row) error { return r.Scan(&oldest) }, "SELECT "+at+" FROM "+table+" WHERE "+where+" ORDER BY "+at+" LIMIT 1", args...)
	if err != nil || oldest >= f.now {
		return err
	}
	// A window that is longer than a day, or than all that there is, counts for
	// its time.
	from := f.now - max(min(day, f.now-oldest), span)
	part := day / float64(f.now-from)
	return f.query(func(r row) error {
		var id, rows, octets int64
		if err := r.Scan(&id, &rows, &octets); err != nil {
			return err
		}
		e := events[id]
		if e == nil {
			return nil
		}
		at := growthKey{span, keepSpan(f.rules, series.EventType(e.event), e.summaries, span)}
		if f.growths[at] == nil {
			f.growths[at] = &rates{oldest: oldest}
		}
		g := f.growths[at]
		g.rows += part * float64(rows)
		g.octets += part * float64(octets)
		g.oldest = min(g.oldest, oldest)
		return nil
	}, "SELECT series, count(*), CAST(sum(length("+value+")) AS BIGINT) FROM "+table+" WHERE "+where+" AND "+at+" > ? AND "+at+" <= ? GROUP BY series", append(args, from, f.now)...)
}
