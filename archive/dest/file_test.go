package dest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive"
)

// fileTo returns a file destination in a new folder, at a time that can be set.
func fileTo(t *testing.T, data string) (d archive.Opened, f *fileDestination, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "results.json")
	d = open(t, "file", fmt.Sprintf(`{"path": %q%s}`, path, data))
	f = d.Destination.(*discreet).Destination.(*fileDestination)
	return d, f, path
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFile: a result is a line, and with an envelope has its ID.
func TestFile(t *testing.T) {
	t.Parallel()
	d, _, path := fileTo(t, "")
	for _, payload := range []string{"{\n\t\"a\": [1,\n 2]\n}", `"a\nb"`, "null"} {
		if err := deliver(t, d, payload); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := read(t, path), "{\"a\":[1,2]}\n\"a\\nb\"\nnull\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := deliver(t, d, "{"); !archive.IsFinal(err) {
		t.Errorf("no JSON: %v", err)
	}
	d, _, path = fileTo(t, `, "envelope": true, "sync": false`)
	if err := deliver(t, d, `{"a": 1}`); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, path), `{"id":"`+testID+`","run-href":"https://h/run","result":{"a":1}}`+"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestFileTorn: what a crash has left of a line is cut off; a line that has only
// lost its end is kept.
func TestFileTorn(t *testing.T) {
	t.Parallel()
	for before, want := range map[string]string{
		"":                           "{}\n",
		"{\"a\":1}\n":                "{\"a\":1}\n{}\n",
		"{\"a\":1}\n{\"b\":":         "{\"a\":1}\n{}\n",
		"{\"a\":1}\n{\"b\":2}":       "{\"a\":1}\n{\"b\":2}\n{}\n",
		"{\"b\":":                    "{}\n",
		"{\"a\":1}\n\x00\x00\x00":    "{\"a\":1}\n{}\n",
		"{\"a\":1}\n{\"a\":1}\n\x00": "{\"a\":1}\n{\"a\":1}\n{}\n",
	} {
		d, _, path := fileTo(t, "")
		put(t, path, before)
		if err := deliver(t, d, "{}"); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != want {
			t.Errorf("%q became %q, want %q", before, got, want)
		}
	}
}

// TestFileRotated: a file is renamed before it gets too long, and when its period
// is over; the newest are kept; no line is lost or torn.
func TestFileRotated(t *testing.T) {
	t.Parallel()
	d, f, path := fileTo(t, `, "max-size": 4096, "keep": 3, "sync": false`)
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	f.now = func() time.Time { return now }
	put(t, path+".20990101T000000Z.gz", "another's")
	put(t, path+".old", "another's")
	line := `"` + strings.Repeat("x", 997) + `"` // 1000 octets with its end
	for i := range 24 {
		if i == 12 {
			now = now.Add(time.Second)
		}
		if err := deliver(t, d, line); err != nil {
			t.Fatal(err)
		}
	}
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], path)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"", ".20260501T120001Z", ".20260501T120001Z-0001", ".20260501T120001Z-0002", ".20990101T000000Z.gz", ".old"}, names); diff != "" {
		t.Error(diff)
	}
	for _, name := range names[:4] {
		if got := read(t, path+name); got != strings.Repeat(line+"\n", 4) {
			t.Errorf("%s has %d octets", name, len(got))
		}
	}

	d, f, path = fileTo(t, `, "rotate": "PT1H"`)
	for _, at := range []time.Time{now.Add(time.Minute), now.Add(59 * time.Minute), now.Add(61 * time.Minute)} {
		f.now = func() time.Time { return at }
		if err := deliver(t, d, fmt.Sprint(at.Minute())); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if got, old := read(t, path), read(t, path+".20260501T130101Z"); got != "1\n" || old != "1\n59\n" {
		t.Errorf("%q, and before %q", got, old)
	}
}

// TestFileMoved: another program may move the file away, or remove it.
func TestFileMoved(t *testing.T) {
	t.Parallel()
	d, _, path := fileTo(t, "")
	for i := range 3 {
		if err := deliver(t, d, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != fmt.Sprintf("%d\n", i) {
			t.Errorf("round %d: %q", i, got)
		}
		if err := os.Rename(path, fmt.Sprint(path, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFileShared: several who write to one file, which is rotated all the time,
// lose nothing and tear nothing; each result is there once.
func TestFileShared(t *testing.T) {
	t.Parallel()
	const writers, results = 4, 100
	path := filepath.Join(t.TempDir(), "results.json")
	var wg sync.WaitGroup
	for w := range writers {
		d := open(t, "file", fmt.Sprintf(`{"path": %q, "max-size": 4096, "sync": false}`, path))
		wg.Go(func() {
			for i := range results {
				if err := deliver(t, d, fmt.Sprintf(`{"n":%d,"pad":%q}`, w*results+i, strings.Repeat("x", 300))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[int]int)
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		lines := bufio.NewScanner(strings.NewReader(read(t, name)))
		for lines.Scan() {
			var v struct{ N int }
			if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			seen[v.N]++
		}
	}
	for i := range writers * results {
		if seen[i] != 1 {
			t.Errorf("result %d is there %d times", i, seen[i])
		}
	}
}

// TestFileFails: what cannot be written is tried again, and leaves nothing.
func TestFileFails(t *testing.T) {
	t.Parallel()
	d := open(t, "file", `{"path": "/dev/null"}`)
	if err := deliver(t, d, "1"); err == nil || archive.IsFinal(err) || !strings.Contains(err.Error(), "want a regular file") {
		t.Errorf("/dev/null: %v", err)
	}
	dir := t.TempDir()
	d = open(t, "file", fmt.Sprintf(`{"path": "%s/later/results"}`, dir))
	if err := deliver(t, d, "1"); !errors.Is(err, os.ErrNotExist) || archive.IsFinal(err) {
		t.Errorf("no folder: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "later"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := deliver(t, d, "1"); err != nil {
		t.Errorf("once there is a folder: %v", err)
	}

	d, f, path := fileTo(t, "")
	if err := deliver(t, d, "1"); err != nil {
		t.Fatal(err)
	}
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := lock(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := f.Deliver(ctx, &archive.Item{Payload: []byte("2")}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another holds the lock: %v", err)
	}
	if got := read(t, path); got != "1\n" {
		t.Errorf("%q", got)
	}
}
