package queue

import (
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// A world is a queue, and what is known of it from outside.
type world struct {
	*testing.T
	r       *rand.Rand
	path    string
	now     atomic.Int64
	q       *Queue
	put     int // results that were put; their IDs are their numbers
	targets []*target
	log     []string
}

// A target is a destination, what it has to get and what it has.
type target struct {
	key   string
	used  bool
	line  *Line
	wants map[string]bool   // results that it has to get, the dead included
	dead  map[string]bool   // those of them that are not to be tried again
	had   map[string]bool   // settled, and so not to be handed out again
	fresh map[string]bool   // those of them, and of the dead, that a crash may undo
	loose map[string]bool   // results that may be handed out, and need not
	out   map[string]*Entry // handed out
	last  int64             // the newest result that was handed out in its turn
}

func (w *world) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

func (w *world) fail(format string, args ...any) {
	w.Helper()
	for _, line := range w.log[max(0, len(w.log)-80):] {
		w.Log(line)
	}
	w.Fatalf(format, args...)
}

func (w *world) time() time.Time { return time.Unix(0, w.now.Load()) }

func (w *world) open() {
	w.Helper()
	q, err := Open(Config{Path: w.path, Now: w.time})
	if err != nil {
		w.Fatal(err)
	}
	w.q = q
}

// do makes a change; with it, what is settled is in the file.
func (w *world) do(do func(*store) error, after func()) {
	w.Helper()
	if err := w.q.change(w.Context(), job{do: do, after: after}); err != nil {
		w.Fatal(err)
	}
	w.safe()
}

// safe notes that a crash undoes nothing of what has been until now, but for
// results that were settled out of their turn.
func (w *world) safe() {
	for _, d := range w.targets {
		fresh := make(map[string]bool)
		if d.line != nil {
			w.q.mu.Lock()
			for _, h := range d.line.out {
				fresh[h.ID] = h.over && d.fresh[h.ID]
			}
			w.q.mu.Unlock()
		}
		maps.DeleteFunc(fresh, func(_ string, fresh bool) bool { return !fresh })
		d.fresh = fresh
	}
}

func (w *world) use(chosen func(*target) bool) {
	w.Helper()
	var names []Target
	var used []*target
	for _, d := range w.targets {
		if d.used = chosen(d); d.used {
			names = append(names, Target{d.key, d.key})
			used = append(used, d)
		}
	}
	w.note("use %v", names)
	lines, err := w.q.Use(w.Context(), names...)
	if err != nil {
		w.Fatal(err)
	}
	for i, d := range used {
		d.line = lines[i]
	}
	w.safe()
}

func (w *world) add() {
	var all []*Result
	for range 1 + w.r.IntN(20) {
		r := &Result{ID: fmt.Sprint(w.put), Body: make([]byte, 1+w.r.IntN(100))}
		all = append(all, r)
		w.put++
		for _, d := range w.targets {
			if d.used {
				d.wants[r.ID] = true
			}
		}
	}
	w.note("put %s to %s", all[0].ID, all[len(all)-1].ID)
	if err := w.q.Put(w.Context(), all...); err != nil {
		w.Fatal(err)
	}
	w.safe()
}

// take has a destination take the next result.
func (w *world) take(d *target) bool {
	e, err := d.line.TryNext()
	if err != nil {
		w.fail("%v", err)
	}
	if e == nil {
		return false
	}
	w.note("%s takes %s, tries %d, again %v", d.key, e.ID, e.Tries, e.again)
	switch {
	case d.out[e.ID] != nil:
		w.fail("%s gets %s, which it holds", d.key, e.ID)
	case d.loose[e.ID]:
	case d.had[e.ID]:
		w.fail("%s gets %s, which it has had", d.key, e.ID)
	case !d.wants[e.ID]:
		w.fail("%s gets %s, which is not for it", d.key, e.ID)
	case d.dead[e.ID]:
		w.fail("%s gets %s, which is dead", d.key, e.ID)
	case !e.again && e.seq <= d.last:
		w.fail("%s gets %s, place %d, behind place %d", d.key, e.ID, e.seq, d.last)
	}
	if !e.again {
		d.last = e.seq
	}
	if d.loose[e.ID] {
		delete(d.loose, e.ID)
		delete(d.had, e.ID)
		d.wants[e.ID] = true
	}
	d.out[e.ID] = e
	return true
}

// settle has a destination say what has become of a result that it holds.
func (w *world) settle(d *target, choice int) {
	id := w.any(d.out)
	e := d.out[id]
	delete(d.out, id)
	d.fresh[id] = true
	switch {
	case choice < 6:
		w.note("%s has %s", d.key, id)
		e.Delivered()
		delete(d.wants, id)
		d.had[id] = true
	case choice < 8:
		w.note("%s wants %s again", d.key, id)
		e.Again(w.time().Add(time.Duration(w.r.IntN(60))*time.Second), "again")
	case choice < 9:
		w.note("%s returns %s", d.key, id)
		if !e.again {
			d.last = min(d.last, e.seq-1)
		}
		e.Return()
	default:
		w.note("%s buries %s", d.key, id)
		e.Bury("dead")
		d.dead[id] = true
	}
}

func (w *world) any(of map[string]*Entry) string {
	ids := slices.Sorted(maps.Keys(of))
	return ids[w.r.IntN(len(ids))]
}

// retry and drop are what people do.
func (w *world) retry(d *target) {
	n, err := w.q.Retry(w.Context(), Selection{Destination: d.key, State: Dead})
	if err != nil {
		w.note("retry: %v", err)
		return // it is not there any more
	}
	w.note("retry of %s: %d", d.key, n)
	w.safe()
	if int(n) != len(d.dead) {
		w.fail("%d dead results of %s are tried again, want %d: %v", n, d.key, len(d.dead), d.dead)
	}
	clear(d.dead)
}

func (w *world) drop(d *target) {
	var ids []string
	for id := range d.wants {
		if d.out[id] == nil && w.r.IntN(4) == 0 && !d.loose[id] {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	n, err := w.q.Drop(w.Context(), Selection{Destination: d.key, IDs: ids})
	w.note("drop of %v of %s: %d, %v", ids, d.key, n, err)
	if err != nil || int(n) != len(ids) {
		w.fail("%d results of %s were dropped, %v: want %v", n, d.key, err, ids)
	}
	w.safe()
	for _, id := range ids {
		delete(d.wants, id)
		delete(d.dead, id)
		d.had[id] = true
	}
	// What was not dropped waits now, and is handed out in its turn with what does.
}

// restart closes the queue and opens it, or a copy of its files, which is what a
// crash leaves.
func (w *world) restart(crash bool) {
	w.note("restart, crash: %v", crash)
	old := w.q
	if crash {
		to := filepath.Join(w.TempDir(), "queue.db")
		// The writer has other things to do than to write.
		err := old.change(w.Context(), job{do: func(*store) error {
			for _, suffix := range []string{"", "-wal"} {
				b, err := os.ReadFile(w.path + suffix)
				if err == nil {
					err = os.WriteFile(to+suffix, b, 0o600)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}})
		if err != nil {
			w.Fatal(err)
		}
		w.path = to
	}
	if err := old.Close(); err != nil {
		w.Fatal(err)
	}
	w.open()
	for _, d := range w.targets {
		clear(d.out)
		d.last = 0
		if !crash {
			continue
		}
		for id := range d.fresh {
			d.loose[id] = true
			delete(d.had, id)
			delete(d.dead, id)
		}
		// Whether those are dead is for the file to say.
		for _, s := range w.list(Selection{Destination: d.key, State: Dead}) {
			d.dead[s.ID] = true
			delete(d.loose, s.ID)
		}
		d.fresh = make(map[string]bool)
	}
	w.use(func(d *target) bool { return d.used })
}

func (w *world) list(sel Selection) []Standing {
	all, err := w.q.List(w.Context(), sel, 1<<30)
	if err != nil {
		return nil // the destination is not there any more
	}
	return all
}

// check compares the queue with what is known of it.
func (w *world) check() {
	w.Helper()
	w.do(func(*store) error { return nil }, nil)
	stats, err := w.q.Stats(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for _, d := range w.targets {
		var of LineStats
		if i := slices.IndexFunc(stats.Lines, func(l LineStats) bool { return l.Name == d.key }); i >= 0 {
			of = stats.Lines[i]
		}
		counts := make(map[State]int64)
		listed := make(map[string]bool)
		for _, s := range w.list(Selection{Destination: d.key}) {
			counts[s.State]++
			if listed[s.ID] {
				w.fail("%s of %s is listed twice", s.ID, d.key)
			}
			listed[s.ID] = true
			if d.had[s.ID] && !d.loose[s.ID] {
				w.fail("%s has had %s, which is %s", d.key, s.ID, s.State)
			}
			if d.dead[s.ID] != (s.State == Dead) && !d.loose[s.ID] {
				w.fail("%s of %s is %s; dead: %v", s.ID, d.key, s.State, d.dead[s.ID])
			}
		}
		for id := range d.wants {
			if !listed[id] && !d.loose[id] {
				w.fail("%s of %s is lost", id, d.key)
			}
		}
		if of.Dead != counts[Dead] || of.Queued+of.Waiting != counts[Queued]+counts[Waiting] {
			w.fail("%s: %d queued, %d waiting, %d dead; listed %v", d.key, of.Queued, of.Waiting, of.Dead, counts)
		}
	}
	var size int64
	if err := w.q.store.look(w.Context(), func(rows *sql.Rows) (bool, error) { return true, rows.Scan(&size) }, "SELECT coalesce(sum(length(body)), 0) FROM results"); err != nil {
		w.Fatal(err)
	}
	if w.q.Size() != size {
		w.fail("size %d, want %d", w.q.Size(), size)
	}
}

// end lets all destinations have all that they want.
func (w *world) end() {
	w.note("end")
	for _, d := range w.targets {
		for len(d.out) > 0 {
			w.settle(d, 0)
		}
	}
	w.use(func(*target) bool { return true })
	w.now.Add(int64(time.Hour))
	for _, d := range w.targets {
		for w.take(d) {
			w.settle(d, 0)
		}
		for id := range d.wants {
			if !d.dead[id] && !d.loose[id] {
				w.fail("%s has not got %s", d.key, id)
			}
		}
	}
	w.check()
	if n, err := w.q.Drop(w.Context(), Selection{State: Dead}); err != nil {
		w.Fatal(n, err)
	}
	w.do(func(*store) error { return nil }, nil)
	j := w.q.sweep()
	w.do(j.do, j.after)
	if n := w.q.Size(); n != 0 {
		w.fail("%d octets are left", n)
	}
}

// Whatever happens, all results come to where they are wanted, in their order, and
// not twice unless there was a crash.
func TestModel(t *testing.T) {
	t.Parallel()
	seeds := uint64(6)
	if !testing.Short() {
		seeds = 500
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := &world{T: t, r: rand.New(rand.NewPCG(seed, 0)), path: filepath.Join(t.TempDir(), "queue.db")}
			w.now.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
			for _, key := range []string{"a", "b", "c"} {
				w.targets = append(w.targets, &target{key: key, wants: map[string]bool{}, dead: map[string]bool{}, had: map[string]bool{}, fresh: map[string]bool{}, loose: map[string]bool{}, out: map[string]*Entry{}})
			}
			w.open()
			defer func() { w.q.Close() }()
			w.use(func(*target) bool { return true })
			for range 300 {
				d := w.targets[w.r.IntN(len(w.targets))]
				switch n := w.r.IntN(100); {
				case n < 8:
					w.add()
				case n < 50:
					if d.used {
						w.take(d)
					}
				case n < 80:
					if len(d.out) > 0 {
						w.settle(d, w.r.IntN(10))
					}
				case n < 84:
					w.now.Add(w.r.Int64N(int64(time.Minute)))
				case n < 86:
					w.use(func(*target) bool { return w.r.IntN(4) > 0 })
				case n < 88:
					w.retry(d)
				case n < 90:
					w.drop(d)
				case n < 93:
					j := w.q.sweep()
					w.do(j.do, j.after)
				case n < 97:
					w.check()
				default:
					w.restart(w.r.IntN(2) == 0)
				}
			}
			w.end()
		})
	}
}
