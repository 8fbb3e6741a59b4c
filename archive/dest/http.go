package dest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"owl/archive"
	"owl/archive/dest/dial"
	"owl/archive/member"
	"owl/archive/retry"
)

const (
	httpTimeout   = 30 * time.Second // of an exchange, unless its data say otherwise
	longestWait   = time.Hour        // that a server can ask for
	contentType   = "Content-Type"
	contentLength = "Content-Length"
	// formType is what pScheduler's archiver sends for a null Content-Type.
	formType = "application/x-www-form-urlencoded"
)

// An httpDestination posts or puts results to a web server, which has a result
// when it has answered with any 2xx; nothing else is final. The request has the
// result's ID as Idempotency-Key. Connections are kept.
type httpDestination struct {
	client *http.Client
	op     string // POST or PUT
	url    string
	header http.Header // a name without a value is not sent
	// text says that a result which is a string is sent as the text that it is,
	// unless its type is JSON.
	text bool
	// chunked says that the length is not sent.
	chunked bool
	// patient says that the server may say when it wants another try.
	patient bool
}

func openHTTP(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	schema := o.Schema(4)
	o.Need("_url")
	d := &httpDestination{
		url: dial.ReadURL(o, "_url"),
		op:  strings.ToUpper(o.Option("op", "post", "put")),
	}
	d.readHeaders(o, schema)
	bind := o.String("bind")
	timeout := httpTimeout
	if o.Since(schema, 4, "timeout") {
		if timeout = o.Duration("timeout", httpTimeout); timeout < time.Millisecond {
			o.Fail("timeout", "want at least a millisecond")
		}
	}
	verify := o.Since(schema, 3, "verify-ssl") && o.Bool("verify-ssl", false)
	policy := retry.Read(o, false)
	d.patient = policy == nil
	d.client = dial.Web(bind, timeout, verify)
	return archive.Opened{Destination: d, Retry: policy, Parallel: 4}, nil
}

// readHeaders reads which headers a request has. pScheduler's archiver has them in
// _headers, its documentation in headers, where strings go as text/plain and null
// takes a header away.
func (d *httpDestination) readHeaders(o *member.Object, schema int64) {
	d.header = http.Header{"Accept": {"*/*"}, "User-Agent": {"owl"}}
	secret, open := o.Since(schema, 2, "_headers"), o.Since(schema, 2, "headers")
	switch {
	case secret && open:
		o.Fail("headers", "want either it or _headers")
	case secret:
		d.readEach(o.Object("_headers"))
		if kind, given := d.header[contentType]; given && kind == nil {
			d.header[contentType] = []string{formType}
		}
	case open:
		d.text = true
		d.readEach(o.Object("headers"))
	}
}

func (d *httpDestination) readEach(h *member.Object) {
	if h == nil {
		return
	}
	for _, name := range h.Names() {
		key := http.CanonicalHeaderKey(name)
		var value string
		switch v := h.Any(name).(type) {
		case nil:
		case string:
			value = v
		case json.Number:
			value = v.String()
		default:
			h.Fail(name, "want a string, a number or null")
			continue
		}
		switch {
		case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
			h.Fail(name, "want the name of a header, and one line of text")
		case key == "Transfer-Encoding" || key == "Trailer" || key == contentLength && value != "":
			h.Fail(name, "want none: it follows from what is sent")
		case key == contentLength:
			d.chunked = true
		case value == "":
			d.header[key] = nil
		default:
			d.header[key] = []string{value}
		}
	}
}

// body returns what is sent, and of what type it is if the headers do not say.
func (d *httpDestination) body(payload []byte) (body []byte, kind string, err error) {
	const asJSON = "application/json"
	if !d.text || len(payload) == 0 || payload[0] != '"' {
		return payload, asJSON, nil
	}
	kind, _, err = mime.ParseMediaType(d.header.Get(contentType))
	if err == nil && (kind == asJSON || strings.HasSuffix(kind, "+json")) {
		return payload, asJSON, nil
	}
	body, err = plain(payload)
	return body, "text/plain", err
}

func (d *httpDestination) Deliver(ctx context.Context, item *archive.Item) error {
	body, kind, err := d.body(item.Payload)
	if err != nil {
		return archive.Final(err)
	}
	var r io.Reader = bytes.NewReader(body)
	if d.chunked {
		r = struct{ io.Reader }{r} // whose length nobody can see
	}
	req, err := http.NewRequestWithContext(ctx, d.op, d.url, r)
	if err != nil {
		return archive.Final(dial.WithoutURL(err))
	}
	req.Header = d.header.Clone()
	if _, given := req.Header[contentType]; !given {
		req.Header[contentType] = []string{kind}
	}
	req.Header["Idempotency-Key"] = []string{item.ID}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	op := strings.ToLower(d.op)
	resp, err := d.client.Do(req)
	if err != nil {
		return fmt.Errorf("failed to %s result: %w", op, dial.WithoutURL(err))
	}
	answer := dial.Answer(resp)
	if resp.StatusCode/100 == 2 {
		return nil
	}
	err = fmt.Errorf("failed to %s result: %d: %s", op, resp.StatusCode, dial.Short(answer))
	if wait := retryAfter(resp); wait > 0 && d.patient {
		return &archive.AgainError{Err: err, After: wait}
	}
	return err
}

// retryAfter returns how long the server wants to be left alone (RFC 9110,
// section 10.2.3), at most an hour; 0: it has not said.
func retryAfter(resp *http.Response) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 32)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, longestWait)
}

func (d *httpDestination) Close() error {
	d.client.CloseIdleConnections()
	return nil
}
