package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"owl/archive/series"
	"owl/archive/store"
)

var _ store.Source = (*Archive)(nil)

// Measurements returns all measurements of the archive.
func (a *Archive) Measurements(ctx context.Context) iter.Seq2[*series.Metadata, error] {
	return func(yield func(*series.Metadata, error) bool) {
		before := "" // the first key of the page before
		for offset := 0; ; {
			var page []map[string]json.RawMessage
			err := a.get(ctx, "", url.Values{"limit": {strconv.Itoa(measurementsAtOnce)}, "offset": {strconv.Itoa(offset)}}, &page)
			if err != nil {
				yield(nil, err)
				return
			}
			for i, object := range page {
				m, err := metadata(object)
				if err == nil && i == 0 && m.Key == before {
					err = errors.New("the same again: want those from an offset on")
				}
				if err != nil {
					err = fmt.Errorf("measurement %d: %w", offset+i+1, err)
				}
				if !yield(m, err) || err != nil {
					return
				}
				if i == 0 {
					before = m.Key
				}
			}
			if offset += len(page); len(page) == 0 || offset >= total(page[0]) {
				return
			}
		}
	}
}

// total returns how many measurements there are, as the first of a page tells.
func total(first map[string]json.RawMessage) int {
	n, err := strconv.Atoi(string(first["metadata-count-total"]))
	if err != nil {
		return math.MaxInt // until there are no more
	}
	return n
}

// notParameters are members of metadata that say nothing of the measurement.
var notParameters = []string{"url", "uri", "metadata-count-total", "metadata-previous-page", "metadata-next-page"}

// metadata reads metadata of an answer. Event types and summaries that are not
// known are left out.
func metadata(object map[string]json.RawMessage) (*series.Metadata, error) {
	m := &series.Metadata{Parameters: make(map[string]string)}
	texts := map[string]*string{
		"metadata-key": &m.Key, "subject-type": &m.SubjectType, "tool-name": &m.ToolName,
		"input-source": &m.InputSource, "input-destination": &m.InputDestination,
	}
	addrs := map[string]*netip.Addr{"source": &m.Source, "destination": &m.Destination, "measurement-agent": &m.MeasurementAgent}
	for name, raw := range object {
		if name == "event-types" || slices.Contains(notParameters, name) || string(raw) == "null" {
			continue
		}
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		switch {
		case texts[name] != nil:
			*texts[name] = text
		case addrs[name] != nil:
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%s %.100q: want an IP address", name, text)
			}
			*addrs[name] = addr
		default:
			m.Parameters[name] = text
		}
	}
	if !keyForm(m.Key) {
		return nil, fmt.Errorf("metadata-key %.100q: want letters, digits, dots and dashes", m.Key)
	}
	if raw := object["event-types"]; raw != nil {
		if err := events(m, raw); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Key, err)
		}
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Key, err)
	}
	m.Identify()
	return m, nil
}

// keyForm reports whether a text is what esmond takes for a key; it becomes a part
// of URLs.
func keyForm(key string) bool {
	return key != "" && len(key) <= series.MaxName && strings.Trim(key, ".") != "" && strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == ""
}

// events reads the event types of metadata.
func events(m *series.Metadata, raw []byte) error {
	var all []struct {
		Type      series.EventType `json:"event-type"`
		Updated   *float64         `json:"time-updated"`
		Summaries []struct {
			Type   string          `json:"summary-type"`
			Window json.RawMessage `json:"summary-window"` // a text, or a number
		} `json:"summaries"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("event-types: %w", err)
	}
	for _, e := range all {
		kind, ok := e.Type.Kind()
		if !ok || m.Event(e.Type) != nil {
			continue
		}
		event := series.Event{Type: e.Type}
		if e.Updated != nil && *e.Updated > 0 && *e.Updated <= series.MaxTime {
			event.Updated = int64(*e.Updated)
		}
		for _, s := range e.Summaries {
			typ, ok := series.ParseSummaryType(s.Type)
			window, err := strconv.ParseInt(string(bytes.Trim(s.Window, `"`)), 10, 64)
			summary := series.Summary{Type: typ, Window: window}
			if ok && err == nil && typ != series.Base && kind.Allows(typ) && window >= 0 && window <= series.MaxWindow &&
				!slices.Contains(event.Summaries, summary) && len(event.Summaries) < series.MaxSummaries {
				event.Summaries = append(event.Summaries, summary)
			}
		}
		slices.SortFunc(event.Summaries, series.Summary.Compare)
		m.Events = append(m.Events, event)
	}
	slices.SortFunc(m.Events, func(a, b series.Event) int { return strings.Compare(string(a.Type), string(b.Type)) })
	return nil
}

// A point is one of an answer.
type point struct {
	Time  json.Number     `json:"ts"`
	Value json.RawMessage `json:"val"`
	at    int64
}

