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
		seq       INTEGER PRIMARY KEY AUTOINCREMENT,
		id        TEXT NOT NULL UNIQUE,
		arrived   INTEGER NOT NULL, -- ns since 1970
		succeeded INTEGER NOT NULL,
		task      TEXT NOT NULL,
		run       TEXT NOT NULL,
		size      INTEGER NOT NULL,
		body      BLOB NOT NULL);
	CREATE INDEX results_arrived ON results (arrived, seq);
	CREATE TABLE lines (
		id     INTEGER PRIMARY KEY,
		key    TEXT NOT NULL UNIQUE,
		name   TEXT NOT NULL,
		used   INTEGER NOT NULL,
		cursor INTEGER NOT NULL); -- all results up to there are settled, or wait
	CREATE TABLE waiting (
		line  INTEGER NOT NULL,
		seq   INTEGER NOT NULL,
		dead  INTEGER NOT NULL,
		next  INTEGER NOT NULL, -- ns since 1970; of the dead when they died
		tries INTEGER NOT NULL,
		last  INTEGER NOT NULL, -- ns since 1970; 0: never tried
		error TEXT NOT NULL,
		PRIMARY KEY (line, seq)) WITHOUT ROWID;
	CREATE INDEX waiting_next ON waiting (line, dead, next);
	CREATE INDEX waiting_seq ON waiting (seq);
	CREATE TABLE octets (n INTEGER NOT NULL); -- of all results
	INSERT INTO octets VALUES (0);
`}

// A store is the open file. What changes it is called by one goroutine at a
// time; what looks at it by any.
type store struct {
	lock  *os.File
	db    *sql.DB
	conn  *sql.Conn // of the writer
	grown int64     // octets of results that the running transaction adds
	stmts map[string]*sql.Stmt
}

// background: half of a change helps nobody, so none is given up.
var background = context.Background()

// openStore opens or makes a file.
func openStore(path string) (*store, error) {
	lock, err := lockFile(path + ".lock")
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
	q := url.Values{"_pragma": {"busy_timeout(10000)", "synchronous(FULL)"}}
	if s.db, err = sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String()); err != nil {
		return err
	}
	if s.conn, err = s.db.Conn(background); err != nil {
		return err
	}
	var id, version int
	if err := s.conn.QueryRowContext(background, "PRAGMA application_id").Scan(&id); err != nil {
		return fmt.Errorf("no queue, or a damaged one: %w", err)
	}
	if err := s.conn.QueryRowContext(background, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	var tables int
	if err := s.conn.QueryRowContext(background, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return fmt.Errorf("no queue, or a damaged one: %w", err)
	}
	switch {
	case id != applicationID && (id != 0 || version != 0 || tables != 0):
		return errors.New("the file is a database of something else: want a queue, or no file")
	case version > len(migrations):
		return fmt.Errorf("the file is of version %d, from a newer Owl: want one of at most %d", version, len(migrations))
	}
	// The freed pages at the end of the file go back to the system.
	for _, pragma := range []string{"auto_vacuum = INCREMENTAL", "journal_mode = WAL"} {
		if err := s.exec("PRAGMA " + pragma); err != nil {
			return err
		}
	}
	return s.transaction(func() error {
		for v := version; v < len(migrations); v++ {
			if err := s.exec(migrations[v]); err != nil {
				return err
			}
		}
		return s.exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(migrations)))
	})
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

// transaction does all that do does, or nothing.
func (s *store) transaction(do func() error) error {
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
	before := s.grown
	if failed = do(s); failed != nil {
		s.grown = before
		broken = s.exec("ROLLBACK TO job")
	}
	return failed, errors.Join(broken, s.exec("RELEASE job"))
}

// takeGrown returns how many octets of results the last transaction has added.
func (s *store) takeGrown() int64 {
	n := s.grown
	s.grown = 0
	return n
}

// insert adds a result and returns its place in the order; 0: there is one of its
// ID.
func (s *store) insert(r *Result) (int64, error) {
	res, err := s.change("INSERT INTO results (id, arrived, succeeded, task, run, size, body) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
		r.ID, r.Arrived.UnixNano(), r.Succeeded, r.TaskHref, r.RunHref, len(r.Body), r.Body)
	if err != nil {
		return 0, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return 0, err
	}
	s.grown += int64(len(r.Body))
	return res.LastInsertId()
}

// last returns the greatest place in the order that any result has had.
func (s *store) last() (seq int64, err error) {
	err = s.conn.QueryRowContext(background, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'results'").Scan(&seq)
	return seq, err
}

// forget notes that a result does not wait for a line any more, and deletes it
// if nobody else needs it: all lines are past those up to done.
func (s *store) forget(line, seq, done int64) error {
	if err := s.exec("DELETE FROM waiting WHERE line = ? AND seq = ?", line, seq); err != nil {
		return err
	}
	return s.delete("DELETE FROM results WHERE seq = ? AND seq <= ? AND NOT EXISTS (SELECT 1 FROM waiting WHERE waiting.seq = results.seq)", seq, done)
}

// delete deletes results.
func (s *store) delete(query string, args ...any) error {
	rows, err := s.conn.QueryContext(background, query+" RETURNING size", args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var size int64
		if err := rows.Scan(&size); err != nil {
			return err
		}
		s.grown -= size
	}
	return rows.Err()
}

func (s *store) saveCursor(line, cursor int64) error {
	return s.exec("UPDATE lines SET cursor = ? WHERE id = ?", cursor, line)
}

// columns are those of a result.
const columns = "r.seq, r.id, r.arrived, r.succeeded, r.task, r.run, r.body"

// scan reads them, and what else there is.
func (r *Result) scan(rows *sql.Rows, more ...any) error {
	var arrived int64
	if err := rows.Scan(append([]any{&r.seq, &r.ID, &arrived, &r.Succeeded, &r.TaskHref, &r.RunHref, &r.Body}, more...)...); err != nil {
		return err
	}
	r.Arrived = time.Unix(0, arrived)
	return nil
}

// look calls each for each row.
func (s *store) look(ctx context.Context, each func(*sql.Rows) error, query string, args ...any) error {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
