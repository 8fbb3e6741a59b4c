package tstat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

const (
	// perSlice is how many objects are in a slice.
	perSlice = 100
	// sendTimeout bounds how long is waited for a slice to be confirmed, whatever
	// bounds a transport has itself.
	sendTimeout = 2 * time.Minute
	// toldLines is how many lines of a log that cannot be read are told of one by
	// one.
	toldLines = 10
)

// Options say what is sent. All are needed but Instance, Finish and what is a
// bool.
type Options struct {
	Format Format
	// Bits is how many a direction must have carried to be sent.
	Bits   int64
	Sensor string
	// Instance tells the streams of a sensor from each other; nil: the number 0.
	Instance *string
	// Single ends the run behind the first directory that has objects.
	Single bool
	// Forget says that what is confirmed is not noted, so that of a directory all
	// is sent or nothing was: for a transport that is only looked at.
	Forget bool
	// Finish, when it is closed, ends the run behind the directory that it is at.
	Finish <-chan struct{}
	Log    *slog.Logger
}

// A Total is what a run has done.
type Total struct {
	Directories int // that are now processed
	Failed      int // that are not
	Busy        int // that another run is at
	Slices      int // that were confirmed
	Flows       int // in them
	Lines       int64
	Unreadable  int64 // of the lines
}

// Send sends the flows of all directories below root that are not processed, and
// marks each as processed when all of its slices are confirmed. A directory that
// cannot be read or marked is logged, and fails alone. What cannot be sent, or
// noted, ends the run.
//
// What is confirmed of a directory whose rest could not be sent is noted in it,
// so that another run sends the rest. Runs at the same time share the
// directories. When ctx is done the run ends behind the slice that is on its way,
// with the cause of ctx as its error.
func Send(ctx context.Context, root string, to Transport, o *Options) (Total, error) {
	s := &sender{options: o, to: to}
	for dir, err := range walk(root) {
		if ctx.Err() != nil || s.finished() {
			break
		}
		var flows int
		if err == nil {
			flows, err = s.directory(ctx, dir)
		}
		if f, ok := errors.AsType[*fatalError](err); ok {
			return s.total, fmt.Errorf("%s: %w", absolute(dir), f.err)
		}
		if err != nil && ctx.Err() == nil {
			s.total.Failed++
			o.Log.Error("not processed", "directory", absolute(dir), "error", err)
		}
		if o.Single && flows > 0 {
			break
		}
	}
	switch {
	case ctx.Err() != nil:
		return s.total, context.Cause(ctx)
	case s.total.Failed > 0:
		return s.total, fmt.Errorf("directories that were not processed: %d", s.total.Failed)
	}
	return s.total, nil
}

// A fatalError is one that ends a run.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

// A sender is a run.
type sender struct {
	options *Options
	to      Transport
	total   Total
	slice   slice
}

// finished reports whether the run is to end.
func (s *sender) finished() bool {
	select {
	case <-s.options.Finish:
		return true
	default:
		return false
	}
}

// directory processes a directory, and returns how many flows it has sent.
func (s *sender) directory(ctx context.Context, dir string) (flows int, err error) {
	var files [len(protocols)]*os.File
	defer func() {
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
	}()
	if done, err := isProcessed(dir); done || err != nil {
		return 0, err
	}
	there := 0
	for _, p := range protocols {
		if files[p], err = openRegular(filepath.Join(dir, p.logName())); err == nil {
			there++
		} else if !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	if there == 0 {
		return 0, nil
	}
	ledger, err := openLedger(dir)
	if errors.Is(err, errBusy) {
		s.total.Busy++
		s.options.Log.Info("left out: "+err.Error(), "directory", absolute(dir))
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	more := true
	defer func() {
		if e := ledger.close(more); err == nil {
			err = e
		}
	}()
	// Who has had the lock may be done.
	if done, err := isProcessed(dir); done || err != nil {
		return 0, err
	}
	before := s.total
	s.slice.up = progress{}
	if !s.options.Forget {
		s.slice.up = ledger.known
	}
	// A log that cannot be read does not keep the other one, but the mark.
	var broken error
	for _, p := range protocols {
		path := absolute(filepath.Join(dir, p.logName()))
		if files[p] == nil {
			s.options.Log.Warn("there is no log", "file", path)
			continue
		}
		s.options.Log.Info("processing", "log", path)
		err := s.log(ctx, files[p], p, ledger)
		if _, fatal := errors.AsType[*fatalError](err); fatal || ctx.Err() != nil {
			s.slice.empty()
			return s.total.Flows - before.Flows, err
		}
		if err != nil && broken == nil {
			broken = fmt.Errorf("%s: %w", p.logName(), err)
		}
	}
	if err := cmp.Or(s.flush(ctx, ledger), broken); err != nil {
		return s.total.Flows - before.Flows, err
	}
	if err := mark(dir); err != nil {
		return s.total.Flows - before.Flows, err
	}
	more = false
	s.total.Directories++
	flows = s.total.Flows - before.Flows
	s.options.Log.Info("processed", "directory", absolute(dir), "flows", flows, "slices", s.total.Slices-before.Slices,
		"lines", s.total.Lines-before.Lines, "unreadable", s.total.Unreadable-before.Unreadable)
	return flows, nil
}

// openRegular opens a file that is one, for nothing else would end.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: want a regular file", path)
	}
	return os.Open(path)
}

