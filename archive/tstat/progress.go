package tstat

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// progressName is the file of a directory that is being processed. It is
	// locked meanwhile, and stays if not all of the directory could be sent.
	progressName = ".processing"
	// maxProgress bounds what is read of it, in octets: the end, where the last of
	// its lines is.
	maxProgress = 4 << 10
)

// errBusy says that another process is at a directory.
var errBusy = errors.New("another tstat_send is at it")

// A progress says up to where the logs of a directory were sent, and confirmed.
// It is a line of JSON.
type progress struct {
	TCP *position `json:"tcp,omitempty"` // nil: nothing of this log
	UDP *position `json:"udp,omitempty"`
}

// of returns what is said of a log.
func (p *progress) of(l protocol) **position {
	if l == tcp {
		return &p.TCP
	}
	return &p.UDP
}

// A position is that of an object in its log.
type position struct {
	Offset    int64  `json:"offset"`    // where its line begins, in octets
	Line      int64  `json:"line"`      // the line's number
	Direction string `json:"direction"` // c: client to server, s: server to client
	Sum       string `json:"sum"`       // of the line, which tells whether the log is still the same
}

// direction returns which one the position is at.
func (p *position) direction() direction {
	if p.Direction == fromClient.letter() {
		return fromClient
	}
	return fromServer
}

// lineSum returns the sum of a line.
func lineSum(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// parseProgress returns what the last whole line says that says something, and
// how many octets there are up to the end of the last whole line.
func parseProgress(text []byte) (p progress, whole int) {
	whole = bytes.LastIndexByte(text, '\n') + 1
	for rest := text[:whole]; len(rest) > 0; {
		rest = rest[:len(rest)-1]
		begin := bytes.LastIndexByte(rest, '\n') + 1
		if json.Unmarshal(rest[begin:], &p) == nil && p.TCP.valid() && p.UDP.valid() {
			return p, whole
		}
		p, rest = progress{}, rest[:begin]
	}
	return p, whole
}

// valid reports whether a position can be one; none is one.
func (p *position) valid() bool {
	return p == nil || p.Offset > 0 && p.Line > 1 && (p.Direction == "c" || p.Direction == "s") && len(p.Sum) == 16
}

// A ledger is the file of a directory's progress, which is locked.
type ledger struct {
	file  *os.File
	end   int64 // of its last whole line
	known progress
	begun bool // a line has been written
}

// openLedger locks the file of a directory's progress, which is made if there is
// none. It returns errBusy if another process has it.
func openLedger(dir string) (*ledger, error) {
	path := filepath.Join(dir, progressName)
	for range 10 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
		if err != nil {
			return nil, err
		}
		current, err := lock(f, path)
		if current && err == nil {
			l := &ledger{file: f}
			if err = l.read(); err == nil {
				return l, nil
			}
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, errBusy
}

// lock locks a file, and reports whether it is still the one of that path: who
// had the lock before may have removed it.
func lock(f *os.File, path string) (current bool, err error) {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, errBusy
		}
		return false, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	ours, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !ours.Mode().IsRegular() {
		return false, fmt.Errorf("%s: want a regular file", path)
	}
	there, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(ours, there), err
}

// read reads what was written before.
func (l *ledger) read() error {
	size, err := l.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	begin := max(0, size-maxProgress)
	text, err := io.ReadAll(io.NewSectionReader(l.file, begin, size-begin))
	if err != nil {
		return err
	}
	var whole int
	l.known, whole = parseProgress(text)
	l.end = begin + int64(whole)
	return nil
}

// begin makes sure that there is room for what is to be noted, and that the file
// is there after a power cut.
func (l *ledger) begin() error {
	if l.begun {
		return nil
	}
	l.begun = true
	if err := l.note(l.known); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(l.file.Name()))
}

// note writes down what was confirmed.
func (l *ledger) note(p progress) error {
	line, err := json.Marshal(p)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if _, err := l.file.WriteAt(line, l.end); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	l.end += int64(len(line))
	l.known = p
	return nil
}

// close gives the lock back. What was written stays if there is more to be sent.
func (l *ledger) close(more bool) error {
	var err error
	if !more || l.known == (progress{}) {
		err = os.Remove(l.file.Name())
	}
	return errors.Join(err, l.file.Close())
}
