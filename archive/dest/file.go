package dest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"owl/archive"
	"owl/archive/member"
	"owl/archive/retry"
)

const (
	fileSize     = 100 << 20 // octets of a file before it is rotated
	leastSize    = 4 << 10
	longestTail  = 16 << 20 // octets that a torn line may have
	stampForm    = "20060102T150405Z"
	rotatedForm  = `\.[0-9]{8}T[0-9]{6}Z(?:-[0-9]{1,4})?$` // after the name
	maxPerSecond = 10000                                   // files of the same second
	lockPause    = 5 * time.Millisecond                    // between two tries to take the lock
)

// A fileDestination appends each result to a file, as one line of JSON. A result
// is delivered when its line is on the disk, or, with sync false, when the system
// has it. With envelope, a line is an object of id, task-href, run-href and result,
// so that repeats can be told; else it is the result alone.
//
// Before the file gets longer than max-size, or is written in another period of
// the length rotate than before (periods are counted from 1970, in UTC), it is
// renamed: its name gets the time. Of those files the newest keep stay; 0: all.
//
// Several processes may write to the same file, each holds its lock for a line.
// Another program may move it away at any time: then a new one is begun. What a
// crash has left of a line is cut off, and comes again.
type fileDestination struct {
	path     string
	size     int64
	period   time.Duration // 0: any
	keep     int
	sync     bool
	envelope bool
	now      func() time.Time
	rotated  *regexp.Regexp // names of rotated files

	turn chan struct{} // who has put something in may use what follows
	f    *os.File
}

func openFile(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	o.Schema(1)
	o.Need("path")
	d := &fileDestination{
		path:     o.Text("path"),
		size:     o.Int("max-size", leastSize, 1<<50, fileSize),
		period:   o.Duration("rotate", 0),
		keep:     int(o.Int("keep", 0, 1e6, 0)),
		sync:     o.Bool("sync", true),
		envelope: o.Bool("envelope", false),
		now:      time.Now,
		turn:     make(chan struct{}, 1),
	}
	if d.path != "" && !filepath.IsAbs(d.path) {
		o.Fail("path", "%q: want one that begins with /", d.path)
	}
	if o.Has("rotate") && d.period < time.Second {
		o.Fail("rotate", "want at least a second")
	}
	d.rotated = regexp.MustCompile("^" + regexp.QuoteMeta(filepath.Base(d.path)) + rotatedForm)
	return archive.Opened{Destination: d, Retry: retry.Read(o, false)}, nil
}

// line returns the line of a result.
func (d *fileDestination) line(item *archive.Item) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, item.Payload); err != nil { // which leaves no line end within
		return nil, err
	}
	if d.envelope {
		text, err := json.Marshal(struct {
			ID       string          `json:"id"`
			TaskHref string          `json:"task-href,omitempty"`
			RunHref  string          `json:"run-href,omitempty"`
			Result   json.RawMessage `json:"result"`
		}{item.ID, item.TaskHref, item.RunHref, b.Bytes()})
		if err != nil {
			return nil, err
		}
		b.Reset()
		b.Write(text)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func (d *fileDestination) Deliver(ctx context.Context, item *archive.Item) error {
	line, err := d.line(item)
	if err != nil {
		return archive.Final(err)
	}
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := d.acquire(ctx); err != nil {
		return err
	}
	defer d.release()
	if err := d.rotate(ctx, int64(len(line))); err != nil {
		return err
	}
	return d.write(line)
}

// acquire opens the file if it is not open, or no longer the one of that name, and
// takes its lock.
func (d *fileDestination) acquire(ctx context.Context) error {
	for {
		fresh := d.f == nil
		if fresh {
			f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
			if err != nil {
				return err
			}
			if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
				f.Close()
				return errors.Join(err, fmt.Errorf("%s: want a regular file", d.path))
			}
			d.f = f
		}
		if err := lock(ctx, d.f); err != nil {
			d.drop()
			return err
		}
		same, err := d.same()
		switch {
		case err != nil:
			d.drop()
			return err
		case !same:
			d.drop()
		case fresh:
			if err := d.mend(); err != nil {
				d.drop()
				return err
			}
			return nil
		default:
			return nil
		}
	}
}

