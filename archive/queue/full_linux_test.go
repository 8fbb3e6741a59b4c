package queue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"modernc.org/sqlite"
)

// On a full disk results are refused, which is told; what was taken before is
// delivered, and what became of it is known once there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: disks that are full go untested: only root can mount a small one")
	}
	dir := t.TempDir()
	if err := syscall.Mount("owl-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("SKIPPED: disks that are full go untested: mount: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	filler := filepath.Join(dir, "filler")
	q := open(t, Config{Path: filepath.Join(dir, "queue.db")})
	lines := use(t, q, "a", "b")
	a, b := lines[0], lines[1]
	put(t, q, 0, 3)
	first, second := next(t, a), next(t, a)

	fill := func() {
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for size := 4096; size > 0; {
			if _, err := f.Write(make([]byte, size)); err != nil {
				size /= 2
			}
		}
	}
	fill()
	var refused int
	for i := 3; ; i++ { // the log has room of its own, for a while
		err := q.Put(t.Context(), &Result{ID: fmt.Sprint(i), Body: make([]byte, 10_000)})
		if err == nil {
			if i > 1000 {
				t.Fatal("the disk is not full")
			}
			continue
		}
		if of, ok := errors.AsType[*sqlite.Error](err); !ok || of.Code()&0xff != 13 && of.Code()&0xff != 10 {
			t.Fatalf("error %v, want one of a full disk", err)
		}
		refused = i
		break
	}
	if s, err := q.Stats(t.Context()); err != nil || s.Failing == nil || s.Refused != 1 {
		t.Errorf("%d results refused, failing: %v; want 1, and an error", s.Refused, s.Failing)
	}
	first.Again(time.Now(), "again")
	second.Bury("dead")
	for i := range refused {
		if e := next(t, b); e.ID != fmt.Sprint(i) {
			t.Errorf("result %s, want %d", e.ID, i)
		} else {
			e.Delivered()
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	put(t, q, refused, refused+1)
	for i := 2; i <= refused; i++ {
		switch e := next(t, a); e.ID {
		case "0":
			if e.Tries != 1 {
				t.Errorf("result 0 has %d tries, want 1", e.Tries)
			}
			i--
			e.Delivered()
			first = nil
		case fmt.Sprint(i):
			e.Delivered()
		default:
			t.Errorf("result %s, want %d", e.ID, i)
		}
	}
	if first != nil {
		if e := next(t, a); e.ID != "0" {
			t.Errorf("result %s, want 0", e.ID)
		} else {
			e.Delivered()
		}
	}
	next(t, b).Delivered()
	s := stats(t, q)
	for i, want := range []struct{ dead, delivered int64 }{{1, int64(refused)}, {0, int64(refused + 1)}} {
		if l := s.Lines[i]; l.Dead != want.dead || int64(l.Delivered) != want.delivered {
			t.Errorf("%s: %d dead and %d delivered, want %d and %d", l.Name, l.Dead, l.Delivered, want.dead, want.delivered)
		}
	}
	if s.Failing != nil {
		t.Errorf("it fails still: %v", s.Failing)
	}
}
