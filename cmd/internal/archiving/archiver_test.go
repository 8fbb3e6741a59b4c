package archiving

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive"
	"owl/archive/queue"
	"owl/archive/store"
	"owl/cmd/internal/archiving/archivingtest"
	"owl/internal/testprog"
	"owl/owamp"
	"owl/sessions/result"
)

// spec is a specification that leads to a taker.
func spec(t *testing.T, to *archivingtest.Taker) *archive.Spec {
	t.Helper()
	s, err := archive.ParseSpec([]byte(to.Spec()))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// want waits until these results have come, and no others.
func want(t *testing.T, to *archivingtest.Taker, ids ...string) {
	t.Helper()
	var got []string
	for _, r := range to.Await(t, len(ids), archivingtest.All) {
		got = append(got, r.ID)
	}
	slices.Sort(got)
	if diff := cmp.Diff(slices.Sorted(slices.Values(ids)), got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
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
	to := archivingtest.New(t)
	path := filepath.Join(t.TempDir(), "new", "queue.db")
	open := func() *Archiver {
		a, err := Open(t.Context(), Config{Queue: queue.Config{Path: path}, Specs: []*archive.Spec{spec(t, to)}, Log: new(log).logger()})
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
	want(t, to, first.ID)
	to.Broken.Store(true)
	put(a, second)
	a.Close()
	to.Broken.Store(false)
	a = open()
	if n, err := a.Queue().Retry(t.Context(), queue.Selection{}); err != nil || n > 1 {
		t.Errorf("%d results are tried again, %v", n, err)
	}
	want(t, to, first.ID, second.ID)
	a.Close()
	if err := a.Put(t.Context(), failed(t, 3)); err == nil {
		t.Error("a result was taken after the end")
	}
	want(t, to, first.ID, second.ID)
}

// Default archives are read anew when a file of them changes; one that cannot be
// used is named and the others are used.
func TestDefaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	to := archivingtest.New(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("broken", `{"archiver": "htp", "data": {}}`)
	write(".web", to.Spec())
	var told log
	a, err := Open(t.Context(), Config{Queue: queue.Config{Path: filepath.Join(t.TempDir(), "q")}, Defaults: []string{dir, "/nowhere"}, Log: told.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if got := told.String(); !strings.Contains(got, filepath.Join(dir, "broken")+`: /archiver: `) || strings.Count(got, "\n") != 1 {
		t.Errorf("told %s", got)
	}
	first, second := failed(t, 1), failed(t, 2)
	if err := a.Put(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	want(t, to, first.ID)

	a.reread(t.Context())
	if got := told.String(); strings.Contains(got, "have changed") {
		t.Errorf("nothing has changed, and told was %s", got)
	}
	other := archivingtest.New(t)
	write("broken", other.Spec())
	if err := os.Remove(filepath.Join(dir, ".web")); err != nil {
		t.Fatal(err)
	}
	a.reread(t.Context())
	if got := told.String(); !strings.Contains(got, "default archives have changed") {
		t.Errorf("told %s", got)
	}
	if err := a.Put(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	want(t, other, second.ID)
	want(t, to, first.ID) // where none is wanted any more
}

// An archive that is named twice gets each result once.
func TestTwice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	to := archivingtest.New(t)
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(to.Spec()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a, err := Open(t.Context(), Config{Queue: queue.Config{Path: filepath.Join(t.TempDir(), "q")}, Specs: []*archive.Spec{spec(t, to)}, Defaults: []string{dir}, Log: new(log).logger()})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for n := range int64(2) {
		r := failed(t, n)
		if err := a.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	want(t, to, ids...)
	a.Close()
	want(t, to, ids...)
}

// A measurement archive of this process gets all results, too, and shows in the
// queue under a name of its own; it stays when the archives change.
func TestStore(t *testing.T) {
	t.Parallel()
	own, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	task, err := result.NewTask(result.TaskConfig{Test: result.LatencyBG, Tool: "powstream", Host: "192.0.2.1", Remote: "192.0.2.2", Packets: 10, Interval: owamp.IntervalSeconds(1)})
	if err != nil {
		t.Fatal(err)
	}
	var told log
	a, err := Open(t.Context(), Config{Queue: queue.Config{Path: filepath.Join(t.TempDir(), "q")}, Store: own, Log: told.logger()})
	if err != nil {
		t.Fatal(err)
	}
	put := func(second int64) {
		t.Helper()
		at := owamp.FromUnix(1e9+second, 0)
		if err := a.Put(t.Context(), result.Failed(task, at, result.Gap{Reason: "refused", Start: at, Open: true}, "nobody is there", at.Time())); err != nil {
			t.Fatal(err)
		}
	}
	put(1)
	to := archivingtest.New(t)
	if err := a.Set(t.Context(), []*archive.Spec{spec(t, to)}, nil); err != nil {
		t.Fatal(err)
	}
	put(2)
	to.Await(t, 1, archivingtest.All)
	testprog.Until(t, "two results in the archive", func() error {
		st, err := a.Queue().Stats(t.Context())
		if err == nil && (len(st.Lines) != 2 || st.Lines[0].Name != OwnName || st.Lines[0].Delivered != 2) {
			err = fmt.Errorf("%+v", st.Lines)
		}
		return err
	})
	a.Close()
	all, _, err := own.Search(t.Context(), &store.Filter{Limit: 2})
	if err != nil || len(all) != 1 {
		t.Fatalf("%d measurements, %v", len(all), err)
	}
	var times []int64
	for r, err := range own.Read(t.Context(), store.Query{Key: all[0].Key, Event: "failures", To: 1 << 40, Limit: -1}) {
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, r.Time)
	}
	if !slices.Equal(times, []int64{1e9 + 1, 1e9 + 2}) {
		t.Errorf("failures at %v; the log has %s", times, &told)
	}
}
