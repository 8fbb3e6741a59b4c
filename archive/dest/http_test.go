package dest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive"
)

// A sent is a request as a server has it.
type sent struct {
	Method, Path string
	Header       http.Header
	Length       int64 // -1: unknown
	Body         any   // JSON, or text
}

func sentOf(r *http.Request) sent {
	b, _ := io.ReadAll(r.Body)
	s := sent{Method: r.Method, Path: r.URL.RequestURI(), Header: r.Header, Length: r.ContentLength}
	if json.Unmarshal(b, &s.Body) != nil {
		s.Body = string(b)
	}
	return s
}

// recorder is a web server that keeps what it gets, and answers as answer does.
func recorder(t *testing.T, answer http.HandlerFunc) (url string, requests func() []sent) {
	t.Helper()
	var mu sync.Mutex
	var all []sent
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		all = append(all, sentOf(r))
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []sent {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// TestHTTPGolden: requests and outcomes are those of pScheduler's archiver. The
// files are what it has sent and answered, for data that are repeated here.
func TestHTTPGolden(t *testing.T) {
	t.Parallel()
	input, err := os.ReadFile("testdata/result.json")
	if err != nil {
		t.Fatal(err)
	}
	var whole struct{ Result json.RawMessage }
	if err := json.Unmarshal(input, &whole); err != nil {
		t.Fatal(err)
	}
	const policy = `, "retry-policy": [{"attempts": 1, "wait": "PT10S"}]`
	for _, c := range []struct {
		name, data, payload string
		answer              http.HandlerFunc
		tries               int64 // that were made before
	}{
		{name: "http-v1"},
		{name: "http-put", data: `, "op": "put"`},
		{name: "http-v2-headers", data: `, "schema": 2, "_headers": {"Authorization": "mumblemumble", "Content-Type": "application/x-ps", "X-N": 7, "X-Null": null, "X-Empty": ""}`},
		{name: "http-v4", data: `, "schema": 4, "verify-ssl": true, "bind": "127.0.0.1", "timeout": "PT20S"`},
		{name: "http-number", payload: "42"},
		{name: "http-string", payload: `"Ran latencybg with powstream é"`},
		{name: "http-string-ct-null", data: `, "schema": 2, "_headers": {"Content-Type": null}`, payload: `"plain"`},
		{name: "error-301", data: policy, answer: status(301, "")},
		{name: "error-500-retry", data: policy, answer: status(500, `{"detail":"boom"}`)},
		{name: "error-500-exhausted", data: policy, answer: status(500, `{"detail":"boom"}`), tries: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(filepath.Join("testdata/http", c.name+".http"))
			if err != nil {
				t.Fatal(err)
			}
			req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
			if err != nil {
				t.Fatal(err)
			}
			want := sentOf(req)
			if c.answer == nil {
				c.answer = status(200, "")
			}
			url, requests := recorder(t, c.answer)
			d := open(t, "http", fmt.Sprintf(`{"_url": "%s/post/here?x=1"%s}`, url, c.data))
			payload := c.payload
			if payload == "" {
				payload = string(whole.Result)
			}
			got := deliver(t, d, payload)

			all := requests()
			if len(all) != 1 {
				t.Fatalf("%d requests", len(all))
			}
			for _, s := range []*sent{&want, &all[0]} {
				s.Header.Del("User-Agent")
				s.Header.Del("Accept-Encoding")
				s.Header.Del("Content-Length")
				if s.Length <= 0 {
					t.Errorf("length %d", s.Length)
				}
				s.Length = 0 // which depends on how JSON is written
			}
			if id := all[0].Header.Get("Idempotency-Key"); id != testID {
				t.Errorf("the ID is sent as %q", id)
			}
			all[0].Header.Del("Idempotency-Key")
			if diff := cmp.Diff(want, all[0]); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			checkOutcome(t, filepath.Join("testdata/http", c.name+".json"), d, got, c.tries)
		})
	}
}

// checkOutcome holds what came of a delivery against what a plugin has answered.
func checkOutcome(t *testing.T, name string, d archive.Opened, got error, tries int64) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Succeeded bool
		Error     string
		Retry     string
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if want.Succeeded != (got == nil) {
		t.Fatalf("%v, want %s", got, text)
	}
	if got == nil {
		return
	}
	if strings.TrimSpace(strings.ToLower(want.Error)) != strings.TrimSpace(got.Error()) {
		t.Errorf("%q, want %q", got, want.Error)
	}
	wait, again := d.Retry.Wait(tries + 1)
	if again != (want.Retry != "") || again && wait != 10*time.Second {
		t.Errorf("again: %t, after %v, want %q", again, wait, want.Retry)
	}
}

