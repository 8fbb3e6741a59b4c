package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whichever of the two suites makes a change, the file is the same, and the
// other goes on from there.
func TestInteropPfstore(t *testing.T) {
	reference := os.Getenv("OWAMP_REFERENCE_DIR")
	if reference == "" {
		t.Skip("SKIPPED: not compared with the C suite: OWAMP_REFERENCE_DIR is not set")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	own := func(path, user, passphrase string, remove bool) {
		o := options{file: path, user: user, remove: remove}
		if err := o.edit(t.Context(), answer(passphrase)); err != nil {
			t.Fatal(err)
		}
	}
	theirs := func(path, user, passphrase string, remove bool) {
		args := []string{"-f", path, user}
		if remove {
			args = append([]string{"-d"}, args...)
		}
		cmd := exec.Command(filepath.Join(reference, "pfstore"), args...)
		cmd.Stdin = strings.NewReader(passphrase + "\n")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without a terminal
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	a, b := filepath.Join(t.TempDir(), "a.pfs"), filepath.Join(t.TempDir(), "b.pfs")
	write(t, a, "# head\n\nu0 30\n# foot\n")
	write(t, b, "# head\n\nu0 30\n# foot\n")
	users := []string{"u0"}
	for range 200 {
		// The suite takes a name that another begins with for that one.
		user := fmt.Sprint("u", rng.IntN(10))
		at := slices.Index(users, user)
		remove := at >= 0 && rng.IntN(3) == 0
		switch {
		case remove:
			users = slices.Delete(users, at, at+1)
		case at < 0:
			users = append(users, user)
		}
		passphrase := make([]byte, 1+rng.IntN(60))
		for i := range passphrase {
			passphrase[i] = byte(' ' + rng.IntN(256-' '))
		}
		own(a, user, string(passphrase), remove)
		theirs(b, user, string(passphrase), remove)
		x, err := os.ReadFile(a)
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(y), string(x)); d != "" {
			t.Fatalf("after %s, remove %v (-theirs +ours):\n%s", user, remove, d)
		}
		a, b = b, a
	}
}
