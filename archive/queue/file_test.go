package queue

import (
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A file that is no queue is left as it is, and the error says why.
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
		{write("text", strings.Repeat("no queue at all\n", 1000)), "the file is damaged, or not a queue: "},
		{database("other", "CREATE TABLE t (a)"), "the file is a database of something else: want a queue, or no file"},
		{database("newer", "PRAGMA application_id = 0x4f776c51", "PRAGMA user_version = 99"), "the file is of version 99, from a newer Owl: want one of at most 1"},
		{dir, "is a directory"},
		{filepath.Join(dir, "none", "queue.db"), "no such file or directory"},
	} {
		before, _ := os.ReadFile(c.path)
		q, err := Open(Config{Path: c.path})
		if err == nil {
			q.Close()
			t.Errorf("%s: it is a queue", c.path)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "queue "+c.path+": ") {
			t.Errorf("%s: error %q, want one with %q", c.path, err, c.want)
		}
		if after, _ := os.ReadFile(c.path); string(after) != string(before) {
			t.Errorf("%s was changed", c.path)
		}
	}
}

// Whatever octets of the file are wrong, nothing but an error comes of it.
func TestDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, Config{Path: path})
	lines := use(t, q, "a", "b")
	put(t, q, 0, 200)
	for range 100 {
		next(t, lines[0]).Bury("dead")
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += len(whole)/15 + 1 {
		damaged := append([]byte(nil), whole...)
		for i := at; i < min(at+200, len(damaged)); i++ {
			damaged[i] ^= 0x5a
		}
		path := filepath.Join(t.TempDir(), "queue.db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		q, err := Open(Config{Path: path})
		if err != nil {
			continue
		}
		if lines, err := q.Use(t.Context(), Target{"a", "a"}, Target{"b", "b"}); err == nil {
			for range 300 {
				e, err := lines[1].TryNext()
				if e == nil || err != nil {
					break
				}
				e.Delivered()
			}
		}
		_, _ = q.Stats(t.Context())
		_, _ = q.List(t.Context(), Selection{}, 1000)
		_ = q.Put(t.Context(), &Result{ID: "new", Body: []byte("{}")})
		_ = q.Close()
	}
}

// Two processes cannot have the same queue, and the second is told who has it.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	if held := os.Getenv("OWL_TEST_QUEUE"); held != "" {
		_, err := Open(Config{Path: held})
		if !errors.Is(err, ErrBusy) {
			t.Fatalf("error %v, want %v", err, ErrBusy)
		}
		t.Log(err)
		return
	}
	q := open(t, Config{Path: path})
	if _, err := Open(Config{Path: path}); !errors.Is(err, ErrBusy) {
		t.Errorf("it is opened twice: error %v, want %v", err, ErrBusy)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSecondProcess$", "-test.v")
	cmd.Env = append(os.Environ(), "OWL_TEST_QUEUE="+path)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "another process has it open: that with the PID") {
		t.Errorf("%v\n%s", err, out)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q, err = Open(Config{Path: path})
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	q.Close()
}

// Others may not read what is queued.
func TestFileMode(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, Config{Path: path})
	put(t, q, 0, 1)
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		fi, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s%s has the mode %v, want 0600", path, suffix, fi.Mode())
		}
	}
}

// A look at a queue makes none, and drops nothing.
func TestStill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	if _, err := Open(Config{Path: path, Still: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("there is a file now")
	}
}

// What is put is synced; what was settled is not, for it costs too much to wait
// for the disk each time, and to deliver it again after a loss of power is harmless.
func TestSynced(t *testing.T) {
	t.Parallel()
	q := open(t, Config{})
	mode := func(j job) (mode int) {
		t.Helper()
		looked := make(chan error, 1)
		j.do = func(s *store) error {
			err := s.conn.QueryRowContext(background, "PRAGMA synchronous").Scan(&mode)
			looked <- err
			return err
		}
		q.work <- j
		if err := <-looked; err != nil {
			t.Fatal(err)
		}
		return mode
	}
	const normal, full = 1, 2
	for range 2 {
		if got := mode(job{done: make(chan error, 1)}); got != full {
			t.Errorf("synchronous is %d for what somebody waits for, want %d", got, full)
		}
		if got := mode(job{}); got != normal {
			t.Errorf("synchronous is %d for what nobody waits for, want %d", got, normal)
		}
	}
}
