// Package spill has files that live in memory while they are small: the records
// of one session of many, that nobody wants to keep. A process that measures to
// thousands of hosts has a descriptor for few of them.
package spill

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// MaxMemory is how many octets of a File are in memory: records of about 10,000
// packets. What grows beyond goes to disk as a whole.
const MaxMemory = 256 << 10

// pageSize is in octets. A file that grows page by page is never copied, and
// takes little more memory than it has octets.
const pageSize = 1 << 10

// A File is a file without a name. It may be used by many goroutines at once,
// as an *os.File may.
type File struct {
	dir string

	mu     sync.Mutex
	pages  []*[pageSize]byte // what lies behind size is zero
	size   int64
	disk   *os.File // nil: all is in pages
	offset int64    // of the next Write
	closed bool
}

// New returns an empty File. Only one that grows beyond [MaxMemory] needs dir,
// in which it is then made, already removed.
func New(dir string) *File { return &File{dir: dir} }

// Name returns what errors call the file.
func (f *File) Name() string { return "records in memory" }

// Stat returns the size of the file; nothing else of it is known.
func (f *File) Stat() (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, f.fail("stat", fs.ErrClosed)
	case f.disk != nil:
		return f.disk.Stat()
	}
	return info{name: f.Name(), size: f.size}, nil
}

// ReadAt implements [io.ReaderAt].
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return 0, f.fail("read", fs.ErrClosed)
	case off < 0:
		return 0, f.fail("read", fmt.Errorf("offset %d: want none below 0", off))
	case f.disk != nil:
		return f.disk.ReadAt(p, off)
	case off >= f.size:
		return 0, io.EOF
	}
	n := f.each(p[:min(int64(len(p)), f.size-off)], off, func(p, page []byte) { copy(p, page) })
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// each goes through p, which stands for what lies at off, page by page, and
// returns the length of p.
func (f *File) each(p []byte, off int64, do func(p, page []byte)) int {
	for done := 0; done < len(p); {
		at := off + int64(done)
		page := f.pages[at/pageSize][at%pageSize:]
		part := p[done:min(len(p), done+len(page))]
		do(part, page[:len(part)])
		done += len(part)
	}
	return len(p)
}

// WriteAt implements [io.WriterAt].
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writeAt(p, off)
}

// Write writes behind what the last Write has written, or where Seek says.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.writeAt(p, f.offset)
	f.offset += int64(n)
	return n, err
}

// writeAt is WriteAt. f.mu is held.
func (f *File) writeAt(p []byte, off int64) (int, error) {
	switch {
	case f.closed:
		return 0, f.fail("write", fs.ErrClosed)
	case off < 0:
		return 0, f.fail("write", fmt.Errorf("offset %d: want none below 0", off))
	}
	if f.disk == nil && (off > MaxMemory || off+int64(len(p)) > MaxMemory) {
		if err := f.spill(); err != nil {
			return 0, err
		}
	}
	if f.disk != nil {
		return f.disk.WriteAt(p, off)
	}
	f.resize(max(f.size, off+int64(len(p))))
	return f.each(p, off, func(p, page []byte) { copy(page, p) }), nil
}

// resize makes the file size octets long; new ones are zero. f.mu is held.
func (f *File) resize(size int64) {
	for int64(len(f.pages))*pageSize < size {
		f.pages = append(f.pages, new([pageSize]byte))
	}
	pages := (size + pageSize - 1) / pageSize
	clear(f.pages[pages:])
	f.pages = f.pages[:pages]
	if used := size % pageSize; used > 0 && size < f.size {
		clear(f.pages[pages-1][used:])
	}
	f.size = size
}

// spill moves the file to disk. f.mu is held.
func (f *File) spill() error {
	disk, err := os.CreateTemp(f.dir, ".owl-records-*")
	if err != nil {
		return err
	}
	err = os.Remove(disk.Name()) // it lives as long as it is open
	if err == nil {
		for i := range f.pages {
			n := min(f.size-int64(i)*pageSize, pageSize)
			if _, err = disk.Write(f.pages[i][:n]); err != nil {
				break
			}
		}
	}
	if err != nil {
		return errors.Join(err, disk.Close())
	}
	f.disk, f.pages = disk, nil
	return nil
}

// Seek says where the next Write goes, counted from the start: whence is
// [io.SeekStart].
func (f *File) Seek(offset int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if whence != io.SeekStart || offset < 0 {
		return 0, f.fail("seek", fmt.Errorf("offset %d of whence %d: want one from the start, which is %d", offset, whence, io.SeekStart))
	}
	f.offset = offset
	return offset, nil
}

// Truncate gives the file another size. What is truncated stays on disk if it
// was there.
func (f *File) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return f.fail("truncate", fs.ErrClosed)
	case size < 0:
		return f.fail("truncate", fmt.Errorf("size %d: want none below 0", size))
	}
	if f.disk == nil && size > MaxMemory {
		if err := f.spill(); err != nil {
			return err
		}
	}
	if f.disk != nil {
		return f.disk.Truncate(size)
	}
	f.resize(size)
	return nil
}

// Sync does nothing: what has no name does not outlive its process.
func (f *File) Sync() error { return nil }

// Close gives the memory, or the disk, free.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return f.fail("close", fs.ErrClosed)
	}
	f.closed, f.pages = true, nil
	if f.disk != nil {
		return f.disk.Close()
	}
	return nil
}

func (f *File) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.Name(), Err: err}
}

// info is an [fs.FileInfo] of a File.
type info struct {
	name string
	size int64
}

func (i info) Name() string     { return i.name }
func (i info) Size() int64      { return i.size }
func (info) Mode() fs.FileMode  { return 0o600 }
func (info) ModTime() time.Time { return time.Time{} }
func (info) IsDir() bool        { return false }
func (info) Sys() any           { return nil }
