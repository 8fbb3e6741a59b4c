package esmond

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
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive"
	"owl/archive/member"
)

const testKey = "f6b732e9f351487a96126f0c25e5e546"

// A request is what an archive looks at.
type request struct {
	Method, URI, Auth, Type string
	Body                    any
}

func readRequest(t *testing.T, r *http.Request) request {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber() // so that 30.0 is not 30
	q := request{Method: r.Method, URI: r.RequestURI, Auth: r.Header.Get("Authorization"), Type: r.Header.Get("Content-Type")}
	if err := dec.Decode(&q.Body); err != nil {
		t.Errorf("%s %s: %v", q.Method, q.URI, err)
	}
	return q
}

// A recorder is an archive that notes what it is asked.
type recorder struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	all    []request
	answer func(q request) (status int, body string) // nil: as esmond
}

func newRecorder(t *testing.T) *recorder {
	rec := &recorder{t: t}
	rec.Server = httptest.NewServer(rec)
	t.Cleanup(rec.Close)
	return rec
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := readRequest(rec.t, r)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.all = append(rec.all, q)
	status, body := http.StatusCreated, `""`
	switch {
	case rec.answer != nil:
		status, body = rec.answer(q)
	case isRegistration(q):
		body = `{"metadata-key": "` + testKey + `"}`
	}
	if status/100 == 3 {
		w.Header().Set("Location", "/elsewhere/")
	}
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// isRegistration reports whether a request is for the archive as a whole.
func isRegistration(q request) bool {
	return strings.HasSuffix(q.URI, "/archive/?")
}

// take returns the requests since the last time.
func (rec *recorder) take() []request {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	all := rec.all
	rec.all = nil
	return all
}

// hosts are the names that there are.
var hosts = map[string][]string{
	"ps1.example.net":  {"192.0.2.10"},
	"ps2.example.net":  {"198.51.100.20"},
	"dual.example.net": {"192.0.2.77", "2001:db8::77", "2001:db8::7", "192.0.2.7"},
	"six.example.net":  {"2001:db8::6"},
}

func findHost(_ context.Context, network, host string) ([]netip.Addr, error) {
	if network != "ip" {
		return nil, fmt.Errorf("network %s", network)
	}
	if host == "unwell.example.net" {
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	}
	all := make([]netip.Addr, len(hosts[host]))
	for i, a := range hosts[host] {
		all[i] = netip.MustParseAddr(a)
	}
	if len(all) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return all, nil
}

func findNobody(_ context.Context, _, host string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// openTest returns the destination of data, whose url is the archive's at base.
func openTest(t *testing.T, base string, data map[string]any, find Lookup) archive.Opened {
	t.Helper()
	if data == nil {
		data = make(map[string]any)
	}
	data["url"] = base + "/esmond/perfsonar/archive/"
	o, err := member.Of("/data", data)
	if err != nil {
		t.Fatal(err)
	}
	opened := open(o, find)
	o.Done()
	if err := o.Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened
}

// An input is what pScheduler hands to an archiver.
type input struct {
	Data     json.RawMessage `json:"data"`
	Result   json.RawMessage `json:"result"`
	TaskHref string          `json:"task-href"`
	RunHref  string          `json:"run-href"`
}

func readInput(t *testing.T, name string) (data map[string]any, item *archive.Item) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "inputs", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var in input
	if err := json.Unmarshal(b, &in); err != nil {
		t.Fatal(err)
	}
	v, err := member.Decode(in.Data)
	if err != nil {
		t.Fatal(err)
	}
	return v.(map[string]any), &archive.Item{ID: name, Payload: in.Result, TaskHref: in.TaskHref, RunHref: in.RunHref}
}

// golden returns the requests that pScheduler's archiver has made.
func golden(t *testing.T, name string) []request {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "requests", name, "*.http"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no requests: %v", name, err)
	}
	var all []request
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, readRequest(t, r))
	}
	return all
}

