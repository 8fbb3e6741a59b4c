package dest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"owl/archive"
	"owl/internal/testserver"
)

// logger returns a syslog destination at a fixed time, in Central European time.
func logger(t *testing.T, data string) (archive.Opened, *syslogDestination) {
	t.Helper()
	d := open(t, "syslog", data)
	s := d.Destination.(*discreet).Destination.(*syslogDestination)
	s.now = func() time.Time { return time.Date(2026, 5, 1, 23, 59, 58, 123456789, time.UTC) }
	s.location = time.FixedZone("CEST", 2*3600)
	if s.host != "" {
		s.host = "owl.example.net"
	}
	return d, s
}

// TestSyslogMessages: what is logged looks as syslog(3) and RFC 5424 have it.
func TestSyslogMessages(t *testing.T) {
	t.Parallel()
	const id = `a"]\b`
	for _, c := range []struct {
		data, payload string
		want          []string
	}{
		{`{}`, `{"a":1}`, []string{`<14>May  2 01:59:58 pScheduler: {"a":1}`}},
		{`{"ident": "mytests", "facility": "local3", "priority": "warning"}`, `"plain \u00e9"`, []string{"<156>May  2 01:59:58 mytests: plain é"}},
		{`{"facility": "kern", "priority": "emerg"}`, `1`, []string{`<0>May  2 01:59:58 pScheduler: 1`}},
		{`{"facility": "cron", "priority": "debug"}`, `1`, []string{`<79>May  2 01:59:58 pScheduler: 1`}},
		{`{"host": "h", "ident": "owl", "facility": "local7"}`, `{"a":1}`,
			[]string{`<190>1 2026-05-01T23:59:58.123456Z owl.example.net owl - - [owl@32473 id="a\"\]\\b"] {"a":1}`}},
		{`{"max-length": 480, "split": true}`, `"` + strings.Repeat("x", 800) + `"`, []string{
			`<14>May  2 01:59:58 pScheduler: [result ` + id + ` part 1/2] ` + strings.Repeat("x", 418),
			`<14>May  2 01:59:58 pScheduler: [result ` + id + ` part 2/2] ` + strings.Repeat("x", 382),
		}},
		{`{"host": "h", "max-length": 480, "split": true}`, `"` + strings.Repeat("x", 500) + `"`, []string{
			`<14>1 2026-05-01T23:59:58.123456Z owl.example.net pScheduler - - [owl@32473 id="a\"\]\\b" part="1" parts="2"] ` + strings.Repeat("x", 364),
			`<14>1 2026-05-01T23:59:58.123456Z owl.example.net pScheduler - - [owl@32473 id="a\"\]\\b" part="2" parts="2"] ` + strings.Repeat("x", 136),
		}},
	} {
		_, s := logger(t, c.data)
		got, err := s.messages(&archive.Item{ID: id, Payload: []byte(c.payload)})
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: %d messages, %v", c.data, len(got), err)
			continue
		}
		for i, m := range got {
			if string(m) != c.want[i] {
				t.Errorf("%s:\n%s\nwant\n%s", c.data, m, c.want[i])
			}
			if len(m) > s.longest {
				t.Errorf("%s: %d octets", c.data, len(m))
			}
		}
	}
	d, _ := logger(t, `{}`)
	err := deliver(t, d, `"`+strings.Repeat("x", messageSize)+`"`)
	if !archive.IsFinal(err) || !strings.Contains(err.Error(), "want at most 8192 (max-length), or split") {
		t.Errorf("a message that is too long: %v", err)
	}
}

// FuzzCut: the pieces of a text are the text, none is too long, and none of UTF-8
// ends within a character.
func FuzzCut(f *testing.F) {
	f.Add([]byte("aé€😀é"), 4)
	f.Add([]byte("\x80\x80\x80\x80\x80\x80\x80"), 5)
	f.Fuzz(func(t *testing.T, text []byte, room int) {
		if room < utf8.UTFMax || room > 1000 {
			return
		}
		pieces := cut(text, room)
		for _, p := range pieces {
			if len(p) > room || len(p) == 0 && len(text) > 0 {
				t.Errorf("a piece of %d octets", len(p))
			}
			if utf8.Valid(text) && !utf8.Valid(p) {
				t.Errorf("%q is torn", p)
			}
		}
		if !bytes.Equal(bytes.Join(pieces, nil), text) {
			t.Errorf("%q became %q", text, pieces)
		}
	})
}

// TestSyslogLocal: over a socket of datagrams and over one of a stream, and again
// after the daemon was restarted.
func TestSyslogLocal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	d, _ := logger(t, fmt.Sprintf(`{"path": %q}`, path))
	err := deliver(t, d, "1")
	if err == nil || archive.IsFinal(err) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a daemon: %v", err)
	}
	for round := range 2 {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := deliver(t, d, fmt.Sprint(i)); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			b := make([]byte, 1000)
			l.SetReadDeadline(time.Now().Add(time.Minute))
			n, err := l.Read(b)
			if want := fmt.Sprintf("<14>May  2 01:59:58 pScheduler: %d", i); err != nil || string(b[:n]) != want {
				t.Errorf("round %d: %q, %v", round, b[:n], err)
			}
		}
		l.Close()
		os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got := make(chan string, 10)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		for {
			s, err := r.ReadString(0)
			if err != nil {
				return
			}
			got <- s
		}
	}()
	for i := range 3 {
		if err := deliver(t, d, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if s, want := <-got, fmt.Sprintf("<14>May  2 01:59:58 pScheduler: %d\x00", i); s != want {
			t.Errorf("%q, want %q", s, want)
		}
	}
}

