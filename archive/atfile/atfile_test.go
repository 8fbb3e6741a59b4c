package atfile

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(path, []byte("\n  a value \n of lines\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		"":          "",
		"plain":     "plain",
		"a@b":       "a@b",
		`\@literal`: "@literal",
		`\plain`:    `\plain`,
		"@" + path:  "a value \n of lines",
	} {
		if got, err := Read(value); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", value, got, err, want)
		}
	}
}

func TestErrors(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, []byte(strings.Repeat("x", maxSize+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		"@":                   "want a file",
		"@/no/such/file":      "no such file",
		"@~no-such-user/file": "no-such-user",
		"@" + big:             "at most",
	} {
		if got, err := Read(value); got != "" || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v, want an error with %q", value, got, err, want)
		}
	}
	if _, err := Read("@/no/such/file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want %v", err, fs.ErrNotExist)
	}
}

func TestHome(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"~/a/b":                  filepath.Join(me.HomeDir, "a/b"),
		"~":                      me.HomeDir,
		"~" + me.Username + "/a": filepath.Join(me.HomeDir, "a"),
		"a/~":                    "a/~",
	} {
		if got, err := Expand(path); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", path, got, err, want)
		}
	}
}

// What names no file is itself, or what the backslash is in front of; a path is
// whole behind the home that it begins with.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"", "plain", `\@literal`, `\plain`, "@file", "@~/file", "~", "~root/x", "~nobody there/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if path, isFile := strings.CutPrefix(s, "@"); isFile {
			got, err := Expand(path)
			_, rest, _ := strings.Cut(path, "/")
			switch {
			case err != nil:
			case path == "" || path[0] != '~':
				if got != path {
					t.Errorf("%q: %q", path, got)
				}
			case !strings.HasSuffix(got, filepath.Join("/", rest)) && filepath.Join("/", rest) != "/":
				t.Errorf("%q: %q", path, got)
			}
			return
		}
		want := s
		if strings.HasPrefix(s, `\@`) {
			want = s[1:]
		}
		if got, err := Read(s); got != want || err != nil {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	})
}
