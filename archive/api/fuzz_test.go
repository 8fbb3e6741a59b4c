package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"owl/archive/series"
)

// A query is read, or refused as the client's fault; a span is one.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"", "source=host1.example.net&dns-match-rule=v6-only", "event-type=x&summary-type=statistics&summary-window=86400", "time-start=1&time-range=2",
		"time-end=-9223372036854775808&time-range=9223372036854775807", "limit=10&offset=%2010", "x=%ff", "format=csv", "metadata-key=&subject-type=;",
	} {
		f.Add(seed)
	}
	h := New(nil, Options{Resolver: &hosts{"host1.example.net": {"192.0.2.1", "2001:db8::1"}}}).(*handler)
	f.Fuzz(func(t *testing.T, raw string) {
		r := httptest.NewRequest(http.MethodGet, prefix, nil)
		q := &request{Request: r, handler: h, answer: newAnswer(httptest.NewRecorder(), r, h.compressors)}
		q.base = prefix
		must := func(err error) {
			var refused *refusal
			if err != nil && (!errors.As(err, &refused) || refused.status != http.StatusBadRequest && refused.status != http.StatusNotFound) {
				t.Errorf("%q: %v, want a refusal", raw, err)
			}
		}
		var err error
		if q.query, err = parseQuery(raw); err != nil {
			must(err)
			return
		}
		must(q.negotiate())
		if _, err := q.filter(); err != nil {
			must(err)
		}
		const now = 1_700_000_000
		if s, err := parseSpan(q.query, now); err != nil {
			must(err)
		} else if from, to := s.ofPoints(now); !s.all && !s.open && from > to {
			t.Errorf("%q: from %d to %d", raw, from, to)
		}
		p, err := q.pageOfPoints()
		must(err)
		if p.offset < 0 || p.limit < all {
			t.Errorf("%q: %+v", raw, p)
		}
		q.link(q.pages(p, true))
	})
}

// A body is taken or refused, as the client's fault. What is taken has one value
// of an event type at a time, of the kind that the event type has.
func FuzzBulk(f *testing.F) {
	for _, seed := range []string{
		`{"data": [{"ts": 1, "val": [{"event-type": "packet-count-sent", "val": 1}, {"event-type": "packet-count-sent", "val": 2}]}]}`,
		`{"data": [{"ts": "1", "val": [{"event-type": "histogram-owdelay", "val": {"1.0": "3"}}]}, {"ts": 1.5, "val": [{"event-type": "histogram-owdelay", "val": {}}]}]}`,
		`{"data": [{"val": [{"val": null, "event-type": "failures"}], "ts": -1e3}]}`, `{"data": {}}`, `[]`,
		`{"data": [{"ts": 1, "val": [{"event-type": "packet-loss-rate", "val": {"numerator": 1, "denominator": 0}}]}]}`,
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	a := newArchive(f, 5000)
	h := a.handler.(*handler)
	f.Fuzz(func(t *testing.T, body string, guide bool) {
		r := httptest.NewRequest(http.MethodPut, prefix+"x/", nil)
		b := &batch{request: &request{Request: r, handler: h, target: target{key: "x"}, who: writer{may: true, guide: guide}}}
		if err := series.ParseBulk([]byte(body), b.add); err != nil {
			w := httptest.NewRecorder()
			b.answer = newAnswer(w, r, h.compressors)
			b.fail(err)
			b.answer.end()
			if w.Code != http.StatusBadRequest && w.Code != http.StatusConflict && w.Code != http.StatusRequestEntityTooLarge {
				t.Errorf("%q: status %d: %s", body, w.Code, w.Body)
			}
			return
		}
		seen := make(map[instant]bool)
		for _, s := range b.samples {
			kind, ok := s.Event.Kind()
			at := instant{s.Event, s.Time}
			if !ok || s.Value.Kind() != kind || seen[at] {
				t.Errorf("%q: %v", body, s)
			}
			seen[at] = true
		}
	})
}
