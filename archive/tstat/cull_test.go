package tstat

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2026, 11, 21, 5, 15, 40, 0, time.UTC)

// culled makes the hierarchy that the original was tried with.
func culled(t *testing.T) string {
	t.Helper()
	root := folder(t)
	for dir, hours := range map[string]int{
		"a_old.out": 120, "b_47h.out": 47, "c_48h.out": 48, "d_unprocessed.out": -1, "e_notout": 120,
		"f_parent.out": 120, "f_parent.out/g_child.out": 120, "h_future.out": -2,
	} {
		path := filepath.Join(root, dir)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "log_tcp_complete"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if hours == -1 {
			continue
		}
		if err := mark(path); err != nil {
			t.Fatal(err)
		}
		at := now.Add(-time.Duration(hours) * time.Hour)
		if err := os.Chtimes(filepath.Join(path, markName), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a_old.out", filepath.Join(root, "i_link.out")); err != nil {
		t.Fatal(err)
	}
	return root
}

// names returns the directories and links below root.
func names(t *testing.T, root string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.Type().IsRegular() && path != root {
			all = append(all, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

const everything = "a_old.out b_47h.out c_48h.out d_unprocessed.out e_notout f_parent.out f_parent.out/g_child.out h_future.out i_link.out"

// TestCull: what the original removes, and says that it would.
func TestCull(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hours   int
		dry     bool
		told    string
		removed int
		left    string
	}{
		{48, true, "a_old.out c_48h.out f_parent.out f_parent.out/g_child.out", 0, everything},
		{47, true, "a_old.out b_47h.out c_48h.out f_parent.out f_parent.out/g_child.out", 0, everything},
		{-3, true, "a_old.out b_47h.out c_48h.out f_parent.out f_parent.out/g_child.out h_future.out", 0, everything},
		{48, false, "a_old.out c_48h.out f_parent.out", 3, "b_47h.out d_unprocessed.out e_notout h_future.out i_link.out"},
		{0, false, "a_old.out b_47h.out c_48h.out f_parent.out", 4, "d_unprocessed.out e_notout h_future.out i_link.out"},
		{-2, false, "a_old.out b_47h.out c_48h.out f_parent.out h_future.out", 5, "d_unprocessed.out e_notout i_link.out"},
	} {
		root := culled(t)
		var log recorder
		o := CullOptions{TTL: time.Duration(c.hours) * time.Hour, Now: now, DryRun: c.dry, Log: slog.New(&log)}
		removed, err := Cull(t.Context(), root, &o)
		if err != nil || removed != c.removed {
			t.Errorf("%d h: %d removed, %v; want %d", c.hours, removed, err, c.removed)
		}
		message := "removing"
		if c.dry {
			message = "dry run, not removing"
		}
		var told []string
		for _, d := range log.of(message, "directory") {
			told = append(told, strings.TrimPrefix(d, root+"/"))
		}
		if d := cmp.Diff(c.told, strings.Join(told, " ")); d != "" {
			t.Errorf("%d h: told (-want +got):\n%s", c.hours, d)
		}
		if d := cmp.Diff(c.left, names(t, root)); d != "" {
			t.Errorf("%d h: left (-want +got):\n%s", c.hours, d)
		}
		if gone := log.of("the mark is gone", "file"); !c.dry && (len(gone) != 1 || !strings.HasSuffix(gone[0], "g_child.out/.processed")) {
			t.Errorf("%d h: gone: %q", c.hours, gone)
		}
	}
}

// A directory that is named with a slash behind it is not looked at, as in the
// original, but those in it are.
func TestCullSlash(t *testing.T) {
	t.Parallel()
	root := culled(t)
	o := CullOptions{Now: now, Log: discard}
	if n, err := Cull(t.Context(), root+"/f_parent.out/", &o); n != 1 || err != nil {
		t.Errorf("%d removed, %v", n, err)
	}
	if n, err := Cull(t.Context(), root+"/f_parent.out", &o); n != 1 || err != nil {
		t.Errorf("%d removed, %v", n, err)
	}
	if n, err := Cull(t.Context(), root+"/i_link.out", &o); n != 0 || err == nil {
		t.Errorf("a link: %d removed, %v", n, err)
	}
}

// What cannot be removed keeps its mark, and does not keep the others.
func TestCullFails(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may remove anything")
	}
	root := culled(t)
	inside := filepath.Join(root, "a_old.out", "deep")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(inside, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(inside, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(inside, 0o755) })
	n, err := Cull(t.Context(), root, &CullOptions{TTL: 48 * time.Hour, Now: now, Log: discard})
	if n != 2 || fmt.Sprint(err) != "directories that were not removed: 1" {
		t.Errorf("%d removed, %v", n, err)
	}
	if done, err := isProcessed(filepath.Join(root, "a_old.out")); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
}

// Runs at the same time do not find fault with what the other one has removed.
func TestCullTwice(t *testing.T) {
	t.Parallel()
	root := folder(t)
	for i := range 20 {
		dir := filepath.Join(root, fmt.Sprintf("%02d.out", i))
		for j := range 20 {
			if err := os.MkdirAll(filepath.Join(dir, fmt.Sprint(j)), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, fmt.Sprint(j), "file"), "")
		}
		if err := mark(dir); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := Cull(t.Context(), root, &CullOptions{Now: time.Now().Add(time.Hour), Log: discard}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left := names(t, root); left != "" {
		t.Errorf("%s are left", left)
	}
}

// TestWalk: the order, and what is passed over.
func TestWalk(t *testing.T) {
	t.Parallel()
	root := culled(t)
	var all []string
	for dir, err := range walk(root) {
		if err != nil {
			t.Error(err)
		}
		all = append(all, strings.TrimPrefix(dir, root+"/"))
	}
	want := strings.Fields("a_old.out b_47h.out c_48h.out d_unprocessed.out f_parent.out f_parent.out/g_child.out h_future.out")
	if d := cmp.Diff(want, all); d != "" {
		t.Error(d)
	}
	for dir := range walk(root) {
		if dir != filepath.Join(root, "a_old.out") {
			t.Errorf("%s after the end", dir)
		}
		break
	}
	if all := maps.Collect(walk(filepath.Join(root, "nowhere"))); len(all) > 0 {
		t.Error(all)
	}
	if all := slices.Collect(maps.Keys(maps.Collect(walk(filepath.Join(root, "a_old.out", markName))))); len(all) != 1 {
		t.Errorf("a file: %q", all)
	}
}
