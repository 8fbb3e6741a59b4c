package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A query has the parameters of a URL. Of those that are there twice the last one
// counts.
type query map[string]string

// mostParameters is how many a URL may have: more than there are names for.
const mostParameters = 64

func parseQuery(raw string) (query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, bad("The query of the URL cannot be decoded")
	}
	if len(values) > mostParameters {
		return nil, bad("The query of the URL has more than %d parameters", mostParameters)
	}
	q := make(query, len(values))
	for name, all := range values {
		last := all[len(all)-1]
		if !utf8.ValidString(name) || !utf8.ValidString(last) || strings.ContainsRune(name+last, 0) {
			return nil, bad("The query of the URL is not text in UTF-8")
		}
		q[name] = last
	}
	return q, nil
}

func (q query) has(name string) bool { _, ok := q[name]; return ok }

// format is the form of an answer.
type format uint8

const (
	inJSON format = iota
	inCSV
)

// negotiate finds out in which form the answer is wanted: as the parameter format
// says, else as the header Accept does. There is JSON, and of series CSV.
func (q *request) negotiate() error {
	switch f := q.query["format"]; f {
	case "json":
		return nil
	case "csv":
		if q.resource != isData {
			return errNotFound
		}
		q.format = inCSV
		return nil
	case "":
	default:
		return errNotFound
	}
	accept := q.Header.Values("Accept")
	if len(accept) == 0 {
		return nil
	}
	// What is named counts for more than what a pattern covers, as a browser's */*;
	// of two that are named, the one with the greater weight.
	best := 0.0
	for _, line := range accept {
		for item := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(item, ";")
			w := weight(parameters)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "*/*", "application/*", "":
				w /= 1000
			case typeJSON:
			case "text/csv":
				if q.resource == isData && w > best {
					best, q.format = w, inCSV
				}
				continue
			default:
				continue
			}
			if w > best {
				best, q.format = w, inJSON
			}
		}
	}
	if best == 0 {
		return refuse(http.StatusNotAcceptable, "Could not satisfy the request Accept header.")
	}
	return nil
}

// payload reads the JSON that a write brings.
func (q *request) payload() ([]byte, error) {
	if !q.isJSON() {
		return nil, bad("Must post content-type: application/json header and json-formatted payload.")
	}
	body, err := q.body()
	switch {
	case err != nil:
		return nil, err
	case len(body) == 0:
		return nil, bad("No data payload POSTed.")
	case !json.Valid(body) || !utf8.Valid(body):
		return nil, bad("POST data payload could not be decoded to a JSON object - given: b%s", excerpt(body))
	}
	return body, nil
}

// isJSON reports whether a request says that it brings JSON.
func (q *request) isJSON() bool {
	mediaType, _, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	return err == nil && mediaType == typeJSON
}

// excerpt returns the beginning of a body as Python shows octets, which is how
// esmond does it, for as long as they are letters.
func excerpt(body []byte) string {
	const most = 64
	text := strconv.QuoteToASCII(string(body[:min(len(body), most)]))
	return "'" + strings.ReplaceAll(text[1:len(text)-1], `\"`, `"`) + "'"
}

// firstOctets is how long a body is believed to be before any of it is there.
const firstOctets = 64 << 10

// body reads what a request brings, in memory for not much more than has come.
func (q *request) body() ([]byte, error) {
	most := q.handler.MaxBody
	tooLong := refuse(http.StatusRequestEntityTooLarge, "Request body is longer than %d octets", most)
	if q.ContentLength > most {
		return nil, tooLong
	}
	size := int(most)
	if q.ContentLength >= 0 {
		size = int(q.ContentLength)
	}
	body := http.MaxBytesReader(q.answer.w, q.Body, most)
	// One octet more than there are is room to find out that there are no more.
	b := make([]byte, 0, min(size, firstOctets)+1)
	for {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, min(2*cap(b), size+1)), b...)
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch _, more := errors.AsType[*http.MaxBytesError](err); {
		case err == io.EOF:
			return b, nil
		case more, len(b) > size:
			return nil, tooLong
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, refuse(http.StatusRequestTimeout, "Request body came too slowly")
		case err != nil:
			return nil, bad("Request body could not be read to its end")
		}
	}
}

// parseInt reads a whole number as Python's int does, but for underscores and for
// the digits of other scripts.
func parseInt(s string) (int64, error) { return strconv.ParseInt(strings.TrimSpace(s), 10, 64) }
