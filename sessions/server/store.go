package server

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"owl/owamp"
)

// A Store is the directory in which a server keeps the sessions that it
// received, laid out as the reference does, because other tools read it:
//
//	hierarchy/root/SID.owp   the file
//	catalog/SID.owp          a symbolic link to it
type Store struct {
	dir string
	log *slog.Logger
}

// root is the class of all sessions while there are no limits.
const root = "root"

// OpenStore returns the store in dir, which it completes. What is strange there is
// told to log.
func OpenStore(dir string, log *slog.Logger) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, log: log}
	for _, d := range []string{s.class(), s.catalog()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("data directory %s: %w", dir, err)
		}
	}
	return s, nil
}

func (s *Store) class() string   { return filepath.Join(s.dir, "hierarchy", root) }
func (s *Store) catalog() string { return filepath.Join(s.dir, "catalog") }

// A File is a session's file in a [Store].
type File struct {
	*os.File
	link string
}

// Create makes the file of a session. It is empty, and in the catalog.
func (s *Store) Create(sid owamp.SID) (*File, error) {
	name := sid.String() + ".owp"
	f, err := os.OpenFile(filepath.Join(s.class(), name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	link := filepath.Join(s.catalog(), name)
	if err := os.Symlink(f.Name(), link); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return &File{File: f, link: link}, nil
}

// Keep closes a file that is complete.
func (f *File) Keep() error { return f.Close() }

// Discard removes the file and its entry in the catalog.
func (f *File) Discard() error {
	return errors.Join(f.Close(), os.Remove(f.link), os.Remove(f.Name()))
}
