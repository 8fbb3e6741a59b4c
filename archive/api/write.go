package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"owl/archive/series"
	"owl/archive/store"
)

// register answers POST of metadata with those that are stored.
func (q *request) register() error {
	if !q.isJSON() {
		return refuse(http.StatusUnsupportedMediaType, "Unsupported media type %q in request.", q.Header.Get("Content-Type"))
	}
	body, err := q.body()
	if err != nil {
		return err
	}
	m, err := series.ParseMetadata(body)
	if err != nil {
		return err
	}
	if m, err = q.handler.store.Register(q.Context(), m); err != nil {
		return err
	}
	q.answer.w.Header().Set("Location", q.origin()+q.uri(m.Key))
	status := http.StatusCreated
	if q.who.guide {
		status = http.StatusOK
	}
	return q.answerJSON(status, q.appendMetadata(nil, m, nil))
}

// writePoint answers POST of one point.
func (q *request) writePoint() error {
	body, err := q.payload()
	if err != nil {
		return err
	}
	point, err := series.ParsePoint(body)
	if err != nil {
		return err
	}
	summary, ok := series.ParseSummaryPath(q.summary)
	switch _, known := series.EventType(q.event).Kind(); {
	case !known:
		return bad("Invalid event type %s", q.event)
	case !ok:
		return bad("Invalid summary type %s", q.summary)
	case summary != series.Base:
		return bad("Only base summary-type allowed for writing. Cannot use %s", q.summary)
	}
	point.Event = series.EventType(q.event)
	b := &batch{request: q}
	if err := b.add(point); err != nil {
		return err
	}
	return b.write()
}

// writeBulk answers PUT, or POST, of many points.
func (q *request) writeBulk() error {
	body, err := q.payload()
	if err != nil {
		return err
	}
	b := &batch{request: q}
	if err := series.ParseBulk(body, b.add); err != nil {
		return err
	}
	return b.write()
}

// A batch are the points of a request, which are written all or none.
type batch struct {
	*request
	n       int // points that there were in the request
	samples []series.Sample
	at      map[instant]int // which sample is of it
}

// An instant is what there is one value for.
type instant struct {
	event series.EventType
	time  int64
}

// add adds a point to a batch.
func (b *batch) add(w series.Written) error {
	if b.n++; b.n > MaxPoints {
		return refuse(http.StatusRequestEntityTooLarge, "Request has more than %d points", MaxPoints)
	}
	event := w.Event
	at, err := series.ParseTime(w.Time)
	if err != nil {
		return err
	}
	kind, ok := event.Kind()
	if !ok {
		return bad("Invalid event type %s", event)
	}
	value, err := series.Parse(kind, w.Value)
	if err != nil {
		return b.sooner(event, at, kind, err)
	}
	if b.at == nil {
		b.at = make(map[instant]int)
	}
	sample := series.Sample{Time: at, Event: event, Value: value}
	before, twice := b.at[instant{event, at}]
	switch {
	case !twice:
		b.at[instant{event, at}] = len(b.samples)
		b.samples = append(b.samples, sample)
	case kind.Once() && !b.who.guide:
		return &store.ConflictError{Event: event, Time: at}
	default:
		b.samples[before] = sample
	}
	return nil
}

// sooner returns what is wrong with a point whose value is: that there is another
// one already, if there is, for esmond looks for that first.
func (b *batch) sooner(event series.EventType, at int64, kind series.Kind, wrong error) error {
	if !kind.Once() {
		return wrong
	}
	for _, err := range b.handler.store.Read(b.Context(), store.Query{Key: b.key, Event: event, From: at, To: at, Limit: 1}) {
		if err != nil {
			return err
		}
		return &store.ConflictError{Event: event, Time: at}
	}
	return wrong
}

// write writes a batch, and answers. What was written before as it is here is a
// conflict for clients of esmond's last generation, and nothing to speak of for
// those of the one before.
func (b *batch) write() error {
	outcome, err := b.store()
	if err != nil {
		return err
	}
	if outcome == store.Repeated && !b.who.guide {
		for _, s := range b.samples {
			if kind, _ := s.Event.Kind(); kind.Once() {
				return &store.ConflictError{Event: s.Event, Time: s.Time}
			}
		}
	}
	return b.done()
}

// store writes a batch, without the event types that the measurement does not
// have if it has others of them. pScheduler's archiver writes some that it does
// not register, and would never be done with a result that is refused for that. A
// header names them.
func (b *batch) store() (store.Outcome, error) {
	var left []string
	for {
		outcome, err := b.handler.store.Write(b.Context(), b.key, b.samples)
		unregistered, ok := errors.AsType[*store.UnregisteredError](err)
		if ok {
			left = append(left, string(unregistered.Event))
			b.samples = slices.DeleteFunc(b.samples, func(s series.Sample) bool { return s.Event == unregistered.Event })
		}
		if !ok || len(b.samples) == 0 {
			if err == nil && len(left) > 0 {
				b.answer.w.Header().Set("Warning", `299 owl "not registered, and not written: `+strings.Join(left, " ")+`"`)
			}
			return outcome, err
		}
	}
}