// Every result makes the requests that it makes of pScheduler's archiver.
func TestGolden(t *testing.T) {
	dirs, err := os.ReadDir(filepath.Join("testdata", "requests"))
	if err != nil {
		t.Fatal(err)
	}
	tested := 0
	for _, dir := range dirs {
		name := dir.Name()
		if strings.HasPrefix(name, "error-") {
			continue
		}
		tested++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, unresolved := strings.CutSuffix(name, "-unresolved")
			find := findHost
			if unresolved {
				find = findNobody
			}
			data, item := readInput(t, from)
			rec := newRecorder(t)
			d := openTest(t, rec.URL, data, find)
			if err := d.Deliver(t.Context(), item); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(golden(t, name), rec.take()); diff != "" {
				t.Errorf("not as from pScheduler (-), but (+):\n%s", diff)
			}
		})
	}
	if tested < 16 {
		t.Errorf("%d cases, want 16", tested)
	}
}

// What an archive answers becomes what pScheduler's archiver says of it, save that
// values which were not written are a failure.
func TestAnswers(t *testing.T) {
	const boom = `{"detail": "boom"}`
	const key = `{"metadata-key": "` + testKey + `"}`
	for name, tc := range map[string]struct {
		register, write int
		text, written   string // answers
		want            string // the error; empty: delivered
		requests        string // golden
	}{
		"error-md500":     {register: 500, text: boom, want: "registering the measurement: 500: boom", requests: "error-md500"},
		"error-md401":     {register: 401, text: `{"detail":"Invalid token."}`, want: "registering the measurement: 401: Invalid token.", requests: "error-md401"},
		"error-md500html": {register: 500, text: "<html>boom</html>", want: "registering the measurement: 500: Invalid JSON returned", requests: "error-md500html"},
		"error-put409":    {register: 201, text: key, write: 409, written: boom, requests: "error-put409"},
		"error-put500":    {register: 201, text: key, write: 500, written: boom, want: "writing values: 500: boom", requests: "error-put500"},
		"as before":       {register: 200, text: key, write: 200},
		"an old error":    {register: 400, text: `{"error": "no"}`, want: "registering the measurement: 400: no"},
		"no detail":       {register: 403, text: `{"why": [1]}`, want: `registering the measurement: 403: {"why": [1]}`},
		"redirected":      {register: 301, text: "", want: "registering the measurement: 301: the server redirects: want the URL that it redirects to"},
		"a page":          {register: 200, text: "<html>log in</html>", want: "registering the measurement: 200: Invalid JSON returned"},
		"no key":          {register: 200, text: `{"url": "x"}`, want: `registering the measurement: 200: want a metadata-key in the answer "{\"url\": \"x\"}"`},
		"a bad key":       {register: 200, text: `{"metadata-key": "../x"}`, want: `registering the measurement: 200: want a metadata-key in the answer "{\"metadata-key\": \"../x\"}"`},
		"a page at last":  {register: 201, text: key, write: 200, written: "<html>log in</html>", want: "writing values: 200: Invalid JSON returned"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := newRecorder(t)
			rec.answer = func(q request) (int, string) {
				if isRegistration(q) {
					return tc.register, tc.text
				}
				return tc.write, tc.written
			}
			data, item := readInput(t, "03-failed")
			err := openTest(t, rec.URL, data, findHost).Deliver(t.Context(), item)
			switch {
			case tc.want == "" && err != nil, tc.want != "" && (err == nil || err.Error() != tc.want):
				t.Errorf("%v, want %s", err, tc.want)
			case archive.IsFinal(err):
				t.Errorf("%v is final, want another try", err)
			}
			if got := rec.take(); tc.requests != "" {
				if diff := cmp.Diff(golden(t, tc.requests), got); diff != "" {
					t.Errorf("not as from pScheduler (-), but (+):\n%s", diff)
				}
			}
		})
	}
}

