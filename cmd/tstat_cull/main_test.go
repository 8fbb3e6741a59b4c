package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cull runs the program.
func cull(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"tstat_cull"}, args...), nil, &out, &errs)
	return code, out.String(), errs.String()
}

// tree makes directories that have been processed for some hours.
func tree(t *testing.T, hours map[string]int) string {
	t.Helper()
	root := t.TempDir()
	for dir, h := range hours {
		path := filepath.Join(root, dir)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		mark := filepath.Join(path, ".processed")
		if err := os.WriteFile(mark, []byte("processed"), 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-time.Duration(h) * time.Hour)
		if err := os.Chtimes(mark, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestRun: what is removed, and what is said of it.
func TestRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args, want string
		left       string
	}{
		{"-D", "dry run, not removing old.out", "new.out old.out"},
		{"--dry -v", "kept new.out; dry run, not removing old.out", "new.out old.out"},
		{"", "removing old.out", "new.out"},
		{"-t 47", "removing new.out; removing old.out", ""},
		{"--ttl=99999999999999999999", "", "new.out old.out"},
		{"-t -99999999999999999999", "removing new.out; removing old.out", ""},
	} {
		root := tree(t, map[string]int{"old.out": 49, "new.out": 47})
		code, stdout, stderr := cull(t, append([]string{"-d", root}, strings.Fields(c.args)...)...)
		var told []string
		for line := range strings.Lines(stderr) {
			line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), " processed=")
			line = strings.TrimPrefix(line, "tstat_cull: ")
			told = append(told, strings.Replace(line, "directory="+root+"/", "", 1))
		}
		if got := strings.Join(told, "; "); code != ok || stdout != "" || got != c.want {
			t.Errorf("%s: %d, %q; want %q", c.args, code, got, c.want)
		}
		entries, err := os.ReadDir(root)
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, e := range entries {
			left = append(left, e.Name())
		}
		if got := strings.Join(left, " "); got != c.left {
			t.Errorf("%s: %s are left, want %s", c.args, got, c.left)
		}
	}
}

// TestRefused: command lines that cannot be followed.
func TestRefused(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"":                         "the following arguments are required: -d/--directory",
		"-d nope":                  "nope directory path does not exist",
		"-d main.go":               "main.go directory path does not exist",
		"-d . -t 1.5":              "argument -t/--ttl: invalid int value: '1.5'",
		"-d . x":                   "unrecognized arguments: x",
		"-d":                       "argument -d/--directory: expected one argument",
		"--directory . --dry-run=": "argument -D/--dry-run: ignored explicit argument ''",
	} {
		code, stdout, stderr := cull(t, strings.Fields(args)...)
		if code != usage || stdout != "" || stderr != "tstat_cull: error: "+want+"\n" {
			t.Errorf("%q: %d, %q; want %q", args, code, stderr, want)
		}
	}
	if code, stdout, _ := cull(t, "-h", "-t", "x"); code != ok || stdout != program.Usage {
		t.Errorf("%d, %s", code, stdout)
	}
}
