package ui

import (
	"context"
	"errors"
	"maps"
	"slices"

	"owl/archive/series"
	"owl/archive/store"
)

// A point is what is known of one window.
type point struct {
	delays                             delays
	loss                               loss
	worst                              figure
	reordered, duplicated, clockErrors figure
}

// A course is what is known of a measurement over time.
type course struct {
	*direction
	window int64
	points map[int64]*point
	open   *series.Fold // the histogram of the window that is being read; nil: there is none
	openAt int64        // its start
	all    tally        // of those before
	loss   loss
	times  []int64 // of losses
}

func (c *course) at(t int64) *point {
	p := c.points[t]
	if p == nil {
		p = &point{delays: noDelays, worst: unknown, reordered: unknown, duplicated: unknown, clockErrors: unknown}
		c.points[t] = p
	}
	return p
}

// direction reads what there is of a measurement, nil for none: in windows, and its
// losses in windows of values, too; 0 stands for the values themselves.
func (h *handler) direction(ctx context.Context, m *measurement, s span, now, window, values int64) (*direction, error) {
	if m == nil {
		return &direction{Totals: noTotals(), Gaps: []gap{}, Omitted: []string{}, Time: []int64{}}, nil
	}
	omitted := []string{}
	c, told, tooMany, err := h.follow(ctx, m, s, window, values, omitted)
	for errors.Is(err, errTooMany) { // half of a series would be taken for all
		omitted = append(omitted, string(tooMany))
		c, told, tooMany, err = h.follow(ctx, m, s, window, values, omitted)
	}
	if err != nil {
		return nil, err
	}
	d := c.direction
	d.Key, d.Kind, d.step = m.Key, m.kind(), m.step
	d.URI = "/esmond/perfsonar/archive/" + m.Key + "/"
	d.Source, d.Destination = nameOf(m.Source, m.InputSource), nameOf(m.Destination, m.InputDestination)
	d.Omitted = omitted
	c.write()
	if values > 0 {
		d.step = values
	}
	if len(c.times) == 0 { // losses are not registered, or too many
		c.times = d.Time
		d.step = max(d.step, window)
	}
	if usual := spacing(c.times); usual > d.step {
		d.step = usual // a test that rests between its sessions
	}
	d.Gaps, d.GapsOmitted = gapsOf(c.times, d.step, s, now, told)
	if d.longer, err = h.kept(ctx, m, s, d.Gaps, values); err == nil && d.longer == 0 {
		err = h.begin(ctx, m, s, c)
	}
	if err != nil {
		return nil, err
	}
	if d.Gaps == nil {
		d.Gaps = []gap{}
	}
	return d, nil
}

// kept returns the shortest windows, longer than others, that there are in a gap
// at the begin of a span: of what is long ago, summaries may be all that was kept.
// 0: there are none.
func (h *handler) kept(ctx context.Context, m *measurement, s span, gaps []gap, than int64) (int64, error) {
	if len(gaps) == 0 || gaps[0].From != s.From || gaps[0].Reason != "" {
		return 0, nil
	}
	for _, w := range slices.Backward(windows[:]) {
		within := span{series.WindowStart(gaps[0].From+w-1, w), gaps[0].To - w}
		if w <= than || within.From > within.To {
			continue
		}
		for _, t := range []series.EventType{m.losses, m.delays} {
			q := store.Query{Key: m.Key, Event: t, Summary: series.Summary{Type: series.Aggregation, Window: w}, From: within.From, To: within.To, Limit: 1}
			for _, err := range h.store.Read(ctx, q) {
				return w, err
			}
		}
	}
	return 0, nil
}

// begin finds out whether the measurement began within the span: before, nothing
// is missing.
func (h *handler) begin(ctx context.Context, m *measurement, s span, c *course) error {
	if len(c.times) == 0 || len(c.Gaps) == 0 || c.Gaps[0].From != s.From || c.Gaps[0].Reason != "" {
		return nil
	}
	before := span{0, s.From - 1}
	for _, t := range []series.EventType{m.losses, m.delays} {
		q := store.Query{Key: m.Key, Event: t, From: before.From, To: before.To, Limit: 1}
		for _, err := range h.store.Read(ctx, q) {
			return err // nil: there is a value
		}
	}
	c.Begins, c.Gaps = c.Gaps[0].To, c.Gaps[1:]
	return nil
}

// newCourse returns a course of which nothing is known, in windows.
func newCourse(window int64) *course {
	d := &direction{Totals: noTotals(), Gaps: []gap{}, Omitted: []string{}, Time: []int64{}}
	return &course{direction: d, window: window, points: make(map[int64]*point)}
}

