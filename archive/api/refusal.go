package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"owl/archive/series"
	"owl/archive/store"
)

// A refusal is why a request gets no answer but this: what the client is told.
// Where esmond has the same one its text is esmond's, capital letter and full
// stop included, for clients show it and some look for words in it.
type refusal struct {
	status   int
	detail   string
	location string // where it is instead
	scheme   string // of authentication that is asked for
}

func (r *refusal) Error() string { return r.detail }

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, detail: fmt.Sprintf(format, args...)}
}

func bad(format string, args ...any) error {
	return refuse(http.StatusBadRequest, format, args...)
}

var errNotFound = refuse(http.StatusNotFound, "Not found.")

// fail answers with an error. What the archive itself fails at is logged, and the
// client is told no more than that it may try again.
func (q *request) fail(err error) {
	if errors.Is(err, errGone) || q.Context().Err() != nil {
		// Nobody waits for an answer, and what failed did for that reason.
		panic(http.ErrAbortHandler)
	}
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		r = q.explain(err)
	}
	if q.answer.streaming {
		// What has been sent cannot be taken back; a client must not believe it
		// whole.
		panic(http.ErrAbortHandler)
	}
	q.answer.reset()
	header := q.answer.w.Header()
	if r.location != "" {
		header.Set("Location", r.location)
		q.answer.begin(r.status, "")
		return
	}
	if r.scheme != "" {
		header.Set("WWW-Authenticate", r.scheme)
	}
	if r.status == http.StatusServiceUnavailable {
		header.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	detail := quoted(shortened(r.detail))
	_ = q.answerJSON(r.status, fmt.Appendf(nil, `{"detail":%s,"error":%s}`, detail, detail)) // short enough not to be sent yet
}

// longestDetail is how many octets the text of an error has at most. Some quote
// what the client has sent, which may be long.
const longestDetail = 512

func shortened(s string) string {
	if len(s) <= longestDetail {
		return s
	}
	return strings.ToValidUTF8(s[:longestDetail], "") + "…"
}

// retryAfter is how many seconds a client is asked to wait.
const retryAfter = 5

// explain turns what the store says into what a client is told.
func (q *request) explain(err error) *refusal {
	if errors.Is(err, store.ErrUnknownKey) {
		return &refusal{status: http.StatusNotFound, detail: "Not found."}
	}
	if e, ok := errors.AsType[*store.UnregisteredError](err); ok {
		return &refusal{status: http.StatusBadRequest,
			detail: fmt.Sprintf("Event type %s is not registered for metadata-key %s", e.Event, q.key)}
	}
	if e, ok := errors.AsType[*store.ConflictError](err); ok {
		return &refusal{status: http.StatusConflict, detail: e.Error()}
	}
	if e, ok := errors.AsType[*series.InvalidError](err); ok {
		return &refusal{status: http.StatusBadRequest, detail: e.Detail}
	}
	q.handler.Log.Error("the archive did not answer a request", "id", q.Header.Get("X-Request-Id"), "method", q.Method, "path", q.URL.Path, "error", err)
	return &refusal{status: http.StatusServiceUnavailable, detail: "The archive's store does not answer; try again later."}
}
