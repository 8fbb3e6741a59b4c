package store

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"

	"owl/archive/series"
)

// An export is a text of JSON objects, one a line:
//
//	{"owl-archive":1}
//	{"metadata":{"metadata-key":…,"identity":…,"subject-type":…,"parameters":{…},"event-types":[…]}}
//	{"ts":…,"val":[{"event-type":…,"val":…}]}
//	{"ts":…,"window":300,"val":[{"event-type":…,"fold":…}]}
//	{"end":{"lines":…}}
//
// Values follow the metadata of their measurement, in the order of time, as
// requests have them. Behind them are summaries of which not all values are there
// any longer, in the form of [series.Fold.AppendBinary]; all others are made anew.
type transferLine struct {
	Format   int               `json:"owl-archive,omitempty"`
	Metadata *transferMetadata `json:"metadata,omitempty"`
	Time     *int64            `json:"ts,omitempty"`
	Window   int64             `json:"window,omitempty"`
	Values   []transferValue   `json:"val,omitempty"`
	End      *transferEnd      `json:"end,omitempty"`
}

type transferMetadata struct {
	Key              string            `json:"metadata-key"`
	Identity         string            `json:"identity"` // hexadecimal
	SubjectType      string            `json:"subject-type"`
	Source           string            `json:"source"`
	Destination      string            `json:"destination,omitempty"`
	Agent            string            `json:"measurement-agent"`
	ToolName         string            `json:"tool-name"`
	InputSource      string            `json:"input-source"`
	InputDestination string            `json:"input-destination,omitempty"`
	Parameters       map[string]string `json:"parameters"`
	Events           []transferEvent   `json:"event-types"`
}

type transferEvent struct {
	Type      series.EventType  `json:"event-type"`
	Updated   int64             `json:"time-updated"` // 0: never
	Summaries []transferSummary `json:"summaries,omitempty"`
}

type transferSummary struct {
	Type   string `json:"summary-type"`
	Window int64  `json:"summary-window"`
}

type transferValue struct {
	Event series.EventType `json:"event-type"`
	Value json.RawMessage  `json:"val,omitempty"`
	Fold  []byte           `json:"fold,omitempty"`
}

type transferEnd struct {
	Lines int64 `json:"lines"` // before this one
}

const (
	transferFormat = 1
	// maxLine bounds a line: a value, or a fold, of the greatest length, in
	// base64.
	maxLine = 64 << 20
	// lineSize is how many octets of values a line has at most, unless one value
	// has more.
	lineSize = 1 << 20
	// restoreAtOnce and restoreSize are how many values one transaction stores.
	restoreAtOnce = 1000
	restoreSize   = 4 << 20
)

// Transferred counts what was exported, or imported.
type Transferred struct {
	Measurements int64
	Values       int64 // of an import those that were not there
	Summaries    int64 // whose values are not all there; of an import those that were not there
}

// Export writes all that the archive has, but for keys, as text for [Store.Import].
// What is written meanwhile may be in it or not.
func (s *Store) Export(ctx context.Context, w io.Writer) (Transferred, error) {
	b := bufio.NewWriterSize(w, 1<<16)
	e := &exporter{reader: s.reader(ctx), encode: json.NewEncoder(b)}
	e.encode.SetEscapeHTML(false) // values stay as they are
	e.write(&transferLine{Format: transferFormat})
	err := s.eachMeasurement(ctx, func(k key, events []registration) error {
		e.measurement(k, events)
		return e.err
	})
	if err == nil {
		e.write(&transferLine{End: &transferEnd{Lines: e.lines}})
		err = e.err
	}
	if err == nil {
		err = b.Flush()
	}
	return e.done, err
}

// An exporter writes lines until it fails.
type exporter struct {
	reader
	encode *json.Encoder
	lines  int64
	done   Transferred
	err    error
}

func (e *exporter) write(l *transferLine) {
	if e.err == nil {
		e.err = e.encode.Encode(l)
		e.lines++
	}
}

// measurement writes all there is of a measurement.
func (e *exporter) measurement(k key, events []registration) {
	m, err := load(e.reader, k)
	if err != nil {
		e.err = err
		return
	}
	e.write(&transferLine{Metadata: exported(m)})
	e.done.Measurements++
	byID := make(map[int64]*registration)
	var spans []int64
	for i := range events {
		byID[events[i].id] = &events[i]
		spans = append(spans, events[i].spans()...)
	}
	e.values(k, byID)
	slices.Sort(spans)
	for _, span := range slices.Compact(spans) {
		if span > 0 {
			e.folds(k, byID, span)
		}
	}
}

// exported returns metadata as a line has them.
func exported(m *series.Metadata) *transferMetadata {
	t := &transferMetadata{
		Key: m.Key, Identity: hex.EncodeToString(m.Identity[:]), SubjectType: m.SubjectType,
		Source: addressText(m.Source), Destination: addressText(m.Destination), Agent: addressText(m.MeasurementAgent),
		ToolName: m.ToolName, InputSource: m.InputSource, InputDestination: m.InputDestination, Parameters: m.Parameters,
	}
	for _, e := range m.Events {
		te := transferEvent{Type: e.Type, Updated: e.Updated}
		for _, s := range e.Summaries {
			te.Summaries = append(te.Summaries, transferSummary{s.Type.String(), s.Window})
		}
		t.Events = append(t.Events, te)
	}
	return t
}

