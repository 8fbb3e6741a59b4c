package tstat

import (
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
)

const (
	// suffix is what the names of tstat's directories end in.
	suffix = ".out"
	// markName is the file that says that a directory is processed.
	markName = ".processed"
	markText = "processed"
)

// walk yields the directories of tstat below root, and root itself if that is one
// as it is written: each before those in it, in the order of their names, so that
// older ones come first. What is no longer there is passed over, and what cannot
// be read is yielded with its error. Symbolic links are not followed, but root may
// be one.
func walk(root string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { walkTo(root, yield) }
}

func walkTo(dir string, yield func(string, error) bool) (more bool) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true
	case err != nil:
		if !yield(dir, err) {
			return false
		}
	case strings.HasSuffix(dir, suffix):
		if !yield(dir, nil) {
			return false
		}
	}
	for _, e := range entries {
		if e.IsDir() && !walkTo(filepath.Join(dir, e.Name()), yield) {
			return false
		}
	}
	return true
}

// absolute returns a path as log lines have it.
func absolute(path string) string {
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path
}

// isProcessed reports whether a directory is marked.
func isProcessed(dir string) (bool, error) {
	_, err := os.Lstat(filepath.Join(dir, markName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// mark marks a directory, so that it stays so when the machine fails.
func mark(dir string) error {
	path := filepath.Join(dir, markName)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(markText)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncDirectory(dir)
}

// syncDirectory has the names in a directory written down.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
