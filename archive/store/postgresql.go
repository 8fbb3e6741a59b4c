package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// pgWriters is how many transactions a server makes at once: they wait for
	// its disk together.
	pgWriters = 8
	// pgReaders bounds how many look at the database at once; the others wait.
	pgReaders = 16
	// pgPatience bounds the wait for a server, if the URL does not.
	pgPatience = 10 * time.Second
	// pgAtOnce bounds how many statements are sent before an answer is read.
	pgAtOnce = 256
	// pgAnswer bounds a writer's wait for an answer: others wait behind it.
	pgAnswer = time.Minute
	// pgMaxMessage bounds what a server may send in one message, such as a row.
	pgMaxMessage = 64 << 20
	// pgLock is what keeps two processes from making the schema at once: "OwlA".
	pgLock = 0x4f776c41
)

// postgresql is an archive in a database of PostgreSQL, or of those who speak it.
type postgresql struct {
	config  *pgx.ConnConfig
	readers chan struct{} // as many as may read at once
	closed  chan struct{}
	mu      sync.Mutex
	idle    []*pgx.Conn // of readers
}

// openPostgreSQL returns what is called name to people.
func openPostgreSQL(address string) (name string, d *postgresql, err error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return "postgres://…", nil, errors.New("want a URL such as postgres://user@host/database?sslmode=verify-full")
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "owarchive"
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = pgPatience
	}
	config.MaxProtocolMessageBodyLen = pgMaxMessage
	d = &postgresql{config: config, readers: make(chan struct{}, pgReaders), closed: make(chan struct{})}
	u := url.URL{Scheme: "postgres", Host: net.JoinHostPort(config.Host, fmt.Sprint(config.Port)), Path: "/" + config.Database}
	return u.String(), d, nil
}

// close waits for readers.
func (d *postgresql) close() error {
	for range pgReaders {
		d.readers <- struct{}{}
	}
	close(d.closed)
	for _, c := range d.idle {
		(&pgConn{conn: c}).close()
	}
	return nil
}

func (d *postgresql) query(ctx context.Context, do func(row) error, query string, args []any) error {
	select {
	case d.readers <- struct{}{}:
	case <-d.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-d.readers }()
	if c := d.takeIdle(); c != nil {
		asked := false
		err := (&pgConn{conn: c}).query(ctx, func(r row) error { asked = true; return do(r) }, query, args)
		if !c.IsClosed() {
			d.giveIdle(c)
			return err
		}
		// A server that was restarted has told nobody.
		if asked || ctx.Err() != nil {
			return err
		}
	}
	c, err := d.dial(ctx)
	if err != nil {
		return err
	}
	err = (&pgConn{conn: c}).query(ctx, do, query, args)
	if !c.IsClosed() {
		d.giveIdle(c)
	}
	return err
}

// takeIdle returns the connection that was used last; nil: there is none.
func (d *postgresql) takeIdle() *pgx.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.idle)
	if n == 0 {
		return nil
	}
	c := d.idle[n-1]
	d.idle = d.idle[:n-1]
	return c
}

func (d *postgresql) giveIdle(c *pgx.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.idle = append(d.idle, c)
}

func (d *postgresql) dial(ctx context.Context) (*pgx.Conn, error) {
	c, err := pgx.ConnectConfig(ctx, d.config)
	if err != nil {
		return nil, &dialError{err}
	}
	return c, nil
}

// A dialError is why there is no connection, in one line.
type dialError struct{ error }

func (e *dialError) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }
func (e *dialError) Unwrap() error { return e.error }

func (d *postgresql) connect(ctx context.Context) (conn, error) {
	c, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &pgConn{c, pgAnswer}, nil
}

// begin begins a transaction that is on the disk when it is made, whatever the
// server does otherwise.
func (*postgresql) begin() string { return "BEGIN; SET LOCAL synchronous_commit = on" }

