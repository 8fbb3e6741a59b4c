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

// A File is a file that is being written, open for reading and writing. Close
// removes it unless it was committed.
type File struct {
	*os.File
	// Perm is who may do what with the file once it is committed, 0644 if it is
	// zero. Until then only its owner may.
	Perm      fs.FileMode
	dir, name string // where it is going to be; name is empty if that is still open
	kept      bool
}

// Create begins a file in dir, the current directory if that is empty, whose
// name [File.CommitAs] gives. Until then it is a hidden one with that of
// program, and it ends in ".i".
func Create(dir, program string) (*File, error) {
	f, err := os.CreateTemp(cmp.Or(dir, "."), "."+program+"-*.i")
	if err != nil {
		return nil, err
	}
	return &File{File: f, dir: dir}, nil
}

// Replace begins the file that path is going to name. Where path is a symbolic
// link that is the file which it leads to. What is no regular file, a device
// for instance, is not replaced: that is an error.
func Replace(path, program string) (*File, error) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file, want one or none", path)
	default:
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return nil, err
		}
	}
	f, err := Create(filepath.Dir(path), program)
	if err != nil {
		return nil, err
	}
	f.name = filepath.Base(path)
	return f, nil
}

// Nameless begins a file in dir that has no name and gets none: it is gone when
// it is closed, or the program has ended, whichever way.
func Nameless(dir, program string) (*File, error) {
	f, err := Create(dir, program)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	f.kept = true
	return f, nil
}

// Commit completes the file and names it as [Replace] was told, replacing what
// has that name. It does nothing to a file of [Nameless]. The file stays open.
func (f *File) Commit() error {
	if f.kept {
		return nil
	}
	_, err := f.CommitAs(f.name)
	return err
}

// CommitAs completes the file and gives it a name in its directory, replacing
// what has that name. It returns the file's path. The file stays open.
func (f *File) CommitAs(name string) (path string, err error) {
	path = filepath.Join(f.dir, name)
	if err := cmp.Or(f.Chmod(cmp.Or(f.Perm, 0o644)), f.Sync()); err != nil {
		return "", err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return "", err
	}
	f.kept = true
	return path, nil
}

// Close closes the file, and removes it unless it was committed.
func (f *File) Close() error {
	err := f.File.Close()
	if !f.kept {
		err = cmp.Or(err, os.Remove(f.Name()))
		f.kept = true
	}
	return err
}
