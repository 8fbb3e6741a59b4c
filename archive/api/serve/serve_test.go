package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"owl/internal/bubble"
)

// ask has s answer a request.
func ask(s *Server, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestRoutes(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "rest ", r.URL.Path) }, Options{
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metrics") }),
	})
	for path, want := range map[string]string{
		"/esmond/perfsonar/archive/":     "rest /esmond/perfsonar/archive/",
		"/esmond/perfsonar/archive/KEY/": "rest /esmond/perfsonar/archive/KEY/",
		"/perfsonar/archive":             "rest /perfsonar/archive",
		"/esmond":                        "rest /esmond",
		"/openapi.json":                  "rest /openapi.json",
		"/":                              "page",
		"/api/grid":                      "page",
		"/api/live":                      "page",
		"/esmondo":                       "page",
		"/metrics":                       "metrics",
		"/healthz":                       "ok\n",
		"/readyz":                        "ok\n",
	} {
		if w := ask(s, httptest.NewRequest(http.MethodGet, path, nil)); w.Body.String() != want || w.Code != http.StatusOK {
			t.Errorf("%s: %d %q, want %q", path, w.Code, w.Body, want)
		}
	}
}

// TestReady: whether the archive is well is asked of it, not with each request;
// what is wrong with it, its log says and not its answer.
func TestReady(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		asked := 0
		var state error
		check := func(ctx context.Context) error {
			asked++
			if errors.Is(state, context.DeadlineExceeded) {
				<-ctx.Done()
			}
			return state
		}
		nothing := http.NotFoundHandler()
		s, err := newServer(nothing, nothing, check, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		look := func(code int) {
			t.Helper()
			for range 10 {
				w := ask(s, httptest.NewRequest(http.MethodGet, "/readyz", nil))
				if w.Code != code || strings.Contains(w.Body.String(), "sesame") {
					t.Errorf("%d %s, want %d", w.Code, w.Body, code)
				}
			}
			time.Sleep(readyAge)
		}
		look(http.StatusOK)
		state = errors.New("no database at sesame")
		look(http.StatusServiceUnavailable)
		state = context.DeadlineExceeded
		look(http.StatusServiceUnavailable)
		state = nil
		look(http.StatusOK)
		if asked != 4 {
			t.Errorf("it was asked %d times, want 4", asked)
		}
		if n := strings.Count(log.String(), "the archive is not ready: no database at sesame"); n != 1 {
			t.Errorf("%d lines, want 1\n%s", n, &log)
		}
	})
}

