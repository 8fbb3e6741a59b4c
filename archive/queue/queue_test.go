package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
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

// Many use a queue at once, and everything gets everywhere.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	q := open(t, Config{})
	lines := use(t, q, "a", "b")
	const results = 300
	var seen [2]sync.Map
	var got [2]atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all, taking sync.WaitGroup
	for i, l := range lines {
		for range 4 {
			taking.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 0))
				for {
					e, err := l.Next(ctx)
					if err != nil {
						return
					}
					switch r.IntN(5) {
					case 0:
						e.Again(time.Now(), "again")
					case 1:
						e.Return()
					default:
						if _, twice := seen[i].LoadOrStore(e.ID, true); twice {
							t.Errorf("%s has %s twice", l.Name(), e.ID)
						}
						e.Delivered()
						if got[i].Add(1) >= results && got[1-i].Load() >= results {
							cancel()
						}
					}
				}
			})
		}
	}
	for g := range 3 {
		all.Go(func() {
			for i := range results / 3 {
				if err := q.Put(t.Context(), &Result{ID: fmt.Sprint(g, "-", i), Body: []byte("{}")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for range 50 {
			if _, err := q.Stats(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := q.List(t.Context(), Selection{}, 100); err != nil {
				t.Error(err)
			}
			if _, err := q.Retry(t.Context(), Selection{}); err != nil {
				t.Error(err)
			}
			if _, _, err := q.Show(t.Context(), "0-7"); err != nil {
				t.Error(err)
			}
			if err := lines[0].Hasten(t.Context(), time.Time{}.Add(time.Hour)); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	taking.Wait()
	if got[0].Load() != results || got[1].Load() != results {
		t.Errorf("%d and %d results have come, want %d each", got[0].Load(), got[1].Load(), results)
	}
	sweep(t, q)
	if n := q.Size(); n != 0 {
		t.Errorf("%d octets are left", n)
	}
}
