package api

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// times returns the times of the points of a series.
func (r *reply) times(t testing.TB) string {
	t.Helper()
	var all []string
	for _, p := range r.list(t) {
		all = append(all, strconv.Itoa(int(p.(map[string]any)["ts"].(float64))))
	}
	return strings.Join(all, " ")
}

// Spans of time include both ends. What is of later than now does not show, but
// for an hour if the end is open.
func testSpan(t *testing.T, address string) {
	const now = 10_000
	a := openArchive(t, address, now)
	uri := a.register(t, registration)
	a.do(t, http.MethodPut, uri, points("packet-count-sent", -600, -1, 0, 300, 301, 9000, now, now+1, now+3600, now+3601), a.token()...).want(t, http.StatusCreated, "")
	for query, want := range map[string]string{
		"":                            "0 300 301 9000 10000",
		"format=json":                 "0 300 301 9000 10000",
		"time=300":                    "300",
		"time=302":                    "",
		"time-start=300&time-end=301": "300 301",
		"time-start=301&time-end=301": "301",
		"time-start=300&time-range=1": "300 301",
		"time-end=301&time-range=1":   "300 301",
		"time-start=9000":             "9000 10000 10001 13600",
		"time-range=1000":             "9000 10000 10001 13600",
		"time-end=300":                "0 300",
		"time-start=-9999&time-end=0": "-600 -1 0",
		"time-start=0&time-end=99999": "0 300 301 9000 10000 10001 13600 13601",
		"time-start=-9223372036854775808&time-range=9223372036854775807": "-600 -1",
		"time-end=-9223372036854775808&time-range=9223372036854775807":   "",
		"time-start=9223372036854775807":                                 "",
		"time=0&time-start=x":                                            "0",
		"limit=2":                                                        "0 300",
		"limit=2&offset=1":                                               "300 301",
		"offset=4":                                                       "10000",
		"offset=5":                                                       "",
		"limit=0":                                                        "",
		"limit=-1":                                                       "0 300 301 9000 10000",
		"unknown=1":                                                      "0 300 301 9000 10000",
	} {
		r := a.get(t, uri+"packet-count-sent/base?"+query)
		if got := r.times(t); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	// Of a summary the start of a window counts.
	for query, want := range map[string]string{
		"":                               "0 300 9000 9900",
		"time-start=1&time-end=300":      "300",
		"time-start=-600&time-end=-1":    "-600 -300",
		"time-start=9900":                "9900 13500",
		"time-start=301&time-range=8699": "9000",
	} {
		if got := a.get(t, uri+"packet-count-sent/aggregations/300?"+query).times(t); got != want {
			t.Errorf("aggregations, %s: %q, want %q", query, got, want)
		}
	}
	for query, want := range map[string]string{
		"limit=x":                 "Parameter limit must be an integer",
		"offset=x":                "Parameter offset must be an integer",
		"time=x":                  "Time parameter must be an integer",
		"time-start=2&time-end=1": "Requested start time must be less than end time",
	} {
		a.get(t, uri+"packet-count-sent/base?"+query).want(t, http.StatusBadRequest, want)
	}
	for path, want := range map[string]string{
		"packet-count-sent/aggregations/600":  "[]", // not registered
		"packet-count-sent/averages/300":      "[]",
		"packet-count-sent/statistics/0":      "[]",
		"packet-count-sent/aggregations/-300": "[]",
		"packet-count-sent/base/300":          "[]",
		"path-mtu/base":                       "[]",
		"path-mtu":                            "[]",
	} {
		a.get(t, uri+path).is(t, want)
	}
	a.get(t, uri+"packet-count-sent/averages").want(t, http.StatusNotFound, "Not found.")
	a.get(t, uri+"packet-count-sent/base/x").want(t, http.StatusBadRequest, "Summary window parameter must be an integer")
	a.get(t, uri+"no-such/base").want(t, http.StatusBadRequest, "Unsupported event type 'no-such' provided")
	a.get(t, uri+"packet-count-sent/aggregation/300").want(t, http.StatusBadRequest, "Invalid summary type 'aggregation'")
}

// manyPoints writes so many points of a second each, from 0 on.
func (a *archive) manyPoints(t testing.TB, uri string, n int) {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"ts":%d,"val":[{"event-type":"histogram-owdelay","val":{"34.30":%d,"34.40":7}}]}`, i, i+1)
	}
	a.do(t, http.MethodPut, uri, `{"data":[`+b.String()[1:]+`]}`, a.token()...).want(t, http.StatusCreated, "")
}

// A series has pages of 1500 points, unless a client says otherwise, and a header
// says where the others are.
func TestPagesOfPoints(t *testing.T) {
	t.Parallel()
	const n = 3200
	a := newArchive(t, n)
	uri := a.register(t, registration)
	a.manyPoints(t, uri, n)
	path := uri + "histogram-owdelay/base"
	const host = "http://example.com"
	var got []any
	for i, c := range []struct{ url, link string }{
		{path, "<" + host + path + `?limit=1500&offset=1500>; rel="next"`},
		{path + "?limit=1500&offset=1500", "<" + host + path + `?limit=1500&offset=3000>; rel="next", <` + host + path + `?limit=1500>; rel="prev"`},
		{path + "?limit=1500&offset=3000", "<" + host + path + `?limit=1500&offset=1500>; rel="prev"`},
	} {
		r := a.get(t, c.url)
		if link := r.Header.Get("Link"); link != c.link {
			t.Errorf("page %d: Link is %s, want %s", i, link, c.link)
		}
		got = append(got, r.list(t)...)
	}
	for i, p := range got {
		if at := p.(map[string]any)["ts"].(float64); at != float64(i) {
			t.Fatalf("point %d is of %v", i, at)
		}
	}
	all := a.get(t, path+"?limit=1000000")
	if len(got) != n || len(all.list(t)) != n || all.Header.Get("Link") != "" {
		t.Errorf("%d and %d points, want %d", len(got), len(all.list(t)), n)
	}
	if all.Header.Get("Content-Length") != "" {
		t.Error("an answer that is sent as it comes has a length")
	}
	// As esmond_client reads: from behind the last one, until a page is short.
	read, from := 0, 0
	for {
		page := a.get(t, fmt.Sprintf("%s?time-start=%d&limit=1000", path, from)).list(t)
		read += len(page)
		if len(page) < 1000 {
			break
		}
		from = int(page[len(page)-1].(map[string]any)["ts"].(float64)) + 1
	}
	if read != n {
		t.Errorf("read %d points, want %d", read, n)
	}
}

// Answers are compressed for who takes that, have a length if they are short, and
// HEAD has the headers of GET.
func TestAnswers(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 5000)
	uri := a.register(t, registration)
	a.manyPoints(t, uri, 1600)
	long, short := uri+"histogram-owdelay/base?limit=1600", uri+"histogram-owdelay/base?limit=1"
	middle := uri + "histogram-owdelay/base?limit=100"
	for _, c := range []struct {
		url, accept string
		zipped      bool
		length      bool
	}{
		{long, "", false, false},
		{long, "gzip", true, false},
		{long, "deflate, gzip;q=0.5, br", true, false},
		{long, "gzip;q=0", false, false},
		{long, "identity", false, false},
		{middle, "GZIP", true, false},
		{middle, "", false, true},
		{short, "gzip", false, true}, // not worth it
		{uri, "gzip", true, false},
	} {
		plain := a.get(t, c.url)
		r := a.get(t, c.url, "Accept-Encoding", c.accept)
		head := a.do(t, http.MethodHead, c.url, "", "Accept-Encoding", c.accept)
		if (r.Header.Get("Content-Encoding") == "gzip") != c.zipped || (r.Header.Get("Content-Length") != "") != c.length {
			t.Errorf("%s, %q: %v", c.url, c.accept, r.Header)
		}
		if r.Header.Get("Content-Type") != typeJSON || r.Header.Get("Vary") != "Accept, Accept-Encoding" {
			t.Errorf("%s, %q: %v", c.url, c.accept, r.Header)
		}
		body := r.body
		if c.zipped {
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(body, plain.body) {
			t.Errorf("%s, %q: %d octets that are not those of the plain answer", c.url, c.accept, len(body))
		}
		if c.length && r.Header.Get("Content-Length") != strconv.Itoa(len(body)) {
			t.Errorf("%s: length %s, want %d", c.url, r.Header.Get("Content-Length"), len(body))
		}
		for name := range r.Header {
			if head.Header.Get(name) != r.Header.Get(name) {
				t.Errorf("HEAD %s, %q: %s is %q, want %q", c.url, c.accept, name, head.Header.Get(name), r.Header.Get(name))
			}
		}
		if head.StatusCode != r.StatusCode || len(head.body) > 0 {
			t.Errorf("HEAD %s: %d with %d octets", c.url, head.StatusCode, len(head.body))
		}
	}
	// No more are compressed at once than there may be; the others go as they are.
	h := a.handler.(*handler)
	for range compressors {
		<-h.compressors
	}
	if r := a.get(t, long, "Accept-Encoding", "gzip"); r.Header.Get("Content-Encoding") != "" || len(r.list(t)) != 1600 {
		t.Error("one more is compressed than there may be")
	}
}

// The parameter format, else the header Accept, says in which form.
func TestNegotiation(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 5000)
	uri := a.register(t, registration)
	series := uri + "failures/base"
	const notAcceptable = "Could not satisfy the request Accept header."
	for _, c := range []struct {
		url, accept string
		status      int
		media       string
	}{
		{uri, "", 200, typeJSON},
		{uri, "*/*", 200, typeJSON},
		{uri, "application/*", 200, typeJSON},
		{uri, "application/json; indent=4", 200, typeJSON},
		{uri, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 200, typeJSON}, // a browser
		{uri, "text/html", 406, typeJSON},
		{uri, "text/csv", 406, typeJSON},
		{uri, "application/json;q=0", 406, typeJSON},
		{uri + "?format=json", "text/html", 200, typeJSON},
		{uri + "?format=api", "", 404, typeJSON},
		{uri + "?format=csv", "", 404, typeJSON},
		{prefix + "?format=csv", "", 404, typeJSON},
		{series, "text/csv", 200, typeCSV},
		{series, "text/csv, */*", 200, typeCSV},
		{series, "text/csv;q=0.4, application/json;q=0.5", 200, typeJSON},
		{series, "application/json, text/csv", 200, typeJSON},
		{series + "?format=csv", "application/json", 200, typeCSV},
		{series + "?format=json", "text/csv", 200, typeJSON},
		{series + "?format=xml", "", 404, typeJSON},
		{uri + "histogram-owdelay/statistics", "", 200, typeJSON},
		{uri + "histogram-owdelay/statistics?format=csv", "", 404, typeJSON}, // which windows there are is no series
	} {
		r := a.get(t, c.url, "Accept", c.accept)
		if r.StatusCode != c.status || r.Header.Get("Content-Type") != c.media {
			t.Errorf("%s, %q: %d %s, want %d %s", c.url, c.accept, r.StatusCode, r.Header.Get("Content-Type"), c.status, c.media)
		}
		if c.status == 406 {
			r.want(t, http.StatusNotAcceptable, notAcceptable)
		}
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 5000)
	uri := a.register(t, registration)
	a.do(t, http.MethodPut, uri, `{"data": [
		{"ts": 300, "val": [{"event-type": "packet-count-sent", "val": 600}, {"event-type": "packet-loss-rate", "val": {"numerator": 1, "denominator": 4}},
			{"event-type": "histogram-owdelay", "val": {"34.30": 3, "-0.05": 1}}, {"event-type": "failures", "val": {"error": "a, \"b\""}}]},
		{"ts": 360, "val": [{"event-type": "packet-count-sent", "val": 600}, {"event-type": "failures", "val": "=1+1"},
			{"event-type": "histogram-owdelay", "val": {"=1+1": 1, "34.30": 1}}]}]}`, a.token()...).want(t, http.StatusCreated, "")
	const statistics = "ts,mode,mean,minimum,maximum,percentile-25,median,percentile-75,percentile-95,variance,standard-deviation\r\n"
	for path, want := range map[string]string{
		"packet-count-sent/base":             "ts,val\r\n300,600.0\r\n360,600.0\r\n",
		"packet-count-sent/aggregations/300": "ts,val\r\n300,1200.0\r\n",
		"packet-loss-rate/base":              "ts,val\r\n300,0.25\r\n",
		"histogram-owdelay/base":             "ts,bin,count\r\n300,34.30,3\r\n300,-0.05,1\r\n360,\"\"\"=1+1\"\"\",1\r\n360,34.30,1\r\n",
		"failures/base":                      "ts,val\r\n300,\"{\"\"error\"\":\"\"a, \\\"\"b\\\"\"\"\"}\"\r\n360,\"\"\"=1+1\"\"\"\r\n",
		"histogram-owdelay/statistics/0":     statistics + "300,34.3,25.7125,-0.05,34.3,8.5375,34.3,34.3,34.3,221.23546875,14.8739863099976\r\n360,,,,,,,,,,\r\n",
		"path-mtu/base":                      "ts,val\r\n",
		"histogram-owdelay/aggregations/300": "ts,bin,count\r\n300,-0.05,1\r\n300,34.30,4\r\n300,\"\"\"=1+1\"\"\",1\r\n",
	} {
		r := a.get(t, uri+path+"?format=csv")
		got := string(r.body)
		if strings.HasSuffix(path, "statistics/0") { // sums of floating point numbers
			got, want = rounded(t, got), rounded(t, want)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		if rows, err := csv.NewReader(bytes.NewReader(r.body)).ReadAll(); err != nil || len(rows) != bytes.Count(r.body, []byte("\r\n")) {
			t.Errorf("%s: %d rows, %v", path, len(rows), err)
		}
	}
	// All of it, unless there is a limit.
	a.manyPoints(t, uri, 1600)
	for query, n := range map[string]int{"": 2*1600 + 1, "&limit=10": 2*10 + 1, "&limit=0": 1, "&limit=10&offset=1595": 2*5 + 1} {
		if got := bytes.Count(a.get(t, uri+"histogram-owdelay/base?format=csv"+query).body, []byte("\r\n")); got != n {
			t.Errorf("%s: %d lines, want %d", query, got, n)
		}
	}
	for _, query := range []string{"format=csv&offset=10", "limit=0&offset=10"} { // there are no pages
		if link := a.get(t, uri+"histogram-owdelay/base?"+query).Header.Get("Link"); link != "" {
			t.Errorf("%s: Link is %s", query, link)
		}
	}
}

// rounded returns CSV with numbers of ten digits.
func rounded(t *testing.T, text string) string {
	t.Helper()
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\r' || r == '\n' })
	for i, f := range fields {
		if x, err := strconv.ParseFloat(f, 64); err == nil {
			fields[i] = fmt.Sprintf("%.10g", x)
		}
	}
	return strings.Join(fields, ",")
}