// No answer, and no archive, are failures that can be tried again.
func TestUnreachable(t *testing.T) {
	data, item := readInput(t, "03-failed")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://user:secret@" + l.Addr().String()
	l.Close()
	err = openTest(t, base, data, findHost).Deliver(t.Context(), item)
	if err == nil || archive.IsFinal(err) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v, want an error that is not final, without the secret", err)
	}
}

// The key of a measurement is asked for once, and again when values could not be
// written with it.
func TestKeys(t *testing.T) {
	rec := newRecorder(t)
	fail := false
	rec.answer = func(q request) (int, string) {
		switch {
		case isRegistration(q):
			return 201, `{"metadata-key": "` + testKey + `"}`
		case fail:
			return 404, `{"detail": "Not found."}`
		}
		return 201, `""`
	}
	data, item := readInput(t, "01-success")
	_, other := readInput(t, "21-trace-lost-hop")
	d := openTest(t, rec.URL, data, findHost)
	for i, step := range []struct {
		item *archive.Item
		fail bool
		want string
	}{
		{item, false, "POST PUT"},
		{item, false, "PUT"},
		{other, false, "POST PUT"},
		{item, true, "PUT"},
		{item, false, "POST PUT"},
		{other, false, "PUT"},
	} {
		fail = step.fail
		if err := d.Deliver(t.Context(), step.item); (err != nil) != step.fail {
			t.Errorf("step %d: %v", i, err)
		}
		if got := methods(rec.take()); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}

// An archive keeps a bounded number of keys.
func TestKeysAreBounded(t *testing.T) {
	var k keys
	for i := range maxKeys + 100 {
		var m measurement
		m[0], m[1], m[2] = byte(i), byte(i>>8), byte(i>>16)
		k.put(m, "key")
	}
	if len(k.all) != maxKeys {
		t.Errorf("%d keys, want %d", len(k.all), maxKeys)
	}
}

// A keeper is an archive that keeps values as esmond does: those of a request one
// by one until one is refused, and a histogram as often as it comes.
type keeper struct {
	written map[string]int // how often, by event type
	fail    int            // after so many values a request fails; 0: none does
}

func (s *keeper) answer(q request) (int, string) {
	if isRegistration(q) {
		return http.StatusCreated, `{"metadata-key": "` + testKey + `"}`
	}
	n := 0
	for _, p := range q.Body.(map[string]any)["data"].([]any) {
		for _, v := range p.(map[string]any)["val"].([]any) {
			name := v.(map[string]any)["event-type"].(string)
			if s.written[name] > 0 && !strings.HasPrefix(name, "histogram") && !strings.HasPrefix(name, "pscheduler") {
				return http.StatusConflict, fmt.Sprintf(`{"detail": "Time series value already exists with event type %s at time 1777636800"}`, name)
			}
			s.written[name]++
			if n++; n == s.fail {
				s.fail = 0
				return http.StatusInternalServerError, "<h1>Server Error (500)</h1>"
			}
		}
	}
	return http.StatusCreated, `""`
}

// Whatever an archive has of a result, all of it is there in the end, and no
// histogram twice if all of the result was there but for our knowing it.
func TestConflict(t *testing.T) {
	for name, tc := range map[string]struct {
		fail       int
		again      string // requests of the second try
		histograms int    // how often they are written
	}{
		"no try failed": {0, "", 1},
		"one value":     {1, "POST PUT PUT", 2},
		"half of them":  {5, "POST PUT PUT PUT PUT PUT", 2},
		"all but one":   {8, "POST PUT PUT", 1},
		"all":           {9, "POST PUT PUT", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := newRecorder(t)
			s := &keeper{written: make(map[string]int), fail: tc.fail}
			rec.answer = s.answer
			data, item := readInput(t, "01-success")
			d := openTest(t, rec.URL, data, findHost)
			if err := d.Deliver(t.Context(), item); (err != nil) != (tc.fail > 0) {
				t.Fatalf("the first try: %v", err)
			}
			rec.take()
			if tc.fail > 0 {
				item.Tries = 1
				if err := d.Deliver(t.Context(), item); err != nil {
					t.Fatal(err)
				}
				if got := methods(rec.take()); got != tc.again {
					t.Errorf("%s, want %s", got, tc.again)
				}
			}
			delete(s.written, "pscheduler-run-href") // may be written as often as one likes
			want := map[string]int{
				"histogram-owdelay": tc.histograms, "histogram-ttl": tc.histograms, "packet-count-sent": 1, "packet-count-lost": 1,
				"packet-reorders": 1, "packet-duplicates": 1, "time-error-estimates": 1, "packet-loss-rate": 1,
			}
			if tc.fail == 1 {
				want["histogram-ttl"] = 1 // was not reached
			}
			if diff := cmp.Diff(want, s.written); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A repeat that does not know that it is one does no harm but to summaries.
func TestRepeat(t *testing.T) {
	rec := newRecorder(t)
	s := &keeper{written: make(map[string]int)}
	rec.answer = s.answer
	data, item := readInput(t, "01-success")
	d := openTest(t, rec.URL, data, findHost)
	for _, want := range []string{"POST PUT", "PUT PUT PUT PUT PUT PUT PUT"} {
		if err := d.Deliver(t.Context(), item); err != nil {
			t.Fatal(err)
		}
		if got := methods(rec.take()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if n := s.written["packet-loss-rate"]; n != 1 {
		t.Errorf("the loss rate was written %d times, want once", n)
	}
}

// methods returns the methods of requests.
func methods(all []request) string {
	var each []string
	for _, q := range all {
		each = append(each, q.Method)
	}
	return strings.Join(each, " ")
}

// How one is authorized, and by which method values are then written.
func TestAuthorization(t *testing.T) {
	for name, tc := range map[string]struct {
		data         map[string]any
		auth, writes string
	}{
		"by address": {map[string]any{}, "", "PUT"},
		"token":      {map[string]any{"_auth-token": "35df"}, "Token 35df", "PUT"},
		"key":        {map[string]any{"_api-key": "perfsonar:b3ba"}, "ApiKey perfsonar:b3ba", "POST"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := newRecorder(t)
			_, item := readInput(t, "03-failed")
			if err := openTest(t, rec.URL, tc.data, findHost).Deliver(t.Context(), item); err != nil {
				t.Fatal(err)
			}
			all := rec.take()
			if len(all) != 2 || all[0].Auth != tc.auth || all[1].Auth != tc.auth || all[1].Method != tc.writes {
				t.Errorf("%+v, want two requests with %q, the second a %s", all, tc.auth, tc.writes)
			}
		})
	}
}

// Addresses are of one family, and the same whatever the order of the answer.
func TestAddresses(t *testing.T) {
	for _, tc := range []struct{ source, dest, agent, want string }{
		{"192.0.2.10", "198.51.100.20", "", `{"destination":"198.51.100.20","measurement-agent":"192.0.2.10","source":"192.0.2.10"}`},
		{"dual.example.net", "ps2.example.net", "", `{"destination":"198.51.100.20","measurement-agent":"192.0.2.7","source":"192.0.2.7"}`},
		{"dual.example.net", "six.example.net", "", `{"destination":"2001:db8::6","measurement-agent":"2001:db8::7","source":"2001:db8::7"}`},
		{"dual.example.net", "2001:DB8:0::1", "ps1.example.net", `{"destination":"2001:db8::1","measurement-agent":"192.0.2.10","source":"2001:db8::7"}`},
		{"six.example.net", "ps1.example.net", "dual.example.net", `{"measurement-agent":"192.0.2.7","source":null}`},
		{"gone.example.net", "ps1.example.net", "", `{"measurement-agent":null,"source":null}`},
		{"fe80::1%eth0", "fe80::2%eth0", "", `{"destination":"fe80::2","measurement-agent":"fe80::1","source":"fe80::1"}`},
		{"::ffff:192.0.2.1", "192.0.2.2", "", `{"destination":"192.0.2.2","measurement-agent":"192.0.2.1","source":"192.0.2.1"}`},
	} {
		rec := newRecorder(t)
		data := map[string]any{}
		if tc.agent != "" {
			data["measurement-agent"] = tc.agent
		}
		result := fmt.Sprintf(`{"schedule": {"start": "2026-05-01T12:00:00Z", "duration": "PT1S"}, "tool": {"name": "ping"}, "participants": [%q],
			"test": {"type": "rtt", "spec": {"source": %q, "dest": %q}}, "result": {"succeeded": true, "sent": 1, "lost": 0}}`, tc.source, tc.source, tc.dest)
		if err := openTest(t, rec.URL, data, findHost).Deliver(t.Context(), &archive.Item{Payload: []byte(result)}); err != nil {
			t.Error(err)
			continue
		}
		got := make(map[string]any)
		for name, v := range rec.take()[0].Body.(map[string]any) {
			switch name {
			case "source", "destination", "measurement-agent":
				got[name] = v
			}
		}
		if b, _ := json.Marshal(got); string(b) != tc.want {
			t.Errorf("%s to %s: %s, want %s", tc.source, tc.dest, b, tc.want)
		}
	}
}

// A name server that does not answer is no reason to register a measurement
// without addresses.
func TestNameServerFails(t *testing.T) {
	rec := newRecorder(t)
	data, item := readInput(t, "01-success")
	item.Payload = bytes.ReplaceAll(item.Payload, []byte("198.51.100.20"), []byte("unwell.example.net"))
	err := openTest(t, rec.URL, data, findHost).Deliver(t.Context(), item)
	if err == nil || archive.IsFinal(err) || len(rec.take()) != 0 {
		t.Errorf("%v, want an error that is not final, and no request", err)
	}
}

// What cannot be mapped is not tried again.
func TestUnmappable(t *testing.T) {
	rec := newRecorder(t)
	for policy, payload := range map[string]string{
		"prefer-mapped": `"a transform's text"`,
		"mapped-only":   `{"test": {"type": "dns", "spec": {}}, "tool": {"name": "x"}, "participants": ["192.0.2.1"], "schedule": {"start": "2026-05-01T12:00:00Z"}}`,
	} {
		d := openTest(t, rec.URL, map[string]any{"data-formatting-policy": policy}, findHost)
		if err := d.Deliver(t.Context(), &archive.Item{Payload: []byte(payload)}); !archive.IsFinal(err) {
			t.Errorf("%s: %v, want a final error", policy, err)
		}
	}
	if got := rec.take(); len(got) != 0 {
		t.Errorf("%d requests, want none", len(got))
	}
}

// Two results of one measurement are not written at once; of two, they are.
func TestTurns(t *testing.T) {
	d := &destination{turns: make([]chan struct{}, turns)}
	for i := range d.turns {
		d.turns[i] = make(chan struct{}, 1)
	}
	done, err := d.turn(t.Context(), measurement{1})
	if err != nil {
		t.Fatal(err)
	}
	other, err := d.turn(t.Context(), measurement{2})
	if err != nil {
		t.Fatal(err)
	}
	other()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.turn(ctx, measurement{1}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want it to wait until it is given up", err)
	}
	done()
	if done, err = d.turn(t.Context(), measurement{1}); err != nil {
		t.Fatal(err)
	}
	done()
}

// However many results come at once, each measurement is registered once, and its
// results are written one after the other.
func TestManyAtOnce(t *testing.T) {
	const measurements, results = 5, 20
	var mu sync.Mutex
	registered, busy, written := make(map[string]int), make(map[string]int), make(map[string]int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := readRequest(t, r)
		answer := `""`
		mu.Lock()
		if isRegistration(q) {
			key := strings.ReplaceAll(q.Body.(map[string]any)["destination"].(string), ".", "-")
			registered[key]++
			answer = `{"metadata-key": "` + key + `"}`
		} else if busy[q.URI]++; busy[q.URI] > 1 {
			t.Errorf("two results for %s at once", q.URI)
		}
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		busy[q.URI]--
		written[q.URI]++
		mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, answer)
	}))
	defer server.Close()
	d := openTest(t, server.URL, nil, findHost)
	var all sync.WaitGroup
	for i := range measurements * results {
		all.Go(func() {
			b := fmt.Appendf(nil, `{"schedule": {"start": "2026-05-01T12:00:%02dZ"}, "tool": {"name": "ping"}, "participants": ["192.0.2.1"], "run": {"href": "http://h/%d"},
				"test": {"type": "rtt", "spec": {"dest": "192.0.2.%d"}}, "result": {"succeeded": true, "sent": 1}}`, i/measurements, i, 100+i%measurements)
			if err := d.Deliver(t.Context(), &archive.Item{Payload: b}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range measurements {
		key := fmt.Sprintf("192-0-2-%d", 100+i)
		if n := registered[key]; n != 1 {
			t.Errorf("%s was registered %d times, want once", key, n)
		}
		if n := written["/esmond/perfsonar/archive/"+key+"/?"]; n != results {
			t.Errorf("%s: %d results, want %d", key, n, results)
		}
	}
}

// Data that pScheduler's archiver takes are taken, and what it refuses is refused.
func TestData(t *testing.T) {
	for text, want := range map[string]string{
		`{"url": "http://h/x"}`:                                      "",
		`{"url": "http://h/x", "schema": 1}`:                         "",
		`{"url": "http://h/x", "_auth-token": "a", "summaries": []}`: "",
		`{"url": "http://h/x", "summaries": [{"event-type": "x", "summary-type": "y", "summary-window": 0}]}`:                                        "",
		`{"url": "http://h/x", "retry-policy": [{"attempts": 1, "wait": "PT1S", "x": 1}]}`:                                                           "",
		`{"measurement-agent": "ps.example.net", "url": "http://ma.example.net/esmond/perfsonar/archive/", "bind": "127.0.0.1", "verify-ssl": true}`: "",
		`{"url": "http://h/x", "schema": 2}`:                           "/data/schema: 2: want a whole number from 1 to 1",
		`{"url": "http://h/x", "data-formatting-policy": "x"}`:         `/data/data-formatting-policy: "x": want one of prefer-mapped, mapped-and-raw, mapped-only, raw-only`,
		`{"_url": "http://h/x"}`:                                       "/data/url: is missing\n/data/_url: is unknown: want one of _api-key, _auth-token, bind, data-formatting-policy, measurement-agent, retry-policy, schema, summaries, url, verify-ssl",
		`{"url": "http://h/x?a=b"}`:                                    "/data/url: want a URL without ? and #",
		`{"url": "ftp://h/x"}`:                                         "/data/url: want a URL that begins with http:// or https://",
		`{"url": "http://h/x", "_auth-token": "a", "_api-key": "b:c"}`: "/data/_api-key: want either it or _auth-token",
		`{"url": "http://h/x", "_api-key": "key"}`:                     "/data/_api-key: want a user's name and key, USER:KEY",
		`{"url": "http://h/x", "_auth-token": "a\nb"}`:                 "/data/_auth-token: want printable characters of ASCII",
		`{"url": "http://h/x", "summaries": [{"event-type": "x", "summary-type": "y", "window": 1}]}`: "/data/summaries/0/summary-window: is missing\n/data/summaries/0/window: is unknown: want one of event-type, summary-type, summary-window",
	} {
		o, err := member.Parse("/data", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(o, nil); err != nil {
			t.Error(err)
		}
		o.Done()
		got := ""
		if err := o.Err(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
