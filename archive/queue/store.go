package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	_ "modernc.org/sqlite" // the driver
)

// applicationID is what the header of the file says that it is: "OwlQ".
const applicationID = 0x4f776c51

// migrations make each version of the file from the one before it.
var migrations = [...]string{`
	CREATE TABLE results (
		seq       INTEGER PRIMARY KEY, -- without a gap, as long as somebody wants what is there
		id        TEXT NOT NULL UNIQUE,
		arrived   INTEGER NOT NULL, -- ns since 1970
		succeeded INTEGER NOT NULL,
		size      INTEGER NOT NULL,
		task      TEXT NOT NULL,
		run       TEXT NOT NULL,
		body      BLOB NOT NULL);
	CREATE TABLE lines (
		id     INTEGER PRIMARY KEY AUTOINCREMENT,
		key    TEXT NOT NULL UNIQUE,
		name   TEXT NOT NULL,
		used   INTEGER NOT NULL,
		cursor INTEGER NOT NULL); -- all results up to there are settled, or wait
	CREATE TABLE waiting (
		line  INTEGER NOT NULL,
		seq   INTEGER NOT NULL,
		state INTEGER NOT NULL, -- 0: waits, 1: is dead
		next  INTEGER NOT NULL, -- ns since 1970; of the dead when they died
		tries INTEGER NOT NULL,
		last  INTEGER NOT NULL, -- ns since 1970; 0: never tried
		error TEXT NOT NULL,
		PRIMARY KEY (line, seq)) WITHOUT ROWID;
	CREATE INDEX waiting_next ON waiting (line, state, next, seq);
	CREATE INDEX waiting_seq ON waiting (seq);
	CREATE TABLE octets (n INTEGER NOT NULL); -- of all results
	INSERT INTO octets VALUES (0);
`}

// A state is what is the matter with a result that waits.
type state int64

const (
	stateWaiting state = 0
	stateDead    state = 1
)

const (
	// connections bounds how many look at the file at once.
	connections = 8
	// walSize is what the log beside the file is cut to once it is in it.
	walSize = 16 << 20
)

// A store is the open file. What changes it is called by one goroutine at a
// time; what looks at it by any.
type store struct {
	lock   *os.File
	db     *sql.DB
	conn   *sql.Conn // of the writer
	synced bool      // a transaction is on the disk when it is made
	last   int64     // the greatest place in the order that any result has had
	grown  int64     // octets of results that the running transaction adds, or the last one has
	stmts  map[string]*sql.Stmt
}

// background: half of a change helps nobody, so none is given up.
var background = context.Background()

// openStore opens a file, or makes it.
func openStore(path string, create bool) (*store, error) {
	if !create {
		if _, err := os.Stat(path); err != nil {
			return nil, err
		}
	}
	lock, err := lockFile(path + lockSuffix)
	if err != nil {
		return nil, err
	}
	s := &store{lock: lock, stmts: make(map[string]*sql.Stmt)}
	if err := s.open(path); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *store) open(path string) (err error) {
	// A file that others may read would show them results.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	q := url.Values{"_pragma": {"busy_timeout(10000)", fmt.Sprintf("journal_size_limit(%d)", walSize)}}
	if s.db, err = sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String()); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(connections)
	if s.conn, err = s.db.Conn(background); err != nil {
		return damaged(err)
	}
	var id, version, tables int
	for query, into := range map[string]*int{
		"PRAGMA application_id":              &id,
		"PRAGMA user_version":                &version,
		"SELECT count(*) FROM sqlite_schema": &tables,
	} {
		if err := s.conn.QueryRowContext(background, query).Scan(into); err != nil {
			return damaged(err)
		}
	}
	switch {
	case id != applicationID && (id != 0 || version != 0 || tables != 0):
		return errors.New("the file is a database of something else: want a queue, or no file")
	case version > len(migrations):
		return fmt.Errorf("the file is of version %d, from a newer Owl: want one of at most %d", version, len(migrations))
	}
	// What results leave behind goes back to the system.
	for _, pragma := range []string{"auto_vacuum = INCREMENTAL", "journal_mode = WAL"} {
		if err := s.exec("PRAGMA " + pragma); err != nil {
			return err
		}
	}
	if version == len(migrations) {
		return nil
	}
	return s.transaction(true, func() error {
		for v := version; v < len(migrations); v++ {
			if err := s.exec(migrations[v]); err != nil {
				return err
			}
		}
		return s.exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(migrations)))
	})
}

// damaged says what is the matter with a file that is no database.
func damaged(err error) error {
	return fmt.Errorf("the file is damaged, or not a queue: %w", err)
}

