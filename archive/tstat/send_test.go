package tstat

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// options are what the golden files were made with.
func options(t testing.TB, bits int64) *Options {
	return &Options{Format: V068, Bits: bits, Sensor: "sensor.example", Forget: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// folder returns an empty directory: in memory where the system has that, because
// marks and progress are synced, which takes a while on a disk that others use.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "owl") //nolint:usetesting // that is not there
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// copied returns a copy of a directory of testdata.
func copied(t testing.TB, name string) string {
	t.Helper()
	dir := folder(t)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestGolden: what the original prints of each directory with --no-transport.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file   string
		format Format
		mb     int64
	}{
		{"T0.txt", V068, 0}, {"T0.txt", V068, -1}, {"T3.txt", V068, 3},
		{"T1000.txt", V068, 1000}, {"T1000-0.6.5.txt", V065, 1000}, {"", V068, 10000},
	} {
		var want []byte
		if c.file != "" {
			var err error
			if want, err = os.ReadFile(filepath.Join("testdata", c.file)); err != nil {
				t.Fatal(err)
			}
		}
		o := options(t, c.mb*8_000_000)
		o.Format = c.format
		root := copied(t, "tree")
		left := len(want)
		for dir := range walk(root) {
			var out bytes.Buffer
			total, err := Send(t.Context(), dir, Dump(&out), o)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(want, out.Bytes()) {
				t.Errorf("%s, %s: the original does not print\n%.3000s", c.file, filepath.Base(dir), out.String())
			}
			left -= out.Len()
			if n := strings.Count(out.String(), "\n]\n"); total.Slices != n || total.Flows != strings.Count(out.String(), "\n    {") {
				t.Errorf("%s, %s: %+v of\n%.3000s", c.file, filepath.Base(dir), total, out.String())
			}
		}
		if left != 0 {
			t.Errorf("%s: %d octets are missing", c.file, left)
		}
		if total, err := Send(t.Context(), root, Dump(nil), o); err != nil || total != (Total{}) {
			t.Errorf("again: %+v, %v", total, err)
		}
	}
}
