package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"owl/internal/testprog"
)

// most returns how much memory a process has had at most, in octets.
func (a *owarchive) most(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("there is no VmHWM in\n%s", text)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// zeros is a body of so many octets.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// clientAt returns a client at an address of this host.
func clientAt(last byte) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, last)}}
	return &http.Client{Transport: &http.Transport{DialContext: d.DialContext}, Timeout: testprog.Patience}
}

// TestHostile: a host that does whatever takes memory, connections and time, and may
// even write, keeps no other from writing and reading, and the memory is bounded.
func TestHostile(t *testing.T) {
	t.Parallel()
	// The program as it is built, for the race detector has memory of its own.
	a := startProgram(t, testprog.Build(t, "owl/cmd/owarchive"), filepath.Join(t.TempDir(), "archive.db"), "--allow-write", "127.0.0.0/8")
	good, hostile := clientAt(2), clientAt(3)
	url := a.register(t, "")
	ts := 1_000_000_000
	works := func() {
		t.Helper()
		ts++
		body := fmt.Sprintf(`{"data":[{"ts":%d,"val":[{"event-type":"packet-count-sent","val":600}]}]}`, ts)
		if code, answer := send(t, good, "PUT", url, "", body); code != http.StatusCreated {
			t.Errorf("a write: %d %s", code, answer)
		}
		path := fmt.Sprintf("packet-count-sent/base?time-start=%d&time-end=%[1]d", ts)
		if code, answer := send(t, good, "GET", url+path, "", ""); code != http.StatusOK || !strings.Contains(answer, "600.0") {
			t.Errorf("a read: %d %s", code, answer)
		}
	}
	works()
	address := strings.TrimPrefix(a.url, "http://")

	// A thousand connections and more that say nothing, or never come to an end.
	for i := range 1100 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer conn.Close()
		fmt.Fprint(conn, []string{"", "GET / HTT", "PUT /esmond/perfsonar/archive/KEY/ HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"}[i%3])
		if i%200 == 0 {
			works()
		}
	}
	works()
	if got := a.most(t); got > 100<<20 {
		t.Errorf("connections take %d MB", got>>20)
	}

	// Bodies that are too long, some of which do not say so before.
	bodies := map[string]func() io.Reader{
		"100 MB":       func() io.Reader { return zeros(100 << 20) },
		"15 MB":        func() io.Reader { return zeros(15 << 20) },
		"deep":         func() io.Reader { return strings.NewReader(strings.Repeat("[", 10<<20)) },
		"many values":  func() io.Reader { return strings.NewReader(`{"data":[` + strings.Repeat(`{},`, 3<<20) + `{}]}`) },
		"many members": func() io.Reader { return strings.NewReader(`{` + strings.Repeat(`"a":1,`, 2<<20) + `"b":1}`) },
		"a histogram":  func() io.Reader { return bytes.NewReader(histogram(1_000_000)) },
	}
	var work sync.WaitGroup
	times := 2
	if testing.Short() {
		times = 1
	}
	for name, body := range bodies {
		for range times {
			work.Go(func() {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, body())
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "application/json")
				resp, err := hostile.Do(req)
				var cut *net.OpError
				switch {
				case errors.As(err, &cut): // it did not want to hear all of it
				case err != nil:
					t.Errorf("%s: %v", name, err)
				default:
					defer resp.Body.Close()
					if c := resp.StatusCode; c != http.StatusBadRequest && c != http.StatusRequestEntityTooLarge && c != http.StatusServiceUnavailable {
						answer, _ := io.ReadAll(resp.Body)
						t.Errorf("%s: %d %.200s", name, c, answer)
					}
				}
			})
		}
	}
	for range 5 {
		works()
	}
	work.Wait()
	works()
	got := a.most(t)
	t.Logf("%d MB at most", got>>20)
	if got > 256<<20 {
		t.Error("want at most 256 MB")
	}
}

// histogram returns points of which one is a histogram of so many bins.
func histogram(bins int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"data":[{"ts":1,"val":[{"event-type":"histogram-owdelay","val":{`)
	for i := range bins {
		fmt.Fprintf(&b, `"%d.01":1,`, i)
	}
	b.WriteString(`"x":1}}]}]}`)
	return b.Bytes()
}
