package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver
)

// applicationID is what the header of a file says that it is: "OwlA".
const applicationID = 0x4f776c41

const (
	// readers bounds how many look at a file at once; the others wait. Each has
	// memory of its own.
	readers = 8
	// stmtsKept is how many statements of readers are kept ready.
	stmtsKept = 64
	// patience is how long a transaction waits for that of another process, in
	// milliseconds.
	patience = 10_000
	// checkpointEvery is how often the log is written into the file.
	checkpointEvery = 200 * time.Millisecond
	// maxLog is how long the log is, in pages, when writers wait until readers
	// have left it, and readersPatience for how long, in milliseconds.
	maxLog          = 16384
	readersPatience = 20
	// logSize is what the log is cut to once it is in the file, in octets.
	logSize = 64 << 20
)

// sqlite is an archive in one file.
type sqlite struct {
	path        string
	read, write *sql.DB
	changed     atomic.Bool // since the last checkpoint
	full        atomic.Bool // the log is too long
	mu          sync.Mutex  // held by the one checkpoint that runs

	stmtsMu sync.Mutex
	stmts   map[string]*sql.Stmt // of readers
}

// openSQLite opens a file, or makes it.
func openSQLite(path string) (*sqlite, error) {
	// A file that others may read would show them who may write.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		if perr, ok := errors.AsType[*os.PathError](err); ok {
			err = perr.Err // the name is said already
		}
		return nil, err
	}
	f.Close()
	d := &sqlite{path: path, stmts: make(map[string]*sql.Stmt)}
	open := func(connections int, pragmas ...string) *sql.DB {
		q := url.Values{"_pragma": append([]string{
			fmt.Sprintf("busy_timeout(%d)", patience),
			fmt.Sprintf("journal_size_limit(%d)", logSize),
		}, pragmas...)}
		db, openErr := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String())
		err = errors.Join(err, openErr)
		if openErr == nil {
			db.SetMaxOpenConns(connections)
			db.SetMaxIdleConns(connections)
		}
		return db
	}
	d.write = open(2, "synchronous(FULL)", "wal_autocheckpoint(0)", "cache_size(-8192)") // the writer's, and that of checkpoints
	d.read = open(readers, "query_only(1)", "cache_size(-2048)")
	if err == nil {
		err = d.identify(d.write)
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *sqlite) close() error {
	var errs []error
	for _, db := range []*sql.DB{d.read, d.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// identify refuses a file that is no archive, and leaves it as it is.
func (d *sqlite) identify(db *sql.DB) error {
	var id, version, tables int
	for query, into := range map[string]*int{
		"PRAGMA application_id":              &id,
		"PRAGMA user_version":                &version,
		"SELECT count(*) FROM sqlite_schema": &tables,
	} {
		if err := db.QueryRowContext(background, query).Scan(into); err != nil {
			return fmt.Errorf("the file is damaged, or not an archive: %w", err)
		}
	}
	if id != applicationID && (id != 0 || version != 0 || tables != 0) {
		return errors.New("the file is a database of something else: want an archive, or no file")
	}
	if version > len(migrations) {
		return newer(version)
	}
	var mode string
	if err := db.QueryRowContext(background, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("the file system takes no log beside the file: the journal mode is %s, want wal", mode)
	}
	return nil
}

func (*sqlite) begin() string               { return "BEGIN IMMEDIATE" }
func (*sqlite) schema(script string) string { return script }
func (*sqlite) lock() string                { return "" }
func (*sqlite) writers() int                { return 1 }
func (*sqlite) away(error) bool             { return false }
func (*sqlite) again(error) bool            { return false }

func (*sqlite) version(t *tx) (version int, err error) {
	err = t.query(func(r row) error { return r.Scan(&version) }, "PRAGMA user_version")
	return version, err
}

func (*sqlite) setVersion(t *tx, version int) error {
	return t.script(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version))
}

// tend writes the log into the file, beside what goes on, until the store is
// closed. The log begins anew with the first transaction that finds all of it in the
// file and nobody reading it, which with many readers may be never.
func (d *sqlite) tend(s *Store) {
	every := time.NewTicker(checkpointEvery)
	defer every.Stop()
	var failing error
	for {
		select {
		case <-s.closing:
			return
		case <-every.C:
		}
		if !d.changed.Swap(false) {
			continue
		}
		d.mu.Lock()
		var busy, log, done int64
		err := d.write.QueryRowContext(background, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &log, &done)
		d.mu.Unlock()
		if err != nil {
			d.changed.Store(true)
			if failing == nil {
				s.options.Log.Error("the log of the archive cannot be written into it", "archive", s.name, "error", err)
			}
		}
		failing = err
		d.full.Store(log > maxLog)
	}
}

// written waits for readers to leave a log that is too long: those who come then
// read the file, where all of it is.
func (d *sqlite) written(w *writer) {
	d.changed.Store(true)
	if !d.full.Swap(false) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// If a reader stays, the log grows on until the next time.
	for _, pragma := range []string{
		fmt.Sprintf("busy_timeout = %d", readersPatience), "wal_checkpoint(RESTART)", fmt.Sprintf("busy_timeout = %d", patience),
	} {
		_ = w.conn.script(background, "PRAGMA "+pragma)
	}
}

func (d *sqlite) size(context.Context) (int64, error) {
	var n int64
	for _, suffix := range []string{"", "-wal", "-shm"} {
		switch fi, err := os.Stat(d.path + suffix); {
		case err == nil:
			n += fi.Size()
		case !errors.Is(err, os.ErrNotExist):
			return 0, err
		}
	}
	return n, nil
}

func (d *sqlite) query(ctx context.Context, do func(row) error, query string, args []any) error {
	stmt, err := d.prepared(ctx, query)
	if err != nil {
		return err
	}
	if stmt == nil {
		rows, err := d.read.QueryContext(ctx, query, args...)
		return eachRow(rows, err, do)
	}
	rows, err := stmt.QueryContext(ctx, args...)
	return eachRow(rows, err, do)
}

// prepared returns a statement of readers, which is kept ready; nil: as many as
// are kept are others.
func (d *sqlite) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	d.stmtsMu.Lock()
	stmt, full := d.stmts[query], len(d.stmts) >= stmtsKept
	d.stmtsMu.Unlock()
	if stmt != nil || full {
		return stmt, nil
	}
	stmt, err := d.read.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	d.stmtsMu.Lock()
	defer d.stmtsMu.Unlock()
	if other := d.stmts[query]; other != nil {
		_ = stmt.Close()
		return other, nil
	}
	d.stmts[query] = stmt
	return stmt, nil
}

