package control_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
)

// A peer that does a recorded conversation up to some octet and then closes,
// or keeps silent, or goes on with garbage: both halves end with one error
// that says where, and leave nothing behind, which the bubble checks.

// half returns the octets of one side of open-clean, and where its messages
// end, by name.
func half(t *testing.T, server bool) (octets []byte, ends map[string]int) {
	ends = make(map[string]int)
	for _, m := range conversation(t, "open-clean") {
		if m.fromServer != server {
			continue
		}
		octets = append(octets, m.octets...)
		name := m.name
		if _, again := ends[name]; again {
			name += " 2"
		}
		ends[name] = len(octets)
	}
	return octets, ends
}

// wantOneLine checks that err tells all in a line.
func wantOneLine(t *testing.T, err error) {
	t.Helper()
	if err == nil || strings.Contains(err.Error(), "\n") || strings.HasSuffix(err.Error(), "EOF") {
		t.Errorf("error %q, want one line that says what happened", err)
	}
}

func TestServerCutOff(t *testing.T) {
	octets, ends := half(t, false)
	for n := range len(octets) + 1 {
		bubble.Test(t, func(t *testing.T) {
			h, cfg := recordedHandler(t, "open-clean")
			conn, ended := serve(t.Context(), cfg, h)
			go io.Copy(io.Discard, conn)
			write(conn, octets[:n], len(octets))
			synctest.Wait()
			conn.Close()
			err := <-ended

			orderly := n == ends["Set-Up-Response"] || n == len(octets)
			lost, isLost := errors.AsType[*control.ConnError](err)
			switch {
			case orderly && err != nil:
				t.Errorf("after %d octets: %v, want an orderly end", n, err)
			case !orderly && !isLost:
				t.Errorf("after %d octets: %v, want a lost connection", n, err)
			case !orderly:
				wantOneLine(t, err)
				between := n == 0 || n == ends["Request-Session"] || n == ends["Request-Session 2"] || n == ends["Start-Sessions"]
				if between != errors.Is(lost, io.EOF) || between == errors.Is(lost, io.ErrUnexpectedEOF) {
					t.Errorf("after %d octets: %v, between messages: %v", n, lost.Err, between)
				}
			}
			if aborts := n >= ends["Request-Session"] && n < len(octets); aborts != (h.aborted != nil) {
				t.Errorf("after %d octets: aborted with %v, want an abort: %v", n, h.aborted, aborts)
			}
			if stops := n == len(octets); stops != (len(h.stops) == 1) {
				t.Errorf("after %d octets: told %v, want it told: %v", n, h.stops, stops)
			}
		})
	}
}

func TestServerStall(t *testing.T) {
	octets, ends := half(t, false)
	const never, farewell = 100 * time.Hour, 300 * time.Millisecond
	for n := range len(octets) + 1 {
		bubble.Test(t, func(t *testing.T) {
			h, cfg := recordedHandler(t, "open-clean")
			ctx, cancel := context.WithTimeout(t.Context(), never)
			defer cancel()
			conn, ended := serve(ctx, cfg, h)
			begin := time.Now()
			go io.Copy(io.Discard, conn)
			write(conn, octets[:n], len(octets))
			err := <-ended
			took := time.Since(begin)
			conn.Close()

			want, cause := 1800*time.Second, os.ErrDeadlineExceeded
			switch {
			case n < ends["Set-Up-Response"]:
				want = 60 * time.Second
			case n >= ends["Start-Sessions"] && n < ends["Start-Sessions"]+owamp.BlockSize:
				want, cause = never+farewell, context.DeadlineExceeded // a test runs
			}
			if took != want || !errors.Is(err, cause) {
				t.Errorf("silence after %d octets: %v after %v, want %v after %v", n, err, took, cause, want)
			}
			wantOneLine(t, err)
			if aborts := n >= ends["Request-Session"] && n < len(octets); aborts != (h.aborted != nil) {
				t.Errorf("silence after %d octets: aborted with %v, want an abort: %v", n, h.aborted, aborts)
			}
		})
	}
}

func TestServerGarbage(t *testing.T) {
	octets, ends := half(t, false)
	for name, end := range ends {
		bubble.Test(t, func(t *testing.T) {
			h, cfg := recordedHandler(t, "open-clean")
			conn, ended := serve(t.Context(), cfg, h)
			go io.Copy(io.Discard, conn)
			begin := 0
			for _, e := range ends {
				if e < end {
					begin = max(begin, e)
				}
			}
			bad := slices.Clone(octets)
			for i := begin; i < end; i++ {
				bad[i] = 0xff
			}
			write(conn, bad, len(bad))
			err := <-ended
			conn.Close()
			if _, ok := errors.AsType[*control.ProtocolError](err); !ok {
				t.Errorf("garbage for %s: %v, want a protocol error", name, err)
			}
			wantOneLine(t, err)
			if aborts := begin >= ends["Request-Session"]; aborts != (h.aborted != nil) {
				t.Errorf("garbage for %s: aborted with %v, want an abort: %v", name, h.aborted, aborts)
			}
		})
	}
}

