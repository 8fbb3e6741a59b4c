package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A clock is set by a test.
type clock struct{ atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.Load()) }
func (c *clock) advance(d time.Duration) { c.Add(int64(d)) }

// sweep drops and deletes what there is to drop and delete.
func sweep(t testing.TB, q *Queue) {
	t.Helper()
	stats(t, q) // what is settled is in the file
	for more := true; more; {
		j := q.sweep()
		err := q.change(t.Context(), job{do: j.do, after: func() { j.after(); more = q.unswept }})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// ids are the results that a line hands out now, all delivered.
func ids(t testing.TB, l *Line) (all []string) {
	t.Helper()
	for {
		e, err := l.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return all
		}
		all = append(all, e.ID)
		e.Delivered()
	}
}

func numbers(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func wantIDs(t testing.TB, l *Line, want []string) {
	t.Helper()
	if got := ids(t, l); !slices.Equal(got, want) {
		t.Errorf("%s gets %v, want %v", l.Name(), got, want)
	}
}

// Results are dropped when they are too old, wherever they are, and only those.
func TestMaxAge(t *testing.T) {
	t.Parallel()
	c := newClock()
	q := open(t, Config{Now: c.now, MaxAge: time.Hour})
	lines := use(t, q, "a", "b")
	put(t, q, 0, 10)
	for range 3 {
		next(t, lines[0]).Delivered()
	}
	next(t, lines[0]).Bury("dead")                        // 3
	next(t, lines[0]).Again(c.now().Add(time.Hour), "no") // 4
	out := next(t, lines[0])                              // 5
	c.advance(30 * time.Minute)
	put(t, q, 10, 20)
	c.advance(40 * time.Minute)
	sweep(t, q)
	// What is on its way is not wanted any more, whatever becomes of it.
	out.Again(c.now(), "no")
	s := stats(t, q)
	for i, want := range []LineStats{
		{Name: "name of a", Queued: 10, Counts: Counts{Delivered: 3, Buried: 1, Retried: 2, Dropped: map[string]uint64{ReasonAge: 7}}},
		{Name: "name of b", Queued: 10, Counts: Counts{Dropped: map[string]uint64{ReasonAge: 10}}},
	} {
		got := s.Lines[i]
		if got.Queued != want.Queued || got.Waiting != 0 || got.Dead != 0 || got.Delivered != want.Delivered || got.Retried != want.Retried ||
			got.Buried != want.Buried || got.Dropped[ReasonAge] != want.Dropped[ReasonAge] || !got.Oldest.Equal(c.now().Add(-40*time.Minute)) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	wantIDs(t, lines[0], numbers(10, 20))
	wantIDs(t, lines[1], numbers(10, 20))
}

// Beyond the size the oldest go, or nothing comes.
func TestMaxSize(t *testing.T) {
	t.Parallel()
	body := make([]byte, 1000)
	add := func(q *Queue, from, to int) (err error) {
		for i := from; i < to && err == nil; i++ {
			err = q.Put(t.Context(), &Result{ID: fmt.Sprint(i), Body: body})
		}
		return err
	}
	t.Run("oldest", func(t *testing.T) {
		t.Parallel()
		q := open(t, Config{MaxSize: 5000})
		lines := use(t, q, "a")
		if err := add(q, 0, 8); err != nil {
			t.Fatal(err)
		}
		sweep(t, q)
		if q.Size() != 5000 {
			t.Errorf("there are %d octets, want 5000", q.Size())
		}
		if n := stats(t, q).Lines[0].Dropped[ReasonSize]; n != 3 {
			t.Errorf("%d results were dropped, want 3", n)
		}
		wantIDs(t, lines[0], numbers(3, 8))
	})
	t.Run("newest", func(t *testing.T) {
		t.Parallel()
		q := open(t, Config{MaxSize: 5000, Full: RefuseNew})
		lines := use(t, q, "a")
		if err := add(q, 0, 5); err != nil {
			t.Fatal(err)
		}
		if err := add(q, 5, 6); !errors.Is(err, ErrFull) {
			t.Errorf("error %v, want %v", err, ErrFull)
		}
		s := stats(t, q)
		if s.Refused != 1 || s.Failing != nil || s.Came != 5 {
			t.Errorf("%d came, %d were refused, failing: %v; want 5, 1, nothing", s.Came, s.Refused, s.Failing)
		}
		next(t, lines[0]).Delivered()
		sweep(t, q)
		if err := add(q, 6, 7); err != nil {
			t.Errorf("there is room, and yet: %v", err)
		}
		wantIDs(t, lines[0], []string{"1", "2", "3", "4", "6"})
	})
	t.Run("many", func(t *testing.T) {
		t.Parallel()
		q := open(t, Config{MaxSize: 1000})
		lines := use(t, q, "a")
		const n = 2*sweepAtOnce + 10
		var all []*Result
		for i := range n {
			all = append(all, &Result{ID: fmt.Sprint(i), Body: body[:1]})
		}
		if err := q.Put(t.Context(), all...); err != nil {
			t.Fatal(err)
		}
		sweep(t, q)
		wantIDs(t, lines[0], numbers(n-1000, n))
	})
}

// A result that is too large, or none, is refused.
func TestNoResult(t *testing.T) {
	t.Parallel()
	q := open(t, Config{})
	for _, r := range []*Result{{ID: "empty"}, {Body: []byte("{}")}} {
		if err := q.Put(t.Context(), r); err == nil || !strings.Contains(err.Error(), "want an ID, and JSON") {
			t.Errorf("error %v", err)
		}
	}
	err := q.Put(t.Context(), &Result{ID: "large", Body: make([]byte, maxResult+1)})
	if err == nil || !strings.Contains(err.Error(), "result large has 67108865 octets: want at most 67108864") {
		t.Errorf("error %v", err)
	}
}

// The same result comes once.
func TestSameID(t *testing.T) {
	t.Parallel()
	q := open(t, Config{})
	lines := use(t, q, "a")
	put(t, q, 0, 5)
	put(t, q, 3, 8)
	if s := stats(t, q); s.Came != 8 || s.Lines[0].Queued != 8 {
		t.Errorf("%d came, %d are queued; want 8, 8", s.Came, s.Lines[0].Queued)
	}
	wantIDs(t, lines[0], numbers(0, 8))
}

// What is settled can be replayed as long as it is kept, and is deleted then.
func TestKeepAndReplay(t *testing.T) {
	t.Parallel()
	c := newClock()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, Config{Path: path, Now: c.now, Keep: time.Hour})
	lines := use(t, q, "a", "b")
	put(t, q, 0, 10)
	c.advance(10 * time.Minute)
	put(t, q, 10, 20)
	for _, l := range lines {
		wantIDs(t, l, numbers(0, 20))
	}
	sweep(t, q)
	since := c.now()
	for _, sel := range []struct {
		Selection
		n    int64
		a, b []string
	}{
		{Selection{Since: since}, 20, numbers(10, 20), numbers(10, 20)},
		{Selection{Destination: "name of a", IDs: []string{"3", "12", "x"}}, 2, []string{"3", "12"}, nil},
		{Selection{Destination: "name of b", Before: since}, 10, nil, numbers(0, 10)},
	} {
		n, err := q.Replay(t.Context(), sel.Selection)
		if err != nil || n != sel.n {
			t.Errorf("%+v: %d results are replayed, %v; want %d", sel.Selection, n, err, sel.n)
		}
		wantIDs(t, lines[0], sel.a)
		wantIDs(t, lines[1], sel.b)
	}
	if _, err := q.Replay(t.Context(), Selection{State: Dead}); err == nil {
		t.Error("dead results are replayed")
	}
	if _, err := q.Replay(t.Context(), Selection{Destination: "c"}); err == nil || !strings.Contains(err.Error(), `destination "c": want one of ["name of a" "name of b"]`) {
		t.Errorf("error %v", err)
	}
	// A new destination gets what came before it.
	lines = use(t, q, "a", "c")
	if n, err := q.Replay(t.Context(), Selection{Destination: "name of c"}); n != 20 || err != nil {
		t.Errorf("%d results are replayed, %v; want 20", n, err)
	}
	wantIDs(t, lines[1], numbers(0, 20))
	c.advance(55 * time.Minute)
	sweep(t, q)
	if r, _, err := q.Show(t.Context(), "9"); r != nil || err != nil {
		t.Errorf("result 9 is kept after an hour: %v, %v", r, err)
	}
	r, standings, err := q.Show(t.Context(), "10")
	if err != nil || r == nil || string(r.Body) != `{"n":10}` || len(standings) != 2 || standings[0].State != Settled {
		t.Errorf("result 10: %+v, %+v, %v", r, standings, err)
	}
	c.advance(time.Hour)
	sweep(t, q)
	if n := q.Size(); n != 0 {
		t.Errorf("%d octets are left", n)
	}
}

// A destination that leaves and comes back gets what it was to get before, and
// what comes then, but not what came meanwhile.
func TestLeaveAndComeBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, Config{Path: path})
	lines := use(t, q, "a", "b")
	put(t, q, 0, 5)
	gone := lines[1]
	out, again := next(t, gone), next(t, gone)
	use(t, q, "a")
	if _, err := gone.TryNext(); !errors.Is(err, ErrUnused) {
		t.Errorf("error %v, want %v", err, ErrUnused)
	}
	put(t, q, 5, 8)
	out.Delivered()
	if l := stats(t, q).Lines[1]; l.Used || l.Waiting != 4 || l.Queued != 0 {
		t.Errorf("used: %v, %d wait, %d are queued; want no, 4, 0", l.Used, l.Waiting, l.Queued)
	}
	wantIDs(t, lines[0], numbers(0, 8))
	sweep(t, q)
	lines = use(t, q, "b", "a")
	put(t, q, 8, 10)
	e := next(t, lines[0]) // those that waited and new ones come in turns
	if e.ID != "2" {
		t.Errorf("result %s, want 2: 1 is on its way", e.ID)
	}
	e.Delivered()
	again.Return()
	got := ids(t, lines[0])
	slices.Sort(got)
	if want := []string{"1", "3", "4", "8", "9"}; !slices.Equal(got, want) {
		t.Errorf("it gets %v, want %v", got, want)
	}
	wantIDs(t, lines[1], numbers(8, 10))
	// One that leaves with nothing is forgotten.
	use(t, q, "a")
	sweep(t, q)
	if s := stats(t, q); len(s.Lines) != 1 || s.Size != 0 {
		t.Errorf("%d destinations, %d octets: want 1, 0", len(s.Lines), s.Size)
	}
}

