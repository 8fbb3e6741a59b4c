package queue

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// brief is what a listing says, in a form that is compared easily.
func brief(all []Standing) (lines []string) {
	for _, s := range all {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s %d %s", s.Destination, s.ID, s.State, s.Tries, s.Error)))
	}
	return lines
}

// People see how results stand, and change it, with the agent and, when that has
// ended, without.
func TestPeople(t *testing.T) {
	t.Parallel()
	c := newClock()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, Config{Path: path, Now: c.now})
	lines, err := q.Use(t.Context(), Target{"1", "here"}, Target{"2", "there"})
	if err != nil {
		t.Fatal(err)
	}
	here := lines[0]
	put(t, q, 0, 4)
	arrived := c.now()
	c.advance(time.Minute)
	put(t, q, 4, 6)
	next(t, here).Delivered()                              // 0
	next(t, here).Again(c.now().Add(time.Hour), "refused") // 1
	next(t, here).Again(c.now().Add(time.Second), "")      // 2
	next(t, here).Bury(strings.Repeat("é", maxError))      // 3
	stats(t, q)
	list := func(sel Selection, limit int) []Standing {
		t.Helper()
		all, err := q.List(t.Context(), sel, limit)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	want := func(sel Selection, limit int, want ...string) {
		t.Helper()
		if got := brief(list(sel, limit)); !slices.Equal(got, want) {
			t.Errorf("%+v: %q, want %q", sel, got, want)
		}
	}
	long := strings.Repeat("é", maxError/2) + "…"
	of := Selection{Destination: "here"}
	want(of, 100, "here 3 dead 1 "+long, "here 2 waiting 1", "here 1 waiting 1 refused", "here 4 queued 0", "here 5 queued 0")
	want(Selection{}, 6, "here 3 dead 1 "+long, "here 2 waiting 1", "here 1 waiting 1 refused", "here 4 queued 0", "here 5 queued 0", "there 0 queued 0")
	want(Selection{State: Queued, Since: c.now()}, 100, "here 4 queued 0", "here 5 queued 0", "there 4 queued 0", "there 5 queued 0")
	want(Selection{State: Waiting, Before: c.now()}, 100, "here 2 waiting 1", "here 1 waiting 1 refused")
	want(Selection{IDs: []string{"1", "0"}}, 100, "here 1 waiting 1 refused", "there 0 queued 0", "there 1 queued 0")
	if s := list(Selection{Destination: "here", IDs: []string{"1"}}, 1)[0]; !s.Arrived.Equal(arrived) || s.Size != 7 || !s.Last.Equal(c.now()) || !s.Next.Equal(c.now().Add(time.Hour)) {
		t.Errorf("%+v", s)
	}
	if _, err := q.List(t.Context(), Selection{State: "gone"}, 1); err == nil || !strings.Contains(err.Error(), `state "gone": want one of ["queued" "waiting" "dead"]`) {
		t.Errorf("error %v", err)
	}
	r, standings, err := q.Show(t.Context(), "1")
	if err != nil || string(r.Body) != `{"n":1}` || !slices.Equal(brief(standings), []string{"here 1 waiting 1 refused", "there 1 queued 0"}) {
		t.Errorf("%+v, %q, %v", r, brief(standings), err)
	}
	if r, _, err := q.Show(t.Context(), "x"); r != nil || err != nil {
		t.Errorf("%+v, %v: want nothing", r, err)
	}

	// The agent has ended.
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, Config{Path: path, Now: c.now, Still: true})
	number := func(n int64, err error) int64 {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		return n
	}
	if n := number(q.Retry(t.Context(), Selection{Destination: "here", State: Dead})); n != 1 {
		t.Errorf("%d results are retried, want 1", n)
	}
	if n := number(q.Drop(t.Context(), Selection{Destination: "here", IDs: []string{"2", "4"}})); n != 2 {
		t.Errorf("%d results are dropped, want 2", n)
	}
	if n := number(q.Drop(t.Context(), Selection{Destination: "there", State: Queued, Since: c.now()})); n != 2 {
		t.Errorf("%d results are dropped, want 2", n)
	}
	want(of, 100, "here 1 waiting 1 refused", "here 5 queued 0", "here 3 queued 0 "+long)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}

	q = open(t, Config{Path: path, Now: c.now})
	lines, err = q.Use(t.Context(), Target{"1", "here"}, Target{"2", "there"})
	if err != nil {
		t.Fatal(err)
	}
	wantIDs(t, lines[0], []string{"5", "3"})
	if n := number(q.Retry(t.Context(), of)); n != 1 {
		t.Errorf("%d results are retried, want 1", n)
	}
	wantIDs(t, lines[0], []string{"1"})
	wantIDs(t, lines[1], numbers(0, 4))
}

// Closed while it is used, a queue has afterwards what was not settled.
func TestCloseWhileUsed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	put, got := make(map[string]bool), make(map[string]int)
	var mu sync.Mutex
	for round := range 5 {
		q, err := Open(Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		lines := use(t, q, "a")
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				for {
					e, err := lines[0].Next(t.Context())
					if err != nil {
						return
					}
					mu.Lock()
					got[e.ID]++
					mu.Unlock()
					e.Delivered()
				}
			})
		}
		some := make(chan struct{})
		all.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprint(round, "-", i)
				if err := q.Put(t.Context(), &Result{ID: id, Body: []byte("{}")}); err != nil {
					return
				}
				mu.Lock()
				put[id] = true
				mu.Unlock()
				if i == 20 {
					close(some)
				}
			}
		})
		<-some
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
	}
	q := open(t, Config{Path: path})
	for _, id := range ids(t, use(t, q, "a")[0]) {
		got[id]++
	}
	for id := range put {
		if got[id] == 0 {
			t.Errorf("result %s is lost", id)
		}
	}
	if len(put) < 100 {
		t.Errorf("only %d results were queued", len(put))
	}
}
