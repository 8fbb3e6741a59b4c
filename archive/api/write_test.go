package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// points are the body of a bulk request of one event type at some times, with
// values that grow.
func points(event string, times ...int) string {
	var items []string
	for i, at := range times {
		items = append(items, fmt.Sprintf(`{"ts": %d, "val": [{"event-type": %q, "val": %d}]}`, at, event, i))
	}
	return `{"data": [` + strings.Join(items, ", ") + `]}`
}

// Each generation of clients is answered in its own way, by whichever method it
// writes.
func TestGenerations(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 1000)
	uri := a.register(t, registration)
	at := 0
	for _, c := range []struct {
		method, path string
		body         func(at int) string
	}{
		{http.MethodPut, "", func(at int) string { return points("packet-count-sent", at) }},
		{http.MethodPost, "", func(at int) string { return points("packet-count-sent", at) }},
		{http.MethodPost, "packet-count-sent/base", func(at int) string { return fmt.Sprintf(`{"ts": "%d", "val": "7"}`, at) }},
		{http.MethodPost, "packet-count-sent/base/", func(at int) string { return fmt.Sprintf(`{"ts": %d.9, "val": 7}`, at) }},
	} {
		for _, p := range []string{prefix, "/perfsonar/archive/"} {
			url := p + strings.TrimPrefix(uri, prefix) + c.path
			at += 2
			conflict := fmt.Sprintf("Time series value already exists with event type packet-count-sent at time %d", at)
			for range 2 {
				r := a.do(t, c.method, url, c.body(at), a.guide()...)
				if r.StatusCode != http.StatusOK || len(r.body) > 0 || r.Header.Get("Content-Type") != "" || r.Header.Get("Content-Length") != "0" {
					t.Errorf("ApiKey: %d %q %v", r.StatusCode, r.body, r.Header)
				}
			}
			a.do(t, c.method, url, c.body(at), a.token()...).want(t, http.StatusConflict, conflict)
			r := a.do(t, c.method, url, c.body(at+1), a.token()...)
			if r.StatusCode != http.StatusCreated || string(r.body) != `""` || r.Header.Get("Content-Type") != typeJSON || r.Header.Get("Content-Length") != "2" {
				t.Errorf("Token: %d %q %v", r.StatusCode, r.body, r.Header)
			}
		}
	}
	if n := len(a.get(t, uri+"packet-count-sent/base").list(t)); n != at {
		t.Errorf("%d points, want %d", n, at)
	}
}

// What is refused changes nothing.
func testAllOrNothing(t *testing.T, address string) {
	a := openArchive(t, address, 5000)
	uri := a.register(t, registration)
	put := func(body string, headers []string) *reply { return a.do(t, http.MethodPut, uri, body, headers...) }
	put(`{"data": [{"ts": 300, "val": [{"event-type": "packet-count-sent", "val": 10}, {"event-type": "histogram-owdelay", "val": {"1.0": 10}}]}]}`, a.token()).want(t, http.StatusCreated, "")
	state := func() string {
		var all []string
		for _, path := range []string{"", "packet-count-sent/base", "packet-count-sent/aggregations/300", "histogram-owdelay/base", "histogram-owdelay/aggregations/300", "failures/base"} {
			all = append(all, string(a.get(t, uri+path).body))
		}
		return strings.Join(all, "\n")
	}
	before := state()
	a.now++ // so that a write would show in time-updated
	for name, body := range map[string]string{
		"conflict at the end":            `{"data": [{"ts": 301, "val": [{"event-type": "histogram-owdelay", "val": {"1.0": 1}}]}, {"ts": 300, "val": [{"event-type": "packet-count-sent", "val": 11}]}]}`,
		"wrong at the end":               `{"data": [{"ts": 301, "val": [{"event-type": "failures", "val": 1}]}, {"ts": 302, "val": [{"event-type": "packet-count-sent", "val": "x"}]}]}`,
		"unknown at the end":             `{"data": [{"ts": 301, "val": [{"event-type": "failures", "val": 1}, {"event-type": "x", "val": 1}]}]}`,
		"cut off":                        `{"data": [{"ts": 301, "val": [{"event-type": "failures", "val": 1}]}`,
		"histogram replaced, number not": `{"data": [{"ts": 300, "val": [{"event-type": "histogram-owdelay", "val": {"9.0": 9}}, {"event-type": "packet-count-sent", "val": 11}]}]}`,
	} {
		for _, who := range [][]string{a.token(), a.guide()} {
			if r := put(body, who); r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusConflict {
				t.Errorf("%s: status %d", name, r.StatusCode)
			}
			if after := state(); after != before {
				t.Errorf("%s: it is\n%s\nwant\n%s", name, after, before)
			}
		}
	}
	// The same again, as a client sends whose answer was lost.
	same := `{"data": [{"ts": 300, "val": [{"event-type": "histogram-owdelay", "val": {"1.0": 10}}, {"event-type": "packet-count-sent", "val": 10}]}]}`
	put(same, a.token()).want(t, http.StatusConflict, "Time series value already exists with event type packet-count-sent at time 300")
	put(same, a.guide()).want(t, http.StatusOK, "")
	if after := state(); after != before {
		t.Errorf("again: it is\n%s\nwant\n%s", after, before)
	}
	// A histogram takes the place of the one that is there.
	put(`{"data": [{"ts": 300, "val": [{"event-type": "histogram-owdelay", "val": {"2.0": 4}}]}]}`, a.token()).want(t, http.StatusCreated, "")
	a.get(t, uri+"histogram-owdelay/aggregations/300").is(t, `[{"ts": 300, "val": {"2.0": 4}}]`)
}

