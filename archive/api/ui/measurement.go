package ui

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"owl/archive/series"
	"owl/archive/store"
)

// A host is one of those that are measured between.
type host struct {
	ID   string `json:"id"`   // its address
	Name string `json:"name"` // as people call it
}

// nameOf returns the host of an address and of what a tool was told to measure.
func nameOf(a netip.Addr, input string) host {
	h := host{ID: a.String(), Name: input}
	if h.Name == "" {
		h.Name = h.ID
	}
	return h
}

// The series that are shown of a measurement: that of delays, and that of losses.
type shown struct {
	delays, losses series.EventType
	round          bool // both of the round trip
}

var (
	oneWay    = shown{"histogram-owdelay", "packet-loss-rate", false}
	roundTrip = shown{"histogram-rtt", "packet-loss-rate-bidir", true}
)

// A measurement is one that can be shown.
type measurement struct {
	*series.Metadata
	shown
	step int64 // s from one value to the next
}

// defaultStep is the step of what does not tell, and of powstream as a rule.
const defaultStep = 60

// measurementOf returns what can be shown of metadata; false: nothing.
func measurementOf(m *series.Metadata) (*measurement, bool) {
	for _, s := range []shown{oneWay, roundTrip} {
		if m.SubjectType == series.PointToPoint && (m.Event(s.delays) != nil || m.Event(s.losses) != nil) {
			return &measurement{m, s, stepOf(m)}, true
		}
	}
	return nil, false
}

// stepOf returns how long one of the values of a measurement takes by its
// metadata, in seconds.
func stepOf(m *series.Metadata) int64 {
	packets, err := strconv.ParseFloat(m.Parameters["sample-size"], 64)
	interval, err2 := strconv.ParseFloat(m.Parameters["time-probe-interval"], 64)
	if step := packets * interval; err == nil && err2 == nil && step >= 1 && step <= 86400 {
		return int64(step + 0.5)
	}
	return defaultStep
}

// reversed reports whether the packets of a measurement go from the host that was
// asked to this one: what tells both directions apart between a host and itself.
func (m *measurement) reversed() bool { return m.Parameters["mode-flip"] == "True" }

// updated returns when anything of the measurement was written last; 0: never.
func (m *measurement) updated() int64 {
	var last int64
	for i := range m.Events {
		last = max(last, m.Events[i].Updated)
	}
	return last
}

// kind returns what the delays are, for the page.
func (m *measurement) kind() string {
	if m.round {
		return "rtt"
	}
	return "one-way"
}

// String returns what tells a measurement from others of the same hosts.
func (m *measurement) String() string {
	return fmt.Sprintf("%s by %s, %s", m.ToolName, m.MeasurementAgent, m.Key[:min(len(m.Key), 8)])
}

// windows are those of which archives have summaries as a rule, the longest first.
var windows = [...]int64{86400, 3600, 300}

// windowFor returns the windows in which time is looked at: the shortest that
// there are, so that a span has at most so many of them. 0: values as they are,
// each of which takes a step.
func windowFor(s span, step int64, most int64) int64 {
	length := s.To - s.From
	if length/step <= most {
		return 0
	}
	best := windows[0]
	for _, w := range windows[1:] {
		if w > step && length/w <= most {
			best = w
		}
	}
	return best
}

// summaryFor returns the summary of which windows are made with the least work:
// that of the same length, or of one that divides it, or the values themselves.
func (m *measurement) summaryFor(t series.EventType, window int64) series.Summary {
	best := series.Summary{}
	if e := m.Event(t); e != nil && window > 0 {
		for _, s := range e.Summaries {
			if s.Type == series.Aggregation && s.Window > best.Window && window%s.Window == 0 {
				best = s
			}
		}
	}
	return best
}

// errTooMany says that there are more readings than are wanted.
var errTooMany = errors.New("too many points")