func (s *store) close() error {
	var errs []error
	for _, stmt := range s.stmts {
		errs = append(errs, stmt.Close())
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// exec changes the file.
func (s *store) exec(query string, args ...any) error {
	_, err := s.change(query, args...)
	return err
}

// count changes the file and returns how many rows that were.
func (s *store) count(query string, args ...any) (int64, error) {
	res, err := s.change(query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// change changes the file by a statement, which it keeps ready if it has
// arguments.
func (s *store) change(query string, args ...any) (sql.Result, error) {
	if len(args) == 0 {
		return s.conn.ExecContext(background, query)
	}
	stmt := s.stmts[query]
	if stmt == nil {
		var err error
		if stmt, err = s.conn.PrepareContext(background, query); err != nil {
			return nil, err
		}
		s.stmts[query] = stmt
	}
	return stmt.ExecContext(background, args...)
}

// transaction does all that do does, or nothing. If synced it outlives the loss
// of power, and with it all that were before it.
func (s *store) transaction(synced bool, do func() error) error {
	if s.synced != synced {
		mode := "NORMAL"
		if synced {
			mode = "FULL"
		}
		if err := s.exec("PRAGMA synchronous = " + mode); err != nil {
			return err
		}
		s.synced = synced
	}
	s.grown = 0
	last := s.last
	if err := s.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := do()
	if err == nil && s.grown != 0 {
		err = s.exec("UPDATE octets SET n = n + ?", s.grown)
	}
	if err == nil {
		err = s.exec("COMMIT")
	}
	if err != nil {
		s.last = last
		_ = s.exec("ROLLBACK") // SQLite may have done so
	}
	return err
}

// apart does what do does within a transaction, or nothing of it; the rest of the
// transaction is as it was. broken is an error of the transaction.
func (s *store) apart(do func(*store) error) (failed, broken error) {
	if err := s.exec("SAVEPOINT job"); err != nil {
		return nil, err
	}
	grown, last := s.grown, s.last
	if failed = do(s); failed != nil {
		s.grown, s.last = grown, last
		broken = s.exec("ROLLBACK TO job")
	}
	return failed, errors.Join(broken, s.exec("RELEASE job"))
}

// insert adds a result and returns its place in the order; 0: there is one of its
// ID.
func (s *store) insert(r *Result) (int64, error) {
	n, err := s.count("INSERT INTO results (seq, id, arrived, succeeded, size, task, run, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
		s.last+1, r.ID, r.Arrived.UnixNano(), r.Succeeded, len(r.Body), r.TaskHref, r.RunHref, r.Body)
	if err != nil || n == 0 {
		return 0, err
	}
	s.grown += int64(len(r.Body))
	s.last++
	return s.last, nil
}

// save writes what has become of results of a line. All lines are past the
// results up to done.
func (s *store) save(t *settled, done int64) error {
	t.waiting, t.dead = 0, 0
	for _, c := range t.changes {
		if err := s.apply(t, c, done); err != nil {
			return err
		}
	}
	return s.saveCursor(t.line.id, t.cursor)
}

func (s *store) saveCursor(line, cursor int64) error {
	return s.exec("UPDATE lines SET cursor = max(cursor, ?) WHERE id = ?", cursor, line)
}

// apply makes a change of a result that waits, unless somebody has dropped it
// meanwhile.
func (s *store) apply(t *settled, c change, done int64) error {
	var n int64
	var err error
	switch {
	case c.gone:
		n, err = s.count("DELETE FROM waiting WHERE line = ? AND seq = ? AND state = ?", t.line.id, c.seq, stateWaiting)
		t.waiting -= n
		if err != nil || c.seq > done {
			return err
		}
		return s.delete("seq = ? AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.seq = results.seq)", c.seq)
	case c.isNew:
		n, err = s.count("INSERT OR IGNORE INTO waiting (line, seq, state, next, tries, last, error) SELECT ?, seq, ?, ?, ?, ?, ? FROM results WHERE seq = ?",
			t.line.id, c.state, nano(c.next), c.tries, nano(c.last), c.why, c.seq)
	default:
		n, err = s.count("UPDATE waiting SET state = ?, next = ?, tries = ?, last = ?, error = ? WHERE line = ? AND seq = ? AND state = ?",
			c.state, nano(c.next), c.tries, nano(c.last), c.why, t.line.id, c.seq, stateWaiting)
		t.waiting -= n
	}
	if c.state == stateDead {
		t.dead += n
	} else {
		t.waiting += n
	}
	return err
}

// delete deletes the results for which a condition holds.
func (s *store) delete(where string, args ...any) error {
	return s.each(func(rows *sql.Rows) (bool, error) {
		var size int64
		err := rows.Scan(&size)
		s.grown -= size
		return true, err
	}, "DELETE FROM results WHERE "+where+" RETURNING size", args...)
}

// columns are those of a result.
const columns = "r.seq, r.id, r.arrived, r.succeeded, r.task, r.run, r.body"

// scan reads them.
func (r *Result) scan(rows *sql.Rows) error {
	var arrived int64
	if err := rows.Scan(&r.seq, &r.ID, &arrived, &r.Succeeded, &r.TaskHref, &r.RunHref, &r.Body); err != nil {
		return err
	}
	r.Arrived = fromNano(arrived)
	return nil
}

// look calls do for each row, as long as it wants more.
func (s *store) look(ctx context.Context, do func(*sql.Rows) (more bool, err error), query string, args ...any) error {
	rows, err := s.db.QueryContext(ctx, query, args...)
	return forRows(rows, err, do)
}

// each is look for the running transaction.
func (s *store) each(do func(*sql.Rows) (more bool, err error), query string, args ...any) error {
	rows, err := s.conn.QueryContext(background, query, args...)
	return forRows(rows, err, do)
}

func forRows(rows *sql.Rows, err error, do func(*sql.Rows) (more bool, err error)) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if more, err := do(rows); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

// nano returns t as the file has it.
func nano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNano(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
