package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// An accessLog is where a line for each request goes. A nil accessLog is none.
type accessLog struct {
	path string // empty: it is no file

	mu sync.Mutex
	w  io.Writer
	f  *os.File // nil: it is no file
}

// openAccessLog opens a file, to whose end lines are added; - is stderr, and "" is
// no log.
func openAccessLog(path string, stderr io.Writer) (*accessLog, error) {
	switch path {
	case "":
		return nil, nil
	case "-":
		return &accessLog{w: stderr}, nil
	}
	l := &accessLog{path: path}
	return l, l.Reopen()
}

// reopens reports whether there may be a new file of the same name.
func (l *accessLog) reopens() bool { return l != nil && l.path != "" }

// Reopen goes on in the file that has the log's name now, for the one before may
// have been moved away.
func (l *accessLog) Reopen() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("option --access-log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.f.Close()
	}
	l.w, l.f = f, f
	return nil
}

// Write implements [io.Writer].
func (l *accessLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// Close closes the file.
func (l *accessLog) Close() {
	if l != nil && l.f != nil {
		l.f.Close()
	}
}

// logger returns what writes the log, nil for none.
func (l *accessLog) logger() *slog.Logger {
	if l == nil {
		return nil
	}
	return slog.New(slog.NewTextHandler(l, nil))
}