// read reads a series of a measurement by a summary, or by its values as they are,
// for windows of a span; those that overlap the span are read, so the first may
// begin before it. Take gets each reading with the start of its window, which is
// the time of a value if window is 0. Rather than more than so many readings, there
// is errTooMany.
func (h *handler) read(ctx context.Context, m *measurement, t series.EventType, by series.Summary, s span, window, most int64, take func(at int64, r *store.Reading) error) error {
	if m.Event(t) == nil {
		return nil
	}
	q := store.Query{Key: m.Key, Event: t, Summary: by, From: series.WindowStart(s.From, window), To: s.To, Limit: int(most) + 1}
	if window > 0 {
		q.To = series.WindowStart(s.To, window) + window - 1
	}
	// The step is not always known, and failures do not come with each.
	if t != failures && (q.To-q.From)/cmp.Or(by.Window, m.step) > 2*most {
		return errTooMany
	}
	var n int64
	for r, err := range h.store.Read(ctx, q) {
		if err != nil {
			return err
		}
		if n++; n > most {
			return errTooMany
		}
		if err := take(series.WindowStart(r.Time, window), &r); err != nil {
			return err
		}
	}
	return nil
}

// folded adds what was read to a fold. It returns errTooMany where that would have
// more labels than folds have.
func folded(f *series.Fold, r *store.Reading) error {
	var err error
	if r.Fold != nil {
		err = f.Merge(r.Fold)
	} else {
		err = f.Add(r.Value)
	}
	if _, ok := errors.AsType[*series.InvalidError](err); ok {
		return errTooMany
	}
	return err
}

// A tally is the sum of many folds. It has sums of 1, 2, 4 … of them, so that few
// are added to great ones.
type tally struct {
	sums []*series.Fold
	full bool // more labels than a fold may have: there is no sum
}

// add adds a fold, which is the tally's own from then on.
func (t *tally) add(f *series.Fold) {
	if t.full {
		return
	}
	for i, sum := range t.sums {
		if sum == nil {
			t.sums[i] = f
			return
		}
		if sum.Merge(f) != nil {
			*t = tally{full: true}
			return
		}
		f, t.sums[i] = sum, nil
	}
	t.sums = append(t.sums, f)
}

// sum returns the sum of all, which uses the tally up; nil: there is none.
func (t *tally) sum() *series.Fold {
	var total *series.Fold
	for _, f := range t.sums {
		switch {
		case total == nil:
			total = f
		case f != nil && f.Merge(total) != nil:
			return nil
		case f != nil:
			total = f
		}
	}
	return total
}

// numberOf returns a number, or the sum of those of a window.
func numberOf(r *store.Reading) figure {
	n, ok := r.Value.Number()
	if r.Fold != nil {
		n, ok = r.Fold.Number(series.Aggregation)
	}
	if !ok {
		return unknown
	}
	return figure(n)
}

// A loss is how many packets of how many were lost.
type loss struct{ lost, sent int64 }

// lossOf returns what was lost by a value or a summary of a loss rate.
func lossOf(r *store.Reading) loss {
	var l loss
	if r.Fold != nil {
		l.lost, l.sent, _ = r.Fold.Ratio()
	} else {
		l.lost, l.sent, _ = r.Value.Ratio()
	}
	return l
}

// rate returns the part that was lost.
func (l loss) rate() figure {
	if l.sent == 0 {
		return unknown
	}
	return figure(float64(l.lost) / float64(l.sent))
}

// Delays are figures of delays, in milliseconds.
type delays struct {
	Min    figure `json:"min"`
	P5     figure `json:"p5"`
	Median figure `json:"median"`
	P95    figure `json:"p95"`
	Max    figure `json:"max"`
}

var noDelays = delays{unknown, unknown, unknown, unknown, unknown}

// delaysOf returns the delays of a histogram, nil or one without packets included.
func delaysOf(f *series.Fold) delays {
	if f == nil {
		return noDelays
	}
	at := func(p float64) figure {
		if x, ok := f.Quantile(p); ok {
			return figure(x)
		}
		return unknown
	}
	return delays{at(0), at(0.05), at(0.5), at(0.95), at(1)}
}
