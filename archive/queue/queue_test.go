package queue

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

func open(t testing.TB, cfg Config) *Queue {
	t.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(t.TempDir(), "queue.db")
	}
	q, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

func use(t testing.TB, q *Queue, keys ...string) []*Line {
	t.Helper()
	var targets []Target
	for _, k := range keys {
		targets = append(targets, Target{k, "name of " + k})
	}
	lines, err := q.Use(t.Context(), targets...)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func put(t testing.TB, q *Queue, from, to int) {
	t.Helper()
	var all []*Result
	for i := from; i < to; i++ {
		all = append(all, &Result{ID: fmt.Sprint(i), Body: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	if err := q.Put(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
}

func next(t testing.TB, l *Line) *Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	e, err := l.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// stats are those when all that has been is in the file.
func stats(t testing.TB, q *Queue) Stats {
	t.Helper()
	if err := q.change(t.Context(), job{do: func(*store) error { return nil }}); err != nil {
		t.Fatal(err)
	}
	s, err := q.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Each line gets each result in its order, and again what failed; then the file
// is empty.
func TestOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, Config{Path: path})
	lines := use(t, q, "a", "b")
	put(t, q, 0, 100)
	for i := range 100 {
		e := next(t, lines[0])
		if e.ID != fmt.Sprint(i) || string(e.Body) != fmt.Sprintf(`{"n":%d}`, i) {
			t.Fatalf("result %s with %s, want %d", e.ID, e.Body, i)
		}
		e.Delivered()
	}
	for i := range 50 {
		e := next(t, lines[1])
		if e.ID != fmt.Sprint(i) {
			t.Fatalf("result %s, want %d", e.ID, i)
		}
		if i == 7 {
			e.Again(time.Now().Add(time.Hour), "no")
			continue
		}
		e.Delivered()
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, Config{Path: path, Now: func() time.Time { return time.Now().Add(2 * time.Hour) }})
	lines = use(t, q, "a", "b")
	put(t, q, 100, 110)
	seen := make(map[string]bool)
	for range 61 {
		e := next(t, lines[1])
		if seen[e.ID] {
			t.Errorf("result %s twice", e.ID)
		}
		seen[e.ID] = true
		if e.ID == "7" && (e.Tries != 1 || e.Last.IsZero()) {
			t.Errorf("result 7: %d tries, last %v", e.Tries, e.Last)
		}
		e.Delivered()
	}
	if !seen["7"] || !seen["109"] || seen["6"] {
		t.Errorf("seen %v", seen)
	}
	for range 10 {
		next(t, lines[0]).Delivered()
	}
	sweep(t, q)
	if n := q.Size(); n != 0 {
		t.Errorf("%d octets are left", n)
	}
}

func BenchmarkQueue(b *testing.B) {
	q := open(b, Config{})
	lines := use(b, q, "a", "b", "c", "d")
	body := make([]byte, 2000)
	const batch = 50
	for b.Loop() {
		var all []*Result
		for range batch {
			all = append(all, &Result{ID: fmt.Sprint(time.Now().UnixNano(), len(all)), Body: body})
		}
		if err := q.Put(b.Context(), all...); err != nil {
			b.Fatal(err)
		}
		for _, l := range lines {
			for range batch {
				next(b, l).Delivered()
			}
		}
	}
	b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "results/s")
}
