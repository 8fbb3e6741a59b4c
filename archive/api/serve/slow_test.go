package serve

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"owl/internal/bubble"
)

// TestSlowHeaders: who sends headers octet by octet is not waited for.
func TestSlowHeaders(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, _ := running(t, server(t, func(http.ResponseWriter, *http.Request) {}, Options{}))
		conn := p.dial(t, "192.0.2.1")
		go io.Copy(io.Discard, conn)
		begun := time.Now()
		var err error
		for _, c := range []byte("GET / HTTP/1.1\r\nHost: archive\r\nX-Long: " + strings.Repeat("x", 100)) {
			time.Sleep(time.Second)
			if _, err = conn.Write([]byte{c}); err != nil {
				break
			}
		}
		if took := time.Since(begun); err == nil || took > headerTime+time.Second {
			t.Errorf("it ended after %v with %v, want %v", took, err, headerTime)
		}
	})
}

// TestSlowBody: who sends a body octet by octet is not waited for, who sends it
// slowly is, as long as it takes.
func TestSlowBody(t *testing.T) {
	for _, c := range []struct {
		chunk int // octets a second
		total int
		err   error
		took  time.Duration
	}{
		{chunk: 1, total: 1000, err: os.ErrDeadlineExceeded, took: grace},
		{chunk: leastRate / 2, total: 64 * leastRate, err: os.ErrDeadlineExceeded, took: 2*grace - time.Second},
		{chunk: leastRate, total: 100 * leastRate, took: 100 * time.Second},
	} {
		t.Run(fmt.Sprintf("%d a second", c.chunk), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				type outcome struct {
					n    int64
					err  error
					took time.Duration
				}
				got := make(chan outcome, 1)
				p, _ := running(t, server(t, func(_ http.ResponseWriter, r *http.Request) {
					begun := time.Now()
					n, err := io.Copy(io.Discard, r.Body)
					got <- outcome{n, err, time.Since(begun)}
				}, Options{}))
				conn := p.dial(t, "192.0.2.1")
				go io.Copy(io.Discard, conn)
				fmt.Fprintf(conn, "PUT /esmond/perfsonar/archive/KEY/ HTTP/1.1\r\nHost: archive\r\nContent-Length: %d\r\n\r\n", c.total)
				chunk := make([]byte, c.chunk)
				for sent := 0; sent < c.total; sent += c.chunk {
					time.Sleep(time.Second)
					if _, err := conn.Write(chunk); err != nil {
						break
					}
				}
				o := <-got
				if !errors.Is(o.err, c.err) || o.took < c.took-2*time.Second || o.took > c.took+2*time.Second {
					t.Errorf("%d octets within %v, %v; want %v within about %v", o.n, o.took, o.err, c.err, c.took)
				}
			})
		})
	}
}

// TestBodyThatNobodyReads: what is left of a body that was refused does not keep
// the connection for ever.
func TestBodyThatNobodyReads(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, _ := running(t, server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, Options{}))
		conn := p.dial(t, "192.0.2.1")
		begun := time.Now()
		fmt.Fprint(conn, "PUT /esmond/perfsonar/archive/KEY/ HTTP/1.1\r\nHost: archive\r\nContent-Length: 1000\r\n\r\n{")
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > grace+2*time.Second {
			t.Errorf("the connection ended after %v", took)
		}
	})
}

// TestSlowReader: who reads octet by octet is not waited for.
func TestSlowReader(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		took := make(chan time.Duration, 1)
		s := server(t, func(w http.ResponseWriter, _ *http.Request) {
			begun := time.Now()
			part := make([]byte, 64<<10)
			for {
				if _, err := w.Write(part); err != nil {
					took <- time.Since(begun)
					return
				}
			}
		}, Options{})
		p, end := running(t, s)
		conn := p.dial(t, "192.0.2.1")
		fmt.Fprint(conn, "GET /esmond/perfsonar/archive/ HTTP/1.1\r\nHost: archive\r\n\r\n")
		for one := make([]byte, 1); ; {
			time.Sleep(time.Second)
			if _, err := conn.Read(one); err != nil {
				break
			}
		}
		if got := <-took; got < grace-time.Second || got > grace+time.Second {
			t.Errorf("it was waited for %v, want %v", got, grace)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
		if n := testutil.ToFloat64(s.counters.requests.WithLabelValues(routeSearch, strconv.Itoa(gone))); n != 1 {
			t.Errorf("%v are counted as not waited for, want 1", n)
		}
	})
}

// TestLongAnswers: neither an answer that is long in coming nor one that goes on
// for hours is cut off.
func TestLongAnswers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const parts = 100
		p, _ := running(t, server(t, func(w http.ResponseWriter, r *http.Request) {
			for range parts {
				time.Sleep(2 * time.Minute)
				fmt.Fprintln(w, "part")
				if strings.HasSuffix(r.URL.Path, "flushed") {
					http.NewResponseController(w).Flush()
				}
			}
			time.Sleep(2 * time.Minute)
		}, Options{}))
		conn := p.dial(t, "192.0.2.1")
		for _, path := range []string{"/esmond/flushed", "/esmond/whole", "/esmond/flushed"} {
			resp := get(t, conn, path)
			lines := 0
			for s := bufio.NewScanner(resp.Body); s.Scan(); lines++ {
			}
			if lines != parts {
				t.Errorf("%s: %d parts, want %d", path, lines, parts)
			}
		}
	})
}

// TestIdle: a connection that has had its answer may rest, not for ever.
func TestIdle(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, _ := running(t, server(t, func(http.ResponseWriter, *http.Request) {}, Options{}))
		conn := p.dial(t, "192.0.2.1")
		for range 3 {
			if resp := get(t, conn, "/healthz"); resp.StatusCode != http.StatusOK {
				t.Errorf("status %d", resp.StatusCode)
			} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Error(err)
			}
			time.Sleep(idleTime - time.Second)
		}
		begun := time.Now()
		if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%d octets, %v", n, err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the connection rested for %v more", took)
		}
	})
}
