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
)

// A fake is a destination that does what a test says.
type fake struct {
	mu      sync.Mutex
	got     []string
	deliver func(ctx context.Context, item *Item, n int) error // n: how often it was called before
	calls   int
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

func (f *fake) Close() error { return nil }

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
	for deadline := time.Now().Add(3 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestDispatch(t *testing.T) {
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
