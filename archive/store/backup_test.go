package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"owl/archive/series"
	"owl/internal/testserver"
)

// A backup is an archive with all that was there, and is written while others
// write.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := openAt(t, filepath.Join(dir, "archive.db"))
	m := register(t, s, powstream(t, "192.0.2.1", "192.0.2.2"))
	secret, err := s.AddKey(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	write := func(at int64) {
		t.Helper()
		if _, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, at, "packet-count-sent", `600`), sample(t, at, "histogram-owdelay", `{"34.30": 600}`)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range int64(120) {
		write(1_699_920_000 + 60*i)
	}
	all := Query{Key: m.Key, Event: "packet-count-sent", Summary: series.Summary{Type: series.Aggregation, Window: 3600}, To: 1_800_000_000, Limit: -1}
	want := readings(t, s, all)

	path := filepath.Join(dir, "backup.db")
	done := make(chan error, 1)
	go func() { done <- s.Backup(t.Context(), path) }()
	for i := range int64(20) { // in days to come, so that what is compared stays
		write(1_900_000_000 + 60*i)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the backup: %v, %v, want a file for its owner alone", info, err)
	}
	b, _ := openAt(t, path)
	if got := readings(t, b, all); got != want {
		t.Errorf("the backup has\n%s, want\n%s", got, want)
	}
	if name, ok, err := b.Authenticate(t.Context(), secret); name != "a" || !ok || err != nil {
		t.Errorf("the key: %q, %t, %v", name, ok, err)
	}

	// Nothing is written over.
	for _, name := range []string{"backup.db", "archive.db"} {
		if err := s.Backup(t.Context(), filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), "there is a file of this name") {
			t.Errorf("a backup into %s: %v", name, err)
		}
	}
	if err := s.Backup(t.Context(), filepath.Join(dir, "no", "backup.db")); err == nil {
		t.Error("a backup into no folder")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".i") || e.Type() != fs.FileMode(0) {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// Of a server's database there is no file: the error says what there is instead.
func testBackupOfServer(t *testing.T, address string) {
	if !IsURL(address) {
		return // which TestBackup is of
	}
	s, _ := openAt(t, address)
	if err := s.Backup(t.Context(), filepath.Join(t.TempDir(), "b.db")); err == nil || !strings.Contains(err.Error(), "pg_dump") || strings.Contains(err.Error(), testserver.Password) {
		t.Errorf("%v, want a hint at pg_dump, and no password", err)
	}
}