// Names are unique, and stay.
func TestNames(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, Config{Path: path})
	names := func(targets ...Target) (all []string) {
		lines, err := q.Use(t.Context(), targets...)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			all = append(all, l.Name())
		}
		return all
	}
	for _, c := range []struct {
		targets []Target
		want    []string
	}{
		{[]Target{{"1", "http"}, {"2", "http"}, {"3", "http"}, {"4", "tcp"}}, []string{"http", "http 2", "http 3", "tcp"}},
		{[]Target{{"3", "http"}, {"2", "http"}, {"4", "other"}}, []string{"http 3", "http 2", "other"}},
	} {
		if got := names(c.targets...); !slices.Equal(got, c.want) {
			t.Errorf("names %q, want %q", got, c.want)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, Config{Path: path})
	sweep(t, q) // the first http has nothing, and is forgotten
	if got, want := names(Target{"5", "http"}, Target{"2", "http"}), []string{"http", "http 2"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	if _, err := q.Use(t.Context(), Target{"1", "a"}, Target{"1", "b"}); err == nil || !strings.Contains(err.Error(), "destination b: want it once, it is there twice") {
		t.Errorf("error %v", err)
	}
}

// One that takes long does not keep others from being settled for good.
func TestStepAside(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, Config{Path: path})
	l := use(t, q, "a")[0]
	const n = maxOut + 100
	put(t, q, 0, n)
	slow := next(t, l)
	if got, want := ids(t, l), numbers(1, n); !slices.Equal(got, want) {
		t.Errorf("%d results, want %d in their order", len(got), len(want))
	}
	sweep(t, q)
	if s := stats(t, q); s.Size != 7 || s.Lines[0].Queued+s.Lines[0].Waiting != 1 {
		t.Errorf("%d octets, %+v: want those of one result", s.Size, s.Lines[0])
	}
	slow.Again(time.Now(), "no")
	if e := next(t, l); e.ID != "0" || e.Tries != 1 {
		t.Errorf("result %s with %d tries, want 0 with 1", e.ID, e.Tries)
	} else {
		e.Delivered()
	}
	sweep(t, q)
	if n := q.Size(); n != 0 {
		t.Errorf("%d octets are left", n)
	}
}

