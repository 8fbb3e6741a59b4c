package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/sessions/policy"
)

// OpenStore returns the store in dir, which it completes and locks. The catalog is made
// anew from what there is, as far as it is not as it should be; sessions that an
// unclean end has left in the middle are repaired, or deleted if nothing was
// recorded of them. What is strange is told to log and left alone.
func OpenStore(dir string, log *slog.Logger) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, log: log, all: make(map[owamp.SID]stored)}
	for _, build := range []func() error{
		func() error { return os.MkdirAll(s.hierarchy(), 0o755) },
		s.lockDir,
		func() error { return os.MkdirAll(s.catalog(), 0o755) },
		s.readHierarchy,
		s.mendCatalog,
	} {
		if err := build(); err != nil {
			s.lock.Close() // nil if it has not come to that
			return nil, fmt.Errorf("data directory %s: %w", dir, err)
		}
	}
	return s, nil
}

// lockDir keeps other servers out, which would repair what is recorded here as
// the rest of a server that has died. What is locked is the directory, for files
// in it may be deleted by those who clean up.
func (s *Store) lockDir() (err error) {
	if s.lock, err = os.Open(s.dir); err != nil {
		return err
	}
	switch err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		return nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return errors.New("in use by another server: want one of its own for each")
	default: // NFS, for one, locks no directories
		s.log.Warn(fmt.Sprintf("data directory %s: another server would not be noticed: it cannot be locked: %v", s.dir, err))
		return nil
	}
}

// readHierarchy finds the sessions that there are.
func (s *Store) readHierarchy() error {
	var creators []string
	root := s.hierarchy() + string(filepath.Separator) // which may be a link itself
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			if path == root {
				return err
			}
			s.log.Warn(fmt.Sprintf("data directory: %v", err))
			return nil
		case !e.Type().IsRegular():
			return nil
		case isSession(e.Name(), ".by"):
			creators = append(creators, path)
			return nil
		case !isSession(e.Name(), ".owp"):
			return nil
		}
		return s.find(path)
	})
	if err != nil {
		return err
	}
	for _, path := range creators {
		sid, _ := parseSID(strings.TrimSuffix(filepath.Base(path), ".by"))
		if e, ok := s.all[sid]; ok && e.dir == filepath.Dir(path) {
			continue
		}
		if err := os.Remove(path); err != nil {
			s.log.Warn(fmt.Sprintf("data directory: %v", err))
		}
	}
	return nil
}

// isSession reports whether name is that of a session with the extension.
func isSession(name, ext string) bool {
	sid, ok := strings.CutSuffix(name, ext)
	if !ok {
		return false
	}
	_, err := parseSID(sid)
	return err == nil
}

// parseSID reads what [owamp.SID.String] writes, and nothing else, for file
// names are told apart by case.
func parseSID(s string) (owamp.SID, error) {
	sid, err := owamp.ParseSID(s)
	if err == nil && sid.String() != s {
		err = fmt.Errorf("session %q: want lower-case digits", s)
	}
	return sid, err
}

// find adds the session of a file to those that there are.
func (s *Store) find(path string) error {
	sid, err := parseSID(strings.TrimSuffix(filepath.Base(path), ".owp"))
	if err != nil {
		return err
	}
	if first, taken := s.all[sid]; taken {
		s.log.Warn(fmt.Sprintf("data directory: %s is left alone: the session is in %s, too", path, first.dir))
		return nil
	}
	size, err := mend(path)
	switch {
	case errors.Is(err, errWorthless):
		s.log.Info(fmt.Sprintf("data directory: %s is deleted: %v", path, err))
		if err := os.Remove(path); err != nil {
			s.log.Warn(fmt.Sprintf("data directory: %v", err))
		}
		return nil
	case err != nil:
		// It takes disk all the same, and somebody may make something of it.
		s.log.Warn(fmt.Sprintf("data directory: %v", err))
	}
	return s.enter(sid, stored{dir: filepath.Dir(path), size: size})
}

// errWorthless says that nothing was recorded in a file.
var errWorthless = errors.New("nothing was recorded in it")

// mend completes a file that an unclean end has left in the middle, and returns
// its size.
func mend(path string) (size int64, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	size = info.Size()
	if size == 0 {
		return 0, errWorthless
	}
	r, err := owp.Open(path)
	if err != nil {
		return size, err
	}
	r.Close()
	if r.Header().Finished != owp.Incomplete || r.Header().NumRecords != 0 {
		return size, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return size, err
	}
	defer f.Close()
	return salvage(f)
}

// salvage makes of f, whose session came to no good end, the file of an
// incomplete session with all that was recorded, and returns its size.
func salvage(f *os.File) (size int64, err error) {
	head, err := owp.Repair(f)
	if err != nil {
		return 0, err
	}
	if head.Finished == owp.Incomplete && head.NumRecords == 0 {
		return 0, errWorthless
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// mendCatalog makes the catalog say what there is.
func (s *Store) mendCatalog() error {
	entries, err := os.ReadDir(s.catalog())
	if err != nil {
		return err
	}
	linked := make(map[owamp.SID]bool, len(entries))
	for _, e := range entries {
		path := filepath.Join(s.catalog(), e.Name())
		sid, err := parseSID(strings.TrimSuffix(e.Name(), ".owp"))
		known, ok := s.all[sid]
		if err == nil && ok && path == s.link(sid) {
			if target, err := os.Readlink(path); err == nil && target == filepath.Join(known.dir, owpName(sid)) {
				linked[sid] = true
				continue
			}
		}
		if err := os.Remove(path); err != nil {
			s.log.Warn(fmt.Sprintf("data directory: %v", err))
		}
	}
	for sid, e := range s.all {
		if linked[sid] {
			continue
		}
		if err := os.Symlink(filepath.Join(e.dir, owpName(sid)), s.link(sid)); err != nil {
			return err
		}
	}
	return nil
}

// adopt has the disk of all sessions accounted for in g: for the class that
// their directory has the name of.
func (s *Store) adopt(g *policy.Ledger) {
	limits := g.Limits()
	told := make(map[string]bool)
	s.mu.Lock()
	defer s.mu.Unlock()
	for sid, e := range s.all {
		class := filepath.Base(e.dir)
		if _, ok := limits.Lookup(class); !ok && !told[class] {
			told[class] = true
			s.log.Warn(fmt.Sprintf("data directory: the sessions in %s count for class %s: there is no class %s", e.dir, limits.Root().Name(), class))
		}
		e.account = g.Adopt(class, uint64(e.size))
		s.all[sid] = e
	}
}

// maxCreator bounds what is read of a creator's file.
const maxCreator = 1 << 10

// readLine returns the only line of a small file.
func readLine(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCreator))
	line, _ := bytes.CutSuffix(b, []byte("\n"))
	return line, err
}