// Serve ends with its context, wherever it is.
func TestServerCanceled(t *testing.T) {
	octets, ends := half(t, false)
	for _, n := range []int{0, 100, ends["Set-Up-Response"], ends["Request-Session"], ends["Start-Sessions"], len(octets) - 1} {
		bubble.Test(t, func(t *testing.T) {
			h, cfg := recordedHandler(t, "open-clean")
			why := errors.New("the server ends")
			ctx, cancel := context.WithCancelCause(t.Context())
			conn, ended := serve(ctx, cfg, h)
			go io.Copy(io.Discard, conn)
			write(conn, octets[:n], len(octets))
			synctest.Wait()
			cancel(why)
			if err := <-ended; !errors.Is(err, why) {
				t.Errorf("after %d octets: %v, want %v", n, err, why)
			}
			if n >= ends["Request-Session"] && !errors.Is(h.aborted, why) {
				t.Errorf("after %d octets: aborted with %v, want %v", n, h.aborted, why)
			}
			conn.Close()
		})
	}
}

// A client that does not read holds nothing up for ever.
func TestServerWriteStall(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newHandler()
		conn, ended := serve(t.Context(), openMode(), h)
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("greeting not read: %v, want a time-out", err)
		}
		conn.Close()
	})
	bubble.Test(t, func(t *testing.T) {
		octets, ends := half(t, false)
		h, cfg := recordedHandler(t, "open-clean")
		conn, ended := serve(t.Context(), cfg, h)
		go write(conn, octets[:ends["Start-Sessions"]], len(octets))
		read(t, conn, owamp.ServerGreetingSize+owamp.ServerStartSize+2*owamp.AcceptSessionSize+owamp.StartAckSize)
		begin := time.Now()
		h.done <- struct{}{}
		err := <-ended
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 60*time.Second || h.aborted == nil {
			t.Errorf("Stop-Sessions not read: %v after %v, aborted with %v; want a time-out after 60s", err, time.Since(begin), h.aborted)
		}
		wantOneLine(t, err)
		conn.Close()
	})
}

// The server has stopped, and the client never does.
func TestServerStopUnanswered(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		octets, ends := half(t, false)
		h, cfg := recordedHandler(t, "open-clean")
		conn, ended := serve(t.Context(), cfg, h)
		go io.Copy(io.Discard, conn)
		begin := time.Now()
		write(conn, octets[:ends["Start-Sessions"]], len(octets))
		h.done <- struct{}{}
		err := <-ended
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 1800*time.Second {
			t.Errorf("%v after %v, want a time-out after 1800s", err, time.Since(begin))
		}
		if calls := strings.Join(h.calls, " "); calls != "Request Request Start Report Abort" {
			t.Errorf("calls %s, want an abort without Stop", calls)
		}
		conn.Close()
	})
}

// clientScript does all that a client of open-clean does, each step with a
// time-out, and says which one failed.
func clientScript(t *testing.T, conn net.Conn, timeout time.Duration) (step string, err error) {
	bounded := func(f func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		return f(ctx)
	}
	var c *control.Client
	if err := bounded(func(ctx context.Context) error {
		c, err = control.Connect(ctx, conn, control.ClientConfig{})
		return err
	}); err != nil {
		return "Connect", err
	}
	defer func() {
		if _, isLost := errors.AsType[*control.ConnError](err); isLost && step != "Stop" {
			if _, again := c.Request(t.Context(), nil); !errors.Is(again, err) {
				t.Errorf("after %q the connection says %v", err, again)
			}
		}
		c.Close()
	}()
	if err := bounded(func(ctx context.Context) error {
		_, err = c.Request(ctx, recordedSpecs(t, "open-clean"))
		return err
	}); err != nil {
		return "Request", err
	}
	if err := bounded(c.Start); err != nil {
		return "Start", err
	}
	return "Stop", bounded(func(ctx context.Context) error {
		_, err := c.Stop(ctx, []owamp.SendReport{{SID: recordedTo, NextSeq: 20}})
		return err
	})
}

// stepAt is where a client is that was told n octets.
func stepAt(n int, ends map[string]int) string {
	switch {
	case n < ends["Server-Start"]:
		return "Connect"
	case n < ends["Accept-Session 2"]:
		return "Request"
	case n < ends["Start-Ack"]:
		return "Start"
	}
	return "Stop"
}

func TestClientCutOff(t *testing.T) {
	octets, ends := half(t, true)
	for n := range octets {
		bubble.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go io.Copy(io.Discard, far)
			go func() {
				write(far, octets[:n], len(octets))
				synctest.Wait()
				far.Close()
			}()
			step, err := clientScript(t, near, time.Minute)
			lost, isLost := errors.AsType[*control.ConnError](err)
			if step != stepAt(n, ends) || !isLost {
				t.Fatalf("after %d octets: %s: %v; want %s to fail for a lost connection", n, step, err, stepAt(n, ends))
			}
			wantOneLine(t, err)
			if !errors.Is(lost, io.EOF) && !errors.Is(lost, io.ErrUnexpectedEOF) && !errors.Is(lost, io.ErrClosedPipe) {
				t.Errorf("after %d octets: %v, want an end of the connection", n, lost.Err)
			}
		})
	}
}

