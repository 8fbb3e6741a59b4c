package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// An endless body, of which it is noted how much is read.
type endless struct{ read, end int64 }

func (e *endless) Read(b []byte) (int, error) {
	if e.read >= e.end {
		return 0, io.EOF
	}
	for i := range b {
		b[i] = ' '
	}
	n := min(int64(len(b)), e.end-e.read)
	e.read += n
	return int(n), nil
}

// allocated returns how many octets f has had allocated.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A body of 100 MB is refused when it says how long it is, or else when more has
// come than may be, and needs memory for no more than that.
func TestLongBody(t *testing.T) {
	const most = 1 << 20
	a := newArchive(t, 5000, func(o *Options) { o.MaxBody = most })
	uri := a.register(t, registration)
	for _, announced := range []bool{true, false} {
		for _, url := range []string{prefix, uri, uri + "failures/base"} {
			body := &endless{end: 100 << 20}
			r := httptest.NewRequest(http.MethodPost, url, body)
			if r.ContentLength = -1; announced {
				r.ContentLength = body.end
			}
			r.Header.Set("Authorization", "Token "+a.secret)
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			used := allocated(func() { a.handler.ServeHTTP(w, r) })
			got := &reply{Response: w.Result(), body: w.Body.Bytes()}
			got.want(t, http.StatusRequestEntityTooLarge, "Request body is longer than 1048576 octets")
			if announced && body.read > 0 || body.read > most+bufferOctets {
				t.Errorf("%s: %d octets were read", url, body.read)
			}
			if used > 16*most {
				t.Errorf("%s: %d octets of memory for %d of a body", url, used, body.read)
			}
		}
	}
	// A length that is not true costs nothing.
	r := httptest.NewRequest(http.MethodPut, uri, strings.NewReader("{}"))
	r.ContentLength = most
	r.Header.Set("Authorization", "Token "+a.secret)
	r.Header.Set("Content-Type", "application/json")
	if used := allocated(func() { a.handler.ServeHTTP(httptest.NewRecorder(), r) }); used > most/2 {
		t.Errorf("%d octets of memory for a body of 2", used)
	}
	// Who may not write does not get so far.
	body := &endless{end: 100 << 20}
	r = httptest.NewRequest(http.MethodPut, uri, body)
	w := httptest.NewRecorder()
	if a.handler.ServeHTTP(w, r); w.Code != http.StatusUnauthorized || body.read > 0 {
		t.Errorf("a stranger: status %d, %d octets were read", w.Code, body.read)
	}
}

// bufferOctets is by how much more than may be is read to know that there is more.
const bufferOctets = 64 << 10

