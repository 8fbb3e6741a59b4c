package store

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"owl/archive/series"
	"owl/internal/testserver"
)

// A file that is no archive is left as it is, and the error says why.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	database := func(name string, statements ...string) string {
		path := filepath.Join(dir, name)
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	for _, c := range []struct{ path, want string }{
		{write("text", strings.Repeat("no archive at all\n", 1000)), "the file is damaged, or not an archive: "},
		{database("other", "CREATE TABLE t (a)"), "the file is a database of something else: want an archive, or no file"},
		{database("newer", fmt.Sprintf("PRAGMA application_id = %d", applicationID), "PRAGMA user_version = 99"), "it is of version 99, from a newer Owl: want one of at most 1"},
		{dir, "is a directory"},
		{filepath.Join(dir, "none", "archive.db"), "no such file or directory"},
	} {
		before, _ := os.ReadFile(c.path)
		s, err := Open(t.Context(), c.path, Options{})
		if err == nil {
			s.Close()
			t.Errorf("%s: it is an archive", c.path)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "archive "+c.path+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %q, want one line with %q", c.path, err, c.want)
		}
		if after, _ := os.ReadFile(c.path); !bytes.Equal(after, before) {
			t.Errorf("%s was changed", c.path)
		}
	}
}

// What is told of a database has no password in it.
func TestForeignDatabases(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"postgres://me:hunter2@127.0.0.1:1/d":               "archive postgres://127.0.0.1:1/d: failed to connect",
		"postgres://me:hunter2@localhost:1/d":               "archive postgres://localhost:1/d: failed to connect",
		"postgres://me:hun%ter2@127.0.0.1:1/d?sslmode=more": "archive postgres://…: want a URL such as postgres://",
		"postgresql://me:hunter2@127.0.0.1:x/d":             "archive postgres://…: want a URL such as postgres://",
	} {
		s, err := Open(t.Context(), address, Options{})
		if err == nil {
			s.Close()
			t.Errorf("%s: it is an archive", address)
			continue
		}
		if !strings.HasPrefix(err.Error(), want) || strings.ContainsAny(err.Error(), "\n\t") || strings.Contains(err.Error(), "hun") {
			t.Errorf("%s: error %q, want one line with %q and no password", address, err, want)
		}
	}
}

// Others may not read who may write.
func TestFileMode(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "archive.db")
	s, _ := openAt(t, path)
	register(t, s, powstream(t, "192.0.2.1", "192.0.2.2"))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		fi, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s%s has the mode %v, want 0600", path, suffix, fi.Mode())
		}
	}
}

// A closed archive says so.
func testClosed(t *testing.T, address string) {
	s, _ := openAt(t, address)
	m := register(t, s, powstream(t, "192.0.2.1", "192.0.2.2"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, 1, "failures", "1")}); !errors.Is(err, ErrClosed) {
		t.Errorf("Write: error %v, want %v", err, ErrClosed)
	}
	if _, err := s.Metadata(t.Context(), m.Key); !errors.Is(err, ErrClosed) {
		t.Errorf("Metadata: error %v, want %v", err, ErrClosed)
	}
	if err := s.Check(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Check: error %v, want %v", err, ErrClosed)
	}
}

