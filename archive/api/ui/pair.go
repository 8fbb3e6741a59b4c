package ui

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"

	"owl/archive/series"
	"owl/archive/store"
)

const (
	// mostPoints is how many windows of a direction are shown: more than a
	// screen has pixels.
	mostPoints = 2400
	// mostValues is how many values of a series are read one by one, to find the
	// worst of a window and the gaps: a month of one a minute. Beyond, windows
	// stand for them.
	mostValues = 44_640
	// mostTests is how many tests of one direction are told of.
	mostTests = 100
)

// A pairAnswer is what there is between two hosts.
type pairAnswer struct {
	span
	Now         int64         `json:"now"`
	Window      int64         `json:"window"`       // s that a point stands for
	WorstWindow int64         `json:"worst_window"` // s that the worst loss is of
	Live        bool          `json:"live"`
	Directions  [2]*direction `json:"directions"` // there and back
}

// A direction is what there is from one host to another. The columns are as long
// as Time, which has the starts of windows.
type direction struct {
	Source      host   `json:"source"`
	Destination host   `json:"destination"`
	Tests       []test `json:"tests"`
	Key         string `json:"key"`  // of the test that is shown; empty: there is none
	Kind        string `json:"kind"` // one-way or rtt
	URI         string `json:"uri"`  // where the archive has the test
	Totals      totals `json:"totals"`

	Time       []int64 `json:"time"`
	Sent       column  `json:"sent"`
	Lost       column  `json:"lost"`
	Worst      column  `json:"worst"` // the greatest part that was lost of a value, 0 to 1
	Min        column  `json:"min"`
	P5         column  `json:"p5"`
	Median     column  `json:"median"`
	P95        column  `json:"p95"`
	Max        column  `json:"max"`
	Reordered  column  `json:"reordered"`
	Duplicated column  `json:"duplicated"`
	ClockError column  `json:"clock_error"` // the greatest, ms

	Begins      int64    `json:"begins"` // when the first values are of, if there are none before From; else 0
	Gaps        []gap    `json:"gaps"`
	GapsOmitted int      `json:"gaps_omitted"`
	Omitted     []string `json:"omitted"` // event types of too many values

	step int64
}

// A test is one of several of the same direction.
type test struct {
	Key     string `json:"key"`
	Name    string `json:"name"`
	Updated int64  `json:"updated"` // 0: never
}

// Totals are the figures of a time.
type totals struct {
	Sent  figure `json:"sent"`
	Lost  figure `json:"lost"`
	Worst figure `json:"worst"`
	delays
	Reordered  figure `json:"reordered"`
	Duplicated figure `json:"duplicated"`
	ClockError figure `json:"clock_error"`
}

func noTotals() totals {
	return totals{Sent: unknown, Lost: unknown, Worst: unknown, delays: noDelays, Reordered: unknown, Duplicated: unknown, ClockError: unknown}
}

// pair answers /api/pair: source and destination are addresses; test and back the
// keys of the measurements to show where there are several, of the way there and of
// the way back.
func (h *handler) pair(r *http.Request) (table, error) {
	p, err := parametersOf(r, "source", "destination", "test", "back")
	if err != nil {
		return nil, err
	}
	now := h.Now().Unix()
	s, err := p.span(now)
	if err != nil {
		return nil, err
	}
	a, err := netip.ParseAddr(p["source"])
	b, err2 := netip.ParseAddr(p["destination"])
	if errors.Join(err, err2) != nil {
		return nil, wrong("source %.60q, destination %.60q: want the addresses of two hosts", p["source"], p["destination"])
	}
	there, err := h.between(r.Context(), a, b, false)
	if err != nil {
		return nil, err
	}
	back, err := h.between(r.Context(), b, a, true)
	if err != nil {
		return nil, err
	}
	shown := [2]*measurement{chosen(there, p["test"]), chosen(back, p["back"])}
	answer := &pairAnswer{span: s, Now: now, Live: h.Live != nil}
	step := int64(0)
	for _, m := range shown {
		if m != nil {
			step = max(step, m.step)
		}
	}
	step = max(step, 1)
	answer.Window = windowFor(s, step, mostPoints)
	values := min(windowFor(s, step, mostValues), answer.Window)
	var errs [2]error
	var both sync.WaitGroup
	for i, m := range shown {
		both.Go(func() { answer.Directions[i], errs[i] = h.direction(r.Context(), m, s, now, answer.Window, values) })
	}
	both.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	for i, tests := range [2][]*measurement{there, back} {
		answer.Directions[i].Tests = testsOf(tests)
		step = max(step, answer.Directions[i].step)
	}
	answer.name(a, b)
	if answer.WorstWindow = values; values == 0 {
		answer.WorstWindow = step
	}
	if answer.Window == 0 {
		answer.Window = step
	}
	return answer, nil
}

// name gives both directions their hosts, if need be from the other direction.
func (p *pairAnswer) name(a, b netip.Addr) {
	there, back := p.Directions[0], p.Directions[1]
	switch {
	case there.Key != "" && back.Key != "":
	case there.Key != "":
		back.Source, back.Destination = there.Destination, there.Source
	case back.Key != "":
		there.Source, there.Destination = back.Destination, back.Source
	default:
		there.Source, there.Destination = nameOf(a, ""), nameOf(b, "")
		back.Source, back.Destination = there.Destination, there.Source
	}
}

