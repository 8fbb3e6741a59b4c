package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/sessions/policy"
)

// A File is the file of a session that is recorded into a [Store]. Records come
// to it about once a second, so it has a descriptor only while it is settled:
// the sessions that a server records are not bounded by the descriptors of a
// process, and what they have recorded is on disk, whatever becomes of that.
type File struct {
	path    string
	store   *Store
	sid     owamp.SID
	creator policy.Peer
	held    atomic.Pointer[os.File] // nil: each use opens the file
	// settling is set before what is in the file may change other than by
	// growing; done is closed when the file is kept, or gone.
	settling atomic.Bool
	done     chan struct{}
}

// do uses the file.
func (f *File) do(use func(*os.File) error) error {
	if held := f.held.Load(); held != nil {
		return use(held)
	}
	file, err := f.open()
	if err != nil {
		return err
	}
	return errors.Join(use(file), file.Close())
}

// open opens the file, which is there.
func (f *File) open() (*os.File, error) { return os.OpenFile(f.path, os.O_RDWR|unix.O_NOFOLLOW, 0) }

// Name returns the file's path.
func (f *File) Name() string { return f.path }

// Stat returns what the file system knows of the file.
func (f *File) Stat() (info fs.FileInfo, err error) {
	err = f.do(func(file *os.File) error {
		info, err = file.Stat()
		return err
	})
	return info, err
}

// ReadAt implements [io.ReaderAt].
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	failed := f.do(func(file *os.File) error {
		n, err = file.ReadAt(p, off)
		return nil // [io.EOF] is to be told as it is
	})
	if err == nil {
		err = failed
	}
	return n, err
}

// WriteAt implements [io.WriterAt].
func (f *File) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.do(func(file *os.File) error {
		n, err = file.WriteAt(p, off)
		return err
	})
	return n, err
}

// Truncate gives the file another size.
func (f *File) Truncate(size int64) error {
	return f.do(func(file *os.File) error { return file.Truncate(size) })
}

// Sync brings the file to the disk.
func (f *File) Sync() error { return f.do((*os.File).Sync) }

// size returns how many octets there are of a file that is complete; if nothing
// was recorded in it, because the peer went before, that is an error.
func (f *File) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	r, err := owp.NewReader(f, info.Size())
	if err != nil {
		return 0, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if r.Header().Finished == owp.Incomplete && r.Len() == 0 {
		return 0, errWorthless
	}
	return info.Size(), nil
}

// salvage is size of a file that is not complete, and makes it so.
func (f *File) salvage() (size int64, err error) {
	err = f.do(func(file *os.File) error {
		size, err = salvage(file)
		return err
	})
	return size, err
}

// Settle says that the file is about to get its final content, and opens it for
// that. If it cannot be opened, whoever uses it is told.
func (f *File) Settle() {
	f.settling.Store(true)
	if held, err := f.open(); err == nil {
		f.held.Store(held)
	}
}

// release gives the descriptor back.
func (f *File) release() error {
	if held := f.held.Swap(nil); held != nil {
		return held.Close()
	}
	return nil
}

// Keep ends the use of a file that is complete. Its disk is accounted for by
// account from now on.
func (f *File) Keep(account *policy.Reservation) error {
	err := errors.Join(f.confirmCreator(), f.release())
	f.store.mu.Lock()
	e := f.store.all[f.sid]
	e.recent, e.account = nil, account
	f.store.all[f.sid] = e
	f.store.mu.Unlock()
	close(f.done)
	return err
}

// confirmCreator brings the name of the creator to the disk. Those who delete
// what is old then see it as young as the file, or it was deleted and is made
// again.
func (f *File) confirmCreator() error {
	text, err := f.creator.AppendText(nil)
	if err != nil {
		return err
	}
	by, err := os.OpenFile(filepath.Join(filepath.Dir(f.Name()), byName(f.sid)), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = by.WriteAt(append(text, '\n'), 0)
	return errors.Join(err, by.Sync(), by.Close())
}

// Discard removes the file.
func (f *File) Discard() error {
	err := errors.Join(f.release(), f.store.remove(f.sid))
	f.store.leave(f.sid) // whatever could not be removed
	close(f.done)
	return err
}
