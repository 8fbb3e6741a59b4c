package server_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/sessions/server"
)

// mount mounts a small file system at a new directory.
func mount(t *testing.T, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: file systems that are full or cannot be written go untested: only root can mount them")
	}
	dir := t.TempDir()
	if err := syscall.Mount("owl-test", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("SKIPPED: file systems that are full or cannot be written go untested: mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves no room in the file system of dir, and returns how to make room
// again.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// On a full disk sessions are refused, and those that run end with what was
// recorded by then; when there is room again, there are sessions again.
func TestFullDisk(t *testing.T) {
	dir := mount(t, "size=256k")
	bubble.Test(t, func(t *testing.T) {
		w := serveIn(t, dir, nil)
		c, running := w.connect(), w.connect()
		whole := w.record(c, 20)

		port := w.port()
		spec := toServer(10000, port.Addr())
		spec.Slots[0].Parameter = owamp.IntervalOf(time.Millisecond)
		a := w.request(running, spec)
		if err := running.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		sending := w.send(port, spec, a)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		free := fill(t, dir)
		failure := fmt.Sprintf("recording session %v: ", a.SID)
		time.Sleep(3 * time.Second)
		if lines := w.logged(); len(lines) != 1 || !strings.Contains(lines[0], failure) || !strings.Contains(lines[0], "no space left on device") {
			t.Errorf("logged %q while the session runs, want that it is not recorded any more", lines)
		}

		for range 3 {
			other := w.connect()
			if got := w.request(other, toServer(10, netip.AddrPortFrom(here, 9000))); got.Accept != owamp.AcceptTemporaryLimit {
				t.Errorf("answer %v, want %v", got.Accept, owamp.AcceptTemporaryLimit)
			}
			if lines := w.logged(); !strings.Contains(lines[len(lines)-1], "no space left on device") {
				t.Errorf("logged %q", lines)
			}
			// What needs no disk works.
			if got := w.request(other, fromServer(10, netip.AddrPortFrom(here, 9000))); got.Accept != owamp.AcceptOK {
				t.Errorf("answer %v, to a session from the server", got.Accept)
			}
			other.Close()
		}
		if _, got, err := all(t, c, whole); err != nil || len(got) != 20 {
			t.Errorf("%d records, %v", len(got), err)
		}

		if _, err := running.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := running.Stop(t.Context(), []owamp.SendReport{sending.Stop()}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := strings.Count(strings.Join(w.logged(), ""), failure); n != 1 {
			t.Errorf("logged %d times that the session could not be recorded", n)
		}
		if _, got, err := get(t, running, a.SID, 0, 9999); err != nil || len(got) < 2500 || len(got) > 6000 {
			t.Errorf("of the session that ran into it: %d records, %v", len(got), err)
		}
		_, _, err := all(t, running, a.SID)
		w.denied(err, owamp.AcceptReject, "it has no complete end")

		free()
		id := w.record(c, 30)
		if _, got, err := all(t, c, id); err != nil || len(got) != 30 {
			t.Errorf("when there is room again: %d records, %v", len(got), err)
		}
		c.Close()
		running.Close()
		port.Close()
		w.stop()
	})
}

// remount changes whether the file system of dir can be written.
func remount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	if err := syscall.Mount("owl-test", dir, "tmpfs", syscall.MS_REMOUNT|flags, "size=1m"); err != nil {
		t.Fatal(err)
	}
}

// Sessions that are too old and cannot be deleted are one line each time that
// it is tried, however many they are.
func TestSweepReadOnly(t *testing.T) {
	dir := mount(t, "size=1m")
	bubble.Test(t, func(t *testing.T) {
		w := serveIn(t, dir, func(_ *world, c *server.Config) { c.Retention = time.Hour })
		c := w.connect()
		for range 3 {
			id := w.record(c, 5)
			at := time.Now().Add(-2 * time.Hour)
			if err := os.Chtimes(filepath.Join(w.data, "catalog", id.String()+".owp"), at, at); err != nil {
				t.Fatal(err)
			}
		}
		remount(t, dir, syscall.MS_RDONLY)
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		lines := w.logged()
		if len(lines) != 2 || !strings.Contains(lines[0], "deleting 3 old sessions: ") || !strings.Contains(lines[0], "read-only file system") {
			t.Errorf("logged %q", lines)
		}
		remount(t, dir, 0)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if files, entries := w.kept(); files+entries != 0 {
			t.Errorf("%d files and %d entries", files, entries)
		}
		c.Close()
		w.stop()
	})
}

// A data directory that cannot be written any more costs the sessions that are
// to be written, and nothing else.
func TestReadOnly(t *testing.T) {
	dir := mount(t, "size=1m")
	bubble.Test(t, func(t *testing.T) {
		deleting := func(_ *world, c *server.Config) { c.Limits = limits(t, "limit root with delete_on_fetch=on") }
		w := serveIn(t, dir, deleting)
		c := w.connect()
		first := w.record(c, 20)
		remount(t, dir, syscall.MS_RDONLY)
		if got := w.request(c, toServer(10, netip.AddrPortFrom(here, 9000))); got.Accept != owamp.AcceptInternalError {
			t.Errorf("answer %v, want %v", got.Accept, owamp.AcceptInternalError)
		}
		if lines := w.logged(); !strings.Contains(lines[len(lines)-1], "read-only file system") {
			t.Errorf("logged %q", lines)
		}
		if got := w.request(c, fromServer(10, netip.AddrPortFrom(here, 9000))); got.Accept != owamp.AcceptOK {
			t.Errorf("answer %v, to a session from the server", got.Accept)
		}
		c.Close()
		c = w.connect()
		if _, got, err := all(t, c, first); err != nil || len(got) != 20 {
			t.Errorf("%d records, %v", len(got), err)
		}
		synctest.Wait()
		if lines := strings.Join(w.logged(), ""); !strings.Contains(lines, "deleting session "+first.String()) {
			t.Errorf("logged %q", lines)
		}
		c.Close()
		w.stop()
		// A server that is started now serves what there is.
		w = serveIn(t, dir, deleting)
		c = w.connect()
		if _, got, err := all(t, c, first); err != nil || len(got) != 20 {
			t.Errorf("%d records, %v", len(got), err)
		}
		synctest.Wait() // it tries to delete it behind the client's back
		remount(t, dir, 0)
		if _, got, err := all(t, c, first); err != nil || len(got) != 20 {
			t.Errorf("%d records, %v", len(got), err)
		}
		synctest.Wait()
		if files, entries := w.kept(); files+entries != 0 {
			t.Errorf("%d files and %d entries of a session that can be deleted now", files, entries)
		}
		id := w.record(c, 30)
		if _, got, err := all(t, c, id); err != nil || len(got) != 30 {
			t.Errorf("when it can be written again: %d records, %v", len(got), err)
		}
		c.Close()
		w.stop()
	})
}