// between returns the measurements from one host to another. Of those between a
// host and itself, they are the ones that say which way they go.
func (h *handler) between(ctx context.Context, a, b netip.Addr, back bool) ([]*measurement, error) {
	found, _, err := h.store.Search(ctx, &store.Filter{SubjectType: series.PointToPoint, Source: []netip.Addr{a}, Destination: []netip.Addr{b}, Limit: 10 * mostTests})
	if err != nil {
		return nil, err
	}
	var all []*measurement
	for _, m := range found {
		if m, ok := measurementOf(m); ok && (a != b || m.reversed() == back) {
			all = append(all, m)
		}
	}
	// The one that was written last is shown unless another is asked for.
	slices.SortStableFunc(all, func(x, y *measurement) int { return int(y.updated() - x.updated()) })
	return all[:min(len(all), mostTests)], nil
}

// chosen returns the measurement of a key, or else the first; nil: there is none.
func chosen(all []*measurement, key string) *measurement {
	if len(all) == 0 {
		return nil
	}
	return all[max(0, slices.IndexFunc(all, func(m *measurement) bool { return m.Key == key }))]
}

func testsOf(all []*measurement) []test {
	tests := make([]test, len(all))
	for i, m := range all {
		tests[i] = test{m.Key, m.String(), m.updated()}
	}
	return tests
}

// A point is what is known of one window.
type point struct {
	delays                             *series.Fold
	loss                               loss
	worst                              figure
	reordered, duplicated, clockErrors figure
}

// A course is what is known of a measurement over time.
type course struct {
	*direction
	window int64
	points map[int64]*point
	loss   loss
	times  []int64 // of losses
}

func (c *course) at(t int64) *point {
	p := c.points[t]
	if p == nil {
		p = &point{worst: unknown, reordered: unknown, duplicated: unknown, clockErrors: unknown}
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
	if err := c.write(); err != nil {
		return nil, err
	}
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
	if err := h.begin(ctx, m, s, c); err != nil {
		return nil, err
	}
	if d.Gaps == nil {
		d.Gaps = []gap{}
	}
	return d, nil
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
	read(m.delays, m.summaryFor(m.delays, window), window, 2*mostValues, func(at int64, r *store.Reading) error {
		p := c.at(at)
		if p.delays == nil {
			p.delays = series.NewFold(series.Histogram)
		}
		return folded(p.delays, r)
	})
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
	read(failures, series.Summary{}, 0, mostFailures, func(at int64, r *store.Reading) error {
		told = append(told, failuresOf(at, r.Value)...)
		return nil
	})
	return c, told, tooMany, err
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
func (c *course) write() error {
	var all []*series.Fold
	c.Time = slices.AppendSeq(c.Time, maps.Keys(c.points))
	slices.Sort(c.Time)
	for _, t := range c.Time {
		p := c.points[t]
		of := delaysOf(p.delays)
		if p.delays != nil {
			all = append(all, p.delays)
		}
		sent, lost := p.loss.figures()
		c.Sent, c.Lost, c.Worst = append(c.Sent, sent), append(c.Lost, lost), append(c.Worst, p.worst)
		c.Min, c.P5, c.Median, c.P95, c.Max = append(c.Min, of.Min), append(c.P5, of.P5), append(c.Median, of.Median), append(c.P95, of.P95), append(c.Max, of.Max)
		c.Reordered, c.Duplicated, c.ClockError = append(c.Reordered, p.reordered), append(c.Duplicated, p.duplicated), append(c.ClockError, p.clockErrors)
	}
	c.Totals.Sent, c.Totals.Lost = c.loss.figures()
	total, err := merged(all)
	c.Totals.delays = delaysOf(total)
	return err
}

// merged returns the sum of folds, which are not to be used afterwards; nil: there
// are none. Halves are merged before the whole, so that few of the merges are of
// great histograms.
func merged(all []*series.Fold) (*series.Fold, error) {
	switch len(all) {
	case 0:
		return nil, nil
	case 1:
		return all[0], nil
	}
	a, err := merged(all[:len(all)/2])
	b, err2 := merged(all[len(all)/2:])
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	return a, a.Merge(b)
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

func (p *pairAnswer) header() []string {
	return []string{"time", "source", "destination", "sent", "lost", "worst_loss", "min_ms", "p5_ms", "median_ms", "p95_ms", "max_ms", "reordered", "duplicated", "clock_error_ms", "gap_until", "gap_reason"}
}

func (p *pairAnswer) rows(add func(...any)) {
	for _, d := range p.Directions {
		gaps := d.Gaps
		before := func(t int64) {
			for len(gaps) > 0 && gaps[0].From <= t {
				g := gaps[0]
				add(moment(g.From), d.Source.Name, d.Destination.Name, unknown, unknown, unknown, unknown, unknown, unknown, unknown, unknown, unknown, unknown, unknown, moment(g.To), g.Reason)
				gaps = gaps[1:]
			}
		}
		for i, t := range d.Time {
			before(t)
			add(moment(t), d.Source.Name, d.Destination.Name, d.Sent[i], d.Lost[i], d.Worst[i], d.Min[i], d.P5[i], d.Median[i], d.P95[i], d.Max[i], d.Reordered[i], d.Duplicated[i], d.ClockError[i], "", "")
		}
		before(p.To)
	}
}
