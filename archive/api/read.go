package api

import (
	"net/http"

	"owl/archive/series"
	"owl/archive/store"
)

// readData answers GET of a series, or of the windows of a summary.
func (q *request) readData() error {
	kind, ok := series.EventType(q.event).Kind()
	if !ok {
		return bad("Unsupported event type '%s' provided", q.event)
	}
	summary, ok := series.ParseSummaryPath(q.summary)
	if !ok {
		return bad("Invalid summary type '%s'", q.summary)
	}
	if q.window == "" && summary != series.Base {
		return q.readWindows(summary)
	}
	want := store.Query{Key: q.key, Event: series.EventType(q.event), Summary: series.Summary{Type: summary}}
	if q.window != "" {
		var err error
		if want.Summary.Window, err = parseInt(q.window); err != nil {
			return bad("Summary window parameter must be an integer")
		}
	}
	now := q.now()
	s, err := parseSpan(q.query, now)
	if err != nil {
		return err
	}
	want.From, want.To = s.ofPoints(now)
	p, err := q.pageOfPoints()
	if err != nil {
		return err
	}
	// Base data have no window, and of those that have one there are none.
	if p.limit == 0 || summary == series.Base && q.window != "" {
		want.From, want.To = 0, -1
	}
	return q.writeSeries(kind, want, p)
}

// readWindows answers with the windows of a type of summary that there are.
func (q *request) readWindows(t series.SummaryType) error {
	if q.format == inCSV {
		return errNotFound
	}
	e, err := q.registered()
	if err != nil {
		return err
	}
	b := []byte{'['}
	if e != nil {
		for _, s := range e.Summaries {
			if s.Type != t {
				continue
			}
			if len(b) > 1 {
				b = append(b, ',')
			}
			b = appendSummary(b, q.uri(q.key)+q.event, s, e.Updated)
		}
	}
	if len(b) == 1 {
		return errNotFound
	}
	return q.answerJSON(http.StatusOK, append(b, ']'))
}

// pageOfPoints reads limit and offset of a series. Here no number is an error, and
// 0 is none. CSV is for people who want all.
func (q *request) pageOfPoints() (page, error) {
	p := q.page()
	for _, name := range []string{"limit", "offset"} {
		if _, err := parseInt(q.query[name]); err != nil && q.query.has(name) {
			return p, bad("Parameter %s must be an integer", name)
		}
	}
	n, err := parseInt(q.query["limit"])
	switch {
	case err == nil && n == 0:
		p.limit = 0
	case err != nil && q.format == inCSV:
		p.limit = all
	}
	return p, nil
}

// all is the limit of who wants all.
const all = -1

// writeSeries answers with points as they come out of the store.
func (q *request) writeSeries(kind series.Kind, want store.Query, p page) error {
	more, err := q.pointsBehind(want, p)
	if err != nil {
		return err
	}
	q.link(q.pages(p, more))
	want.Limit, want.Offset = p.limit, p.offset
	points := pointsAs(q.format, kind, want.Summary.Type)
	q.answer.begin(http.StatusOK, points.mediaType)
	b := append(q.answer.room(), points.begin...)
	for reading, err := range q.handler.store.Read(q.Context(), want) {
		if err != nil {
			return err
		}
		b = points.add(b, &reading)
		if b, err = q.answer.more(b); err != nil {
			return err
		}
	}
	return q.answer.put(append(b, points.end...))
}

// pointsBehind reports whether there are points behind a page. It has to be known
// first, for it is in a header.
func (q *request) pointsBehind(want store.Query, p page) (bool, error) {
	if p.limit <= 0 {
		return false, nil
	}
	want.Limit, want.Offset = 1, p.offset+p.limit
	for _, err := range q.handler.store.Read(q.Context(), want) {
		return err == nil, err
	}
	return false, nil
}