var pgSchema = strings.NewReplacer("BLOB", "BYTEA", "INTEGER", "BIGINT", ") WITHOUT ROWID", ")")

func (*postgresql) schema(script string) string { return pgSchema.Replace(script) }

func (*postgresql) version(t *tx) (version int, err error) {
	if err := t.script(fmt.Sprintf("SELECT pg_advisory_xact_lock(%d); CREATE TABLE IF NOT EXISTS archive (version INTEGER NOT NULL)", pgLock)); err != nil {
		return 0, err
	}
	err = t.query(func(r row) error { return r.Scan(&version) }, "SELECT version FROM archive")
	return version, err
}

func (*postgresql) setVersion(t *tx, version int) error {
	return t.script(fmt.Sprintf("DELETE FROM archive; INSERT INTO archive VALUES (%d)", version))
}

func (*postgresql) lock() string    { return " FOR UPDATE" }
func (*postgresql) writers() int    { return pgWriters }
func (*postgresql) written(*writer) {}
func (*postgresql) tend(*Store)     {}

// again says so of transactions that stood in the way of each other.
func (*postgresql) again(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01") // serialization_failure, deadlock_detected
}

func (*postgresql) away(err error) bool {
	e, answered := errors.AsType[*pgconn.PgError](err)
	return !answered || e.Code == "57P03" // cannot_connect_now: it starts, or ends
}

// size is 0 of a database that does not tell.
func (d *postgresql) size(ctx context.Context) (n int64, err error) {
	err = d.query(ctx, func(r row) error { return r.Scan(&n) }, "SELECT pg_database_size(current_database())", nil)
	if _, answered := errors.AsType[*pgconn.PgError](err); answered {
		return 0, nil
	}
	return n, err
}

// A pgConn is a connection to a server. It keeps statements ready by itself.
type pgConn struct {
	conn  *pgx.Conn
	limit time.Duration // of the wait for an answer; 0: none
}

func (c *pgConn) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.limit == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.limit)
}

// hangUp bounds the good-bye to a server.
const hangUp = 2 * time.Second

func (c *pgConn) close() {
	ctx, cancel := context.WithTimeout(background, hangUp)
	defer cancel()
	_ = c.conn.Close(ctx)
}

func (c *pgConn) script(ctx context.Context, text string) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	_, err := c.conn.Exec(ctx, text)
	return err
}

func (c *pgConn) exec(ctx context.Context, query string, args []any) (int64, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	tag, err := c.conn.Exec(ctx, numbered(query), args...)
	return tag.RowsAffected(), err
}

func (c *pgConn) query(ctx context.Context, do func(row) error, query string, args []any) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	rows, err := c.conn.Query(ctx, numbered(query), args...)
	return eachPgRow(rows, err, do)
}

func eachPgRow(r pgx.Rows, err error, do func(row) error) error {
	if err != nil {
		return err
	}
	defer r.Close()
	return each(r, do)
}

// all sends all statements before it waits for the first answer.
func (c *pgConn) all(ctx context.Context, statements []statement) error {
	for part := range slices.Chunk(statements, pgAtOnce) {
		if err := c.together(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (c *pgConn) together(ctx context.Context, statements []statement) (err error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	var b pgx.Batch
	for _, s := range statements {
		b.Queue(numbered(s.query), s.args...)
	}
	answers := c.conn.SendBatch(ctx, &b)
	defer func() {
		if closed := answers.Close(); err == nil {
			err = closed
		}
	}()
	for _, s := range statements {
		if s.do == nil {
			_, err = answers.Exec()
		} else {
			rows, queryErr := answers.Query()
			err = eachPgRow(rows, queryErr, s.do)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// numbered returns a statement whose arguments have numbers.
func numbered(query string) string {
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, is := strings.Cut(query, "?")
		b.WriteString(before)
		if !is {
			return b.String()
		}
		fmt.Fprintf(&b, "$%d", n)
		query = after
	}
}
