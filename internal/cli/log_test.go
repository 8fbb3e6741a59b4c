package cli

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
	"unicode/utf8"

	"owl/internal/bubble"
)

func TestLogLines(t *testing.T) {
	tag := fmt.Sprintf("powstream[%d]: ", os.Getpid())
	cases := []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"bare", func(l *slog.Logger) { l.Info("exiting.") }, "exiting.\n"},
		{"attributes", func(l *slog.Logger) { l.Warn("gap", "peer", "192.0.2.1", "length", 12*time.Second) }, "gap peer=192.0.2.1 length=12s\n"},
		{"quoted", func(l *slog.Logger) { l.Error("x", "err", `no "such" host`, "empty", "") }, `x err="no \"such\" host" empty=""` + "\n"},
		{"with", func(l *slog.Logger) { l.With("a", 1).WithGroup("g").Info("x", "b", 2, slog.Group("h", "c", 3)) }, "x a=1 g.b=2 g.h.c=3\n"},
		{"below the level", func(l *slog.Logger) { l.Debug("x") }, ""},
		{"a peer's control characters", func(l *slog.Logger) { l.Info("said a\nb\x1b[2J", "k", "c\r\nd") }, `said a\nb\x1b[2J k="c\r\nd"` + "\n"},
		{"a peer's broken text", func(l *slog.Logger) { l.Info("said \xff") }, "said \ufffd\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			c.log(NewLogger(LogConfig{Program: "/usr/bin/powstream", Stderr: &out}))
			if c.want != "" {
				c.want = tag + c.want
			}
			if out.String() != c.want {
				t.Errorf("got  %q\nwant %q", out.String(), c.want)
			}
		})
	}
}

func TestLogLineBounded(t *testing.T) {
	var out bytes.Buffer
	NewLogger(LogConfig{Program: "p", Stderr: &out}).Info(strings.Repeat("é", 1<<16))
	if got := out.Len(); got > maxLine+1 || got < maxLine-8 {
		t.Errorf("line of %d octets, want about %d", got, maxLine)
	}
	if s := out.String(); !utf8.ValidString(s) || !strings.HasSuffix(s, "…\n") {
		t.Errorf("line ends in %q", s[len(s)-10:])
	}
}

func TestLogSource(t *testing.T) {
	var out bytes.Buffer
	NewLogger(LogConfig{Program: "p", Stderr: &out, Source: true}).Info("x")
	if !regexp.MustCompile(`^p\[\d+\]: x FILE=log_test\.go LINE=\d+\n$`).Match(out.Bytes()) {
		t.Errorf("got %q", out.String())
	}
}

func TestLogLevels(t *testing.T) {
	for level, want := range map[string]int{"none": 0, "FATAL": 1, "warning": 2, "WARN": 2, "info": 3, "debug": 4, "all": 5} {
		l, err := ParseLevel(level)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		log := NewLogger(LogConfig{Program: "p", Stderr: &out, Level: l})
		for _, at := range []slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug, slog.LevelDebug - 10} {
			log.Log(t.Context(), at, "x")
		}
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("level %s lets %d of 5 lines through, want %d", level, got, want)
		}
	}
}

func TestParseSeverityErrors(t *testing.T) {
	if _, err := ParseLevel("bogus"); err == nil || err.Error() != `Log level "bogus" invalid` {
		t.Errorf("ParseLevel: %v", err)
	}
	if _, err := ParseFacility("nofac"); err == nil || err.Error() != `Syslog facility "nofac" unknown` {
		t.Errorf("ParseFacility: %v", err)
	}
	for name, want := range map[string]Facility{"user": 8, "LOCAL5": 21 << 3, "kern": 8, "security": 4 << 3, "daemon": FacilityDaemon} {
		if got, err := ParseFacility(name); got != want || err != nil {
			t.Errorf("ParseFacility(%q) = %d, %v; want %d", name, got, err, want)
		}
	}
}

// TestHandlerContract holds the handler against the rules of slog.Handler; the
// lines are read back into the nested maps that slogtest compares.
func TestHandlerContract(t *testing.T) {
	var out bytes.Buffer
	err := slogtest.TestHandler(NewLogger(LogConfig{Program: "p", Stderr: &out}).Handler(), func() []map[string]any {
		var all []map[string]any
		for line := range strings.Lines(out.String()) {
			_, text, _ := strings.Cut(strings.TrimSpace(line), "]: ")
			m := map[string]any{"time": "in syslog", "level": "by priority"}
			words := strings.Fields(text)
			m["msg"] = words[0]
			for _, w := range words[1:] {
				key, value, ok := strings.Cut(w, "=")
				if !ok {
					m["msg"] = m["msg"].(string) + " " + w
					continue
				}
				at := m
				path := strings.Split(key, ".")
				for _, g := range path[:len(path)-1] {
					if at[g] == nil {
						at[g] = map[string]any{}
					}
					at = at[g].(map[string]any)
				}
				at[path[len(path)-1]] = value
			}
			all = append(all, m)
		}
		return all
	})
	// The line has no time of its own, so the one rule about leaving a zero
	// time out cannot be seen in it.
	if err != nil && !strings.Contains(err.Error(), `unexpected key "time"`) {
		t.Error(err)
	}
	if err != nil && strings.Count(err.Error(), "\n") > 0 {
		t.Errorf("more than the zero time differs:\n%v", err)
	}
}

func TestSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	listen := func() *net.UnixConn {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	read := func(c *net.UnixConn) string {
		b := make([]byte, 8192)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	var out bytes.Buffer
	log := NewLogger(LogConfig{Program: "owampd", Stderr: &out, Facility: 21 << 3, syslogPath: path})
	log.Info("nobody listens")
	if !strings.HasSuffix(out.String(), "nobody listens\n") {
		t.Errorf("without syslog stderr has %q", out.String())
	}

	daemon := listen()
	for _, c := range []struct {
		level slog.Level
		pri   int
	}{{slog.LevelError, 171}, {slog.LevelWarn, 172}, {slog.LevelInfo, 174}} {
		log.Log(t.Context(), c.level, "hello", "n", 1)
		want := fmt.Sprintf(`^<%d>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d owampd\[%d\]: hello n=1$`, c.pri, os.Getpid())
		if got := read(daemon); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("syslog got %q, want %s", got, want)
		}
	}

	daemon.Close()
	os.Remove(path)
	daemon = listen() // the daemon has been started anew
	defer daemon.Close()
	log.Info("again")
	if got := read(daemon); !strings.HasSuffix(got, "again") {
		t.Errorf("after a restart syslog got %q", got)
	}
}

func TestSyslogStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	NewLogger(LogConfig{Program: "p", Facility: FacilityUser, syslogPath: path}).Info("one")
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 1024)
	n, err := c.Read(b)
	if err != nil || !strings.HasSuffix(string(b[:n]), "]: one\n") {
		t.Errorf("got %q, %v", b[:n], err)
	}
}

func FuzzLogLine(f *testing.F) {
	f.Add("message", "key", "value")
	f.Add("a\nb", "k\x00", "\x1b[31m")
	f.Add("\xff\xfe", "", "\u202e")
	f.Fuzz(func(t *testing.T, msg, key, value string) {
		var out bytes.Buffer
		NewLogger(LogConfig{Program: "p", Stderr: &out}).Info(msg, slog.String(key, value))
		line := out.Bytes()
		if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' || len(line) > maxLine+1 {
			t.Fatalf("not one bounded line: %q", line)
		}
		if !utf8.Valid(line) {
			t.Fatalf("not UTF-8: %q", line)
		}
		for _, r := range string(line[:len(line)-1]) {
			if r < ' ' || r == 0x7f {
				t.Fatalf("control character %q in %q", r, line)
			}
		}
	})
}

// TestSyslogStuck: a daemon that takes no lines holds the program up once, not
// with each line, and is told what it has missed.
func TestSyslogStuck(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		near, far := net.Pipe() // which takes what is read from it
		w := &syslogWriter{facility: FacilityDaemon, conn: near, stream: true}
		begun := time.Now()
		for range 1000 {
			w.write(6, begun, []byte("p[1]: line"))
		}
		if took := time.Since(begun); took != syslogWait {
			t.Errorf("1000 lines took %v, want %v", took, syslogWait)
		}
		far.Close()

		near, far = net.Pipe()
		w.conn = near
		time.Sleep(syslogPause)
		go w.write(6, begun, []byte("p[1]: again"))
		var got []byte
		for range 2 {
			b := make([]byte, 100)
			n, err := far.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b[:n]...)
		}
		stamp := begun.Format(time.Stamp)
		want := "<28>" + stamp + " p[1]: 1000 lines are missing here: syslog took none\n" +
			"<30>" + stamp + " p[1]: again\n"
		if string(got) != want {
			t.Errorf("syslog got %q, want %q", got, want)
		}
	})
}

// TestSeverityNames: what prints a level or a facility is what is read.
func TestSeverityNames(t *testing.T) {
	for name, f := range facilities {
		if got, err := ParseFacility(f.String()); got != f || err != nil {
			t.Errorf("%s: %v is read as %v, %v", name, f, got, err)
		}
	}
	for name, l := range levels {
		if got, err := ParseLevel(LevelName(l)); got != l || err != nil {
			t.Errorf("%s: %s is read as %v, %v", name, LevelName(l), got, err)
		}
	}
}