// Two values of one second in one body.
func testTwice(t *testing.T, address string) {
	a := openArchive(t, address, 5000)
	uri := a.register(t, registration)
	numbers := `{"data": [{"ts": 300, "val": [{"event-type": "packet-count-sent", "val": 1}, {"event-type": "packet-count-sent", "val": 2}]}]}`
	histograms := `{"data": [{"ts": 300, "val": [{"event-type": "histogram-owdelay", "val": {"1": 1}}]}, {"ts": 300, "val": [{"event-type": "histogram-owdelay", "val": {"2": 2}}]}]}`
	a.do(t, http.MethodPut, uri, numbers, a.token()...).want(t, http.StatusConflict, "Time series value already exists with event type packet-count-sent at time 300")
	a.do(t, http.MethodPut, uri, histograms, a.token()...).want(t, http.StatusCreated, "")
	a.do(t, http.MethodPut, uri, numbers, a.guide()...).want(t, http.StatusOK, "")
	for path, want := range map[string]string{
		"packet-count-sent/aggregations/300": `[{"ts":300,"val":2.0}]`,
		"histogram-owdelay/aggregations/300": `[{"ts":300,"val":{"2":2}}]`,
	} {
		a.get(t, uri+path).is(t, want)
	}
}

// An event type that the measurement does not have is refused, unless there are
// others; which it was is said.
func testUnregistered(t *testing.T, address string) {
	a := openArchive(t, address, 5000)
	uri := a.register(t, registration)
	key := strings.Trim(strings.TrimPrefix(uri, prefix), "/")
	both := `{"data": [{"ts": 1, "val": [{"event-type": "path-mtu", "val": 1}, {"event-type": "failures", "val": 1}, {"event-type": "rusage", "val": 1}]}]}`
	r := a.do(t, http.MethodPut, uri, both, a.token()...)
	r.want(t, http.StatusCreated, "")
	if got := r.Header.Get("Warning"); got != `299 owl "not registered, and not written: path-mtu rusage"` {
		t.Errorf("Warning is %s", got)
	}
	if n := len(a.get(t, uri+"failures/base").list(t)); n != 1 {
		t.Errorf("%d failures, want 1", n)
	}
	want := "Event type path-mtu is not registered for metadata-key " + key
	a.do(t, http.MethodPut, uri, points("path-mtu", 1), a.token()...).want(t, http.StatusBadRequest, want)
	a.do(t, http.MethodPost, uri+"path-mtu/base", `{"ts": 1, "val": 1}`, a.guide()...).want(t, http.StatusBadRequest, want)
	for _, path := range []string{prefix + "00000000000000000000000000000000/", prefix + "x/"} {
		a.do(t, http.MethodPut, path, points("path-mtu", 1), a.token()...).want(t, http.StatusNotFound, "Not found.")
		a.do(t, http.MethodPost, path+"failures/base", `{"ts": 1, "val": 1}`, a.token()...).want(t, http.StatusNotFound, "Not found.")
	}
}