// What nobody sends who means well has a clear answer, in little memory, and
// changes nothing.
func TestHostileBodies(t *testing.T) {
	a := newArchive(t, 5000)
	uri := a.register(t, registration)
	value := func(event, v string) string {
		return `{"data": [{"ts": 1, "val": [{"event-type": "` + event + `", "val": ` + v + `}]}]}`
	}
	bins := func(n int) string {
		b := []byte(`{"":1`)
		for i := range n {
			b = append(strconv.AppendInt(append(b, `,"`...), int64(i), 10), `":1`...)
		}
		return string(append(b, '}'))
	}
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	million := 1_000_000
	if testing.Short() {
		million = 100_000
	}
	for _, c := range []struct {
		name, body string
		status     int
		detail     string // its beginning
	}{
		{"a million levels", nested(1_000_000), 400, "POST data payload could not be decoded to a JSON object - given: b'[[[["},
		{"a million levels in a value", value("failures", nested(1_000_000)), 400, "POST data payload could not be decoded"},
		{"a thousand levels in a value", value("failures", nested(1000)), 400, "JSON parse error - more than 64 levels"},
		{"objects as deep", value("failures", strings.Repeat(`{"a":`, 1000)+"1"+strings.Repeat("}", 1000)), 400, "JSON parse error - more than 64 levels"},
		{"a million bins", value("histogram-owdelay", bins(million)), 400, "Histogram has more than 65536 labels"},
		{"a number without end", value("packet-count-sent", strings.Repeat("9", 1_000_000)), 400, "Value must be an integer"},
		{"a great exponent", value("packet-count-sent", "1e999999999"), 400, "Value must be an integer"},
		{"a time without end", `{"data": [{"ts": 1e999999999, "val": [{"event-type": "failures", "val": 1}]}]}`, 400, "Time must be a unix timestamp"},
		{"too many points", `{"data": [{"ts": 1, "val": [` + strings.Repeat(`{"event-type": "failures", "val": 1},`, MaxPoints) + `{"event-type": "failures", "val": 1}]}]}`,
			http.StatusRequestEntityTooLarge, "Request has more than 100000 points"},
		{"half a letter", "{\"data\": [{\"ts\": 1, \"val\": [{\"event-type\": \"failures\", \"val\": \"\xc3\"}]}]}", 400, "POST data payload could not be decoded"},
		{"half a letter, escaped", value("failures", `"\ud800"`), 201, ""}, // U+FFFD to who reads it
		{"no text at all", value("failures", `"\u0000"`), 201, ""},
		{"the name of an event type", value(strings.Repeat("x", 1_000_000), "1"), 400, "Invalid event type xxx"},
		{"members without end", `{"data": [` + strings.Repeat(`{"ts": 1, "val": []},`, 50_000) + `{"ts": 1, "val": []}]}`, 201, ""},
		{"a member often", `{` + strings.Repeat(`"data": 1, `, 100_000) + `"data": []}`, 201, ""},
	} {
		var r *reply
		used := allocated(func() { r = a.do(t, http.MethodPut, uri, c.body, a.token()...) })
		if r.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d: %.200s", c.name, r.StatusCode, c.status, r.body)
			continue
		}
		if c.detail != "" && !strings.HasPrefix(r.object(t)["detail"].(string), c.detail) {
			t.Errorf("%s: %.200s, want %s", c.name, r.body, c.detail)
		}
		if len(r.body) > 4096 {
			t.Errorf("%s: an answer of %d octets", c.name, len(r.body))
		}
		if most := uint64(len(c.body))*64 + 4<<20; used > most {
			t.Errorf("%s: %d octets of memory for a body of %d", c.name, used, len(c.body))
		}
	}
	a.get(t, uri+"packet-count-sent/base").is(t, "[]")
	a.get(t, uri+"histogram-owdelay/base").is(t, "[]")
}

// Texts are texts: in each field of metadata, in each parameter of a URL, in
// values and in names they mean nothing to the database, and come back as they
// were.
func testTexts(t *testing.T, address string) {
	a := openArchive(t, address, 5000)
	for i, text := range []string{
		`'; DROP TABLE metadata; --`, `" OR ""="`, `') OR 1=1 --`, "%", "_", `\`, `\'`, "$1", "?", ":x", "@x", "ä ☂ \U0001F327", "\u202e", "a\nb\tc", "<script>", strings.Repeat("x", 128), " ", "NULL",
	} {
		source := fmt.Sprintf("192.0.2.%d", i)
		quotedText := string(quoted(text))
		uri := a.register(t, `{"subject-type": "point-to-point", "source": "`+source+`", "destination": "192.0.2.200", "measurement-agent": "192.0.2.201", "tool-name": `+
			quotedText+`, "input-source": `+quotedText+`, "input-destination": `+quotedText+`, "p": `+quotedText+`, `+string(quoted("n"+strings.ReplaceAll(text, "_", "")[:min(len(strings.ReplaceAll(text, "_", "")), 100)]))+`: "1", "event-types": [{"event-type": "failures"}]}`)
		m := a.get(t, uri).object(t)
		for _, field := range []string{"tool-name", "input-source", "input-destination", "p"} {
			if m[field] != text {
				t.Errorf("%s is %q, want %q", field, m[field], text)
			}
			if got := a.sources(t, url.Values{field: {text}}.Encode()); len(got) != 1 || got[0] != source {
				t.Errorf("%s=%q finds %q, want %s", field, text, got, source)
			}
		}
		if got := a.sources(t, url.Values{text: {text}}.Encode()); len(got) != 0 {
			t.Errorf("a parameter %q finds %q", text, got)
		}
		for _, field := range []string{"subject-type", "metadata-key", "event-type", "summary-type"} {
			if got := a.sources(t, url.Values{field: {text}}.Encode()); len(got) != 0 {
				t.Errorf("%s=%q finds %q", field, text, got)
			}
		}
		for _, field := range []string{"source", "destination", "measurement-agent", "time", "summary-window", "dns-match-rule"} {
			r := a.get(t, prefix+"?"+url.Values{"source": {"x" + text}, field: {text}}.Encode())
			if r.StatusCode != http.StatusBadRequest {
				t.Errorf("%s=%q: status %d", field, text, r.StatusCode)
			}
		}
		a.do(t, http.MethodPut, uri, `{"data": [{"ts": 1, "val": [{"event-type": "failures", "val": {`+quotedText+`: `+quotedText+`}}]}]}`, a.token()...).want(t, http.StatusCreated, "")
		if v := a.get(t, uri+"failures/base").list(t)[0].(map[string]any)["val"].(map[string]any); v[text] != text {
			t.Errorf("the value is %q, want %q", v, text)
		}
		for _, part := range []string{"%s/", "x/%s", "x/failures/%s", "x/failures/aggregations/%s"} {
			path := prefix + fmt.Sprintf(part, url.PathEscape(text))
			if r := a.get(t, path); r.StatusCode != http.StatusNotFound && r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusOK {
				t.Errorf("%s: status %d", path, r.StatusCode)
			}
		}
	}
	if n := len(a.sources(t, "")); n != 18 {
		t.Errorf("%d measurements, want 18", n)
	}
}

