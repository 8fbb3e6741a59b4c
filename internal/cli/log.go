package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// maxLine bounds a log line in octets: a peer's words may be part of it.
const maxLine = 4096

// LogConfig says where a program's log lines go.
type LogConfig struct {
	Program  string       // the name at the head of each line
	Stderr   io.Writer    // nil: nothing there (the -R of the C programs)
	Facility Facility     // zero: no syslog
	Level    slog.Leveler // the least level that is logged, asked for with each line; nil: info
	Source   bool         // adds FILE= and LINE= (-v given twice)
	NoPID    bool         // lines begin "owping: ", as those of programs that people wait for do

	syslogPath string // tests; "" is the system's
}

// NewLogger returns a logger whose lines look like those of the C programs,
//
//	powstream[3213]: stream resumed peer=192.0.2.1 gap=12s
//
// on Stderr and in the local syslog. Attributes follow the message as
// key=value. A line is one line, at most 4096 octets long, whatever a peer has
// put into it. A missing syslog is no error: the lines just do not go there.
func NewLogger(c LogConfig) *slog.Logger {
	if c.Stderr == nil && c.Facility == 0 {
		return slog.New(slog.DiscardHandler)
	}
	if c.Level == nil {
		c.Level = slog.LevelInfo
	}
	tag := fmt.Sprintf("%s[%d]: ", filepath.Base(c.Program), os.Getpid())
	if c.NoPID {
		tag = filepath.Base(c.Program) + ": "
	}
	out := &logOutput{stderr: c.Stderr}
	if c.Facility != 0 {
		out.syslog = newSyslog(c.syslogPath, c.Facility)
	}
	return slog.New(&lineHandler{
		out:    out,
		level:  c.Level,
		source: c.Source,
		tag:    tag,
	})
}

// logOutput is what all handlers that descend from one logger share.
type logOutput struct {
	mu     sync.Mutex // guards the writers, so that lines do not mix
	stderr io.Writer
	syslog *syslogWriter
}

func (o *logOutput) write(l slog.Level, at time.Time, line []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.syslog != nil {
		o.syslog.write(severity(l), at, line)
	}
	if o.stderr == nil {
		return nil
	}
	_, err := o.stderr.Write(append(line, '\n'))
	return err
}

type lineHandler struct {
	out    *logOutput
	level  slog.Leveler
	source bool
	tag    string // "prog[pid]: " or "prog: "
	attrs  string // attributes of With, already text
	group  string // prefix of keys, ends in a dot when not empty
}

func (h *lineHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	b := make([]byte, 0, 256)
	b = append(b, h.tag...)
	b = appendPrintable(b, r.Message)
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.group, a)
		return true
	})
	if h.source && r.PC != 0 {
		f, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
		b = fmt.Appendf(b, " FILE=%s LINE=%d", filepath.Base(f.File), f.Line)
	}
	if len(b) > maxLine {
		b = bytes.ToValidUTF8(b[:maxLine-len("…")], nil)
		b = append(b, "…"...)
	}
	return h.out.write(r.Level, r.Time, b)
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	b := []byte(h.attrs)
	for _, a := range attrs {
		b = appendAttr(b, h.group, a)
	}
	c.attrs = string(b)
	return &c
}

func (h *lineHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.group += name + "."
	return &c
}

// appendAttr appends " key=value", or the members of a group each with its
// prefix. A value with anything in it that would blur where it ends is quoted.
func appendAttr(b []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return b
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, m := range v.Group() {
			b = appendAttr(b, prefix, m)
		}
		return b
	}
	b = append(b, ' ')
	b = appendPrintable(b, prefix+a.Key)
	b = append(b, '=')
	s := v.String()
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || !printable(r) }) {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

func printable(r rune) bool { return r != utf8.RuneError && strconv.IsPrint(r) }

// appendPrintable appends s with everything that is not printable escaped: no
// text of a peer's makes a second line or moves a terminal's cursor.
func appendPrintable(b []byte, s string) []byte {
	if !strings.ContainsFunc(s, func(r rune) bool { return !printable(r) }) {
		return append(b, s...)
	}
	for _, r := range s {
		if printable(r) {
			b = utf8.AppendRune(b, r)
		} else {
			q := strconv.QuoteRune(r)
			b = append(b, q[1:len(q)-1]...)
		}
	}
	return b
}
