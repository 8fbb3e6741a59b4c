package api

import "math"

// A span is the time that a query asks for, in Unix seconds, both ends included.
type span struct {
	from, to int64
	all      bool // nothing was asked for
	open     bool // there is no end
}

// parseSpan reads time, time-start, time-end and time-range. Of those that the
// others leave without effect it takes no notice, as esmond does.
func parseSpan(q query, now int64) (span, error) {
	var wrong error
	number := func(name string) int64 {
		n, err := parseInt(q[name])
		if err != nil && wrong == nil {
			wrong = bad("Time parameter must be an integer")
		}
		return n
	}
	start, end, length := q.has("time-start"), q.has("time-end"), q.has("time-range")
	var s span
	switch {
	case q.has("time"):
		s.from = number("time")
		s.to = s.from
	case start && end:
		s.from, s.to = number("time-start"), number("time-end")
	case start && length:
		s.from = number("time-start")
		s.to = add(s.from, number("time-range"))
	case end && length:
		s.to = number("time-end")
		s.from = sub(s.to, number("time-range"))
	case start:
		s.from, s.open = number("time-start"), true
	case end:
		s.to = number("time-end")
	case length:
		s.from, s.open = sub(now, number("time-range")), true
	default:
		s.all = true
	}
	if wrong == nil && !s.open && s.from > s.to {
		wrong = bad("Requested start time must be less than end time")
	}
	return s, wrong
}

// ahead is for how long after now an open span of points lasts, in seconds. Points
// that claim to be of even later do not show until then.
const ahead = 3600

// ofPoints returns the span in which points are looked for.
func (s span) ofPoints(now int64) (from, to int64) {
	switch {
	case s.all:
		return 0, now
	case s.open:
		return s.from, add(now, ahead)
	}
	return s.from, s.to
}

// ofUpdates returns the span in which last writes are looked for; nil: no bound.
func (s span) ofUpdates() (from, to *int64) {
	switch {
	case s.all:
		return nil, nil
	case s.open:
		return &s.from, nil
	}
	return &s.from, &s.to
}

// add returns a + b, or the nearest that there is.
func add(a, b int64) int64 {
	switch c := a + b; {
	case a > 0 && b > 0 && c < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && c >= 0:
		return math.MinInt64
	default:
		return c
	}
}

// sub returns a − b, or the nearest that there is.
func sub(a, b int64) int64 {
	if b == math.MinInt64 {
		return math.MaxInt64
	}
	return add(a, -b)
}