// log puts the flows of a log into slices, and sends those that are full.
func (s *sender) log(ctx context.Context, file *os.File, p protocol, ledger *ledger) error {
	l, err := s.open(file, p)
	if err != nil {
		return err
	}
	bad := unreadable{log: s.options.Log, path: absolute(file.Name())}
	defer func() {
		s.slice.settle()
		s.total.Unreadable += bad.lines
		bad.sum()
	}()
	at := *s.slice.up.of(p)
	for ctx.Err() == nil {
		w, err := l.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		wrong, ok := errors.AsType[*lineError](err)
		if err != nil && !ok {
			return err
		}
		s.total.Lines++
		if err == nil {
			wrong, err = s.row(ctx, l, w, at, ledger)
			if err != nil {
				return err
			}
		}
		if wrong != nil {
			bad.tell(wrong)
		}
	}
	return context.Cause(ctx)
}

// row puts the flows of a row into the slice, but for those up to the position at,
// which are confirmed. It returns as wrong what in the row cannot be read.
func (s *sender) row(ctx context.Context, l *flowLog, w *row, at *position, ledger *ledger) (wrong *lineError, err error) {
	for _, d := range directions {
		if at != nil && w.offset == at.Offset && d <= at.direction() {
			continue
		}
		ok, err := s.slice.add(l, w, d)
		switch {
		case err != nil && wrong != nil:
			wrong.err = fmt.Errorf("%w; %w", wrong.err, err)
		case err != nil:
			wrong = &lineError{w.line, err}
		case ok && s.slice.flows == perSlice:
			if err := s.flush(ctx, ledger); err != nil {
				return wrong, err
			}
		}
	}
	return wrong, nil
}

// An unreadable tells of the lines of a log that cannot be read.
type unreadable struct {
	log   *slog.Logger
	path  string
	lines int64
}

// tell tells of a line, aloud if there are not many yet.
func (u *unreadable) tell(wrong *lineError) {
	level := slog.LevelWarn
	if u.lines++; u.lines > toldLines {
		level = slog.LevelDebug
	}
	u.log.Log(context.Background(), level, "a line cannot be read", "log", u.path, "error", wrong)
}

// sum tells how many there were, if not each was told of.
func (u *unreadable) sum() {
	if u.lines > toldLines {
		u.log.Warn("lines that cannot be read", "log", u.path, "lines", u.lines)
	}
}

// open reads the first line of a log, and goes to where the objects are that are
// not confirmed.
func (s *sender) open(file *os.File, p protocol) (*flowLog, error) {
	l, err := openLog(file, p, s.options)
	if err != nil {
		return nil, err
	}
	at := s.slice.up.of(p)
	if *at == nil {
		return l, nil
	}
	same, err := l.resume(file, *at)
	if same || err != nil {
		return l, err
	}
	s.options.Log.Warn("the log is not the one of which a part was sent: all of it is sent", "log", absolute(file.Name()))
	*at = nil
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return openLog(file, p, s.options)
}

// A slice is one that is being filled.
type slice struct {
	body  []byte
	flows int
	up    progress // when it is confirmed
	last  struct { // object
		protocol protocol
		at       position
		line     []byte
	}
}

// add adds the object of a direction of a row, if there is one.
func (s *slice) add(l *flowLog, w *row, d direction) (ok bool, err error) {
	before := len(s.body)
	separator := byte('[')
	if s.flows > 0 {
		separator = ','
	}
	if s.body, ok, err = l.appendObject(append(s.body, separator), w, d); !ok {
		s.body = s.body[:before]
		return false, err
	}
	s.flows++
	s.last.protocol = l.protocol
	s.last.at = position{Offset: w.offset, Line: w.line, Direction: d.letter()}
	s.last.line = append(s.last.line[:0], w.text...)
	return true, nil
}

// settle notes up to where the log is that is read in the slice.
func (s *slice) settle() {
	if s.last.at.Line == 0 {
		return
	}
	at := s.last.at
	at.Sum = lineSum(s.last.line)
	*s.up.of(s.last.protocol) = &at
	s.last.at = position{}
}

// empty begins another slice.
func (s *slice) empty() {
	s.body, s.flows, s.last.at = s.body[:0], 0, position{}
}

// flush sends the slice, unless there is nothing in it, and notes that it is
// confirmed.
func (s *sender) flush(ctx context.Context, ledger *ledger) error {
	if s.slice.flows == 0 {
		return nil
	}
	s.slice.settle()
	if !s.options.Forget {
		if err := ledger.begin(); err != nil {
			return &fatalError{err}
		}
	}
	if err := s.send(ctx, append(s.slice.body, "\n]"...)); err != nil {
		return &fatalError{err}
	}
	s.options.Log.Debug("confirmed", "flows", s.slice.flows, "octets", len(s.slice.body)+2)
	s.total.Slices++
	s.total.Flows += s.slice.flows
	s.slice.empty()
	if s.options.Forget {
		return nil
	}
	if err := ledger.note(s.slice.up); err != nil {
		return &fatalError{fmt.Errorf("a slice is confirmed, and will be sent again, for that cannot be noted: %w", err)}
	}
	return nil
}

// send sends a slice, which is not given up when ctx is: nobody could tell whether
// it has arrived.
func (s *sender) send(ctx context.Context, slice []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
	defer cancel()
	return s.to.Send(ctx, slice)
}
