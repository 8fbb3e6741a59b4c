package ui

import (
	"cmp"
	"context"
	"errors"
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

	step   int64
	longer int64 // windows in which there is more than in these; 0: there are none
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
	for longer := values; ; {
		answer.Window, values = max(answer.Window, longer), longer
		if err := h.directions(r.Context(), answer, shown, values); err != nil {
			return nil, err
		}
		if longer = max(answer.Directions[0].longer, answer.Directions[1].longer); longer == 0 {
			break
		}
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

// directions reads both directions of an answer whose windows are known, and losses
// in windows of values.
func (h *handler) directions(ctx context.Context, answer *pairAnswer, shown [2]*measurement, values int64) error {
	whole := answer.span // windows
	if w := answer.Window; w > 0 {
		whole = span{series.WindowStart(whole.From, w), series.WindowStart(whole.To, w) + w - 1}
	}
	var errs [2]error
	var both sync.WaitGroup
	for i, m := range shown {
		both.Go(func() { answer.Directions[i], errs[i] = h.direction(ctx, m, whole, answer.Now, answer.Window, values) })
	}
	both.Wait()
	return errors.Join(errs[:]...)
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
	// One that is still written is shown unless another is asked for: the same each
	// time, whichever was the last.
	last := int64(0)
	for _, m := range all {
		last = max(last, m.updated())
	}
	slices.SortStableFunc(all, func(x, y *measurement) int {
		return cmp.Compare(min(y.updated(), last-3600), min(x.updated(), last-3600))
	})
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
