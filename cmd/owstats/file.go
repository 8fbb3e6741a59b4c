package main

import (
	"bufio"
	"cmp"
	"os"
	"path/filepath"
)

// A summaryFile is a file that gets its name only when it is whole and on disk.
type summaryFile struct {
	file *os.File
	out  *bufio.Writer
	dir  string
}

func createSummaryFile(dir string) (*summaryFile, error) {
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, ".owstats-*.i")
	if err != nil {
		return nil, err
	}
	return &summaryFile{file: f, out: bufio.NewWriter(f), dir: dir}, nil
}

// commit completes the file and returns the path under the given name, where it
// replaces what is there.
func (s *summaryFile) commit(name string) (path string, err error) {
	path = filepath.Join(s.dir, name)
	err = cmp.Or(s.out.Flush(), s.file.Chmod(0o644), s.file.Sync(), s.file.Close())
	if err == nil {
		err = os.Rename(s.file.Name(), path)
	}
	if err != nil {
		return "", err
	}
	s.file = nil
	return path, nil
}

// discard removes the file unless it was committed.
func (s *summaryFile) discard() {
	if s.file != nil {
		s.file.Close()
		os.Remove(s.file.Name())
	}
}
