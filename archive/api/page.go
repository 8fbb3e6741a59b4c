package api

import (
	"net/url"
	"strconv"
)

// A page is which part of a list is asked for.
type page struct{ limit, offset int }

// most bounds limit and offset, so that an int holds their sum.
const most = 1<<30 - 1

// page reads limit and offset of a search. What is no number greater than 0 is as
// good as none there, as it is for esmond.
func (q *request) page() page {
	p := page{limit: pageSize}
	if n, err := parseInt(q.query["limit"]); err == nil && n > 0 {
		p.limit = int(min(n, most))
	}
	if n, err := parseInt(q.query["offset"]); err == nil && n > 0 {
		p.offset = int(min(n, most))
	}
	return p
}

// pages returns the URLs of the pages before and behind one; "": there is none, as
// where the page has no end, or nothing on it.
func (q *request) pages(p page, more bool) (previous, next string) {
	if p.limit <= 0 {
		return "", ""
	}
	at := func(offset int) string {
		values := make(url.Values, len(q.query)+2)
		for name, value := range q.query {
			values.Set(name, value)
		}
		values.Set("limit", strconv.Itoa(p.limit))
		values.Del("offset")
		if offset > 0 {
			values.Set("offset", strconv.Itoa(offset))
		}
		return q.origin() + (&url.URL{Path: q.URL.Path}).String() + "?" + values.Encode()
	}
	if p.offset > 0 {
		previous = at(p.offset - p.limit)
	}
	if more {
		next = at(p.offset + p.limit)
	}
	return previous, next
}

// link has the pages before and behind in the header Link (RFC 8288).
func (q *request) link(previous, next string) {
	var link string
	if next != "" {
		link = "<" + next + `>; rel="next"`
	}
	if previous != "" {
		if link != "" {
			link += ", "
		}
		link += "<" + previous + `>; rel="prev"`
	}
	if link != "" {
		q.answer.w.Header().Set("Link", link)
	}
}
