// Package postgresql puts results into a table of a PostgreSQL database, one row
// each.
//
// A result is delivered when its row is committed. It arrives at least once; with
// an id-column, which has the result's ID, the database keeps the first row and
// drops repeats. Some are on their way at once, so that rows are not in order.
package postgresql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"owl/archive"
	"owl/archive/dest/internal/pool"
	"owl/archive/member"
	"owl/archive/retry"
)

const (
	parallel    = 4 // results that are on their way at once
	defaultLife = time.Hour
	// limit bounds a connection's set-up, and an insertion.
	limit       = 30 * time.Second
	lookLimit   = 5 * time.Second // of asking whether it still is there
	hangupLimit = 2 * time.Second
	// restless is how long a connection may have been idle without being looked
	// at before it is used.
	restless  = time.Second
	maxAnswer = 1 << 20 // octets of a message of the server's
	maxTold   = 500     // octets of what it says that are told of
)

// A destination is a table.
type destination struct {
	pool   pool.Pool[*session]
	insert string // SQL
	withID bool
}

// A session is a connection to a server.
type session struct {
	*pgconn.PgConn
	used time.Time // when it was last
}

// Open reads the data of the archiver postgresql, and notes in o what is wrong
// with them. Beside what pScheduler has, there may be id-column, a column with a
// unique index.
func Open(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	o.Schema(1)
	o.Need("_dsn", "table", "column")
	table := name(o, "table", 2)
	columns, values, conflict := name(o, "column", 1), "$1", ""
	d := &destination{withID: o.Has("id-column")}
	if d.withID {
		id := name(o, "id-column", 1)
		columns, values, conflict = columns+", "+id, "$1, $2", " ON CONFLICT ("+id+") DO NOTHING"
	}
	// The parameters have no type: the server gives them that of their column.
	d.insert = fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)%s", table, columns, values, conflict)
	d.pool.Life = o.Duration("connection-expires", defaultLife)
	dsn := o.String("_dsn")
	if o.Has("_dsn") {
		if _, err := configure(dsn); err != nil {
			o.Fail("_dsn", "%v", err)
		}
	}
	d.pool.Dial = func(ctx context.Context) (*session, error) { return connect(ctx, dsn) }
	d.pool.Alive = func(ctx context.Context, s *session) bool { return s.alive(ctx) }
	d.pool.Hangup = (*session).hangup
	return archive.Opened{Destination: d, Retry: retry.Read(o, false), Parallel: parallel}, nil
}

// name reads a member that is a name in SQL, of at most so many parts, and
// returns it as SQL has it.
func name(o *member.Object, member string, parts int) string {
	text := o.String(member)
	if !o.Has(member) {
		return ""
	}
	sql, err := quoted(text, parts)
	if err != nil {
		o.Fail(member, "%v", err)
	}
	return sql
}

// connect connects to the server of a DSN.
func connect(ctx context.Context, dsn string) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := configure(dsn)
	if err != nil {
		return nil, err
	}
	conn, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		return nil, told(err)
	}
	return &session{PgConn: conn, used: time.Now()}, nil
}

// alive reports whether the server still knows of the session, if it has been
// idle for a while.
func (s *session) alive(ctx context.Context) bool {
	if s.IsClosed() {
		return false
	}
	if time.Since(s.used) < restless {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	return s.Ping(ctx) == nil
}

func (s *session) hangup() {
	ctx, cancel := context.WithTimeout(context.Background(), hangupLimit)
	defer cancel()
	_ = s.Close(ctx) // it is closed in any case
}

func (d *destination) Deliver(ctx context.Context, item *archive.Item) error {
	return d.pool.Use(ctx, func(s *session) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		values := [][]byte{item.Payload}
		if d.withID {
			values = append(values, []byte(item.ID))
		}
		_, err := s.ExecParams(ctx, d.insert, values, nil, nil, nil).Close()
		s.used = time.Now()
		return err == nil, failed(err)
	})
}

// failed returns the error of an insertion. What the column cannot hold it will
// not hold later either.
func failed(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	err = fmt.Errorf("failed to insert: %w", told(err))
	if ok && strings.HasPrefix(e.Code, dataException) {
		return archive.Final(err)
	}
	return err
}

// dataException is a class of errors (SQLSTATE).
const dataException = "22"

// told returns err in one line, with no more text than one wants to read: the
// server repeats what it does not like, and each way to it fails for itself.
func told(err error) error {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		lines = append(lines, strings.TrimSpace(line))
	}
	s := strings.Replace(strings.Join(slices.Compact(lines), "; "), ":; ", ": ", 1)
	if len(s) > maxTold {
		s = s[:maxTold] + " …"
	}
	return errors.New(strings.ToValidUTF8(s, ""))
}

func (d *destination) Close() error {
	d.pool.Close()
	return nil
}
