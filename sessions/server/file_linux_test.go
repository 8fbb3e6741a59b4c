package server_test

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"testing"

	"owl/owamp"
	"owl/sessions/policy"
	"owl/sessions/server"
)

// descriptors returns how many files this process has open in dir.
func descriptors(t *testing.T, dir string) (n int) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		name, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && len(name) > len(dir) && name[:len(dir)+1] == dir+"/" {
			n++
		}
	}
	return n
}

// Sessions that are recorded have a descriptor only while they are settled, and
// what they have written is on disk before.
func TestFilesWithoutDescriptors(t *testing.T) {
	dir := t.TempDir()
	store, err := server.OpenStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	peer := policy.Peer{Addr: here}
	account := policy.NewLedger(policy.Unlimited()).Account(peer)
	var files []*server.File
	for i := range byte(100) {
		held, err := account.Reserve(policy.Request{Sessions: 1})
		if err != nil {
			t.Fatal(err)
		}
		f, err := store.Create(owamp.SID{i}, held, peer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{i}, 1); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	if n := descriptors(t, dir); n != 0 {
		t.Errorf("%d descriptors for %d files", n, len(files))
	}
	for i, f := range files {
		if text, err := os.ReadFile(f.Name()); err != nil || string(text) != "\x00"+string([]byte{byte(i)}) {
			t.Errorf("file %d has %q, %v", i, text, err)
		}
		if n, err := f.ReadAt(make([]byte, 3), 0); n != 2 || !errors.Is(err, io.EOF) {
			t.Errorf("read of file %d: %d octets, %v, want 2 and the end", i, n, err)
		}
	}
	f := files[7]
	f.Settle()
	if err := f.Truncate(1); err != nil {
		t.Error(err)
	}
	if n := descriptors(t, dir); n != 1 {
		t.Errorf("%d descriptors while a file is settled, want 1", n)
	}
	if err := f.Discard(); err != nil {
		t.Error(err)
	}
	if n := descriptors(t, dir); n != 0 {
		t.Errorf("%d descriptors afterwards", n)
	}
	if _, err := f.Stat(); !os.IsNotExist(err) {
		t.Errorf("a file that was discarded: %v", err)
	}
	// Somebody may delete what is recorded: it is not made anew.
	if err := os.Remove(files[8].Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := files[8].WriteAt([]byte{1}, 0); !os.IsNotExist(err) {
		t.Errorf("writing to a file that was deleted: %v", err)
	}
}
