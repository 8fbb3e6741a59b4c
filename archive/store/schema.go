package store

import (
	"context"
	"errors"
	"fmt"
)

// migrations make each version of the schema from the one before it. They are
// written as SQLite has them; a dialect says what is said otherwise.
//
// The metadata key leads every primary key, so that a database that is spread over
// machines keeps all of a measurement on one of them; only who looks for a
// measurement by what it is asks identities.
var migrations = [...]string{`
	CREATE TABLE metadata (
		key               BLOB NOT NULL PRIMARY KEY, -- a UUID
		subject_type      TEXT NOT NULL,
		source            TEXT NOT NULL, -- addresses in their canonical form, or empty
		destination       TEXT NOT NULL,
		measurement_agent TEXT NOT NULL,
		tool_name         TEXT NOT NULL,
		input_source      TEXT NOT NULL,
		input_destination TEXT NOT NULL,
		parameters        TEXT NOT NULL, -- a JSON object of texts
		identity          BLOB NOT NULL) WITHOUT ROWID;
	CREATE INDEX metadata_source ON metadata (source, destination);
	CREATE INDEX metadata_destination ON metadata (destination);
	CREATE INDEX metadata_agent ON metadata (measurement_agent);
	CREATE INDEX metadata_input ON metadata (input_source, input_destination);
	CREATE TABLE identities (
		identity BLOB NOT NULL PRIMARY KEY, -- SHA-256 of what makes two measurements one
		key      BLOB NOT NULL) WITHOUT ROWID;
	CREATE TABLE parameters ( -- those of metadata, to be searched: long values by their hash
		key   BLOB NOT NULL,
		name  TEXT NOT NULL,
		value TEXT NOT NULL,
		PRIMARY KEY (key, name)) WITHOUT ROWID;
	CREATE INDEX parameters_value ON parameters (name, value, key);
	CREATE TABLE events (
		key       BLOB NOT NULL,
		event     TEXT NOT NULL,   -- an event type
		id        INTEGER NOT NULL, -- its number in the rows of this key
		updated   INTEGER NOT NULL, -- when it was last written, s since 1970; 0: never
		latest    INTEGER NOT NULL, -- the greatest time that it has had a value of
		summaries TEXT NOT NULL,    -- as ,aggregation:300,statistics:0,
		PRIMARY KEY (key, event)) WITHOUT ROWID;
	CREATE INDEX events_event ON events (event, key);
	CREATE TABLE points (
		key    BLOB NOT NULL,
		ts     INTEGER NOT NULL, -- s since 1970
		series INTEGER NOT NULL, -- the id of an event type
		value  BLOB NOT NULL,
		PRIMARY KEY (key, ts, series)) WITHOUT ROWID;
	CREATE TABLE folds (
		key    BLOB NOT NULL,
		span   INTEGER NOT NULL, -- the window's length in s, greater than 0
		start  INTEGER NOT NULL, -- its begin, s since 1970
		series INTEGER NOT NULL,
		fold   BLOB NOT NULL,
		PRIMARY KEY (key, span, start, series)) WITHOUT ROWID;
	CREATE TABLE keys (
		name    TEXT NOT NULL PRIMARY KEY,
		secret  BLOB NOT NULL UNIQUE, -- its SHA-256
		created INTEGER NOT NULL,     -- s since 1970
		used    INTEGER NOT NULL) WITHOUT ROWID; -- the day of the last use, s since 1970; 0: never
	CREATE TABLE copies ( -- series that are complete from another archive
		key     BLOB NOT NULL,
		event   TEXT NOT NULL,
		source  TEXT NOT NULL,    -- the archive
		updated INTEGER NOT NULL, -- when it said then that they were, s since 1970
		PRIMARY KEY (key, event, source)) WITHOUT ROWID;
`}

// migrate makes the schema what this program wants.
func (s *Store) migrate(ctx context.Context) error {
	w := writer{store: s}
	defer w.drop()
	return w.transaction(ctx, func(t *tx) error {
		version, err := s.dialect.version(t)
		switch {
		case err != nil:
			return err
		case version > len(migrations):
			return newer(version)
		case version == len(migrations):
			return nil
		}
		for v := version; v < len(migrations); v++ {
			if err := t.script(s.dialect.schema(migrations[v])); err != nil {
				return err
			}
		}
		return s.dialect.setVersion(t, len(migrations))
	})
}

func newer(version int) error {
	return fmt.Errorf("it is of version %d, from a newer Owl: want one of at most %d", version, len(migrations))
}

// A dialect is a database, and what it says otherwise than others do.
type dialect interface {
	// connect returns a connection of a writer's own.
	connect(context.Context) (conn, error)
	// query calls do for each row of an answer, by a connection that it shares.
	query(ctx context.Context, do func(row) error, query string, args []any) error
	close() error
	// tend does what is to be done beside, until the store is closed.
	tend(*Store)
	// written is told of each transaction that a writer has made.
	written(*writer)
	// size returns how many octets the archive has on the disk.
	size(context.Context) (int64, error)

	// begin is the script that begins a transaction that will write.
	begin() string
	// lock is what a SELECT ends with that keeps others off its row who say so.
	lock() string
	// schema returns a script that makes tables.
	schema(script string) string
	// version returns the version of the schema, 0 of an empty database, and
	// keeps others from changing it.
	version(*tx) (int, error)
	setVersion(*tx, int) error
	// writers is how many transactions write at once.
	writers() int
	// again reports whether a transaction that ended in an error may do if it
	// is tried once more.
	again(error) bool
	// away reports whether an error is that of a server that is not there, so
	// that it is in vain to ask it for less.
	away(error) bool
}

// A conn is a connection to a database. Arguments are question marks in a query,
// which has no others.
type conn interface {
	// script executes statements.
	script(ctx context.Context, text string) error
	// exec executes a statement and returns how many rows it has changed.
	exec(ctx context.Context, query string, args []any) (int64, error)
	// query calls do for each row of an answer.
	query(ctx context.Context, do func(row) error, query string, args []any) error
	// all executes statements in their order, without waiting for one before it
	// asks for the next if the database is far.
	all(ctx context.Context, statements []statement) error
	close()
}

// A statement is one of many.
type statement struct {
	query string
	args  []any
	do    func(row) error // is called for each row of the answer; nil: there is none
}

// A row is one of an answer. What is scanned into a slice of octets belongs to
// whoever scans.
type row interface {
	Scan(into ...any) error
}

// errEnough ends the look at an answer.
var errEnough = errors.New("enough")

// rows are those of an answer.
type rows interface {
	row
	Next() bool
	Err() error
}

// each calls do for each row until it returns an error; [errEnough] is none.
func each(r rows, do func(row) error) error {
	for r.Next() {
		switch err := do(r); {
		case errors.Is(err, errEnough):
			return nil
		case err != nil:
			return err
		}
	}
	return r.Err()
}