// counted reads messages with counted octets.
func counted(conn net.Conn, got chan<- string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		var n int
		if _, err := fmt.Fscanf(r, "%d ", &n); err != nil {
			return
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			return
		}
		got <- string(b)
	}
}

// TestSyslogServer: over TCP and TLS octets are counted, the connection is kept,
// and made anew when the server has ended it.
func TestSyslogServer(t *testing.T) {
	t.Parallel()
	a := testserver.NewAuthority(t)
	const want = `<14>1 2026-05-01T23:59:58.123456Z owl.example.net pScheduler - - [owl@32473 id="` + testID + `"] `
	for _, transport := range []string{"tcp", "tls"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if transport == "tls" {
			l = tls.NewListener(l, a.Server(t, "127.0.0.1"))
		}
		t.Cleanup(func() { l.Close() })
		got, connections := make(chan string, 10), make(chan net.Conn, 10)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				connections <- conn
				go counted(conn, got)
			}
		}()
		data := fmt.Sprintf(`"host": "127.0.0.1", "port": %d, "transport": %q`, l.Addr().(*net.TCPAddr).Port, transport)
		trusting := data
		if transport == "tls" {
			trusting += fmt.Sprintf(`, "_ssl-cacert": %q`, a.File)
		}
		d, s := logger(t, "{"+trusting+"}")
		for round := range 3 {
			for i := range 3 {
				if err := deliver(t, d, fmt.Sprint(i)); err != nil {
					t.Fatalf("%s: %v", transport, err)
				}
				if s := <-got; s != want+fmt.Sprint(i) {
					t.Errorf("%s: %q", transport, s)
				}
			}
			var gone <-chan struct{}
			err := s.pool.Use(t.Context(), func(c *syslogConn) (bool, error) {
				gone = c.gone
				return true, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			(<-connections).Close()
			<-gone
			if len(connections) != 0 {
				t.Errorf("%s: round %d: more than one connection", transport, round)
			}
		}
		if transport == "tls" {
			strict, _ := logger(t, "{"+data+"}")
			if err := deliver(t, strict, "1"); err == nil || archive.IsFinal(err) || !strings.Contains(err.Error(), "certificate") {
				t.Errorf("of an unknown authority: %v", err)
			}
			lax, _ := logger(t, "{"+data+`, "verify-ssl": false}`)
			if err := deliver(t, lax, "1"); err != nil {
				t.Errorf("not verified: %v", err)
			}
		}
	}
}

// TestSyslogCancel: a daemon that takes nothing is not waited for.
func TestSyslogCancel(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d, _ := logger(t, fmt.Sprintf(`{"host": "127.0.0.1", "port": %d, "transport": "tls", "verify-ssl": false}`, l.Addr().(*net.TCPAddr).Port))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := d.Deliver(ctx, &archive.Item{Payload: []byte("1")}); err == nil || archive.IsFinal(err) {
		t.Errorf("%v", err)
	}
}

// TestRsyslog: a real daemon has what was sent over each transport, and has it
// again after it was stopped and started.
func TestRsyslog(t *testing.T) {
	t.Parallel()
	a := testserver.NewAuthority(t)
	s := testserver.StartRsyslog(t, a)
	local := open(t, "syslog", fmt.Sprintf(`{"path": %q, "ident": "mytests", "facility": "local3", "priority": "warning", "split": true, "max-length": 1000}`, s.Path))
	server := func(transport string, port int, more string) archive.Opened {
		return open(t, "syslog", fmt.Sprintf(`{"host": "127.0.0.1", "port": %d, "transport": %q, "ident": %[2]q, "facility": "daemon", "priority": "err"%s}`, port, transport, more))
	}
	udp, tcp := server("udp", s.UDP, ""), server("tcp", s.TCP, "")
	secure := server("tls", s.Secure, fmt.Sprintf(`, "_ssl-cacert": %q`, a.File))
	for round := range 2 {
		if round == 1 {
			s.Stop(t)
			for _, d := range []archive.Opened{local, tcp, secure} {
				if err := deliver(t, d, "1"); err == nil || archive.IsFinal(err) {
					t.Errorf("without a daemon: %v", err)
				}
			}
			s.Start(t)
		}
		text := fmt.Sprintf("round %d", round)
		if err := deliver(t, local, fmt.Sprintf("%q", text)); err != nil {
			t.Fatal(err)
		}
		s.Await(t, "local3|warning|mytests|-| "+text)
		for name, d := range map[string]archive.Opened{"udp": udp, "tcp": tcp, "tls": secure} {
			if err := deliver(t, d, fmt.Sprintf(`{"a":%q}`, text)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			s.Await(t, fmt.Sprintf(`daemon|err|%s|[owl@32473 id="%s"]|{"a":%q}`, name, testID, text))
		}
	}
	if err := deliver(t, local, `"`+strings.Repeat("x", 1500)+`"`); err != nil {
		t.Fatal(err)
	}
	part := 1000 - len("<156>May  2 01:59:58 mytests: [result "+testID+" part 1000/1000] ")
	s.Await(t, "local3|warning|mytests|-| [result "+testID+" part 1/2] "+strings.Repeat("x", part))
	s.Await(t, "local3|warning|mytests|-| [result "+testID+" part 2/2] "+strings.Repeat("x", 1500-part))
}
