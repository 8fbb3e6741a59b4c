package store

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"owl/archive/series"
)

// On a full disk writes are refused, which is told, and nothing of them is there;
// what is there can be read; and it goes on once there is room again. So it is with a
// file system that takes nothing at all.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: disks that are full go untested: only root can mount a small one")
	}
	dir := t.TempDir()
	if err := syscall.Mount("owl-test", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("SKIPPED: disks that are full go untested: mount: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	var log bytes.Buffer
	path := filepath.Join(dir, "archive.db")
	s, err := Open(t.Context(), path, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	parsed, err := series.ParseMetadata([]byte(disorder))
	if err != nil {
		t.Fatal(err)
	}
	m := register(t, s, parsed)
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for size := 4096; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	f.Close()
	body := func(at int64) []series.Sample {
		return []series.Sample{sample(t, at, "packet-count-sent", "1"), sample(t, at, "failures", `"`+strings.Repeat("x", 10_000)+`"`)}
	}
	written := int64(0)
	for ; err == nil; written++ { // the log has room of its own, for a while
		if written > 1000 {
			t.Fatal("the disk is not full")
		}
		_, err = s.Write(t.Context(), m.Key, body(written))
	}
	written--
	if text := err.Error(); !strings.Contains(text, "full") && !strings.Contains(text, "disk I/O error") || strings.Contains(text, "\n") {
		t.Errorf("error %q, want one line that says that the disk is full", text)
	}
	if s.Check(t.Context()) == nil {
		t.Error("Check finds nothing wrong")
	}
	if got := int64(strings.Count(readings(t, s, all(m, "packet-count-sent", series.Base, 0)), "\n")); got != written {
		t.Errorf("%d counts, want %d", got, written)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if o, err := s.Write(t.Context(), m.Key, body(written)); o != Written || err != nil {
		t.Fatalf("with room again: %d, %v", o, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	consistent(t, s, m)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(log.String(), "the archive cannot be written"); got != 1 || strings.Count(log.String(), "the archive is written again") != 1 {
		t.Errorf("it is told %d times, want once:\n%s", got, &log)
	}

	if err := syscall.Mount("owl-test", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=3m"); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), path, Options{}); err == nil {
		s.Close()
		t.Error("it is opened where nothing can be written")
	} else if want := "archive " + path + ": read-only file system"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}
