package dest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive"
)

// pluginThat returns a destination whose plugin does something, and what it was
// given so far.
func pluginThat(t *testing.T, do string) (archive.Opened, *execDestination, func() []given) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("SKIPPED: there is no python3:", err)
	}
	log := filepath.Join(t.TempDir(), "log")
	d := open(t, "exec", fmt.Sprintf(`{"plugin": %q, "data": {"do": %q, "log": %q, "_secret": "sesame"}}`, pluginDir(t), do, log))
	return d, d.Destination.(*discreet).Destination.(*execDestination), func() []given {
		text, err := os.ReadFile(log)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		var all []given
		for line := range bytes.Lines(text) {
			var g given
			if err := json.Unmarshal(line, &g); err != nil {
				t.Fatal(err)
			}
			all = append(all, g)
		}
		return all
	}
}

// A given item is one that a plugin got.
type given struct {
	PID  int
	Item map[string]any
}

func pluginDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("testdata/plugin")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestExec: a plugin gets what pScheduler would give it, from one process.
func TestExec(t *testing.T) {
	t.Parallel()
	d, e, log := pluginThat(t, "succeed")
	long := `"` + strings.Repeat("x", 1<<20) + `"` // more than a pipe holds
	items := []*archive.Item{
		{Payload: []byte(`{"a": "é"}`), TaskHref: "https://h/task", RunHref: "https://h/run"},
		{Payload: []byte("null"), Tries: 2, Last: time.Date(2026, 5, 1, 14, 0, 0, 1e6, time.FixedZone("", 7200))},
		{Payload: []byte(long)},
	}
	for _, item := range items {
		if err := d.Deliver(t.Context(), item); err != nil {
			t.Fatal(err)
		}
	}
	got := log()
	if len(got) != 3 || got[0].PID != got[2].PID {
		t.Fatalf("%d items", len(got))
	}
	data := got[0].Item["data"]
	want := []map[string]any{
		{"data": data, "task-href": "https://h/task", "run-href": "https://h/run", "result": map[string]any{"a": "é"}, "attempts": 0.0, "last-attempt": nil},
		{"data": data, "task-href": nil, "run-href": nil, "result": nil, "attempts": 2.0, "last-attempt": "2026-05-01T12:00:00Z"},
		{"data": data, "task-href": nil, "run-href": nil, "result": long[1 : len(long)-1], "attempts": 0.0, "last-attempt": nil},
	}
	for i := range want {
		if diff := cmp.Diff(want[i], got[i].Item); diff != "" {
			t.Errorf("item %d (-want +got):\n%s", i, diff)
		}
	}
	if data.(map[string]any)["_secret"] != "sesame" {
		t.Errorf("the plugin's data are %v", data)
	}

	// A process that has done enough is ended.
	err := e.pool.Use(t.Context(), func(p *plugin) (bool, error) {
		p.items = pluginItems - 1
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := deliver(t, d, "1"); err != nil {
			t.Fatal(err)
		}
	}
	all := log()
	if len(all) != 5 || all[3].PID != all[2].PID || all[4].PID == all[3].PID {
		t.Errorf("the processes were %v", all[2:])
	}
}

// TestExecProcesses: of several processes each has a result at a time.
func TestExecProcesses(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("SKIPPED: there is no python3:", err)
	}
	log := filepath.Join(t.TempDir(), "log")
	d := open(t, "exec", fmt.Sprintf(`{"plugin": %q, "processes": 3, "data": {"do": "meet 3", "log": %q}}`, pluginDir(t), log))
	if d.Parallel != 3 {
		t.Errorf("%d at once", d.Parallel)
	}
	var wg sync.WaitGroup
	for range d.Parallel {
		wg.Go(func() {
			if err := deliver(t, d, "1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestExecFails: what the answers of a plugin come to, and what comes of one that
// gives none.
func TestExecFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		do, want string
		again    time.Duration // 0: it is final
		given    int           // how often the plugin got the item
	}{
		{"fail", "the disk is full of ***", 0, 1},
		{"retry", "later", 32 * time.Second, 1},
		{"crash", "possibly-permanent archiver error: the plugin has ended without an answer; it says: bang", 0, 3},
		{"garbage", "the answer is no record of JSON", 0, 1},
		{"large", "the answer is no record of JSON: it is longer than 1048576 octets", 0, 1},
		{"silent", "the plugin does not say why it has failed", 0, 1},
		{"riddle", "the plugin's answer does not say whether it has succeeded", 0, 1},
		{"wrong", `x (retry: "soon": want an ISO 8601 duration`, 0, 1},
	} {
		t.Run(c.do, func(t *testing.T) {
			t.Parallel()
			d, _, log := pluginThat(t, c.do)
			err := d.Deliver(t.Context(), &archive.Item{Payload: []byte("1"), Tries: 2})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			again, ok := errors.AsType[*archive.AgainError](err)
			if archive.IsFinal(err) != (c.again == 0) || ok && again.After != c.again {
				t.Errorf("%#v", err)
			}
			if n := len(log()); n != c.given {
				t.Errorf("it was given %d times, want %d", n, c.given)
			}
		})
	}
	d, _, log := pluginThat(t, "crash once")
	for range 2 {
		if err := deliver(t, d, "1"); err != nil {
			t.Error(err)
		}
	}
	if n := len(log()); n != 3 {
		t.Errorf("after a crash: it was given %d times, want 3", n)
	}
}

// TestExecHangs: a plugin that does not answer is killed, and its children too.
func TestExecHangs(t *testing.T) {
	t.Parallel()
	d, e, log := pluginThat(t, "hang")
	e.timeout = time.Second
	err := deliver(t, d, "1")
	if err == nil || archive.IsFinal(err) || !strings.Contains(err.Error(), "the plugin has not answered within 1s") {
		t.Errorf("%v", err)
	}
	e.timeout = time.Hour
	before := len(log())
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for len(log()) == before && ctx.Err() == nil {
			time.Sleep(time.Millisecond) // until it has the item
		}
	}()
	if err := d.Deliver(ctx, &archive.Item{Payload: []byte("1")}); !errors.Is(err, context.Canceled) {
		t.Errorf("no longer wanted: %v", err)
	}
	// What they hold is free when they are gone.
	held, err := os.Open(e.heldBy(t))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	limited, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := lock(limited, held); err != nil {
		t.Errorf("something is left of the plugin: %v", err)
	}
}

// heldBy returns the file whose lock a plugin that hangs holds.
func (d *execDestination) heldBy(t *testing.T) string {
	var data struct{ Log string }
	if err := json.Unmarshal(d.data, &data); err != nil {
		t.Fatal(err)
	}
	return data.Log + ".held"
}

// TestExecData: what a plugin thinks of its data is asked when they are read.
func TestExecData(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("SKIPPED: there is no python3:", err)
	}
	for data, want := range map[string]string{
		`{"_secret": "sesame"}`:           "/data/data: the plugin says: At /: 'log' is a required property, not ***",
		`{"do": "break", "log": "/none"}`: "/data/data: " + pluginDir(t) + "/data-is-valid: exit status 1: broken",
	} {
		_, err := tryOpen("exec", fmt.Sprintf(`{"plugin": %q, "data": %s}`, pluginDir(t), data))
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", data, err, want)
		}
	}
	// Who does not look at data takes all of them.
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(pluginDir(t), "archive"), filepath.Join(dir, "archive")); err != nil {
		t.Fatal(err)
	}
	open(t, "exec", fmt.Sprintf(`{"plugin": %q, "data": null}`, dir))
}

// FuzzReadRecord: whatever a plugin writes is an answer of bounded length, or an
// error.
func FuzzReadRecord(f *testing.F) {
	for _, s := range []string{"\x1e{\"succeeded\":true}\n", "\x1e{\"succeeded\":false,\"error\":\"x\",\"retry\":\"PT1S\"}\n", "\x1e[]\n\x1e", "{}\n", "\x1e", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		line, err := readRecord(bufio.NewReaderSize(bytes.NewReader(text), 16))
		if err != nil {
			return
		}
		if text[0] != recordMark || !json.Valid(line) || !bytes.HasPrefix(text[1:], line) || line[len(line)-1] != '\n' {
			t.Errorf("%q became %q", text, line)
		}
		if err := verdict(line); err == nil && !bytes.Contains(bytes.ToLower(line), []byte("true")) {
			t.Errorf("%q is a success", line)
		}
	})
}
