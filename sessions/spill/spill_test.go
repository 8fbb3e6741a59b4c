package spill_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"owl/sessions/spill"
)

// TestLikeAFile: whatever is done to a File, it answers as one on disk does, in
// memory and beyond.
func TestLikeAFile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		dir := t.TempDir()
		file := spill.New(dir)
		like, err := os.Create(filepath.Join(t.TempDir(), "like"))
		if err != nil {
			t.Fatal(err)
		}
		most := int64(4096)
		if round%2 == 1 {
			most = 2 * spill.MaxMemory
		}
		for step := range 100 {
			data := make([]byte, rng.IntN(2000))
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			at := rng.Int64N(most)
			var got, want int
			var gotErr, wantErr error
			switch op := rng.IntN(5); op {
			case 0:
				got, gotErr = file.WriteAt(data, at)
				want, wantErr = like.WriteAt(data, at)
			case 1:
				got, gotErr = file.Write(data)
				want, wantErr = like.Write(data)
			case 2:
				gotErr, wantErr = file.Truncate(at), like.Truncate(at)
			case 3:
				_, gotErr = file.Seek(at, io.SeekStart)
				_, wantErr = like.Seek(at, io.SeekStart)
			case 4:
				other := bytes.Clone(data)
				got, gotErr = file.ReadAt(data, at)
				want, wantErr = like.ReadAt(other, at)
				if !bytes.Equal(data[:got], other[:want]) {
					t.Fatalf("round %d, step %d: other octets at %d", round, step, at)
				}
			}
			if got != want || !errors.Is(gotErr, wantErr) {
				t.Fatalf("round %d, step %d: %d, %v; want %d, %v", round, step, got, gotErr, want, wantErr)
			}
			a, err := file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			b, err := like.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if a.Size() != b.Size() {
				t.Fatalf("round %d, step %d: %d octets, want %d", round, step, a.Size(), b.Size())
			}
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
			t.Errorf("in the directory are %v, %v; want nothing with a name", names, err)
		}
		if err := errors.Join(file.Close(), like.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestBounds: what does not fit into memory needs a directory, and says which
// one it has not got; what fits needs none.
func TestBounds(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	f := spill.New(missing)
	if _, err := f.WriteAt(make([]byte, spill.MaxMemory), 0); err != nil {
		t.Errorf("as much as memory takes: %v", err)
	}
	if _, err := f.WriteAt([]byte{1}, spill.MaxMemory); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an octet more: %v, want %v", err, fs.ErrNotExist)
	}
	if err := f.Truncate(spill.MaxMemory + 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a greater size: %v, want %v", err, fs.ErrNotExist)
	}
	if info, err := f.Stat(); err != nil || info.Size() != spill.MaxMemory {
		t.Errorf("%v, %v, want what was written before", info, err)
	}
}

// TestClosed: a closed File has nothing any more.
func TestClosed(t *testing.T) {
	f := spill.New(t.TempDir())
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, write := f.WriteAt([]byte{1}, 0)
	_, read := f.ReadAt(make([]byte, 1), 0)
	_, stat := f.Stat()
	for _, err := range []error{write, read, stat, f.Truncate(0), f.Close()} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%v, want %v", err, fs.ErrClosed)
		}
	}
}
