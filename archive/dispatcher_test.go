package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"owl/archive/queue"
	"owl/archive/retry"
	"owl/archive/transform"
)

// A fake is a destination that does what a test says.
type fake struct {
	mu      sync.Mutex
	got     []string
	deliver func(ctx context.Context, item *Item, n int) error // n: how often it was called before
	calls   int
	closed  int
}

func (f *fake) Deliver(ctx context.Context, item *Item) error {
	f.mu.Lock()
	n := f.calls
	f.calls++
	f.mu.Unlock()
	if f.deliver != nil {
		if err := f.deliver(ctx, item, n); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, item.ID+" "+string(item.Payload))
	return nil
}

func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

func (f *fake) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}

// dispatch runs a dispatcher whose destinations are fakes, by archiver.
func dispatch(t *testing.T, fakes map[string]*fake, policy retry.Policy, specs ...string) (*Dispatcher, *queue.Queue) {
	t.Helper()
	return dispatchTo(t, func(s *Spec) (Opened, error) {
		f := fakes[s.Archiver]
		if f == nil {
			return Opened{}, fmt.Errorf("no archiver %s", s.Archiver)
		}
		return Opened{Destination: f, Retry: policy}, nil
	}, specs...)
}

// dispatchTo runs a dispatcher whose waits are not jittered.
func dispatchTo(t *testing.T, open Opener, specs ...string) (*Dispatcher, *queue.Queue) {
	t.Helper()
	q, err := queue.Open(queue.Config{Path: filepath.Join(t.TempDir(), "queue.db")})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	d := NewDispatcher(DispatcherConfig{Queue: q, Open: open, Log: log, Random: func() float64 { return 0 }})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		d.Close(ctx)
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := d.Set(t.Context(), parse(t, specs...)); err != nil {
		t.Fatal(err)
	}
	return d, q
}