// each calls do for the rows of a measurement in the order of time, part by part.
func (e *exporter) each(do func(at, id int64, stored []byte), query, at string, args ...any) {
	type stored struct {
		at, id int64
		value  []byte
	}
	last := stored{at: math.MinInt64}
	for e.err == nil {
		var part []stored
		octets := 0
		err := e.query(func(r row) error {
			var v stored
			if err := r.Scan(&v.at, &v.id, &v.value); err != nil {
				return err
			}
			part = append(part, v)
			if octets += len(v.value); octets > octetsAtOnce {
				return errEnough
			}
			return nil
		}, query+" AND ("+at+", series) > (?, ?) ORDER BY "+at+", series LIMIT ?", append(slices.Clone(args), last.at, last.id, readingsAtOnce)...)
		if e.err = err; err != nil || len(part) == 0 {
			return
		}
		for _, v := range part {
			do(v.at, v.id, v.value)
		}
		last = part[len(part)-1]
	}
}

// values writes the values of a measurement.
func (e *exporter) values(k key, events map[int64]*registration) {
	l := &transferLine{}
	size := 0
	flush := func() {
		if len(l.Values) > 0 {
			e.write(l)
		}
		l, size = &transferLine{}, 0
	}
	e.each(func(at, id int64, stored []byte) {
		v, err := e.value(events[id], stored)
		if err != nil {
			e.err = fmt.Errorf("measurement %s at %d: %w", k, at, err)
			return
		}
		if l.Time != nil && *l.Time != at || size > lineSize {
			flush()
		}
		l.Time, l.Values = &at, append(l.Values, v)
		size += len(v.Value)
		e.done.Values++
	}, "SELECT ts, series, value FROM points WHERE key = ?", "ts", k[:])
	flush()
}

func (e *exporter) value(r *registration, stored []byte) (transferValue, error) {
	if r == nil {
		return transferValue{}, errors.New("the archive is damaged: a value of no event type")
	}
	event := series.EventType(r.event)
	kind, _ := event.Kind()
	v, err := series.Decode(kind, stored)
	if err != nil {
		return transferValue{}, fmt.Errorf("event type %s: %w", event, err)
	}
	return transferValue{Event: event, Value: v.AppendRequest(nil)}, nil
}

// folds writes the summaries over a span of which not all values are there.
func (e *exporter) folds(k key, events map[int64]*registration, span int64) {
	var start int64
	var there map[int64]int64 // values in the window, by series
	e.each(func(at, id int64, stored []byte) {
		// Only now: what was written since makes more values, and not fewer.
		if there == nil || at != start {
			if start, there = at, make(map[int64]int64); e.err == nil {
				e.err = countWindow(e.reader, k, span, at, there)
			}
		}
		r := events[id]
		if r == nil || e.err != nil {
			return
		}
		event := series.EventType(r.event)
		kind, _ := event.Kind()
		f, err := series.DecodeFold(kind, stored)
		if err != nil {
			e.err = fmt.Errorf("measurement %s: the summary over %d s of %s at %d: %w", k, span, event, at, err)
			return
		}
		if f.Count() > there[id] {
			e.write(&transferLine{Time: &at, Window: span, Values: []transferValue{{Event: event, Fold: stored}}})
			e.done.Summaries++
		}
	}, "SELECT start, series, fold FROM folds WHERE key = ? AND span = ?", "start", k[:], span)
}

// countWindow counts the values of each series in a window.
func countWindow(q querier, k key, span, start int64, counts map[int64]int64) error {
	return q.query(func(r row) error {
		var id, n int64
		err := r.Scan(&id, &n)
		counts[id] = n
		return err
	}, "SELECT series, count(*) FROM points WHERE key = ? AND ts >= ? AND ts < ? GROUP BY series", k[:], start, start+span)
}

// imported returns metadata of a line.
func imported(t *transferMetadata) (*series.Metadata, error) {
	m := &series.Metadata{
		Key: t.Key, SubjectType: t.SubjectType, ToolName: t.ToolName,
		InputSource: t.InputSource, InputDestination: t.InputDestination, Parameters: t.Parameters,
	}
	if _, ok := parseKey(t.Key); !ok {
		return nil, fmt.Errorf("metadata-key %q: want 32 lower-case hexadecimal digits", t.Key)
	}
	for _, a := range []struct {
		name, text string
		into       *netip.Addr
	}{{"source", t.Source, &m.Source}, {"destination", t.Destination, &m.Destination}, {"measurement-agent", t.Agent, &m.MeasurementAgent}} {
		if a.text == "" { // which Check sees
			continue
		}
		addr, err := netip.ParseAddr(a.text)
		if err != nil {
			return nil, fmt.Errorf("%s %q: want an IP address", a.name, a.text)
		}
		*a.into = addr
	}
	if n, err := hex.Decode(m.Identity[:], []byte(t.Identity)); err != nil || n != len(m.Identity) {
		return nil, fmt.Errorf("identity %q: want %d hexadecimal digits", t.Identity, 2*len(m.Identity))
	}
	for _, e := range t.Events {
		event := series.Event{Type: e.Type, Updated: e.Updated}
		if e.Updated < 0 || e.Updated > series.MaxTime {
			return nil, fmt.Errorf("time-updated %d: want one before the year 10000", e.Updated)
		}
		for _, s := range e.Summaries {
			typ, ok := series.ParseSummaryType(s.Type)
			if !ok {
				return nil, fmt.Errorf("summary-type %q: want aggregation, average or statistics", s.Type)
			}
			event.Summaries = append(event.Summaries, series.Summary{Type: typ, Window: s.Window})
		}
		m.Events = append(m.Events, event)
	}
	return m, m.Check()
}
