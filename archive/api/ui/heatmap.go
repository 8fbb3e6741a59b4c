package ui

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"

	"owl/archive/series"
	"owl/archive/store"
)

const (
	// mostColumns is how many windows a heatmap has at most, and mostSpots how
	// many counts, all in all.
	mostColumns = 720
	mostSpots   = 120_000
)

// A heatmapAnswer says of each window how many packets had which delay.
type heatmapAnswer struct {
	span
	Window  int64   `json:"window"`  // s
	Width   figure  `json:"width"`   // of a bin, ms, whose far end its delay is
	Time    []int64 `json:"time"`    // the starts of the windows
	Columns []spots `json:"columns"` // of each window

	spots int // in all columns
}

// Spots are the bins of a window, in order, without those that are empty.
type spots []spot

type spot struct {
	delay   float64 // ms
	packets int64
}

// MarshalJSON implements [json.Marshaler]: a delay and how many packets had it, and
// so on.
func (s spots) MarshalJSON() ([]byte, error) {
	b := make([]byte, 1, 2+12*len(s))
	b[0] = '['
	for i, x := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(figure(x.delay).append(b), ',')
		b = strconv.AppendInt(b, x.packets, 10)
	}
	return append(b, ']'), nil
}

var _ json.Marshaler = spots{}

// heatmap answers /api/heatmap: test is the key of a measurement.
func (h *handler) heatmap(r *http.Request) (table, error) {
	p, err := parametersOf(r, "test")
	if err != nil {
		return nil, err
	}
	s, err := p.span(h.Now().Unix())
	if err != nil {
		return nil, err
	}
	if p["test"] == "" {
		return nil, wrong("want test, the key of a measurement")
	}
	found, _, err := h.store.Search(r.Context(), &store.Filter{Key: p["test"], Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, wrong("test %.60q: there is no such measurement", p["test"])
	}
	m, ok := measurementOf(found[0])
	if !ok {
		return nil, wrong("test %.60q: want a measurement of delays between two hosts", p["test"])
	}
	window := windowFor(s, m.step, mostColumns)
	for {
		answer, err := h.columns(r.Context(), m, s, window)
		if errors.Is(err, errTooMany) {
			return nil, wrong("from %d to %d: too many values and no summaries of them: want less time", s.From, s.To)
		}
		if err != nil {
			return nil, err
		}
		before := gap{From: s.From, To: s.To}
		if len(answer.Time) > 0 {
			before.To = answer.Time[0]
		}
		longer, err := h.kept(r.Context(), m, s, []gap{before}, window)
		if err != nil {
			return nil, err
		}
		if longer == 0 {
			answer.Window = cmp.Or(answer.Window, m.step)
			return answer, nil
		}
		window = longer
	}
}

// columns reads a heatmap in windows.
func (h *handler) columns(ctx context.Context, m *measurement, s span, window int64) (*heatmapAnswer, error) {
	answer := &heatmapAnswer{span: s, Window: window, Time: []int64{}, Columns: []spots{}}
	// Read in order, each window is whole when the next one begins.
	var open *series.Fold
	var at int64
	whole := func() {
		if open != nil {
			answer.add(at, spotsOf(open))
		}
	}
	err := h.read(ctx, m, m.delays, m.summaryFor(m.delays, window), s, window, 20*mostColumns, func(t int64, r *store.Reading) error {
		if open == nil || t != at {
			whole()
			open, at = series.NewFold(series.Histogram), t
		}
		return folded(open, r)
	})
	whole()
	if answer.Width == 0 {
		answer.Width = figure(answer.width())
	}
	return answer, err
}

// spotsOf returns the bins of a fold that are numbers and have packets.
func spotsOf(f *series.Fold) spots {
	v, _ := f.Histogram()
	s := spots{}
	for label, n := range v.Bins() {
		if x, err := strconv.ParseFloat(label, 64); err == nil && n > 0 && !math.IsInf(x, 0) && !math.IsNaN(x) {
			s = append(s, spot{x, n})
		}
	}
	return s.merged(0)
}

// merged returns the bins by so great a width, 0 for their own: those of the same
// far end are one.
func (s spots) merged(width float64) spots {
	kept := s[:0]
	for _, x := range s {
		if width > 0 {
			// A label may be a little off the multiple that it stands for.
			x.delay = math.Ceil(x.delay/width-1e-9) * width
		}
		if n := len(kept); n > 0 && kept[n-1].delay == x.delay {
			kept[n-1].packets += x.packets
			continue
		}
		kept = append(kept, x)
	}
	return kept
}

// add adds a column. When there are too many spots, those of all columns are made
// twice as wide, and so on.
func (a *heatmapAnswer) add(at int64, s spots) {
	a.Time, a.Columns = append(a.Time, at), append(a.Columns, s.merged(float64(a.Width)))
	for a.spots += len(a.Columns[len(a.Columns)-1]); a.spots > mostSpots; {
		if a.Width == 0 {
			a.Width = figure(a.width())
		}
		a.Width *= 2
		a.spots = 0
		for i := range a.Columns {
			a.Columns[i] = slices.Clone(a.Columns[i].merged(float64(a.Width))) // what it has no more, goes
			a.spots += len(a.Columns[i])
		}
	}
}

// width returns the least difference between two delays, which is that of bins as
// a rule; 1 ms where there are no two.
func (a *heatmapAnswer) width() float64 {
	var all []float64
	for _, s := range a.Columns {
		for _, x := range s {
			all = append(all, x.delay)
		}
	}
	slices.Sort(all)
	width := math.Inf(1)
	for i := 1; i < len(all); i++ {
		if d := all[i] - all[i-1]; d > 1e-6 {
			width = min(width, d)
		}
	}
	if math.IsInf(width, 0) {
		return 1
	}
	return math.Round(width*1e6) / 1e6
}

func (a *heatmapAnswer) header() []string { return []string{"time", "delay_ms", "packets"} }

func (a *heatmapAnswer) rows(add func(...any)) {
	for i, t := range a.Time {
		for _, x := range a.Columns[i] {
			add(moment(t), figure(x.delay), x.packets)
		}
	}
}