// points returns the points of a series up to a time.
func (a *Archive) points(ctx context.Context, key, path string, to int64) iter.Seq2[point, error] {
	return func(yield func(point, error) bool) {
		for from := int64(0); from <= to; {
			var page []point
			err := a.get(ctx, key+"/"+path, url.Values{
				"time-start": {strconv.FormatInt(from, 10)}, "time-end": {strconv.FormatInt(to, 10)}, "limit": {strconv.Itoa(a.atOnce)},
			}, &page)
			if err != nil {
				yield(point{}, err)
				return
			}
			for _, p := range page {
				p.at, err = series.ParseTime([]byte(p.Time))
				if err != nil || p.at < from || p.at > to {
					err = fmt.Errorf("%s: a point at %.100q: want one from %d to %d, in order", path, p.Time, from, to)
				}
				if !yield(p, err) || err != nil {
					return
				}
				from = p.at + 1
			}
			// Fewer than asked for need not be all: the archive may have a bound of
			// its own.
			if len(page) == 0 {
				return
			}
		}
	}
}

// Values returns a series.
func (a *Archive) Values(ctx context.Context, m *series.Metadata, event series.EventType) iter.Seq2[series.Point, error] {
	return func(yield func(series.Point, error) bool) {
		kind, _ := event.Kind()
		sent := a.sent(ctx, m, kind)
		defer sent.stop()
		for p, err := range a.points(ctx, m.Key, string(event)+"/base", a.until) {
			var v series.Value
			var count int64
			if err == nil {
				count, err = sent.at(p.at)
			}
			if err == nil {
				if v, err = series.ParseAnswer(kind, p.Value, count); err != nil {
					err = fmt.Errorf("at %d: %w", p.at, err)
				}
			}
			if !yield(series.Point{Time: p.at, Value: v}, err) || err != nil {
				return
			}
		}
	}
}

// counts are how many packets were sent, looked up in the order of time.
type counts struct {
	next func() (point, error, bool)
	stop func()
	p    point
	ok   bool
	err  error
}

// sent returns how many packets were sent, for percentages; of others nothing.
func (a *Archive) sent(ctx context.Context, m *series.Metadata, kind series.Kind) *counts {
	const event = "packet-count-sent"
	if kind != series.Percentage || m.Event(event) == nil {
		return &counts{stop: func() {}}
	}
	c := new(counts)
	c.next, c.stop = iter.Pull2(a.points(ctx, m.Key, event+"/base", a.until))
	c.p, c.err, c.ok = c.next()
	return c
}

// at returns the count of a time; 0: it is not known.
func (c *counts) at(at int64) (int64, error) {
	for c.ok && c.err == nil && c.p.at < at {
		c.p, c.err, c.ok = c.next()
	}
	if c.err != nil || !c.ok || c.p.at != at {
		return 0, c.err
	}
	if n, err := strconv.ParseInt(strings.TrimSuffix(string(c.p.Value), ".0"), 10, 32); err == nil && n > 0 {
		return n, nil
	}
	return 0, nil
}

// Folds returns the summaries over a window that start before a time.
func (a *Archive) Folds(ctx context.Context, m *series.Metadata, event series.EventType, window, before int64, least func(int64) (int64, error)) iter.Seq2[store.FoldAt, error] {
	return func(yield func(store.FoldAt, error) bool) {
		kind, _ := event.Kind()
		e := m.Event(event)
		sums := series.Summary{Type: series.Aggregation, Window: window}
		means := series.Summary{Type: series.Average, Window: window}
		summary := sums
		both := slices.Contains(e.Summaries, sums) && slices.Contains(e.Summaries, means)
		switch {
		case slices.Contains(e.Summaries, sums):
		case slices.Contains(e.Summaries, means):
			summary = means
		default:
			return // only statistics, of which no histogram can be made
		}
		var mean func() (point, error, bool)
		if both {
			var stop func()
			mean, stop = iter.Pull2(a.points(ctx, m.Key, string(event)+"/"+means.String(), min(before-1, a.until)))
			defer stop()
		}
		for p, err := range a.points(ctx, m.Key, string(event)+"/"+summary.String(), min(before-1, a.until)) {
			f := store.FoldAt{Start: p.at}
			if err == nil {
				f.Fold, err = a.fold(kind, summary.Type, p, mean, least)
			}
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// meanOf is of how many values a mean is taken to be at the least: it is kept as a
// sum of integers.
const meanOf = 10_000

// fold makes a fold of a summary; mean is the series of means if there is one beside
// that of sums.
func (a *Archive) fold(kind series.Kind, t series.SummaryType, p point, mean func() (point, error, bool), least func(int64) (int64, error)) (*series.Fold, error) {
	count, err := least(p.at)
	if err != nil {
		return nil, err
	}
	switch {
	case t == series.Average:
		count = max(count, meanOf)
	case mean != nil:
		m, err, ok := mean()
		if err != nil {
			return nil, err
		}
		sum, _ := strconv.ParseFloat(string(p.Value), 64)
		each, _ := strconv.ParseFloat(string(m.Value), 64)
		if n := math.Round(sum / each); ok && m.at == p.at && n >= 1 && n < math.MaxInt32 {
			count = int64(n)
		}
	}
	f, err := series.ParseAnswerFold(kind, t, p.Value, count)
	if err != nil {
		err = fmt.Errorf("at %d: %w", p.at, err)
	}
	return f, err
}
