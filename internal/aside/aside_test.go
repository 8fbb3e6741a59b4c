package aside

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ls returns the names in dir.
func ls(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new.owp")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Replace(path, "owping")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "new"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "old" {
		t.Errorf("before Commit the file says %q, want what was there", got)
	}
	if got := filepath.Base(f.Name()); !strings.HasPrefix(got, ".owping-") || !strings.HasSuffix(got, ".i") {
		t.Errorf("the file is called %q meanwhile", got)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "new" {
		t.Errorf("after Commit the file says %q", got)
	}
	// It can still be read, as what has been measured is reported from it.
	b := make([]byte, 3)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if got := ls(t, dir); got != "new.owp" {
		t.Errorf("the directory holds %q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestCloseRemoves(t *testing.T) {
	dir := t.TempDir()
	f, err := Replace(filepath.Join(dir, "a.owp"), "owfetch")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if got := ls(t, dir); got != "" {
		t.Errorf("the directory holds %q, want nothing", got)
	}
}

func TestReplaceLink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.WriteFile(real, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	f, err := Replace(link, "owping")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, "new")
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 || read(t, real) != "new" {
		t.Errorf("%v, %v; the link shall stay one, and its target be replaced", info.Mode(), err)
	}
}

func TestReplaceRefuses(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		"/dev/null":                   "/dev/null: not a regular file, want one or none",
		dir:                           "not a regular file",
		filepath.Join(dir, "no", "a"): "no such file or directory",
	} {
		if f, err := Replace(path, "owping"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", path, f, err, want)
		}
	}
}

func TestNameless(t *testing.T) {
	dir := t.TempDir()
	f, err := Nameless(dir, "owping")
	if err != nil {
		t.Fatal(err)
	}
	if got := ls(t, dir); got != "" {
		t.Errorf("the directory holds %q, want nothing", got)
	}
	if _, err := io.WriteString(f, "x"); err != nil {
		t.Error(err)
	}
	if err := f.Commit(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestCommitAs(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(dir, "owstats")
	if err != nil {
		t.Fatal(err)
	}
	path, err := f.CommitAs("1_2.sum")
	if want := filepath.Join(dir, "1_2.sum"); err != nil || path != want {
		t.Errorf("%s, %v; want %s", path, err, want)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if got := ls(t, dir); got != "1_2.sum" {
		t.Errorf("the directory holds %q", got)
	}
}