// The file shrinks when what was in it is gone.
func TestShrink(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, Config{Path: path})
	l := use(t, q, "a")[0]
	var all []*Result
	for i := range 200 {
		all = append(all, &Result{ID: fmt.Sprint(i), Body: make([]byte, 100_000)})
	}
	if err := q.Put(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	ids(t, l)
	for range 10 {
		sweep(t, q)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() > 10<<20 {
		t.Errorf("the file has %d octets, and nothing in it", fi.Size())
	}
}

// Close ends waiting, and what is asked for afterwards.
func TestClose(t *testing.T) {
	t.Parallel()
	q := open(t, Config{})
	l := use(t, q, "a")[0]
	put(t, q, 0, 1)
	out := next(t, l)
	ended := make(chan error)
	for range 3 {
		go func() {
			_, err := l.Next(context.Background())
			ended <- err
		}()
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("error %v, want %v", err, ErrClosed)
		}
	}
	out.Delivered() // too late, and harmless
	if err := q.Put(t.Context(), &Result{ID: "late", Body: []byte("{}")}); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v, want %v", err, ErrClosed)
	}
	if _, err := q.Use(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v, want %v", err, ErrClosed)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// A canceled wait ends, and takes nothing from others who wait.
func TestNextCanceled(t *testing.T) {
	t.Parallel()
	q := open(t, Config{})
	l := use(t, q, "a")[0]
	ctx, cancel := context.WithCancel(t.Context())
	canceled, got := make(chan error), make(chan string)
	go func() {
		_, err := l.Next(ctx)
		canceled <- err
	}()
	go func() {
		e, err := l.Next(t.Context())
		if err != nil {
			got <- err.Error()
			return
		}
		got <- e.ID
	}()
	cancel()
	if err := <-canceled; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	put(t, q, 7, 8)
	if id := <-got; id != "7" {
		t.Errorf("result %s, want 7", id)
	}
}