// A recorder of what is sent, and in which pieces. It says when it is sent first.
type pieces struct {
	httptest.ResponseRecorder
	largest, n int
	first      func()
	broken     bool // the client takes nothing
}

func (p *pieces) Write(b []byte) (int, error) {
	if p.n++; p.n == 1 && p.first != nil {
		p.first()
	}
	if p.broken {
		return 0, io.ErrClosedPipe
	}
	p.largest = max(p.largest, len(b))
	return p.ResponseRecorder.Write(b)
}

// A long answer is sent as it is read, and one that breaks off does not look
// whole.
func TestStreams(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	a := newArchive(t, 200_000, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	uri := a.register(t, registration)
	a.manyPoints(t, uri, 5000)
	get := func(ctx context.Context, w http.ResponseWriter, encoding string) (aborted bool) {
		defer func() {
			if mistake := recover(); mistake != nil {
				err, _ := mistake.(error)
				aborted = errors.Is(err, http.ErrAbortHandler)
				if !aborted {
					panic(mistake)
				}
			}
		}()
		r := httptest.NewRequest(http.MethodGet, uri+"histogram-owdelay/base?limit=5000", nil).WithContext(ctx)
		r.Header.Set("Accept-Encoding", encoding)
		a.handler.ServeHTTP(w, r)
		return false
	}
	w := &pieces{ResponseRecorder: *httptest.NewRecorder()}
	if get(t.Context(), w, "") || w.largest > held+1024 || w.n < 5 {
		t.Errorf("%d pieces, the largest of %d octets", w.n, w.largest)
	}
	if n := len((&reply{body: w.Body.Bytes()}).list(t)); n != 5000 {
		t.Errorf("%d points, want 5000", n)
	}
	for _, encoding := range []string{"", "gzip"} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if !get(ctx, &pieces{ResponseRecorder: *httptest.NewRecorder(), first: cancel}, encoding) {
			t.Errorf("%q: an answer that broke off ended as if it were whole", encoding)
		}
		if !get(t.Context(), &pieces{ResponseRecorder: *httptest.NewRecorder(), broken: true}, encoding) {
			t.Errorf("%q: an answer that nobody took ended as if it were whole", encoding)
		}
	}
	if log.Len() > 0 {
		t.Errorf("that a client goes is no fault of the archive's: %s", &log)
	}
	if h := a.handler.(*handler); len(h.compressors) != compressors {
		t.Error("a compressor was not given back")
	}
}