func parse(t *testing.T, specs ...string) []*Spec {
	t.Helper()
	var all []*Spec
	for _, text := range specs {
		s, err := ParseSpec([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func put(t *testing.T, q *queue.Queue, ids ...string) {
	t.Helper()
	for i, id := range ids {
		if err := q.Put(t.Context(), &queue.Result{ID: id, Succeeded: i%2 == 0, Body: fmt.Appendf(nil, `{"id":%q}`, id)}); err != nil {
			t.Fatal(err)
		}
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestDispatch(t *testing.T) {
	t.Parallel()
	a, b, c := new(fake), new(fake), new(fake)
	_, q := dispatch(t, map[string]*fake{"a": a, "b": b, "c": c}, nil,
		`{"archiver": "a", "data": {}}`,
		`{"archiver": "b", "data": {}, "transform": {"script": "if .id == \"2\" then null else [.id] end"}}`,
		`{"archiver": "c", "data": {}, "schema": 2, "runs": "failed"}`)
	put(t, q, "1", "2", "3")
	for f, want := range map[*fake][]string{
		a: {`1 {"id":"1"}`, `2 {"id":"2"}`, `3 {"id":"3"}`},
		b: {`1 ["1"]`, `3 ["3"]`},
		c: {`2 {"id":"2"}`},
	} {
		until(t, "all is there", func() bool { return len(f.all()) >= len(want) })
		if got := f.all(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What fails is tried as often as the policy says, and then dead; what panics or
// hangs is not in others' way.
func TestFailures(t *testing.T) {
	t.Parallel()
	dead := &fake{deliver: func(context.Context, *Item, int) error { return errors.New("no") }}
	final := &fake{deliver: func(context.Context, *Item, int) error { return Final(errors.New("never")) }}
	panics := &fake{deliver: func(_ context.Context, _ *Item, n int) error {
		if n == 0 {
			panic("oh")
		}
		return nil
	}}
	hangs := &fake{deliver: func(ctx context.Context, _ *Item, _ int) error { <-ctx.Done(); return ctx.Err() }}
	fine := new(fake)
	_, q := dispatch(t, map[string]*fake{"dead": dead, "final": final, "panics": panics, "hangs": hangs, "fine": fine},
		retry.Policy{{Attempts: 2, Wait: time.Millisecond}, {Attempts: 1, Wait: time.Millisecond}},
		`{"archiver": "dead", "data": {}}`, `{"archiver": "final", "data": {}}`, `{"archiver": "panics", "data": {}}`, `{"archiver": "hangs", "data": {}}`, `{"archiver": "fine", "data": {}}`)
	put(t, q, "1", "2")
	until(t, "the fine one has all", func() bool { return len(fine.all()) == 2 })
	until(t, "the panicking one has all", func() bool { return len(panics.all()) == 2 })
	calls := func(f *fake) int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.calls
	}
	until(t, "the dead one was tried", func() bool { return calls(dead) == 2*4 })
	until(t, "the final one was tried", func() bool { return calls(final) == 2 })
}

func TestSet(t *testing.T) {
	t.Parallel()
	a, b := new(fake), new(fake)
	d, q := dispatch(t, map[string]*fake{"a": a, "b": b}, nil, `{"archiver": "a", "data": {}}`)
	put(t, q, "1")
	until(t, "it is there", func() bool { return len(a.all()) == 1 })
	err := d.Set(t.Context(), parse(t, `{"archiver": "b", "data": {}}`, `{"archiver": "x", "data": {}}`))
	if err == nil {
		t.Error("an archiver that is not there is accepted")
	}
	err = d.Set(t.Context(), parse(t, `{"archiver": "a", "data": {}}`, `{"archiver": "a", "data": {}}`))
	if err == nil {
		t.Error("an archive is accepted twice")
	}
	if err := d.Set(t.Context(), parse(t, `{"archiver": "b", "data": {}}`)); err != nil {
		t.Fatal(err)
	}
	put(t, q, "2")
	until(t, "it is there", func() bool { return len(b.all()) == 1 })
	if err := d.Set(t.Context(), parse(t, `{"archiver": "a", "data": {}}`, `{"archiver": "b", "data": {}}`)); err != nil {
		t.Fatal(err)
	}
	put(t, q, "3")
	until(t, "it is there", func() bool { return len(b.all()) == 2 && len(a.all()) == 2 })
	if got, want := fmt.Sprint(a.all(), b.all()), `[1 {"id":"1"} 3 {"id":"3"}] [2 {"id":"2"} 3 {"id":"3"}]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Items have the addresses that their specification wants, and tell which try it
// is.
func TestItem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ spec, href, want string }{
		{`{"archiver": "a", "data": {}}`, "https://here/pscheduler/tasks/1", "https://here/pscheduler/tasks/1"},
		{`{"archiver": "a", "data": {}, "schema": 2, "uri-host": "there"}`, "https://here/pscheduler/tasks/1", "https://there/pscheduler/tasks/1"},
		{`{"archiver": "a", "data": {}, "schema": 2, "uri-host": "[2001:db8::1]:8443"}`, "https://here:443/pscheduler/tasks/1", "https://[2001:db8::1]:8443/pscheduler/tasks/1"},
		{`{"archiver": "a", "data": {}, "schema": 2, "uri-host": "there"}`, "", ""},
		{`{"archiver": "a", "data": {}, "schema": 2, "uri-host": "there"}`, "%", "%"},
	} {
		var got *Item
		f := &fake{deliver: func(_ context.Context, item *Item, _ int) error {
			got = item
			return nil
		}}
		r := &queue.Result{ID: "1", Body: []byte(`{"task": "` + c.href + `", "run": "` + c.href + `/runs/2"}`), TaskHref: c.href, RunHref: c.href + "/runs/2"}
		err := Try(t.Context(), func(*Spec) (Opened, error) { return Opened{Destination: f}, nil }, parse(t, c.spec)[0], r)
		if err != nil || got.TaskHref != c.want || got.RunHref != c.want+"/runs/2" || string(got.Payload) != `{"task": "`+c.want+`", "run": "`+c.want+`/runs/2"}` || got.ID != "1" || got.Tries != 0 || !got.Last.IsZero() {
			t.Errorf("%s: %+v, %v; want the address %s", c.spec, got, err, c.want)
		}
	}
}

// Try says what happens to one result.
func TestTry(t *testing.T) {
	t.Parallel()
	no := errors.New("no")
	open := func(f *fake) Opener { return func(*Spec) (Opened, error) { return Opened{Destination: f}, nil } }
	fine := &fake{}
	fails := &fake{deliver: func(context.Context, *Item, int) error { return no }}
	panics := &fake{deliver: func(context.Context, *Item, int) error { panic("oh") }}
	for _, c := range []struct {
		open Opener
		spec string
		want string
	}{
		{open(fine), `{"archiver": "a", "data": {}}`, "<nil>"},
		{open(fails), `{"archiver": "a", "data": {}}`, "no"},
		{open(panics), `{"archiver": "a", "data": {}}`, "the destination panicked: oh"},
		{open(fine), `{"archiver": "a", "data": {}, "schema": 2, "runs": "failed"}`, transform.ErrDiscarded.Error()},
		{open(fine), `{"archiver": "a", "data": {}, "transform": {"script": "null"}}`, transform.ErrDiscarded.Error()},
		{open(fine), `{"archiver": "a", "data": {}, "transform": {"script": "error(\"bad\")"}}`, "transform: error: bad"},
		{func(*Spec) (Opened, error) { return Opened{}, errors.New("cannot be opened") }, `{"archiver": "a", "data": {}}`, "cannot be opened"},
	} {
		err := Try(t.Context(), c.open, parse(t, c.spec)[0], &queue.Result{ID: "1", Succeeded: true, Body: []byte("{}")})
		if fmt.Sprint(err) != c.want {
			t.Errorf("%s: %v, want %s", c.spec, err, c.want)
		}
	}
	if len(fine.all()) != 1 || fine.closed != 4 {
		t.Errorf("%d results, closed %d times; want 1, 4", len(fine.all()), fine.closed)
	}
}

// A log is not filled with what thousands of results have in common.
func TestRation(t *testing.T) {
	t.Parallel()
	var r ration
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, c := range []struct {
		after  time.Duration
		ok     bool
		untold int
	}{
		{0, true, 0}, {time.Second, false, 0}, {9 * time.Second, false, 0}, {10 * time.Second, true, 2},
		{15 * time.Second, false, 0}, {-time.Hour, true, 1}, {0, true, 0},
	} {
		if ok, untold := r.take(now.Add(c.after)); ok != c.ok || untold != c.untold {
			t.Errorf("%d: %v, %d; want %v, %d", i, ok, untold, c.ok, c.untold)
		}
	}
}