// Many processes may have one archive, and write to the same measurement.
func testShared(t *testing.T, address string) {
	a, _ := openAt(t, address)
	b, _ := openAt(t, address)
	parsed, err := series.ParseMetadata([]byte(disorder))
	if err != nil {
		t.Fatal(err)
	}
	m := register(t, a, parsed)
	if again := register(t, b, parsed); again.Key != m.Key {
		t.Fatalf("key %s, and by another process %s", m.Key, again.Key)
	}
	const each = 25
	var wg sync.WaitGroup
	for i, s := range []*Store{a, b, a, b} {
		wg.Go(func() {
			for n := range int64(each) {
				if _, err := s.Write(t.Context(), m.Key, []series.Sample{
					sample(t, n*4+int64(i), "packet-count-sent", "1"), sample(t, n, "histogram-rtt", fmt.Sprintf(`{"%d":1}`, i)),
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	consistent(t, a, m)
	if got, want := readings(t, b, all(m, "packet-count-sent", series.Aggregation, 60)), "0 60.0\n60 40.0\n"; got != want {
		t.Errorf("counts %q, want %q", got, want)
	}
}

// A server that goes away and comes back is found again.
func TestServerAway(t *testing.T) {
	t.Parallel()
	server := &database{PostgreSQL: testserver.StartPostgreSQL(t, nil)}
	address := server.create(t)
	s, _ := openAt(t, address)
	parsed, err := series.ParseMetadata([]byte(disorder))
	if err != nil {
		t.Fatal(err)
	}
	m := register(t, s, parsed)
	write := func(at int64) error {
		_, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, at, "packet-count-sent", "1")})
		return err
	}
	for at := range int64(3) {
		if err := write(2 * at); err != nil {
			t.Fatal(err)
		}
		server.Stop(t)
		if at == 0 { // the others find their connections dead
			for _, err := range []error{write(1), s.Check(t.Context())} {
				if err == nil || strings.Contains(err.Error(), testserver.Password) {
					t.Errorf("without a server: %v, want an error", err)
				}
			}
			if _, err := s.Metadata(t.Context(), m.Key); err == nil {
				t.Error("metadata without a server")
			}
		}
		server.Start(t, false)
		if err := s.reader(t.Context()).query(func(row) error { return nil }, "SELECT version FROM archive"); err != nil {
			t.Errorf("with a server again: %v", err)
		}
	}
	if err := write(100); err != nil {
		t.Fatal(err)
	}
	consistent(t, s, m)
	if got := readings(t, s, all(m, "packet-count-sent", series.Aggregation, 60)); got != "0 3.0\n60 1.0\n" {
		t.Errorf("counts %q", got)
	}

	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "UPDATE archive SET version = 99"); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), address, Options{}); err == nil {
		s.Close()
		t.Error("a newer archive is opened")
	} else if want := "it is of version 99, from a newer Owl: want one of at most 1"; !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), testserver.Password) {
		t.Errorf("error %q, want %q", err, want)
	}
	foreign := server.create(t)
	if conn, err = pgx.Connect(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE TABLE metadata (a INTEGER)"); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), foreign, Options{}); err == nil {
		s.Close()
		t.Error("a database of something else is opened")
	} else if want := `relation "metadata" already exists`; !strings.Contains(err.Error(), want) {
		t.Errorf("error %q, want %q", err, want)
	}
}

// Whatever octets of a file are wrong, nothing but an error comes of it.
func TestDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "archive.db")
	s, _ := openAt(t, path)
	parsed, err := series.ParseMetadata([]byte(disorder))
	if err != nil {
		t.Fatal(err)
	}
	m := register(t, s, parsed)
	body := func(at int64) []series.Sample {
		return []series.Sample{sample(t, at, "histogram-rtt", `{"1":1,"2.5":3}`), sample(t, at, "packet-loss-rate", `{"numerator":1,"denominator":600}`), sample(t, at, "failures", `{"error":"a"}`)}
	}
	var many []series.Sample
	for at := range int64(200) {
		many = append(many, body(at)...)
	}
	if _, err := s.Write(t.Context(), m.Key, many); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for at := 0; at < len(whole); at += len(whole)/20 + 1 {
		damaged := bytes.Clone(whole)
		for i := at; i < min(at+200, len(damaged)); i++ {
			damaged[i] ^= 0x5a
		}
		path := filepath.Join(t.TempDir(), "archive.db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), path, Options{})
		if err != nil {
			failed++
			continue
		}
		_, _, err = s.Search(t.Context(), &Filter{Limit: -1})
		errs := []error{err}
		for _, e := range m.Events {
			for _, summary := range append(e.Summaries, series.Summary{}) {
				for r, err := range s.Read(t.Context(), all(m, e.Type, summary.Type, summary.Window)) {
					r.AppendJSON(nil)
					errs = append(errs, err)
				}
			}
		}
		for _, at := range []int64{100, 1000} {
			_, err := s.Write(t.Context(), m.Key, body(at))
			errs = append(errs, err)
		}
		if errors.Join(errs...) != nil {
			failed++
		}
		_ = s.Close()
	}
	if failed == 0 {
		t.Error("no damage is seen")
	}
}

// A transaction that another one got in the way of is tried again.
func testAgain(t *testing.T, address string) {
	s, _ := openAt(t, address)
	for _, code := range []string{"40001", "40P01"} {
		n := 0
		err := s.change(t.Context(), key{}, func(x *tx) error {
			if n++; n < 3 {
				return x.script("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '" + code + "'; END $$")
			}
			return nil
		})
		if err != nil || n != 3 {
			t.Errorf("%s: %v after %d times, want nil after 3", code, err, n)
		}
	}
	n := 0
	if err := s.change(t.Context(), key{}, func(x *tx) error { n++; return x.script("SELECT 1/0") }); err == nil || n != 1 {
		t.Errorf("%v after %d times, want an error after 1", err, n)
	}
}

// Of many that open an archive that is not there yet one makes it.
func testOpen(t *testing.T, address string) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := Open(t.Context(), address, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := s.Register(t.Context(), powstream(t, "192.0.2.1", "192.0.2.2")); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, _ := openAt(t, address)
	if _, n, err := s.Search(t.Context(), &Filter{}); n != 1 || err != nil {
		t.Errorf("%d measurements, %v; want 1", n, err)
	}
}
