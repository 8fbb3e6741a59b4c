package cli

import (
	"net"
	"strconv"
	"time"
)

// syslogWait bounds how long a stuck syslog daemon can hold up a log line.
const syslogWait = 100 * time.Millisecond

// syslogPaths are where daemons listen: Linux, the BSDs, macOS.
var syslogPaths = []string{"/dev/log", "/var/run/log", "/var/run/syslog"}

// A syslogWriter sends lines to the local syslog daemon in the form of RFC
// 3164. It stays quiet when there is none, and looks for one again with each
// line, for the daemon may be started later, or again.
type syslogWriter struct {
	facility Facility
	paths    []string
	conn     net.Conn
	stream   bool // messages end with a newline
	buf      []byte
}

func newSyslog(path string, f Facility) *syslogWriter {
	paths := syslogPaths
	if path != "" {
		paths = []string{path}
	}
	return &syslogWriter{facility: f, paths: paths}
}

// write sends one line, over a new connection if the old one has gone.
func (w *syslogWriter) write(severity int, at time.Time, line []byte) {
	for range 2 {
		if w.conn == nil && !w.dial() {
			return
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
			return
		}
		w.conn.Close()
		w.conn = nil
	}
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