func TestClientStall(t *testing.T) {
	octets, ends := half(t, true)
	for n := range octets {
		bubble.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go io.Copy(io.Discard, far)
			go write(far, octets[:n], len(octets))
			begin := time.Now()
			step, err := clientScript(t, near, time.Minute)
			if step != stepAt(n, ends) || !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
				t.Errorf("silence after %d octets: %s: %v after %v; want %s to fail for its deadline after a minute",
					n, step, err, time.Since(begin), stepAt(n, ends))
			}
			wantOneLine(t, err)
			far.Close()
		})
	}
}

func TestClientGarbage(t *testing.T) {
	_, ends := half(t, true)
	for name := range ends {
		if name == "Server-Greeting" || strings.HasSuffix(name, " 2") {
			continue // of a greeting, any octets are one
		}
		bubble.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				go io.Copy(io.Discard, far)
				for _, m := range conversation(t, "open-clean") {
					if m.fromServer && m.name == name {
						m.octets = bytes.Repeat([]byte{0xff}, len(m.octets))
					}
					if m.fromServer {
						write(far, m.octets, 1000)
					}
				}
			}()
			step, err := clientScript(t, near, time.Minute)
			garbled, ok := errors.AsType[*control.ProtocolError](err)
			if !ok || garbled.Step != name {
				t.Errorf("garbage for %s: %s: %v, want a protocol error", name, step, err)
			}
			wantOneLine(t, err)
			far.Close()
		})
	}
}

// What a Stop-Sessions may not say, both halves refuse.
func TestStopRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(b []byte)
		want   string
	}{
		{"unknown session", func(b []byte) { b[16]++ }, "which the peer does not send"},
		{"beyond the packets", func(b []byte) { b[35]++ }, "next sequence number 21, want at most 20"},
		{"too many ranges", func(b []byte) { b[36] = 1 }, "16777216 skip ranges, want at most 20"},
		{"a range that ends before it begins", func(b []byte) { b[39], b[43], b[47] = 1, 9, 8 }, "skip range 9 to 8"},
		{"accept code", func(b []byte) { b[1] = 9 }, "accept code 9"},
		{"too many sessions", func(b []byte) { b[7] = 2 }, "reports on 2 sessions, want at most 1"},
	}
	octets, ends := half(t, false)
	for _, test := range tests {
		bubble.Test(t, func(t *testing.T) {
			h, cfg := recordedHandler(t, "open-clean")
			conn, ended := serve(t.Context(), cfg, h)
			go io.Copy(io.Discard, conn)
			bad := slices.Clone(octets)
			test.change(bad[ends["Start-Sessions"]:])
			write(conn, bad, len(bad))
			err := <-ended
			conn.Close()
			if _, ok := errors.AsType[*control.ProtocolError](err); !ok || !strings.Contains(err.Error(), test.want) || !errors.Is(h.aborted, err) {
				t.Errorf("%s: the server says %v and aborts with %v, want %s", test.name, err, h.aborted, test.want)
			}
			wantOneLine(t, err)
		})
		bubble.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				go io.Copy(io.Discard, far)
				for _, m := range conversation(t, "open-clean") {
					if m.fromServer && m.name == "Stop-Sessions" {
						test.change(m.octets)
					}
					if m.fromServer {
						write(far, m.octets, 1000)
					}
				}
			}()
			step, err := clientScript(t, near, time.Minute)
			if _, ok := errors.AsType[*control.ProtocolError](err); !ok || step != "Stop" || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: the client says %v in %s, want %s", test.name, err, step, test.want)
			}
			far.Close()
		})
	}
}

// The peer is mute when the client has to go: Stop ends with its context,
// sends one Stop-Sessions however often it is asked, and Close does not wait.
func TestStopMutePeer(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		octets, ends := half(t, true)
		go io.Copy(io.Discard, far)
		go write(far, octets[:ends["Start-Ack"]], len(octets))
		tap := &tap{Conn: near}
		c := connect(t, tap)
		startRecorded(t, c)
		tap.written = nil
		sent := []owamp.SendReport{{SID: recordedTo, NextSeq: 20}}
		for range 3 {
			begin := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			_, err := c.Stop(ctx, sent)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 300*time.Millisecond {
				t.Errorf("Stop: %v after %v, want its deadline after 300ms", err, time.Since(begin))
			}
			wantOneLine(t, err)
		}
		if n := len(tap.written); n != 64 {
			t.Errorf("%d octets sent, want one Stop-Sessions of 64", n)
		}
		if _, err := c.Request(t.Context(), nil); err == nil {
			t.Error("Request while the peer has not stopped, want an error")
		}
		begin := time.Now()
		_ = c.Close()
		if time.Since(begin) != 0 {
			t.Errorf("Close took %v", time.Since(begin))
		}
		if _, err := c.Await(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Await after Close: %v, want that it is closed", err)
		}
		far.Close()
	})
}