// follow reads the series of a measurement, but for some. With errTooMany comes the
// one that has too many readings.
func (h *handler) follow(ctx context.Context, m *measurement, s span, window, values int64, but []string) (c *course, told []failure, tooMany series.EventType, err error) {
	c = newCourse(window)
	suffix := series.EventType("")
	if m.round {
		suffix = "-bidir"
	}
	read := func(t series.EventType, by series.Summary, window, most int64, take func(int64, *store.Reading) error) {
		if err == nil && !slices.Contains(but, string(t)) {
			if err = h.read(ctx, m, t, by, s, window, most, take); err != nil {
				tooMany = t
			}
		}
	}
	read(m.delays, m.summaryFor(m.delays, window), window, 2*mostValues, c.delay)
	c.close()
	read(m.losses, m.summaryFor(m.losses, values), values, 2*mostValues, func(at int64, r *store.Reading) error {
		c.lose(at, lossOf(r))
		return nil
	})
	sum := func(t series.EventType, total *figure, of func(*point) *figure) {
		read(t, m.summaryFor(t, window), window, 2*mostValues, func(at int64, r *store.Reading) error {
			add(total, numberOf(r))
			add(of(c.at(at)), numberOf(r))
			return nil
		})
	}
	sum("packet-reorders"+suffix, &c.Totals.Reordered, func(p *point) *figure { return &p.reordered })
	sum("packet-duplicates"+suffix, &c.Totals.Duplicated, func(p *point) *figure { return &p.duplicated })
	// The greatest cannot be told from a sum.
	read("time-error-estimates", series.Summary{}, window, 2*mostValues, func(at int64, r *store.Reading) error {
		greatest(&c.Totals.ClockError, numberOf(r))
		greatest(&c.at(at).clockErrors, numberOf(r))
		return nil
	})
	if err == nil {
		told, err = h.failures(ctx, m, s)
	}
	return c, told, tooMany, err
}

// failures reads what a measurement tells of failures in a span, and for an hour
// behind it, since a gap is told of when it is over. Of very many those that came
// first are as good.
func (h *handler) failures(ctx context.Context, m *measurement, s span) (told []failure, err error) {
	s.To += 3600
	err = h.read(ctx, m, failures, series.Summary{}, s, 0, mostFailures, func(at int64, r *store.Reading) error {
		told = append(told, failuresOf(at, r.Value)...)
		return nil
	})
	if errors.Is(err, errTooMany) {
		return told, nil
	}
	return told, err
}

// delay adds a histogram. They come in order: only that of one window is held.
func (c *course) delay(at int64, r *store.Reading) error {
	if c.open == nil || at != c.openAt {
		c.close()
		c.open, c.openAt = series.NewFold(series.Histogram), at
	}
	return folded(c.open, r)
}

// close has the figures of the window that was read made.
func (c *course) close() {
	if c.open != nil {
		c.at(c.openAt).delays = delaysOf(c.open)
		c.all.add(c.open)
		c.open = nil
	}
}

// lose adds what was lost at a time.
func (c *course) lose(at int64, l loss) {
	p := c.at(series.WindowStart(at, c.window))
	p.loss.lost += l.lost
	p.loss.sent += l.sent
	greatest(&p.worst, l.rate())
	c.loss.lost += l.lost
	c.loss.sent += l.sent
	greatest(&c.Totals.Worst, l.rate())
	if n := len(c.times); n == 0 || c.times[n-1] != at {
		c.times = append(c.times, at)
	}
}

// write writes the columns and the totals.
func (c *course) write() {
	c.Time = slices.AppendSeq(c.Time, maps.Keys(c.points))
	slices.Sort(c.Time)
	for _, t := range c.Time {
		p := c.points[t]
		of := p.delays
		sent, lost := p.loss.figures()
		c.Sent, c.Lost, c.Worst = append(c.Sent, sent), append(c.Lost, lost), append(c.Worst, p.worst)
		c.Min, c.P5, c.Median, c.P95, c.Max = append(c.Min, of.Min), append(c.P5, of.P5), append(c.Median, of.Median), append(c.P95, of.P95), append(c.Max, of.Max)
		c.Reordered, c.Duplicated, c.ClockError = append(c.Reordered, p.reordered), append(c.Duplicated, p.duplicated), append(c.ClockError, p.clockErrors)
	}
	c.Totals.Sent, c.Totals.Lost = c.loss.figures()
	c.Totals.delays = delaysOf(c.all.sum())
}

// figures returns how many packets were sent and lost; not known if nothing was
// sent.
func (l loss) figures() (sent, lost figure) {
	if l.sent == 0 {
		return unknown, unknown
	}
	return figure(l.sent), figure(l.lost)
}

// add adds n to a sum, which is not known before it has any.
func add(sum *figure, n figure) {
	if n.unknown() {
		return
	}
	if sum.unknown() {
		*sum = 0
	}
	*sum += n
}

// greatest makes a figure n if that is greater.
func greatest(most *figure, n figure) {
	if most.unknown() || n > *most {
		*most = n
	}
}

// spacing returns the median of the times between values; 0: there are too few.
func spacing(times []int64) int64 {
	if len(times) < 4 {
		return 0
	}
	apart := make([]int64, len(times)-1)
	for i := range apart {
		apart[i] = times[i+1] - times[i]
	}
	slices.Sort(apart)
	return apart[len(apart)/2]
}