// lock takes the lock of a file, for which another process may have to be waited
// for.
func lock(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err != unix.EWOULDBLOCK && err != unix.EINTR:
			return &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return fmt.Errorf("%s: another process holds its lock: %w", f.Name(), ctx.Err())
		}
	}
}

func (d *fileDestination) release() {
	if d.f != nil {
		_ = unix.Flock(int(d.f.Fd()), unix.LOCK_UN) // closing it would do as well
	}
}

func (d *fileDestination) drop() {
	if d.f != nil {
		d.f.Close()
	}
	d.f = nil
}

// same reports whether the open file is still the one of that name.
func (d *fileDestination) same() (bool, error) {
	ours, err := d.f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(ours, named), err
}

// mend sees to it that the file ends with a line end. What is no JSON behind the
// last of them a crash has torn, and it is cut off.
func (d *fileDestination) mend() error {
	info, err := d.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return d.syncDir() // it may be new
	}
	n := min(info.Size(), longestTail)
	var last [1]byte
	if _, err := d.f.ReadAt(last[:], info.Size()-1); err != nil || last[0] == '\n' {
		return err
	}
	tail := make([]byte, n)
	if _, err := d.f.ReadAt(tail, info.Size()-n); err != nil && err != io.EOF {
		return err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if (end > 0 || n == info.Size()) && !json.Valid(tail[end:]) {
		return d.f.Truncate(info.Size() - n + int64(end))
	}
	_, err = d.f.Write([]byte{'\n'})
	return err
}

// write appends a line, or nothing.
func (d *fileDestination) write(line []byte) error {
	info, err := d.f.Stat()
	if err != nil {
		return err
	}
	if _, err = d.f.Write(line); err == nil && d.sync {
		err = d.f.Sync()
	}
	if err != nil {
		// After a failed write or sync nobody knows what is there: it is looked at
		// anew.
		err = errors.Join(err, d.f.Truncate(info.Size()))
		d.drop()
	}
	return err
}

// rotate renames the file if it is time to, and opens a new one.
func (d *fileDestination) rotate(ctx context.Context, more int64) error {
	info, err := d.f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	now := d.now()
	old := d.period > 0 && period(info.ModTime(), d.period) != period(now, d.period)
	if info.Size()+more <= d.size && !old {
		return nil
	}
	name, err := d.free(now)
	if err != nil {
		return err
	}
	if err := os.Rename(d.path, name); err != nil {
		return err
	}
	d.drop()
	if err := errors.Join(d.syncDir(), d.forget()); err != nil {
		return err
	}
	return d.acquire(ctx)
}

func period(t time.Time, length time.Duration) int64 { return t.UnixNano() / int64(length) }

// free returns a name that no file has.
func (d *fileDestination) free(now time.Time) (string, error) {
	stamp := d.path + "." + now.UTC().Format(stampForm)
	name := stamp
	for i := 1; i < maxPerSecond; i++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
		name = fmt.Sprintf("%s-%04d", stamp, i)
	}
	return "", fmt.Errorf("%s: %d files of the same second: want a larger max-size", stamp, maxPerSecond)
}

// syncDir makes the names of files last.
func (d *fileDestination) syncDir() error {
	if !d.sync {
		return nil
	}
	dir, err := os.Open(filepath.Dir(d.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// forget removes the rotated files that are too many.
func (d *fileDestination) forget() error {
	if d.keep == 0 {
		return nil
	}
	entries, err := os.ReadDir(filepath.Dir(d.path))
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && d.rotated.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names) // and so by their time
	var errs []error
	for _, name := range names[:max(len(names)-d.keep, 0)] {
		if err := os.Remove(filepath.Join(filepath.Dir(d.path), name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (d *fileDestination) Close() error {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.f == nil {
		return nil
	}
	f := d.f
	d.f = nil
	return f.Close()
}