// TestHTTPDocumentedHeaders: headers do what pScheduler's documentation says.
func TestHTTPDocumentedHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		headers, payload string
		kind             []string
		length           int64
		body             any
	}{
		{`{}`, `"a\"b é"`, []string{"text/plain"}, 6, `a"b é`},
		{`{}`, `{"a": 1}`, []string{"application/json"}, 8, map[string]any{"a": 1.0}},
		{`{}`, `null`, []string{"application/json"}, 4, nil},
		{`{"content-type": "application/json"}`, `"ab"`, []string{"application/json"}, 4, "ab"},
		{`{"Content-Type": "text/x-mine; charset=utf-8"}`, `"ab"`, []string{"text/x-mine; charset=utf-8"}, 2, "ab"},
		{`{"Content-Type": null}`, `"ab"`, nil, 2, "ab"},
		{`{"Content-Type": null}`, `{}`, nil, 2, map[string]any{}},
		{`{"Content-Length": null}`, `"ab"`, []string{"text/plain"}, -1, "ab"},
		{`{"X-Number": 1.50, "X-Null": null}`, `"ab"`, []string{"text/plain"}, 2, "ab"},
	} {
		url, requests := recorder(t, status(204, ""))
		d := open(t, "http", fmt.Sprintf(`{"schema": 2, "_url": "%s", "headers": %s}`, url, c.headers))
		if err := deliver(t, d, c.payload); err != nil {
			t.Errorf("%s: %v", c.headers, err)
		}
		got := requests()[0]
		if diff := cmp.Diff(c.kind, got.Header["Content-Type"]); diff != "" || got.Length != c.length || !cmp.Equal(got.Body, c.body) {
			t.Errorf("%s %s: %v, %d octets, %q", c.headers, c.payload, got.Header["Content-Type"], got.Length, got.Body)
		}
		if strings.Contains(c.headers, "X-Number") != (got.Header.Get("X-Number") == "1.50") || got.Header["X-Null"] != nil {
			t.Errorf("%s: %v", c.headers, got.Header)
		}
	}
}

// TestHTTPOutcomes: what is a success, what a failure says, and what it does not.
func TestHTTPOutcomes(t *testing.T) {
	t.Parallel()
	for _, code := range []int{200, 201, 202, 204, 299} {
		url, _ := recorder(t, status(code, ""))
		if err := deliver(t, open(t, "http", fmt.Sprintf(`{"_url": "%s"}`, url)), "1"); err != nil {
			t.Errorf("%d: %v", code, err)
		}
	}
	url, requests := recorder(t, status(404, strings.Repeat("no\n", 100000)))
	err := deliver(t, open(t, "http", fmt.Sprintf(`{"_url": "%s"}`, url)), "1")
	if err == nil || archive.IsFinal(err) || len(err.Error()) > 1000 || strings.Contains(err.Error(), "\n") || len(requests()) != 1 {
		t.Errorf("404: %v", err)
	}

	busy := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "17")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	url, _ = recorder(t, busy)
	err = deliver(t, open(t, "http", fmt.Sprintf(`{"_url": "%s"}`, url)), "1")
	if again, ok := errors.AsType[*archive.AgainError](err); !ok || again.After != 17*time.Second {
		t.Errorf("Retry-After 17: %v", err)
	}
	err = deliver(t, open(t, "http", fmt.Sprintf(`{"_url": "%s", "retry-policy": []}`, url)), "1")
	if _, ok := errors.AsType[*archive.AgainError](err); ok || err == nil {
		t.Errorf("Retry-After against a policy: %v", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	err = deliver(t, open(t, "http", fmt.Sprintf(`{"_url": "http://user:sesame@%s/token-xyz"}`, closed)), "1")
	if err == nil || archive.IsFinal(err) || strings.Contains(err.Error(), "sesame") || strings.Contains(err.Error(), "token-xyz") {
		t.Errorf("nobody there: %v", err)
	}
}

// TestHTTPTimeout: a server that says nothing is not waited for, and neither is
// one whose result is no longer wanted.
func TestHTTPTimeout(t *testing.T) {
	t.Parallel()
	url, _ := recorder(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	err := deliver(t, open(t, "http", fmt.Sprintf(`{"schema": 4, "timeout": "PT0.05S", "_url": "%s"}`, url)), "1")
	if err == nil || archive.IsFinal(err) || !strings.Contains(err.Error(), "failed to post result: ") {
		t.Errorf("timeout: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	err = open(t, "http", fmt.Sprintf(`{"_url": "%s"}`, url)).Deliver(ctx, &archive.Item{Payload: []byte("1")})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("not wanted: %v", err)
	}
}

// TestHTTPConnections: TLS is verified when that is asked for; connections are
// used again, and one that the server has ended is made anew.
func TestHTTPConnections(t *testing.T) {
	t.Parallel()
	var connections, requests atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if user, password, _ := r.BasicAuth(); user != "me" || password != "open sesame" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	url := strings.Replace(s.URL, "https://", "https://me:open%20sesame@", 1)
	d := open(t, "http", fmt.Sprintf(`{"_url": "%s"}`, url))
	for range 5 {
		if err := deliver(t, d, "1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for 5 results", n)
	}
	s.CloseClientConnections()
	if err := deliver(t, d, "1"); err != nil {
		t.Errorf("after the server has ended the connection: %v", err)
	}
	err := deliver(t, open(t, "http", fmt.Sprintf(`{"schema": 3, "verify-ssl": true, "_url": "%s"}`, url)), "1")
	if err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "sesame") {
		t.Errorf("verified: %v", err)
	}
	if n := requests.Load(); n != 6 {
		t.Errorf("%d requests, want 6", n)
	}
}

// TestHTTPBind: requests come from the local address that was given.
func TestHTTPBind(t *testing.T) {
	t.Parallel()
	var from atomic.Value
	url, _ := recorder(t, func(_ http.ResponseWriter, r *http.Request) { from.Store(r.RemoteAddr) })
	if err := deliver(t, open(t, "http", fmt.Sprintf(`{"bind": "127.0.0.5", "_url": "%s"}`, url)), "1"); err != nil {
		t.Fatal(err)
	}
	if a := from.Load().(string); !strings.HasPrefix(a, "127.0.0.5:") {
		t.Errorf("from %s", a)
	}
	err := deliver(t, open(t, "http", fmt.Sprintf(`{"bind": "::1", "_url": "%s"}`, url)), "1")
	if !archive.IsFinal(err) || !strings.Contains(err.Error(), "mismatched socket families") {
		t.Errorf("another family: %v", err)
	}
}
