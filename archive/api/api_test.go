package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"owl/archive/store"
	"owl/internal/testserver"
)

// everywhere are the tests that hold whatever the store is; each has an address
// of its own at which there is no archive yet.
var everywhere = map[string]func(t *testing.T, address string){
	"Transcript":   testTranscript,
	"Guide":        testGuide,
	"AllOrNothing": testAllOrNothing,
	"Twice":        testTwice,
	"Unregistered": testUnregistered,
	"Span":         testSpan,
	"Search":       testSearch,
	"Pages":        testPages,
	"Texts":        testTexts,
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	for name, test := range everywhere {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, filepath.Join(t.TempDir(), "archive.db"))
		})
	}
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgreSQL(t, nil)
	url := func(database string) string {
		return fmt.Sprintf("postgres://owl:%s@%s/%s?sslmode=disable", testserver.Password, server.Address(), database)
	}
	conn, err := pgx.Connect(t.Context(), url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for name, test := range everywhere {
		database := strings.ToLower(name)
		if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+database); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, url(database))
		})
	}
}

// An archive is one of a test: a store of its own, with a clock that stands, and
// a key to write with.
type archive struct {
	store   *store.Store
	handler http.Handler
	secret  string
	now     int64
	hosts   hosts
}

// newArchive returns an archive in an SQLite file.
func newArchive(t testing.TB, now int64, change ...func(*Options)) *archive {
	t.Helper()
	return openArchive(t, filepath.Join(t.TempDir(), "archive.db"), now, change...)
}

func openArchive(t testing.TB, address string, now int64, change ...func(*Options)) *archive {
	t.Helper()
	a := &archive{now: now}
	clock := func() time.Time { return time.Unix(a.now, 0) }
	var err error
	if a.store, err = store.Open(t.Context(), address, store.Options{Now: clock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.store.Close() })
	if a.secret, err = a.store.AddKey(t.Context(), "tests"); err != nil {
		t.Fatal(err)
	}
	o := Options{Now: clock, Resolver: &a.hosts}
	for _, c := range change {
		c(&o)
	}
	a.handler = New(a.store, o)
	return a
}

// hosts is a resolver that knows some.
type hosts map[string][]string

func (h *hosts) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	var found []netip.Addr
	for _, text := range (*h)[host] {
		if a := netip.MustParseAddr(text); a.Is4() == (network == "ip4") {
			found = append(found, a)
		}
	}
	return found, nil
}

// A reply is what the archive has answered.
type reply struct {
	*http.Response
	body      []byte
	described string // which answer of the description it is
}

// do has a request answered. Of headers there are pairs.
func (a *archive) do(t testing.TB, method, url, body string, headers ...string) *reply {
	t.Helper()
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	return a.send(t, r, body, headers...)
}

// send has a request answered, of which the body may be known.
func (a *archive) send(t testing.TB, r *http.Request, body string, headers ...string) *reply {
	t.Helper()
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	response := w.Result()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.Header.Get("Content-Type") == typeJSON && response.Header.Get("Content-Encoding") == "" && len(b) > 0 && !json.Valid(b) {
		t.Fatalf("%s %s: %q is no JSON", r.Method, r.URL, b)
	}
	answered := &reply{Response: response, body: b}
	answered.described = described().check(t, r, body, answered)
	return answered
}

// get reads.
func (a *archive) get(t testing.TB, url string, headers ...string) *reply {
	t.Helper()
	return a.do(t, http.MethodGet, url, "", headers...)
}

// token is who writes as clients of the last esmond do.
func (a *archive) token() []string {
	return []string{"Authorization", "Token " + a.secret, "Content-Type", "application/json"}
}

// guide is who writes as the REST guide has it.
func (a *archive) guide() []string {
	return []string{"Authorization", "ApiKey perfsonar:" + a.secret, "Content-Type", "application/json"}
}

const prefix = "/esmond/perfsonar/archive/"

// register registers a measurement, and returns the path of it.
func (a *archive) register(t testing.TB, body string) string {
	t.Helper()
	r := a.do(t, http.MethodPost, prefix, body, a.token()...)
	if r.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", r.StatusCode, r.body)
	}
	return r.object(t)["uri"].(string)
}

// want fails unless the reply has a status and, in both members of an error, a
// text.
func (r *reply) want(t testing.TB, status int, detail string) {
	t.Helper()
	if r.StatusCode != status {
		t.Errorf("status %d, want %d: %s", r.StatusCode, status, r.body)
		return
	}
	if detail == "" {
		return
	}
	o := r.object(t)
	if len(o) != 2 || o["detail"] != detail || o["error"] != detail {
		t.Errorf("%s, want %q twice", r.body, detail)
	}
}

// decode returns the JSON of a reply, with numbers as float64.
func (r *reply) decode(t testing.TB) any {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(r.body))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", r.body, err)
	}
	return v
}

func (r *reply) object(t testing.TB) map[string]any {
	t.Helper()
	o, ok := r.decode(t).(map[string]any)
	if !ok {
		t.Fatalf("%s is no object", r.body)
	}
	return o
}

func (r *reply) list(t testing.TB) []any {
	t.Helper()
	l, ok := r.decode(t).([]any)
	if !ok {
		t.Fatalf("%s is no list", r.body)
	}
	return l
}

// is fails unless the reply is some JSON.
func (r *reply) is(t testing.TB, want string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(want), &v); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, r.decode(t)); diff != "" {
		t.Errorf("%s (-want +got)\n%s", r.body, diff)
	}
}
