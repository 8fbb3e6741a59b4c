package archiving

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"owl/archive"
	"owl/archive/queue"
	"owl/owamp"
	"owl/sessions/result"
)

// A recorder is an HTTP server that notes which results come.
type recorder struct {
	*httptest.Server
	broken atomic.Bool // it answers with 500
	ids    chan string
}

func record(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{ids: make(chan string, 100)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var d struct{ ID string }
		if err := json.Unmarshal(body, &d); err != nil {
			t.Errorf("%v: %s", err, body)
		}
		if err != nil || r.broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		r.ids <- d.ID
	}))
	t.Cleanup(r.Close)
	return r
}

// spec is a specification that leads to r.
func (r *recorder) spec(t *testing.T) *archive.Spec {
	t.Helper()
	s, err := archive.ParseSpec([]byte(`{"archiver": "http", "data": {"_url": "` + r.URL + `"}}`))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// want waits for a result.
func (r *recorder) want(t *testing.T, id string) {
	t.Helper()
	select {
	case got := <-r.ids:
		if got != id {
			t.Errorf("result %s has come, want %s", got, id)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("result %s has not come", id)
	}
}

// a failed result, of the second n.
func failed(t *testing.T, n int64) *result.Result {
	t.Helper()
	task, err := result.NewTask(result.TaskConfig{Test: result.LatencyBG, Tool: "powstream", Host: "here", Remote: "there", Packets: 10, Interval: owamp.IntervalSeconds(1)})
	if err != nil {
		t.Fatal(err)
	}
	at := owamp.FromUnix(1e9+n, 0)
	return result.Failed(task, at, result.Gap{Reason: "peer_unreachable", Start: at, Open: true}, "nobody is there", at.Time())
}

// A log collects log lines.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// What is put is delivered; what is not, because nobody takes it, is after the
// next start.
func TestPut(t *testing.T) {
	t.Parallel()
	to := record(t)
	path := filepath.Join(t.TempDir(), "new", "queue.db")
	open := func() *Archiver {
		a, err := Open(t.Context(), Config{Queue: queue.Config{Path: path}, Specs: []*archive.Spec{to.spec(t)}, Log: new(log).logger()})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	put := func(a *Archiver, r *result.Result) {
		if err := a.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	a := open()
	first, second := failed(t, 1), failed(t, 2)
	put(a, first)
	to.want(t, first.ID)
	to.broken.Store(true)
	put(a, second)
	a.Close()
	to.broken.Store(false)
	a = open()
	if n, err := a.Queue().Retry(t.Context(), queue.Selection{}); err != nil || n > 1 {
		t.Errorf("%d results are tried again, %v", n, err)
	}
	to.want(t, second.ID)
	a.Close()
	if err := a.Put(t.Context(), failed(t, 3)); err == nil {
		t.Error("a result was taken after the end")
	}
	if len(to.ids) > 0 {
		t.Errorf("result %s has come as well", <-to.ids)
	}
}

// Default archives are read anew when a file of them changes; one that cannot be
// used is named and the others are used.
func TestDefaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	to := record(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	spec := `{"archiver": "http", "data": {"_url": "` + to.URL + `"}}`
	write("broken", `{"archiver": "htp", "data": {}}`)
	write(".web", spec)
	var told log
	a, err := Open(t.Context(), Config{Queue: queue.Config{Path: filepath.Join(t.TempDir(), "q")}, Defaults: []string{dir, "/nowhere"}, Log: told.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if got := told.String(); !strings.Contains(got, filepath.Join(dir, "broken")+`: /archiver: `) || strings.Count(got, "\n") != 1 {
		t.Errorf("told %s", got)
	}
	r := failed(t, 1)
	if err := a.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	to.want(t, r.ID)

	a.reread(t.Context())
	if got := told.String(); strings.Contains(got, "have changed") {
		t.Errorf("nothing has changed, and told was %s", got)
	}
	other := record(t)
	write("broken", `{"archiver": "http", "data": {"_url": "`+other.URL+`"}}`)
	if err := os.Remove(filepath.Join(dir, ".web")); err != nil {
		t.Fatal(err)
	}
	a.reread(t.Context())
	if got := told.String(); !strings.Contains(got, "default archives have changed") {
		t.Errorf("told %s", got)
	}
	r = failed(t, 2)
	if err := a.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	other.want(t, r.ID)
	if len(to.ids) > 0 {
		t.Errorf("result %s has come where none is wanted any more", <-to.ids)
	}
}

// An archive that is named twice gets each result once.
func TestTwice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	to := record(t)
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(`{"archiver": "http", "data": {"_url": "`+to.URL+`"}}`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a, err := Open(t.Context(), Config{Queue: queue.Config{Path: filepath.Join(t.TempDir(), "q")}, Specs: []*archive.Spec{to.spec(t)}, Defaults: []string{dir}, Log: new(log).logger()})
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(2) {
		r := failed(t, n)
		if err := a.Put(context.Background(), r); err != nil {
			t.Fatal(err)
		}
		to.want(t, r.ID)
	}
	a.Close()
	if len(to.ids) > 0 {
		t.Errorf("result %s has come again", <-to.ids)
	}
}
