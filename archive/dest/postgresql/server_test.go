package postgresql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"owl/archive"
	"owl/archive/dest/internal/desttest"
	"owl/internal/testprog"
	"owl/internal/testserver"
)

// A world is a server, and one who looks what is in its tables.
type world struct {
	*testserver.PostgreSQL
	ca   *testserver.Authority
	conn *pgconn.PgConn
}

func (w *world) connect(t *testing.T) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), w.Local())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	w.conn = conn
}

// sql runs statements and returns the first column of what the last returns.
func (w *world) sql(t *testing.T, statements string) []string {
	t.Helper()
	results, err := w.conn.Exec(t.Context(), statements).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
	var all []string
	for _, row := range results[len(results)-1].Rows {
		all = append(all, string(row[0]))
	}
	return all
}

// open opens a destination, with more members of its data.
func (w *world) open(t *testing.T, dsn string, more ...string) archive.Opened {
	t.Helper()
	text, err := json.Marshal(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return desttest.MustOpen(t, Open, "{"+strings.Join(append([]string{`"_dsn": ` + string(text)}, more...), ", ")+"}")
}

// What the tests of all destinations have.
var item, deliver, fails = desttest.Item, desttest.Deliver, desttest.Fails

// One server serves all that is tried.
func TestServer(t *testing.T) {
	t.Parallel()
	w := &world{ca: testserver.NewAuthority(t)}
	w.PostgreSQL = testserver.StartPostgreSQL(t, w.ca)
	w.connect(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"Types", testTypes},
		{"Names", testNames},
		{"Repeats", testRepeats},
		{"Sessions", testSessions},
		{"NoTable", testNoTable},
		{"Refused", testRefused},
		{"TLS", testTLS},
		{"Parallel", testParallel},
		{"Locked", testLocked},
		{"Killed", testKilled},
		{"Restart", testRestart}, // the last: connections are gone after it
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
}

// The column says what becomes of the text.
func testTypes(t *testing.T, w *world) {
	w.sql(t, `CREATE TABLE types (j json, b jsonb, t text, v varchar(20), n integer)`)
	const payload = `{"b":1,"a":"é \u00e9"}`
	for column, want := range map[string]string{"j": payload, "b": `{"a": "é é", "b": 1}`, "t": payload} {
		d := w.open(t, w.DSN(), `"table": "types"`, `"column": "`+column+`"`)
		deliver(t, d, item("1", payload))
		if diff := cmp.Diff([]string{want}, w.sql(t, `SELECT `+column+` FROM types WHERE `+column+` IS NOT NULL`)); diff != "" {
			t.Error(diff)
		}
	}
	n := w.open(t, w.DSN(), `"table": "types"`, `"column": "n"`)
	deliver(t, n, item("2", `17`))
	fails(t, n, item("3", `{"a":"`+strings.Repeat("x", 1000)+`"}`), "failed to insert: ERROR: invalid input syntax for type integer", true)
	fails(t, w.open(t, w.DSN(), `"table": "types"`, `"column": "v"`), item("4", payload), "value too long for type character varying(20)", true)
	deliver(t, n, item("5", `18`))
	if diff := cmp.Diff([]string{"17", "18"}, w.sql(t, `SELECT n FROM types WHERE n IS NOT NULL ORDER BY n`)); diff != "" {
		t.Error(diff)
	}
	err := n.Deliver(t.Context(), item("6", `"`+strings.Repeat("é", 1000)+`"`))
	if err == nil || len(err.Error()) > maxTold+100 {
		t.Errorf("%v, want a short error", err)
	}
}

func testNames(t *testing.T, w *world) {
	w.sql(t, `CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."Order" ("select" json); CREATE TABLE "order" ("select" json)`)
	deliver(t, w.open(t, w.DSN(), `"table": "\"My Schema\".\"Order\""`, `"column": "select"`), item("1", `1`))
	deliver(t, w.open(t, w.DSN(), `"table": "PUBLIC.Order"`, `"column": "SELECT"`), item("1", `2`))
	got := append(w.sql(t, `SELECT "select" FROM "My Schema"."Order"`), w.sql(t, `SELECT "select" FROM "order"`)...)
	if diff := cmp.Diff([]string{"1", "2"}, got); diff != "" {
		t.Error(diff)
	}
}

// A result that comes again is there once, if there is a column for its ID.
func testRepeats(t *testing.T, w *world) {
	w.sql(t, `CREATE TABLE repeats (r json, id text UNIQUE); CREATE TABLE unsure (r json, id text)`)
	d := w.open(t, w.DSN(), `"table": "repeats"`, `"column": "r"`, `"id-column": "id"`)
	for _, id := range []string{"a", "b", "a", "a"} {
		deliver(t, d, item(id, `"`+id+`"`))
	}
	if diff := cmp.Diff([]string{"a", "b"}, w.sql(t, `SELECT id FROM repeats ORDER BY id`)); diff != "" {
		t.Error(diff)
	}
	fails(t, w.open(t, w.DSN(), `"table": "unsure"`, `"column": "r"`, `"id-column": "id"`), item("a", `1`),
		"there is no unique or exclusion constraint matching the ON CONFLICT", false)
}

// sessions returns the IDs of the server's processes for sessions of a name.
func (w *world) sessions(t *testing.T, name string) []string {
	return w.sql(t, `SELECT pid FROM pg_stat_activity WHERE application_name = '`+name+`'`)
}

func testSessions(t *testing.T, w *world) {
	w.sql(t, `CREATE TABLE few (r json, s integer DEFAULT pg_backend_pid())`)
	for expires, want := range map[string]string{"PT1H": "1", "P0D": "5"} {
		w.sql(t, `TRUNCATE few`)
		name := "few " + expires
		d := w.open(t, w.DSN("application_name='"+name+"'"), `"table": "few"`, `"column": "r"`, `"connection-expires": "`+expires+`"`)
		for range 5 {
			deliver(t, d, item("1", `1`))
		}
		if got := w.sql(t, `SELECT count(DISTINCT s) FROM few`); got[0] != want {
			t.Errorf("%s: %s sessions for 5 results, want %s", expires, got[0], want)
		}
		left := 0
		if expires == "PT1H" {
			left = 1
		}
		testprog.Until(t, "sessions", func() error {
			if got := w.sessions(t, name); len(got) != left {
				return fmt.Errorf("%v, want %d", got, left)
			}
			return nil
		})
	}
	d := w.open(t, w.DSN(), `"table": "few"`, `"column": "r"`, `"connection-expires": "PT0.1S"`)
	deliver(t, d, item("1", `1`))
	testprog.Until(t, "expiry", func() error {
		if got := w.sessions(t, "owl"); len(got) != 0 {
			return fmt.Errorf("%v, want none", got)
		}
		return nil
	})
	deliver(t, d, item("2", `1`))
}

func testNoTable(t *testing.T, w *world) {
	d := w.open(t, w.DSN(), `"table": "later"`, `"column": "r"`)
	for range 2 {
		fails(t, d, item("1", `1`), `relation "later" does not exist (SQLSTATE 42P01)`, false)
	}
	w.sql(t, `CREATE TABLE later (other json)`)
	fails(t, d, item("1", `1`), `column "r" of relation "later" does not exist`, false)
	w.sql(t, `ALTER TABLE later ADD r json CHECK (r::text <> '2')`)
	deliver(t, d, item("1", `1`))
	fails(t, d, item("2", `2`), "violates check constraint", false)
	if diff := cmp.Diff([]string{"1"}, w.sql(t, `SELECT r FROM later`)); diff != "" {
		t.Error(diff)
	}
}

func testRefused(t *testing.T, w *world) {
	where := []string{`"table": "t"`, `"column": "r"`}
	fails(t, w.open(t, w.DSN("password="+testserver.Password+"x"), where...), item("1", `1`), `password authentication failed for user "owl"`, false)
	fails(t, w.open(t, w.DSN("dbname=none"), where...), item("1", `1`), `database "none" does not exist`, false)
	fails(t, w.open(t, w.DSN("port=1"), where...), item("1", `1`), "connection refused", false)
	fails(t, w.open(t, w.DSN("host=no.such.host.invalid"), where...), item("1", `1`), "hostname resolving error", false)
	w.sql(t, `CREATE TABLE closed (r json); CREATE ROLE stranger LOGIN PASSWORD '`+testserver.Password+`'`)
	fails(t, w.open(t, w.DSN("user=stranger"), `"table": "closed"`, `"column": "r"`), item("1", `1`), "permission denied for table closed", false)
}

func testTLS(t *testing.T, w *world) {
	w.sql(t, `CREATE FUNCTION secured() RETURNS boolean LANGUAGE sql AS 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()';
		CREATE TABLE secure (r json, s boolean DEFAULT secured())`)
	where := []string{`"table": "secure"`, `"column": "r"`}
	deliver(t, w.open(t, w.DSN("host=localhost", "sslmode=verify-full", "sslrootcert="+w.ca.File), where...), item("1", `1`))
	file := filepath.Join(t.TempDir(), "dsn")
	url := fmt.Sprintf("postgresql://owl:%s@127.0.0.1:%d/postgres?sslmode=require\n", testserver.Password, w.Port)
	if err := os.WriteFile(file, []byte(url), 0o600); err != nil {
		t.Fatal(err)
	}
	deliver(t, w.open(t, "@"+file, where...), item("2", `2`))
	deliver(t, w.open(t, w.DSN("sslmode=disable"), where...), item("3", `3`))
	if diff := cmp.Diff([]string{"1 true", "2 true", "3 false"}, w.sql(t, `SELECT r::text || ' ' || s::text FROM secure ORDER BY r::text`)); diff != "" {
		t.Error(diff)
	}
	fails(t, w.open(t, w.DSN("sslmode=verify-full", "sslrootcert="+w.ca.File), where...), item("4", `4`), "cannot validate certificate for 127.0.0.1", false)
	other := testserver.NewAuthority(t)
	fails(t, w.open(t, w.DSN("host=localhost", "sslmode=verify-ca", "sslrootcert="+other.File), where...), item("4", `4`), "unknown authority", false)
}

func testParallel(t *testing.T, w *world) {
	w.sql(t, `CREATE TABLE many (r integer, s integer DEFAULT pg_backend_pid())`)
	d := w.open(t, w.DSN(), `"table": "many"`, `"column": "r"`)
	const each = 100
	var all sync.WaitGroup
	for n := range parallel {
		all.Go(func() {
			for i := range each {
				if err := d.Deliver(t.Context(), item("1", fmt.Sprint(n*each+i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := w.sql(t, `SELECT count(DISTINCT r) || ' ' || (count(DISTINCT s) <= 4) FROM many`); got[0] != "400 true" {
		t.Errorf("%v, want 400 results of at most 4 sessions", got)
	}
}

// Who waits for a table that somebody has locked does not wait longer than he is
// told to, and the server then no longer does, either.
func testLocked(t *testing.T, w *world) {
	w.sql(t, `CREATE TABLE locked (r json)`)
	d := w.open(t, w.DSN("application_name=waiter"), `"table": "locked"`, `"column": "r"`)
	locker := &world{PostgreSQL: w.PostgreSQL}
	locker.connect(t)
	locker.sql(t, `BEGIN; LOCK TABLE locked`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- d.Deliver(ctx, item("1", `1`)) }()
	waiting := func(want int) {
		t.Helper()
		testprog.Until(t, "waiting", func() error {
			if got := w.sql(t, `SELECT pid FROM pg_stat_activity WHERE application_name = 'waiter' AND wait_event_type = 'Lock'`); len(got) != want {
				return fmt.Errorf("%v, want %d", got, want)
			}
			return nil
		})
	}
	waiting(1)
	cancel()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
	waiting(0)
	locker.sql(t, `COMMIT`)
	deliver(t, d, item("1", `1`))
	if got := w.sql(t, `SELECT r FROM locked`); len(got) != 1 {
		t.Errorf("%v, want one row", got)
	}
}

// A session that the server has ended while nobody looked is not missed.
func testKilled(t *testing.T, w *world) {
	w.sql(t, `CREATE TABLE killed (r json)`)
	opened := w.open(t, w.DSN("application_name=victim"), `"table": "killed"`, `"column": "r"`)
	deliver(t, opened, item("1", `1`))
	w.sql(t, `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'victim'`)
	// As if it had been idle for longer.
	d := opened.Destination.(*destination)
	err := d.pool.Use(t.Context(), func(s *session) (bool, error) {
		s.used = s.used.Add(-time.Minute)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, opened, item("2", `2`))
	if diff := cmp.Diff([]string{"1", "2"}, w.sql(t, `SELECT r FROM killed ORDER BY r::text`)); diff != "" {
		t.Error(diff)
	}
}

func testRestart(t *testing.T, w *world) {
	w.sql(t, `CREATE TABLE durable (r json)`)
	d := w.open(t, w.DSN(), `"table": "durable"`, `"column": "r"`)
	deliver(t, d, item("1", `1`))
	w.Stop(t)
	for range 2 {
		if err := d.Deliver(t.Context(), item("2", `2`)); err == nil || archive.IsFinal(err) {
			t.Errorf("%v, want an error that is not final", err)
		}
	}
	w.Start(t, true)
	deliver(t, d, item("2", `2`))
	w.connect(t)
	if diff := cmp.Diff([]string{"1", "2"}, w.sql(t, `SELECT r FROM durable ORDER BY r::text`)); diff != "" {
		t.Error(diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Deliver(ctx, item("3", `3`)); err == nil {
		t.Error("no error of a delivery that was given up before")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Deliver(t.Context(), item("3", `3`)); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("%v, want an error of a destination that is closed", err)
	}
}
