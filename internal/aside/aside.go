// Package aside writes files that get their name only once they are whole and
// on disk: nobody ever reads half of one, and what fails leaves what was there
// before.
package aside

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A File is a file that is being written, open for reading and writing. Either
// [File.Commit] gives it its name or [File.Discard] removes it.
type File struct {
	*os.File
	dir string
}

// Create begins a file in dir, the current directory if that is empty. Until it
// is committed its name is program's, hidden, and ends in ".i".
func Create(dir, program string) (*File, error) {
	f, err := os.CreateTemp(cmp.Or(dir, "."), "."+program+"-*.i")
	if err != nil {
		return nil, err
	}
	return &File{File: f, dir: dir}, nil
}

// Target returns the path at which a file that is to replace what path names
// has to be committed: path itself, or where it leads to as a symbolic link.
// What is not a regular file, a device for instance, is not replaced: that is
// an error.
func Target(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s: not a regular file, want one or none", path)
	}
	return filepath.EvalSymlinks(path)
}

// Commit completes the file and returns its path under the given name in its
// directory. It replaces what has that name.
func (f *File) Commit(name string) (path string, err error) {
	path = filepath.Join(f.dir, name)
	err = cmp.Or(f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", err
	}
	f.File = nil
	return path, nil
}

// Discard removes the file unless it was committed.
func (f *File) Discard() {
	if f.File != nil {
		f.Close()
		os.Remove(f.Name())
	}
}