func (d *sqlite) connect(ctx context.Context) (conn, error) {
	c, err := d.write.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &sqliteConn{c, make(map[string]*sql.Stmt)}, nil
}

// A sqliteConn is the writer's connection to a file, with the statements that it
// keeps ready.
type sqliteConn struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func (c *sqliteConn) close() {
	for _, stmt := range c.stmts {
		_ = stmt.Close()
	}
	_ = c.conn.Close()
}

func (c *sqliteConn) script(ctx context.Context, text string) error {
	_, err := c.conn.ExecContext(ctx, text)
	return err
}

func (c *sqliteConn) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	stmt := c.stmts[query]
	if stmt == nil {
		var err error
		if stmt, err = c.conn.PrepareContext(ctx, query); err != nil {
			return nil, err
		}
		c.stmts[query] = stmt
	}
	return stmt, nil
}

func (c *sqliteConn) exec(ctx context.Context, query string, args []any) (int64, error) {
	stmt, err := c.prepared(ctx, query)
	if err != nil {
		return 0, err
	}
	res, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (c *sqliteConn) query(ctx context.Context, do func(row) error, query string, args []any) error {
	stmt, err := c.prepared(ctx, query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(ctx, args...)
	return eachRow(rows, err, do)
}

func (c *sqliteConn) all(ctx context.Context, statements []statement) error {
	for _, s := range statements {
		var err error
		if s.do == nil {
			_, err = c.exec(ctx, s.query, s.args)
		} else {
			err = c.query(ctx, s.do, s.query, s.args)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func eachRow(r *sql.Rows, err error, do func(row) error) error {
	if err != nil {
		return err
	}
	defer r.Close()
	return each(r, do)
}
