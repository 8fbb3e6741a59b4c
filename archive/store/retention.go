package store

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"owl/archive/series"
)

// A Rule says how long something is kept.
type Rule struct {
	Event series.EventType // empty: of every event type
	// Summary is what it says so of; nil: of all. The window of Base is 0; for
	// any window of the others it is [AnyWindow].
	Summary *series.Summary
	Keep    time.Duration // 0: forever
}

// AnyWindow stands for every window in a rule.
const AnyWindow = -1

// maxRules bounds how many rules there are.
const maxRules = 1000

// ParseRetention reads rules with commas or line ends between, each
// EVENT/SUMMARY/WINDOW=TIME, in which EVENT may be *, and the window, or the summary
// and the window, may be missing. A time is forever, or a number with s, m, h, d, w
// (7 d) or y (365 d):
//
//	histogram-owdelay/base=90d,*/aggregation/300=1y,*=forever
//
// Of several rules for the same the first one holds.
func ParseRetention(text string) ([]Rule, error) {
	var rules []Rule
	for item := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		r, err := parseRule(item)
		if err != nil {
			return nil, fmt.Errorf("retention %q: %w", item, err)
		}
		if rules = append(rules, r); len(rules) > maxRules {
			return nil, fmt.Errorf("retention: more than %d rules", maxRules)
		}
	}
	return rules, nil
}

func parseRule(text string) (Rule, error) {
	what, age, ok := strings.Cut(text, "=")
	if !ok {
		return Rule{}, fmt.Errorf("want EVENT/SUMMARY/WINDOW=TIME, such as */base=90d")
	}
	var r Rule
	var err error
	if r.Keep, err = parseKeep(strings.TrimSpace(age)); err != nil {
		return Rule{}, err
	}
	parts := strings.Split(strings.TrimSpace(what), "/")
	if parts[0] != "*" {
		r.Event = series.EventType(parts[0])
		if _, ok := r.Event.Kind(); !ok {
			return Rule{}, fmt.Errorf("%q is no event type: want one, or *", parts[0])
		}
	}
	if len(parts) == 1 {
		return r, nil
	}
	t, ok := series.ParseSummaryType(parts[1])
	if !ok {
		if t, ok = series.ParseSummaryPath(parts[1]); !ok {
			return Rule{}, fmt.Errorf("%q is no summary: want base, aggregation, average or statistics", parts[1])
		}
	}
	r.Summary = &series.Summary{Type: t, Window: AnyWindow}
	switch {
	case t == series.Base && len(parts) == 2:
		r.Summary.Window = 0
	case t == series.Base || len(parts) > 3:
		return Rule{}, fmt.Errorf("want EVENT/SUMMARY/WINDOW, and no window of base")
	case len(parts) == 3:
		w, err := strconv.ParseInt(parts[2], 10, 64)
		if err != nil || w <= 0 || w > series.MaxWindow {
			return Rule{}, fmt.Errorf("%q is no window: want seconds, more than 0 (what has window 0 is made of base)", parts[2])
		}
		r.Summary.Window = w
	}
	return r, nil
}

// ages are the units of a time.
var ages = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour, 'y': 365 * 24 * time.Hour}

func parseKeep(text string) (time.Duration, error) {
	if text == "forever" {
		return 0, nil
	}
	if len(text) > 1 {
		unit := ages[text[len(text)-1]]
		n, err := strconv.ParseInt(text[:len(text)-1], 10, 64)
		if unit > 0 && err == nil && n > 0 && n <= int64(math.MaxInt64/unit) {
			return time.Duration(n) * unit, nil
		}
	}
	return 0, fmt.Errorf("%q is no time: want forever, or a number with s, m, h, d, w or y, such as 90d", text)
}

// matches reports whether the rule is for a summary.
func (r *Rule) matches(event series.EventType, s series.Summary) bool {
	return (r.Event == "" || r.Event == event) &&
		(r.Summary == nil || r.Summary.Type == s.Type && (r.Summary.Window == AnyWindow || r.Summary.Window == s.Window))
}

