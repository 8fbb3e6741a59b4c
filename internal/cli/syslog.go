package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// A syslog daemon that is stuck holds up a log line by at most syslogWait, and
// then none for syslogPause.
const (
	syslogWait  = 100 * time.Millisecond
	syslogPause = 5 * time.Second
)

// syslogPaths are where daemons listen: Linux, the BSDs, macOS.
var syslogPaths = []string{"/dev/log", "/var/run/log", "/var/run/syslog"}

// A syslogWriter sends lines to the local syslog daemon in the form of RFC
// 3164. It stays quiet when there is none, and looks for one again with each
// line, for the daemon may be started later, or again. One that is there but
// takes nothing costs lines: when it takes them again it is told how many.
type syslogWriter struct {
	facility Facility
	paths    []string
	conn     net.Conn
	stream   bool // messages end with a newline
	buf      []byte
	stuck    time.Time // when a line was not taken; zero: the last one was
	lost     int       // lines that were not, since the last one that was
}

func newSyslog(path string, f Facility) *syslogWriter {
	paths := syslogPaths
	if path != "" {
		paths = []string{path}
	}
	return &syslogWriter{facility: f, paths: paths}
}

// write sends one line.
func (w *syslogWriter) write(severity int, at time.Time, line []byte) {
	if !w.stuck.IsZero() && time.Since(w.stuck) < syslogPause {
		w.lost++
		return
	}
	w.stuck = time.Time{}
	if w.lost > 0 {
		const warning = 4
		tag, _, _ := bytes.Cut(line, []byte(": "))
		if w.send(warning, at, fmt.Appendf(nil, "%s: %d lines are missing here: syslog took none", tag, w.lost)) {
			w.lost = 0
		}
	}
	if w.stuck.IsZero() {
		w.send(severity, at, line)
	}
	if !w.stuck.IsZero() {
		w.lost++
	}
}

// send sends one line, over a new connection if the old one has gone, and
// reports whether it was taken.
func (w *syslogWriter) send(severity int, at time.Time, line []byte) bool {
	for range 2 {
		if w.conn == nil && !w.dial() {
			return false
		}
		w.buf = append(w.buf[:0], '<')
		w.buf = strconv.AppendInt(w.buf, int64(int(w.facility)|severity), 10)
		w.buf = append(w.buf, '>')
		w.buf = at.AppendFormat(w.buf, time.Stamp)
		w.buf = append(w.buf, ' ')
		w.buf = append(w.buf, line...)
		if w.stream {
			w.buf = append(w.buf, '\n')
		}
		err := w.conn.SetWriteDeadline(time.Now().Add(syslogWait))
		if err == nil {
			_, err = w.conn.Write(w.buf)
		}
		if err == nil {
			return true
		}
		w.conn.Close()
		w.conn = nil
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.stuck = time.Now()
			return false
		}
	}
	return false
}

func (w *syslogWriter) dial() bool {
	for _, p := range w.paths {
		for _, network := range []string{"unixgram", "unix"} {
			c, err := net.DialTimeout(network, p, syslogWait)
			if err == nil {
				w.conn, w.stream = c, network == "unix"
				return true
			}
		}
	}
	return false
}