// What the transcript does not have of what can be wrong with a write.
func TestBadWrites(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 5000)
	uri := a.register(t, registration)
	const decoded = "POST data payload could not be decoded to a JSON object - given: b"
	for body, want := range map[string]string{
		`[]`:             "Request must contain 'data' element",
		`7`:              "Request must contain 'data' element",
		`{"DATA": []}`:   "Request must contain 'data' element",
		`{"data": null}`: "The 'data' element must be an array",
		`{"data": [7]}`:  "Missing ts field in provided data list at position 1",
		`{"data": [{"ts": 1, "val": []}, {"TS": 1, "val": []}]}`:                  "Missing ts field in provided data list at position 2",
		`{"data": [{"ts": 1, "val": [7]}]}`:                                       "Missing event-type field at data item 1 in value 1 ",
		`{"data": [{"ts": 1, "val": [{"event-type": 7, "val": 1}]}]}`:             "Field event-type must be a text at data item 1 in value 1",
		`{"data": [{"ts": null, "val": [{"event-type": "failures", "val": 1}]}]}`: "Time must be a unix timestamp",
		`{"data": [{"ts": 1e30, "val": [{"event-type": "failures", "val": 1}]}]}`: "Time must be a unix timestamp",
		`{"data": [{"ts": [1], "val": [{"event-type": "failures", "val": 1}]}]}`:  "Time must be a unix timestamp",
		`{"data": []} x`:        decoded + `'{"data": []} x'`,
		"{\"data\": \"\xff\"}":  decoded + `'{"data": "\xff"}'`,
		`{'data': 1}`:           decoded + `'{'data': 1}'`,
		strings.Repeat("[", 99): decoded + `'` + strings.Repeat("[", 64) + `'`,
	} {
		a.do(t, http.MethodPut, uri, body, a.token()...).want(t, http.StatusBadRequest, want)
	}
	for contentType, status := range map[string]int{
		"application/json": 201, "application/json; charset=utf-8": 201, "APPLICATION/JSON": 201,
		"": 400, "text/json": 400, "application/jsonx": 400, "application/json; =": 400,
	} {
		r := a.do(t, http.MethodPut, uri, `{"data": []}`, "Authorization", "Token "+a.secret, "Content-Type", contentType)
		if r.StatusCode != status {
			t.Errorf("%q: status %d, want %d", contentType, r.StatusCode, status)
		}
	}
	a.do(t, http.MethodPost, prefix, registration, "Authorization", "Token "+a.secret, "Content-Type", "text/plain").
		want(t, http.StatusUnsupportedMediaType, `Unsupported media type "text/plain" in request.`)
	a.do(t, http.MethodPost, prefix, `{"subject-type": "point-to-point", "event-types": [], "source": "x", "destination": "10.1.1.2", "measurement-agent": "10.1.1.1", "tool-name": "", "input-source": "", "input-destination": ""}`, a.token()...).
		want(t, http.StatusBadRequest, "The value of source must be an IP address: x")
	for _, name := range []string{"metadata-key", "metadata_key", "event_types", "subject_type", "uri", "url"} {
		a.do(t, http.MethodPost, prefix, between("192.0.2.1", "192.0.2.2", `, "`+name+`": "x"`), a.token()...).
			want(t, http.StatusBadRequest, strings.ReplaceAll(name, "_", "-")+" is not allowed to be specified")
	}
	a.do(t, http.MethodPost, uri+"x-y/base", `{"ts": 1, "val": 1}`, a.token()...).want(t, http.StatusBadRequest, "Invalid event type x-y")
	a.do(t, http.MethodPost, uri+"failures", "x", a.token()...).want(t, http.StatusBadRequest, decoded+"'x'")
	if r := a.do(t, http.MethodPost, uri+"failures/base/0", `{"ts": 1, "val": 1}`, a.token()...); r.StatusCode != http.StatusCreated {
		t.Errorf("base with a window, as esmond takes it: %d %s", r.StatusCode, r.body)
	}
}