// keep returns how long a summary is kept; 0: forever.
func keep(rules []Rule, event series.EventType, s series.Summary) time.Duration {
	for i := range rules {
		if rules[i].matches(event, s) {
			return rules[i].Keep
		}
	}
	return 0
}

// keepSpan is keep for what is kept of a window: the summaries over it that are
// registered are made of the same, so it stays as long as any of them is wanted. A
// span of 0 is base.
func keepSpan(rules []Rule, event series.EventType, registered []series.Summary, span int64) time.Duration {
	if span == 0 {
		return keep(rules, event, series.Summary{})
	}
	var longest time.Duration
	for _, s := range registered {
		if s.Window != span {
			continue
		}
		k := keep(rules, event, s)
		if k == 0 {
			return 0
		}
		longest = max(longest, k)
	}
	return longest
}

// pruneAtOnce is how many different times one transaction removes the rows of at
// most, so that writers do not wait for long.
const pruneAtOnce = 200

// Prune removes what is older than the rules say, and returns how many values and
// summaries that was. A window is as old as its end. What no rule is for stays, and so
// do measurements of which nothing is left: their keys are known to clients. It
// does so in many small transactions, between which others write.
func (s *Store) Prune(ctx context.Context, rules []Rule) (removed int64, err error) {
	if len(rules) == 0 {
		return 0, nil
	}
	s.pruned.mu.Lock()
	defer s.pruned.mu.Unlock()
	p := &pruning{store: s, ctx: ctx, rules: rules, now: s.options.Now().Unix()}
	last := &s.pruned
	if age := p.now - last.whole; age < 0 || age >= day || !reflect.DeepEqual(rules, last.rules) {
		p.whole = true
	}
	p.since = p.now - last.at
	if err := s.eachMeasurement(ctx, p.measurement); err != nil {
		return p.removed, err
	}
	last.at = p.now
	if p.whole {
		last.whole, last.rules = p.now, slices.Clone(rules)
	}
	return p.removed, nil
}

// pruneEvery is how often [Store.KeepPruned] does it.
const pruneEvery = time.Hour

