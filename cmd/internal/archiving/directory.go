package archiving

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"owl/archive"
)

// maxFiles bounds the files of a directory of default archives.
const maxFiles = 1000

// A directory has default archives: each of its files holds specifications,
// whatever its name.
type directory struct {
	path  string
	found string // what there was when it was read last
	specs []*archive.Spec
}

// read reads the directory if it has changed since the last time, and reports
// whether it has. A file that cannot be used is named in the log, and the others
// are. A directory that does not exist has no archives.
func (d *directory) read(log *slog.Logger) (changed bool) {
	files, found, err := d.list()
	if found == d.found {
		return false
	}
	d.found = found
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("default archives cannot be read: " + err.Error())
	}
	d.specs = nil
	for _, path := range files {
		specs, err := Read("@" + path)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				log.Warn("an archive is not used: " + strings.TrimSuffix(line, "\n"))
			}
			continue
		}
		d.specs = append(d.specs, specs...)
	}
	return true
}

// list returns the directory's files, and in found what would be different if one
// of them had been changed: as pScheduler has it, so much as its mode.
func (d *directory) list() (files []string, found string, err error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err.Error(), err
	}
	if len(entries) > maxFiles {
		err := fmt.Errorf("%s has %d files: want at most %d", d.path, len(entries), maxFiles)
		return nil, err.Error(), err
	}
	var marks strings.Builder
	marks.WriteByte('.') // there is a directory, if an empty one
	for _, e := range entries {
		path := filepath.Join(d.path, e.Name())
		info, err := os.Stat(path) // what a link leads to
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		fmt.Fprintf(&marks, "%q %d %v %v\n", e.Name(), info.Size(), info.Mode(), info.ModTime().UnixNano())
		files = append(files, path)
	}
	slices.SortFunc(files, cmp.Compare[string])
	return files, marks.String(), nil
}

// ReadDirectories returns the archives of directories of default archives. The
// error tells of all files that cannot be used, a line each.
func ReadDirectories(paths []string) (specs []*archive.Spec, err error) {
	var errs []error
	for _, path := range paths {
		files, _, err := (&directory{path: path}).list()
		errs = append(errs, err)
		for _, file := range files {
			read, err := Read("@" + file)
			specs, errs = append(specs, read...), append(errs, err)
		}
	}
	return specs, errors.Join(errs...)
}