// TestAccessLog: a line for each request, whoever sends it and whatever becomes of
// it, with nothing secret in it.
func TestAccessLog(t *testing.T) {
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "whole/"):
			panic("a mistake")
		case strings.HasSuffix(r.URL.Path, "half/"):
			io.WriteString(w, "half an answer")
			panic("a mistake")
		}
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `""`)
	}, Options{
		Access: slog.New(slog.NewJSONHandler(&log, nil)), Registry: reg,
		Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	})
	type line struct {
		ID, Client, Method, Target string
		Code, Octets               int
	}
	for _, c := range []struct {
		name             string
		request          *http.Request
		from, to, agent  string
		id, forwardedFor string
		want             line
		aborted          bool
	}{
		{name: "as it is", request: httptest.NewRequest(http.MethodPut, "/esmond/perfsonar/archive/KEY/?a=b", strings.NewReader("sesame")), from: "198.51.100.1:99",
			want: line{Client: "198.51.100.1", Method: "PUT", Target: "/esmond/perfsonar/archive/KEY/?a=b", Code: 201, Octets: 2}},
		{name: "by a proxy", request: httptest.NewRequest(http.MethodPut, "/perfsonar/archive/KEY/", nil), from: "192.0.2.1:99", id: "abc-1", forwardedFor: "203.0.113.9, 198.51.100.7",
			want: line{ID: "abc-1", Client: "198.51.100.7", Method: "PUT", Target: "/perfsonar/archive/KEY/", Code: 201, Octets: 2}},
		{name: "by who says to be one", request: httptest.NewRequest(http.MethodPut, "/perfsonar/archive/KEY/", nil), from: "[2001:db8::1]:99", id: "abc-1", forwardedFor: "198.51.100.7",
			want: line{Client: "2001:db8::1", Method: "PUT", Target: "/perfsonar/archive/KEY/", Code: 201, Octets: 2}},
		{name: "a proxy that says two lines", request: httptest.NewRequest(http.MethodPut, "/perfsonar/archive/KEY/", nil), from: "192.0.2.1:99", id: "abc\nid=1",
			want: line{Client: "192.0.2.1", Method: "PUT", Target: "/perfsonar/archive/KEY/", Code: 201, Octets: 2}},
		{name: "long", request: httptest.NewRequest(http.MethodGet, "/perfsonar/archive/?q="+strings.Repeat("é", 4000), nil), from: "198.51.100.1:99",
			want: line{Client: "198.51.100.1", Method: "GET", Target: "/perfsonar/archive/?q=" + strings.Repeat("é", 501) + "…", Code: 201, Octets: 2}},
		{name: "the head alone", request: httptest.NewRequest(http.MethodHead, "/perfsonar/archive/", nil), from: "198.51.100.1:99",
			want: line{Client: "198.51.100.1", Method: "HEAD", Target: "/perfsonar/archive/", Code: 201}},
		{name: "the page", request: httptest.NewRequest(http.MethodGet, "/", nil), from: "198.51.100.1:99",
			want: line{Client: "198.51.100.1", Method: "GET", Target: "/", Code: 200, Octets: 4}},
		{name: "a mistake", request: httptest.NewRequest(http.MethodGet, "/esmond/whole/", nil), from: "198.51.100.1:99",
			want: line{Client: "198.51.100.1", Method: "GET", Target: "/esmond/whole/", Code: 500, Octets: 99}},
		{name: "half an answer", request: httptest.NewRequest(http.MethodGet, "/esmond/half/", nil), from: "198.51.100.1:99", aborted: true,
			want: line{Client: "198.51.100.1", Method: "GET", Target: "/esmond/half/", Code: gone, Octets: 14}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log.Reset()
			r := c.request
			r.RemoteAddr = c.from
			r.Header.Set("Authorization", "Token sesame")
			for name, value := range map[string]string{"X-Request-Id": c.id, "X-Forwarded-For": c.forwardedFor} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			var w *httptest.ResponseRecorder
			func() {
				defer func() {
					if got := recover(); aborts(got) != c.aborted {
						t.Errorf("it has ended with %v", got)
					}
				}()
				w = ask(s, r)
			}()
			var got line
			if err := json.Unmarshal(log.Bytes(), &got); err != nil {
				t.Fatalf("%v\n%s", err, &log)
			}
			if w != nil && w.Header().Get("X-Request-Id") != got.ID {
				t.Errorf("the answer has the ID %q, the line %q", w.Header().Get("X-Request-Id"), got.ID)
			}
			if c.want.ID == "" && len(got.ID) == 16 {
				got.ID = ""
			}
			if c.want.Code == http.StatusInternalServerError {
				c.want.Octets = got.Octets
				if !json.Valid(w.Body.Bytes()) || !strings.Contains(w.Body.String(), `"error"`) || strings.Contains(w.Body.String(), "a mistake") {
					t.Errorf("the answer is %s", w.Body)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if strings.Contains(log.String(), "sesame") {
				t.Errorf("the line tells the key: %s", &log)
			}
		})
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP owl_store_panics_total Requests that a mistake in the program has ended; the log has each.
# TYPE owl_store_panics_total counter
owl_store_panics_total 2
# HELP owl_store_requests_active Requests that the measurement archive is answering now.
# TYPE owl_store_requests_active gauge
owl_store_requests_active 0
`), "owl_store_panics_total", "owl_store_requests_active"); err != nil {
		t.Error(err)
	}
	if n := testutil.ToFloat64(s.counters.requests.WithLabelValues(routeWrite, "201")); n != 4 {
		t.Errorf("%v requests were counted as writes, want 4", n)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestRouteOf: what is counted as what; whatever a client makes up is something.
func TestRouteOf(t *testing.T) {
	for request, want := range map[string]string{
		"GET /esmond/perfsonar/archive/":                        routeSearch,
		"HEAD /perfsonar/archive/":                              routeSearch,
		"POST /esmond/perfsonar/archive/":                       routeRegister,
		"GET /esmond/perfsonar/archive/KEY/":                    routeMetadata,
		"PUT /esmond/perfsonar/archive/KEY/":                    routeWrite,
		"POST /perfsonar/archive/KEY/throughput/base":           routeWrite,
		"GET /perfsonar/archive/KEY/throughput":                 routeEvent,
		"GET /perfsonar/archive/KEY/throughput/averages/":       routeEvent,
		"GET /perfsonar/archive/KEY/throughput/base/":           routeRead,
		"GET /perfsonar/archive/KEY/throughput/averages/86400/": routeRead,
		"GET /perfsonar/archive/a/b/c/d/e/f":                    routeRead,
		"DELETE /esmond/perfsonar/archive/KEY/":                 routeOther,
		"OPTIONS /esmond/perfsonar/archive/":                    routeOther,
		"GET /esmond/perfsonar/archive":                         routeOther,
		"GET /esmond/":                                          routeOther,
		"GET /openapi.json":                                     routeOther,
		"GET /metrics":                                          routeOther,
		"GET /":                                                 routePage,
		"GET /static/main.js":                                   routePage,
		"POST /":                                                routeOther,
		"GET /api/grid":                                         routeData,
		"GET /api/live":                                         routeLive,
		"M1 /a":                                                 routeOther,
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := routeOf(method, path); got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
}

// TestCORS: which pages may use the REST interface.
func TestCORS(t *testing.T) {
	const page = "https://dashboard.example.net"
	for _, c := range []struct {
		origins                []string
		method, origin, wanted string
		code                   int
		allowed, methods       string
	}{
		{nil, "GET", page, "", 200, "", ""},
		{[]string{page}, "GET", page, "", 200, page, ""},
		{[]string{page}, "GET", "", "", 200, "", ""},
		{[]string{page}, "GET", "https://evil.example.net", "", 200, "", ""},
		{[]string{page}, "OPTIONS", page, "PUT", 204, page, "GET, HEAD, POST, PUT, OPTIONS"},
		{[]string{page}, "OPTIONS", "https://evil.example.net", "PUT", 200, "", ""},
		{[]string{page}, "OPTIONS", page, "", 200, page, ""},
		{[]string{"*"}, "GET", page, "", 200, "*", ""},
		{[]string{"*"}, "OPTIONS", page, "POST", 204, "*", "GET, HEAD, POST, PUT, OPTIONS"},
	} {
		s := server(t, func(http.ResponseWriter, *http.Request) {}, Options{Origins: c.origins})
		r := httptest.NewRequest(c.method, "/esmond/perfsonar/archive/", nil)
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if c.wanted != "" {
			r.Header.Set("Access-Control-Request-Method", c.wanted)
		}
		w := ask(s, r)
		h := w.Header()
		if got := h.Get("Access-Control-Allow-Origin"); w.Code != c.code || got != c.allowed || h.Get("Access-Control-Allow-Methods") != c.methods {
			t.Errorf("%v %s from %s: %d, %v", c.origins, c.method, c.origin, w.Code, h)
		}
		if h.Get("Access-Control-Allow-Credentials") != "" {
			t.Error("credentials are allowed")
		}
	}
	for origin, ok := range map[string]bool{
		"*": true, page: true, "http://localhost:3000": true,
		"": false, "dashboard.example.net": false, page + "/": false, page + "/a": false, "https://*.example.net/": false, "ftp://a": false, "https://": false,
	} {
		if err := CheckOrigin(origin); (err == nil) != ok {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

// TestTurns: so many requests are answered at once, half of them at most for one
// address; the others wait, not for ever.
func TestTurns(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		s := server(t, func(w http.ResponseWriter, _ *http.Request) {
			<-let
			io.WriteString(w, "done")
		}, Options{Requests: 4})
		answers := make(chan string, 100)
		send := func(who string, n int) {
			for range n {
				r := httptest.NewRequest(http.MethodGet, "/esmond/", nil)
				r.RemoteAddr = who
				go func() {
					w := ask(s, r)
					answers <- fmt.Sprint(who, " ", w.Code, " ", w.Header().Get("Retry-After"))
				}()
			}
			time.Sleep(time.Millisecond)
		}
		count := func(n int) map[string]int {
			got := make(map[string]int)
			for range n {
				got[<-answers]++
			}
			return got
		}
		send("192.0.2.1:1", 5)
		send("192.0.2.2:1", 1)
		send("[2001:db8::1]:1", 1)
		send("[2001:db8::2]:1", 1)
		// 192.0.2.1 has two, 192.0.2.2 one, an IPv6 host one; three of the first wait
		// for their own, and one of the last for one of all.
		time.Sleep(patient)
		want := map[string]int{"192.0.2.1:1 503 5": 3, "[2001:db8::2]:1 503 5": 1}
		if d := cmp.Diff(want, count(4)); d != "" {
			t.Errorf("who had no turn: -want +got\n%s", d)
		}
		if w := ask(s, httptest.NewRequest(http.MethodGet, "/healthz", nil)); w.Code != http.StatusOK {
			t.Errorf("its health: %d", w.Code)
		}
		close(let)
		want = map[string]int{"192.0.2.1:1 200 ": 2, "192.0.2.2:1 200 ": 1, "[2001:db8::1]:1 200 ": 1}
		if d := cmp.Diff(want, count(4)); d != "" {
			t.Errorf("who had one: -want +got\n%s", d)
		}
		if len(s.turns.of) != 0 || len(s.turns.all) != 0 {
			t.Errorf("turns are left: %v, %d", s.turns.of, len(s.turns.all))
		}
		if n := testutil.ToFloat64(s.counters.refused); n != 4 {
			t.Errorf("%v were counted as refused, want 4", n)
		}
	})
}

// TestLargeBodies: few of them are taken in at once, and small ones go on.
func TestLargeBodies(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		var now, most atomic.Int64 // which grows by one at a time
		s := server(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.ContentLength < 0 || r.ContentLength >= largeBody {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				<-let
				now.Add(-1)
			}
		}, Options{})
		answers := make(chan int, 100)
		send := func(who string, length int64) {
			r := httptest.NewRequest(http.MethodPut, "/esmond/", strings.NewReader("{}"))
			r.RemoteAddr, r.ContentLength = who, length
			go func() { answers <- ask(s, r).Code }()
		}
		for i := range 10 {
			send(fmt.Sprintf("192.0.2.%d:1", i), []int64{-1, largeBody}[i%2])
			time.Sleep(time.Millisecond)
		}
		send("192.0.2.1:1", largeBody-1)
		if code := <-answers; code != http.StatusOK || now.Load() != largeAtOnce {
			t.Errorf("a small one: %d, beside %d large ones, want %d", code, now.Load(), largeAtOnce)
		}
		time.Sleep(patient / 2)
		close(let)
		for range 10 {
			if code := <-answers; code != http.StatusOK {
				t.Errorf("one that has waited: %d", code)
			}
		}
		if most.Load() != largeAtOnce {
			t.Errorf("%d at once, want %d", most.Load(), largeAtOnce)
		}
	})
}

// TestLargeBodiesOfOne: however many large bodies a host sends, its small requests
// have their turns.
func TestLargeBodiesOfOne(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		s := server(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.ContentLength != 0 {
				<-let
			}
		}, Options{Requests: 8})
		answers := make(chan int, 100)
		send := func(length int64) {
			r := httptest.NewRequest(http.MethodPut, "/esmond/", nil)
			r.ContentLength = length
			go func() { answers <- ask(s, r).Code }()
			time.Sleep(time.Millisecond)
		}
		begun := time.Now()
		for range 10 {
			send(-1)
		}
		send(0)
		if code := <-answers; code != http.StatusOK || time.Since(begun) > patient/2 {
			t.Errorf("a small one: %d after %v", code, time.Since(begun))
		}
		for i := range 10 {
			want := http.StatusServiceUnavailable
			if i == 8 { // those that have no turn are gone
				close(let)
			}
			if i >= 8 {
				want = http.StatusOK
			}
			if code := <-answers; code != want {
				t.Errorf("large one %d: %d, want %d", i, code, want)
			}
		}
	})
}

// TestDrain: at the end what is being answered is answered, who is told what
// happens is told no more, and nobody else is let in.
func TestDrain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s, err := newServer(
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(drainTime / 2)
				fmt.Fprint(w, r.Context().Err())
			}),
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "live ")
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
				io.WriteString(w, "ends")
			}),
			func(context.Context) error { return nil }, Options{})
		if err != nil {
			t.Fatal(err)
		}
		p, end := running(t, s)
		bodies := make(chan string, 2)
		for _, path := range []string{"/esmond/perfsonar/archive/", "/api/live"} {
			conn := p.dial(t, "192.0.2.1")
			go func() {
				body, err := io.ReadAll(get(t, conn, path).Body)
				bodies <- fmt.Sprint(string(body), " ", err)
			}()
		}
		idle := p.dial(t, "192.0.2.1")
		time.Sleep(time.Second)
		begun := time.Now()
		go end()
		if got := <-bodies; got != "live ends <nil>" || time.Since(begun) > time.Second {
			t.Errorf("%q after %v", got, time.Since(begun))
		}
		time.Sleep(time.Second)
		if w := ask(s, httptest.NewRequest(http.MethodGet, "/readyz", nil)); w.Code != http.StatusServiceUnavailable {
			t.Errorf("it is ready to the end: %d", w.Code)
		}
		if got := <-bodies; got != "<nil> <nil>" {
			t.Errorf("what was being answered has become %q", got)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took >= drainTime {
			t.Errorf("it took %v", took)
		}
		if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection without a request: %v", err)
		}
	})
}

// TestCutOff: who does not end is not waited for.
func TestCutOff(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := server(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		p, end := running(t, s)
		conn := p.dial(t, "192.0.2.1")
		io.WriteString(conn, "GET /esmond/ HTTP/1.1\r\nHost: a\r\n\r\n")
		time.Sleep(time.Second)
		begun := time.Now()
		if err := end(); err != nil || time.Since(begun) != drainTime {
			t.Errorf("%v after %v, want %v", err, time.Since(begun), drainTime)
		}
		if !strings.Contains(log.String(), "requests were cut off at the end") {
			t.Errorf("the log has %s", &log)
		}
	})
}