// KeepPruned prunes by the rules that there are then, at once and once an hour
// until ctx is done, and tells the store's log.
func (s *Store) KeepPruned(ctx context.Context, rules func() []Rule) {
	select {
	case <-s.ready:
	case <-ctx.Done():
	}
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		removed, err := s.Prune(ctx, rules())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.options.Log.Error("what is too old is not removed", "archive", s.name, "error", err)
		case removed > 0:
			s.options.Log.Info("removed what is too old", "archive", s.name, "values", removed)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// pruned is what the last complete run of [Store.Prune] has seen to.
type pruned struct {
	mu    sync.Mutex
	rules []Rule
	at    int64 // when it was, s since 1970
	whole int64 // when it was that everything was looked through
}

// A registration is an event type of a measurement, with its summaries.
type registration struct {
	eventRow
	summaries []series.Summary
}

// spans returns the windows of which there are rows, and 0 for base.
func (r *registration) spans() []int64 {
	all := []int64{0}
	for _, s := range r.summaries {
		if !slices.Contains(all, s.Window) {
			all = append(all, s.Window)
		}
	}
	return all
}

// eachMeasurement calls do for each measurement, in the order of their keys, with its
// event types.
func (s *Store) eachMeasurement(ctx context.Context, do func(key, []registration) error) error {
	r := s.reader(ctx)
	after := []byte{}
	for {
		var page []key
		err := r.query(func(r row) error {
			var b []byte
			if err := r.Scan(&b); err != nil {
				return err
			}
			k, err := scanKey(b)
			page = append(page, k)
			return err
		}, "SELECT key FROM metadata WHERE key > ? ORDER BY key LIMIT ?", after, keysAtOnce)
		if err != nil || len(page) == 0 {
			return err
		}
		first, last := page[0], page[len(page)-1]
		events, err := r.registrations(first, last)
		if err != nil {
			return err
		}
		for _, k := range page {
			if err := do(k, events[k]); err != nil {
				return err
			}
		}
		after = last[:]
	}
}

// registrations returns the event types of the measurements from one key to another.
func (r reader) registrations(first, last key) (map[key][]registration, error) {
	events := make(map[key][]registration)
	err := r.query(func(r row) error {
		var b []byte
		var e registration
		if err := r.Scan(&b, &e.event, &e.id, &e.updated, &e.latest, &e.eventRow.summaries); err != nil {
			return err
		}
		k, err := scanKey(b)
		if err != nil {
			return err
		}
		e.summaries, err = e.parseSummaries()
		events[k] = append(events[k], e)
		return err
	}, "SELECT key, event, id, updated, latest, summaries FROM events WHERE key >= ? AND key <= ? ORDER BY key, event", first[:], last[:])
	return events, err
}

// A pruning is a run of [Store.Prune].
type pruning struct {
	store   *Store
	ctx     context.Context
	rules   []Rule
	now     int64
	removed int64
	// Rows that are kept longer lie between those that are looked for. So they
	// are not all looked through each time, but only where time has passed since
	// the last run; and all, for what came late, once a day.
	whole bool
	since int64 // s that have passed
}

// measurement removes what is too old of a measurement. Series that are kept
// equally long are looked at together, for they lie together.
func (p *pruning) measurement(k key, events []registration) error {
	type group struct{ span, before int64 }
	ids := make(map[group][]int64)
	all := make(map[int64]int) // series that have a span
	var order []group
	for i := range events {
		e := &events[i]
		for _, span := range e.spans() {
			all[span]++
			keep := keepSpan(p.rules, series.EventType(e.event), e.summaries, span)
			if keep == 0 {
				continue
			}
			// Whole seconds, and so that what is exactly as old stays.
			g := group{span, p.now - int64(keep/time.Second) - span}
			if ids[g] == nil {
				order = append(order, g)
			}
			ids[g] = append(ids[g], e.id)
		}
	}
	for _, g := range order {
		if len(ids[g]) == all[g.span] {
			ids[g] = nil // whatever it is
		}
		if err := p.rows(k, g.span, g.before, ids[g]); err != nil {
			return err
		}
	}
	return nil
}

// rows removes the rows before a time of some series, or of all, part by part.
func (p *pruning) rows(k key, span, before int64, ids []int64) error {
	where, args := "FROM points WHERE key = ?", []any{k[:]}
	at := "ts"
	if span > 0 {
		where, args, at = "FROM folds WHERE key = ? AND span = ?", append(args, span), "start"
	}
	if len(ids) > 0 {
		if !p.whole {
			where, args = where+" AND "+at+" >= ?", append(args, before-p.since)
		}
		where += " AND series IN (?" + strings.Repeat(", ?", len(ids)-1) + ")"
		for _, id := range ids {
			args = append(args, id)
		}
	}
	for {
		// Up to there: there may be rows of several series at one time.
		var last int64
		n := 0
		err := p.store.reader(p.ctx).query(func(r row) error {
			n++
			return r.Scan(&last)
		}, "SELECT DISTINCT "+at+" "+where+" AND "+at+" < ? ORDER BY "+at+" LIMIT ?", append(args, before, pruneAtOnce)...)
		if err != nil || n == 0 {
			return err
		}
		var removed int64
		err = p.store.change(p.ctx, k, func(t *tx) (err error) {
			removed, err = t.exec("DELETE "+where+" AND "+at+" <= ?", append(args, last)...)
			return err
		})
		if err != nil {
			return err
		}
		p.removed += removed
		if n < pruneAtOnce {
			return nil
		}
	}
}
