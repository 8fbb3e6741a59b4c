package sessions

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/owamp/owp"
)

const (
	lockName = ".powlock"
	// A file in progress has a name of its own until it is whole: hidden, so
	// that nobody who looks for *.owp or *.sum takes it.
	partPrefix, partSuffix = ".owl-", ".i"
)

// A Directory is where a stream's files go: START_END.owp and START_END.sum,
// both times as 20 decimal digits. A file gets its name when it is whole and on
// disk, and a name that is taken is never overwritten. One process at a time
// has a directory, by the lock file that the reference uses too.
type Directory struct {
	path string
	lock *os.File
}

// A LockedError says that another process has the directory.
type LockedError struct {
	File string
	PID  int // 0 when the lock file does not tell
	Err  error
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("Unable to lock file %s: %v", e.File, e.Err)
}

func (e *LockedError) Unwrap() error { return e.Err }

// A File is where the records of a session are while it is measured.
type File interface {
	owp.File
	io.WriteSeeker
	io.Closer
}

// OpenDirectory locks the directory at path.
func OpenDirectory(path string) (*Directory, error) {
	name := filepath.Join(path, lockName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock); err != nil {
		held := &LockedError{File: name, Err: err}
		var pid [4]byte
		if _, err := f.ReadAt(pid[:], 0); err == nil {
			held.PID = int(binary.NativeEndian.Uint32(pid[:]))
		}
		f.Close()
		return nil, held
	}
	var pid [4]byte
	binary.NativeEndian.PutUint32(pid[:], uint32(os.Getpid()))
	if _, err := f.WriteAt(pid[:], 0); err != nil {
		f.Close()
		return nil, err
	}
	return &Directory{path: path, lock: f}, nil
}

// Close gives the directory free. The lock file stays, as the reference's does.
func (d *Directory) Close() error { return d.lock.Close() }

// Begin creates the file that a session is recorded in.
func (d *Directory) Begin(sid owamp.SID) (*os.File, error) {
	return os.OpenFile(d.inProgress(sid.String()+".owp"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
}

// BeginPart creates a file for what is known of a session while it runs. It is
// to be discarded, and what a killed process has left of it is not recovered.
func (d *Directory) BeginPart(sid owamp.SID) (*os.File, error) {
	return os.OpenFile(d.inProgress(sid.String()+".part"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
}

func (d *Directory) inProgress(name string) string {
	return filepath.Join(d.path, partPrefix+name+partSuffix)
}

// FileName returns the name, without a directory, of the file that covers the
// time from start to end.
func FileName(start, end owamp.Timestamp, suffix string) string {
	return fmt.Sprintf("%020d_%020d%s", uint64(start), uint64(end), suffix)
}

// Commit closes a file that [Directory.Begin] made and that has been written
// and synced, gives it its final name and returns the path. A file that cannot
// have the name is removed.
func (d *Directory) Commit(f File, start, end owamp.Timestamp) (string, error) {
	defer f.Close()
	return d.publish(f.Name(), FileName(start, end, ".owp"))
}

// Discard removes a file that [Directory.Begin] or [Directory.BeginPart] made.
func (d *Directory) Discard(f File) error {
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// WriteSummary writes text as the summary of the time from start to end and
// returns the path.
func (d *Directory) WriteSummary(text []byte, start, end owamp.Timestamp) (string, error) {
	name := FileName(start, end, ".sum")
	part := d.inProgress(name)
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(part)
		return "", err
	}
	return d.publish(part, name)
}

// publish renames the whole file at part to name, unless name is taken: then
// the older file stays and the newer one goes.
func (d *Directory) publish(part, name string) (string, error) {
	final := filepath.Join(d.path, name)
	// A link, unlike a rename, fails where the name exists, on every system.
	err := os.Link(part, final)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) {
		// This file system has no links.
		if _, err = os.Lstat(final); err == nil {
			err = &fs.PathError{Op: "rename", Path: final, Err: fs.ErrExist}
		} else {
			err = os.Rename(part, final)
		}
	} else {
		os.Remove(part) // the file has another name now, or shall have none
	}
	if err != nil {
		os.Remove(part)
		return "", err
	}
	return final, d.sync()
}

// sync makes the directory's entries durable.
func (d *Directory) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Recover finishes what a process that was killed left in the directory: the
// records of a session that were on disk become an incomplete session's file,
// anything else goes.
func (d *Directory) Recover(log *slog.Logger) error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, partPrefix) || !strings.HasSuffix(name, partSuffix) || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(d.path, name)
		final, err := d.recover(path)
		switch {
		case err != nil:
			log.Warn(fmt.Sprintf("%s: left by a process that was killed, and not readable: %v; removed", path, err))
			os.Remove(path)
		case final == "":
			os.Remove(path)
		default:
			log.Info(fmt.Sprintf("%s: what a killed process had recorded, recovered as an incomplete session", final))
		}
	}
	return nil
}

// recover completes one file in progress; an empty path says that it held
// nothing that has to get a name.
func (d *Directory) recover(path string) (string, error) {
	if !strings.HasSuffix(path, ".owp"+partSuffix) {
		return "", nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		return "", err
	}
	h, err := owp.Repair(f)
	if err != nil {
		return "", err
	}
	r, err := readFile(f)
	if err != nil {
		return "", err
	}
	end, n, err := lastRecorded(r, &h.Spec)
	if err != nil || n == 0 {
		return "", err
	}
	final, err := d.Commit(f, h.Spec.Start, end)
	if errors.Is(err, fs.ErrExist) {
		return "", nil // it was killed just when the file had got its name
	}
	return final, err
}