func TestAuthorization(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 5000, func(o *Options) {
		o.AllowWrite = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/64")}
	})
	uri := a.register(t, registration)
	const missing = "Authentication credentials were not provided."
	for _, c := range []struct {
		authorization string
		write, read   int
		detail        string
		scheme        string
	}{
		{"", 401, 200, missing, "Token"},
		{"Token " + a.secret, 201, 200, "", ""},
		{"token  " + a.secret + " ", 201, 200, "", ""},
		{"Token " + strings.ToUpper(a.secret) + "x", 401, 401, "Invalid token.", "Token"},
		{"Token", 401, 401, "Invalid token.", "Token"},
		{"Token " + strings.Repeat("0", 5000), 401, 401, "Invalid token.", "Token"},
		{"ApiKey perfsonar:" + a.secret, 200, 200, "", ""},
		{"ApiKey a:b:" + a.secret, 200, 200, "", ""},
		{"apikey " + a.secret, 200, 200, "", ""},
		{"ApiKey perfsonar:x", 401, 401, "Invalid API key.", "ApiKey"},
		{"ApiKey perfsonar:", 401, 401, "Invalid API key.", "ApiKey"},
		{"Basic eDp5", 401, 200, missing, "Token"}, // a proxy's
		{a.secret, 401, 200, missing, "Token"},
	} {
		for method, status := range map[string]int{http.MethodPut: c.write, http.MethodGet: c.read} {
			r := a.do(t, method, uri, `{"data": []}`, "Authorization", c.authorization, "Content-Type", "application/json")
			if r.StatusCode != status {
				t.Errorf("%s with %.30q: status %d, want %d", method, c.authorization, r.StatusCode, status)
			}
			if r.StatusCode == http.StatusUnauthorized {
				r.want(t, http.StatusUnauthorized, c.detail)
				if got := r.Header.Get("WWW-Authenticate"); got != c.scheme {
					t.Errorf("%s with %.30q: WWW-Authenticate is %s", method, c.authorization, got)
				}
			}
		}
	}
	for remote, status := range map[string]int{
		"198.51.100.7:1": 201, "[::ffff:198.51.100.7]:1": 201, "[2001:db8::7%eth0]:1": 201,
		"198.51.101.7:1": 401, "[2001:db8:0:1::7]:1": 401, "@": 401, "": 401,
	} {
		for _, claim := range []string{"", "198.51.100.7"} {
			r := httptest.NewRequest(http.MethodPut, uri, strings.NewReader(`{"data": []}`))
			r.RemoteAddr = remote
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Forwarded-For", claim)
			w := httptest.NewRecorder()
			if a.handler.ServeHTTP(w, r); w.Code != status {
				t.Errorf("from %s, %q: status %d, want %d", remote, claim, w.Code, status)
			}
		}
	}
	r := httptest.NewRequest(http.MethodPut, uri, strings.NewReader(`{"data": []}`))
	r.RemoteAddr = "198.51.100.7:1"
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", "https://evil.example.net")
	w := httptest.NewRecorder()
	if a.handler.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
		t.Errorf("from a page in a browser: status %d, want %d", w.Code, http.StatusUnauthorized)
	}
	if err := a.store.RevokeKey(t.Context(), "tests"); err != nil {
		t.Fatal(err)
	}
	a.get(t, uri, "Authorization", "Token "+a.secret).want(t, http.StatusUnauthorized, "Invalid token.")
}

// Who may write, and uses a method that there is not, is told which there are;
// who may not write is told that first, as by esmond.
func TestMethods(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 5000)
	uri := a.register(t, registration)
	for _, c := range []struct{ path, allow string }{
		{"/esmond/perfsonar/", "GET, HEAD, OPTIONS"},
		{prefix, "GET, POST, HEAD, OPTIONS"},
		{uri, "GET, PUT, POST, HEAD, OPTIONS"},
		{uri + "failures", "GET, POST, HEAD, OPTIONS"},
		{uri + "failures/", "GET, POST, HEAD, OPTIONS"},
		{uri + "failures/base", "GET, POST, HEAD, OPTIONS"},
		{uri + "histogram-owdelay/statistics", "GET, POST, HEAD, OPTIONS"},
		{uri + "histogram-owdelay/statistics/0/", "GET, POST, HEAD, OPTIONS"},
		{"/openapi.json", "GET, HEAD, OPTIONS"},
	} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "X"} {
			there := strings.Contains(c.allow, method)
			r := a.do(t, method, c.path, "", "Authorization", "Token "+a.secret)
			if got := r.Header.Get("Allow"); got != c.allow {
				t.Errorf("%s %s: Allow is %s, want %s", method, c.path, got, c.allow)
			}
			if there == (r.StatusCode == http.StatusMethodNotAllowed) {
				t.Errorf("%s %s: status %d", method, c.path, r.StatusCode)
			}
			if !there {
				r.want(t, http.StatusMethodNotAllowed, fmt.Sprintf("Method %q not allowed.", method))
				a.do(t, method, c.path, "").want(t, http.StatusUnauthorized, "Authentication credentials were not provided.")
			}
			if method == "OPTIONS" && r.StatusCode != http.StatusOK {
				t.Errorf("OPTIONS %s: status %d", c.path, r.StatusCode)
			}
		}
	}
	for _, path := range []string{"/", "/esmond", "/esmond/", "/x", prefix + "/", prefix + "a/b/c/d/e", prefix + "a b/", prefix + "%ff/", uri + "failures//base",
		"/esmond/perfsonar/archiver/", prefix + strings.Repeat("x", 256) + "/"} {
		a.get(t, strings.ReplaceAll(path, " ", "%20")).want(t, http.StatusNotFound, "Not found.")
	}
	for path, to := range map[string]string{
		"/esmond/perfsonar": "/esmond/perfsonar/", "/perfsonar/archive?limit=1": "/perfsonar/archive/?limit=1", strings.TrimSuffix(uri, "/") + "?": uri + "?",
	} {
		r := a.get(t, path)
		if r.StatusCode != http.StatusMovedPermanently || r.Header.Get("Location") != to || len(r.body) > 0 {
			t.Errorf("%s: %d to %q, want %s", path, r.StatusCode, r.Header.Get("Location"), to)
		}
	}
}
