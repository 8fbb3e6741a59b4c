package store

import (
	"bytes"
	"context"
	"slices"
	"strings"
)

const (
	// jobsAtOnce bounds what one transaction does, so that none takes long.
	jobsAtOnce = 256
	// tries is how often a transaction is begun that others get in the way of.
	tries = 10
)

// background: half of a change helps nobody, so none is given up.
var background = context.Background()

// A job is a change, made together with others.
type job struct {
	key  key
	do   func(*tx) error
	err  error // what do has returned
	done chan error
}

// change makes a change and waits until it is on the disk, or not made. An error
// that do returns by itself, and not because a statement failed, is that of this
// change alone: until then do must not have changed anything. Jobs of one key are
// done in order, and do may be called more than once.
func (s *Store) change(ctx context.Context, k key, do func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.closing:
		return ErrClosed
	default:
	}
	if err := s.awaited(); err != nil {
		return err
	}
	j := &job{key: k, do: do, done: make(chan error, 1)}
	w := s.writers[int(k[len(k)-1])%len(s.writers)]
	select {
	case w.jobs <- j:
	case <-s.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select { // whatever ctx says: it may be made already
	case err := <-j.done:
		return err
	case <-w.ended:
	}
	select {
	case err := <-j.done:
		return err
	default:
		return ErrClosed
	}
}

// A writer changes the database by one connection. All but run belongs to one
// goroutine.
type writer struct {
	store *Store
	jobs  chan *job
	ended chan struct{}
	conn  conn // nil: there is none
}

// run does jobs until the store is closed, and what is asked for until then.
func (w *writer) run() {
	defer close(w.ended)
	defer w.drop()
	for open := true; open; {
		var jobs []*job
		select {
		case j := <-w.jobs:
			jobs = append(jobs, j)
		case <-w.store.closing:
			open = false
		}
		for more := true; more && len(jobs) < jobsAtOnce; {
			select {
			case j := <-w.jobs:
				jobs = append(jobs, j)
			default:
				more = false
			}
		}
		if len(jobs) > 0 {
			w.commit(jobs)
		}
		open = open || len(jobs) == jobsAtOnce // there may be more
	}
}

// commit does jobs in one transaction, or each in one of its own if that fails.
func (w *writer) commit(jobs []*job) {
	// All who lock more than one key at once do so in this order.
	slices.SortStableFunc(jobs, func(a, b *job) int { return bytes.Compare(a.key[:], b.key[:]) })
	err := w.transaction(background, func(t *tx) error {
		for _, j := range jobs {
			if j.err = j.do(t); t.err != nil {
				return t.err
			}
		}
		return nil
	})
	if err != nil && len(jobs) > 1 && !w.store.dialect.away(err) {
		for i := range jobs {
			w.commit(jobs[i : i+1])
		}
		return
	}
	w.store.tell(err)
	if err == nil {
		w.store.counts.commits.Add(1)
	}
	for _, j := range jobs {
		if err != nil {
			j.err = err
		}
		j.done <- j.err
	}
	if err == nil {
		w.store.dialect.written(w)
	}
}

// tell notes whether the store could be written, and logs it if that has changed.
func (s *Store) tell(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && s.failing == nil:
		s.options.Log.Error("the archive cannot be written", "archive", s.name, "error", err)
	case err == nil && s.failing != nil:
		s.options.Log.Info("the archive is written again", "archive", s.name)
	}
	s.failing = err
}

// A tx is a transaction that runs. A statement that fails ends it.
type tx struct {
	w   *writer
	ctx context.Context
	err error // of the first statement that failed
}

// transaction does all that do does, or nothing.
func (w *writer) transaction(ctx context.Context, do func(*tx) error) error {
	for n := 1; ; n++ {
		t := &tx{w: w, ctx: ctx}
		err := t.begin()
		if err == nil {
			if err = do(t); err == nil {
				err = t.script("COMMIT")
			}
		}
		if err == nil {
			return nil
		}
		// What a connection is worth after an error is not worth knowing.
		if w.conn != nil {
			_ = t.script("ROLLBACK")
		}
		w.drop()
		if n == tries || !w.store.dialect.again(err) {
			return err
		}
	}
}

// begin begins a transaction. The connection may be none any longer: a server
// that was restarted has told nobody.
func (t *tx) begin() error {
	if t.w.conn != nil {
		if t.script(t.w.store.dialect.begin()) == nil {
			return nil
		}
		t.w.drop()
		t.err = nil
	}
	if t.w.conn, t.err = t.w.store.dialect.connect(t.ctx); t.err != nil {
		t.w.conn = nil
		return t.err
	}
	return t.script(t.w.store.dialect.begin())
}

// drop gives the connection up.
func (w *writer) drop() {
	if w.conn != nil {
		w.conn.close()
		w.conn = nil
	}
}

// fail notes an error of a statement.
func (t *tx) fail(err error) error {
	if err != nil && t.err == nil {
		t.err = err
	}
	return err
}

// script executes statements that have no arguments.
func (t *tx) script(text string) error {
	return t.fail(t.w.conn.script(t.ctx, text))
}

// exec executes a statement and returns how many rows it has changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	n, err := t.w.conn.exec(t.ctx, query, args)
	return n, t.fail(err)
}

// query calls do for each row of an answer.
func (t *tx) query(do func(row) error, query string, args ...any) error {
	return t.fail(t.w.conn.query(t.ctx, do, query, args))
}

// all executes statements in their order.
func (t *tx) all(statements []statement) error {
	if len(statements) == 0 {
		return nil
	}
	return t.fail(t.w.conn.all(t.ctx, statements))
}

// rowsAtOnce is how many rows one statement writes, so that there are few
// statements to keep ready.
const rowsAtOnce = 16

// inserts returns statements that write rows, of so many columns each: into is the
// statement up to the word VALUES, and then what follows the rows.
func inserts(into, then string, columns int, args []any) []statement {
	var all []statement
	row := "(?" + strings.Repeat(", ?", columns-1) + ")"
	for part := range slices.Chunk(args, rowsAtOnce*columns) {
		all = append(all, statement{query: into + " VALUES " + row + strings.Repeat(", "+row, len(part)/columns-1) + then, args: part})
	}
	return all
}

// insert writes rows, as [inserts] says.
func (t *tx) insert(into, then string, columns int, args []any) error {
	return t.all(inserts(into, then, columns, args))
}

// A querier looks at the database: within a transaction, or by itself.
type querier interface {
	// query calls do for each row of an answer, until that returns an error;
	// [errEnough] is none.
	query(do func(row) error, query string, args ...any) error
}

// A reader is a querier by itself.
type reader struct {
	store *Store
	ctx   context.Context
}

func (s *Store) reader(ctx context.Context) reader { return reader{s, ctx} }

func (r reader) query(do func(row) error, query string, args ...any) error {
	select {
	case <-r.store.closing:
		return ErrClosed
	default:
	}
	if err := r.store.awaited(); err != nil {
		return err
	}
	return r.store.dialect.query(r.ctx, do, query, args)
}
