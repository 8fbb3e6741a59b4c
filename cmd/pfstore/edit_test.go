package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// answer is an ask that needs nobody.
func answer(passphrase string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(passphrase), nil }
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// says checks what is in a file.
func says(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// None of several changes at once is lost.
func TestEditTogether(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "pfs"), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := (&options{file: path, create: true, user: "first"}).edit(t.Context(), answer("x")); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			o := options{file: []string{path, link}[i%2], user: fmt.Sprint("u", i)}
			if err := o.edit(t.Context(), answer(o.user)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	store, err := (&options{file: path}).load()
	if err != nil || store.Len() != 21 {
		t.Fatalf("%v, %v; want 21", store, err)
	}
	for i := range 20 {
		user := fmt.Sprint("u", i)
		if got, _ := store.Get(user); string(got) != user {
			t.Errorf("%s has %q", user, got)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// What others do while the user is asked is not undone: nor is it in their way.
func TestEditWhileAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pfs")
	write(t, path, "# head\na 61\nb 62\n")
	o := options{file: path, user: "a"}
	err := o.edit(t.Context(), func() ([]byte, error) {
		if err := (&options{file: path, user: "c"}).edit(t.Context(), answer("c")); err != nil {
			t.Error(err)
		}
		if err := (&options{file: path, user: "b", remove: true}).edit(t.Context(), nil); err != nil {
			t.Error(err)
		}
		return []byte("A"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	says(t, path, "# head\na\t41\nc\t63\n")

	// -n does not replace what somebody else has created meanwhile.
	fresh := filepath.Join(t.TempDir(), "new")
	err = (&options{file: fresh, create: true, user: "a"}).edit(t.Context(), func() ([]byte, error) {
		write(t, fresh, "theirs 61\n")
		return []byte("mine"), nil
	})
	if want := "-n option specified: " + fresh + " exists"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	says(t, fresh, "theirs 61\n")
}

// A pfstore that waits for another can be ended.
func TestEditWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pfs")
	write(t, path, "a 61\n")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	err = (&options{file: path, user: "b"}).edit(ctx, func() ([]byte, error) {
		cancel(enough)
		return []byte("b"), nil
	})
	if !errors.Is(err, enough) || !strings.HasPrefix(err.Error(), "locking "+filepath.Dir(path)+": ") {
		t.Errorf("%v, want %v", err, enough)
	}
	says(t, path, "a 61\n")
	unlock()
	if err := (&options{file: path, user: "b"}).edit(t.Context(), answer("b")); err != nil {
		t.Error(err)
	}
	says(t, path, "a 61\nb\t62\n")
}

// The file stays whose it was. Who else could read it can not any more, unless it
// is a group that nobody else could read it with.
func TestEditKeepsOwner(t *testing.T) {
	for was, want := range map[os.FileMode]os.FileMode{
		0o600: 0o600, 0o640: 0o640, 0o400: 0o600, 0o644: 0o600, 0o660: 0o600,
	} {
		t.Run(was.String(), func(t *testing.T) { testKeepsOwner(t, was, want) })
	}
}

func testKeepsOwner(t *testing.T, was, want os.FileMode) {
	path := filepath.Join(t.TempDir(), "pfs")
	write(t, path, "a 61\n")
	if err := os.Chmod(path, was); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 12, 34
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if err := (&options{file: path, user: "b"}).edit(t.Context(), answer("b")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if int(owner.Uid) != uid || int(owner.Gid) != gid || info.Mode() != want {
		t.Errorf("of %d:%d with mode %v, want %d:%d and %v", owner.Uid, owner.Gid, info.Mode(), uid, gid, want)
	}
}

func TestEditFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pfs")
	write(t, path, "a 61\n")
	asleep := errors.New("asleep")
	if err := (&options{file: path, user: "a"}).edit(t.Context(), func() ([]byte, error) { return nil, asleep }); !errors.Is(err, asleep) {
		t.Errorf("%v, want %v", err, asleep)
	}
	if err := (&options{file: path, user: "a"}).edit(t.Context(), answer("")); err == nil || err.Error() != "a pass-phrase of 0 octets: want 1 to 1024" {
		t.Errorf("an empty pass-phrase: %v", err)
	}
	says(t, path, "a 61\n")
}
