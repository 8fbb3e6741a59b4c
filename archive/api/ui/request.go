package ui

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

const (
	// defaultSpan is how far a request looks back that does not say, in seconds.
	defaultSpan = 3600
	// mostName is how long a parameter of a request may be.
	mostName = 256
)

// A requestError is what is wrong with a request.
type requestError struct{ detail string }

func (e *requestError) Error() string { return e.detail }

func wrong(format string, args ...any) error { return &requestError{fmt.Sprintf(format, args...)} }

// parameters are those of a request, each once at most.
type parameters map[string]string

// parametersOf reads the parameters of a request, of which it knows some.
func parametersOf(r *http.Request, known ...string) (parameters, error) {
	all, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, wrong("the query cannot be read: want name=value&name=value")
	}
	p := make(parameters)
	for _, name := range append(known, "from", "to") {
		values := all[name]
		delete(all, name)
		switch {
		case len(values) > 1:
			return nil, wrong("%s: %d of them, want one", name, len(values))
		case len(values) == 1 && len(values[0]) > mostName:
			return nil, wrong("%s: %d octets, want %d at most", name, len(values[0]), mostName)
		case len(values) == 1:
			p[name] = values[0]
		}
	}
	for name := range all {
		return nil, wrong("%.40q: there is no such parameter, want %q, from or to", name, known)
	}
	return p, nil
}

// A span is a time that is looked at, in Unix seconds, both inclusive.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// span reads from and to; without them it is the last hour.
func (p parameters) span(now int64) (span, error) {
	s := span{now - defaultSpan, now}
	if p["from"] == "" && p["to"] == "" {
		return s, nil
	}
	var err, err2 error
	s.From, err = strconv.ParseInt(p["from"], 10, 64)
	s.To, err2 = strconv.ParseInt(p["to"], 10, 64)
	const latest = 1 << 40 // so that no sum overflows
	switch {
	case errors.Join(err, err2) != nil, s.From < 0, s.To > latest:
		return s, wrong("from %.40q to %.40q: want Unix seconds", p["from"], p["to"])
	case s.From >= s.To:
		return s, wrong("from %d to %d: want the first before the second", s.From, s.To)
	case s.To-s.From > MaxSpan:
		return s, wrong("from %d to %d: want %d seconds at most", s.From, s.To, int64(MaxSpan))
	}
	return s, nil
}
