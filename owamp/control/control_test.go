package control_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"

	"github.com/google/go-cmp/cmp"
)

// Two rounds of sessions both ways on one connection, the first ended by the
// client and the second by the server.
func TestConversation(t *testing.T) {
	for _, network := range []string{"pipe", "tcp"} {
		t.Run(network, func(t *testing.T) {
			near, far := net.Pipe()
			cfg := openMode()
			if network == "tcp" {
				near, far = tcp(t)
			}
			h := newHandler()
			ended := serveOn(t.Context(), far, cfg, h)
			c := connect(t, near)
			if c.Mode() != owamp.ModeOpen || c.ServerStart() != cfg.Start || c.RTT() <= 0 {
				t.Errorf("mode %v, server start %x, round trip %v: want O, %x and more than nothing", c.Mode(), c.ServerStart(), c.RTT(), cfg.Start)
			}

			for round, sid := range []owamp.SID{{15: 1}, {15: 3}} {
				specs := []owamp.SessionSpec{toServer(20), fromServer(30, 7)}
				answers, err := c.Request(t.Context(), specs)
				if err != nil {
					t.Fatal(err)
				}
				want := []owamp.Accepted{
					{Port: 9000 + uint16(sid[15]), SID: sid},
					{Port: 9001 + uint16(sid[15]), SID: specs[1].SID},
				}
				if diff := cmp.Diff(want, answers); diff != "" {
					t.Fatalf("round %d: answers (-want +got):\n%s", round, diff)
				}
				if err := c.Start(t.Context()); err != nil {
					t.Fatal(err)
				}

				sent := []owamp.SendReport{{SID: sid, NextSeq: 19, Skips: []owamp.SkipRange{{First: 3, Last: 4}, {First: 18, Last: 18}}}}
				h.reports = []owamp.SendReport{{SID: specs[1].SID, NextSeq: 30, Skips: []owamp.SkipRange{{First: 0, Last: 0}}}}
				if round == 1 {
					h.done <- struct{}{}
					if peer, err := c.Await(t.Context()); err != nil || !cmp.Equal(h.reports, peer) {
						t.Errorf("Await: %v, %v; want %v", peer, err, h.reports)
					}
				}
				peer, err := c.Stop(t.Context(), sent)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(h.reports, peer); diff != "" {
					t.Errorf("round %d: the client was told (-want +got):\n%s", round, diff)
				}
				if again, err := c.Await(t.Context()); err != nil || !cmp.Equal(peer, again) {
					t.Errorf("round %d: Await after Stop: %v, %v; want %v", round, again, err, peer)
				}
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}

			if diff := cmp.Diff([]owamp.SessionSpec{toServer(20), fromServer(30, 7), toServer(20), fromServer(30, 7)}, h.specs, equateAddr); diff != "" {
				t.Errorf("the handler was asked for (-want +got):\n%s", diff)
			}
			wantCalls := "Request Request Start Report Stop Request Request Start Report Stop"
			if calls := strings.Join(h.calls, " "); calls != wantCalls {
				t.Errorf("calls %s, want %s", calls, wantCalls)
			}
			var wantStops []stopCall
			for _, sid := range []owamp.SID{{15: 1}, {15: 3}} {
				wantStops = append(wantStops, stopCall{
					Peer: []owamp.SendReport{{SID: sid, NextSeq: 19, Skips: []owamp.SkipRange{{First: 3, Last: 4}, {First: 18, Last: 18}}}},
					At:   cfg.Now(),
				})
			}
			if diff := cmp.Diff(wantStops, h.stops); diff != "" {
				t.Errorf("the handler was told (-want +got):\n%s", diff)
			}
		})
	}
}

// More sessions than a pipe or a socket's buffers hold, some refused: the
// answers are in the order of the requests, the reports in the reverse one.
func TestCohort(t *testing.T) {
	h := newHandler()
	h.answer = func(spec *owamp.SessionSpec) owamp.Accepted {
		if spec.Packets%3 == 0 {
			return owamp.Accepted{Accept: owamp.AcceptTemporaryLimit}
		}
		return owamp.Accepted{Port: uint16(spec.Packets), SID: owamp.SID{14: byte(spec.Packets >> 8), 15: byte(spec.Packets)}}
	}
	near, ended := serve(t.Context(), openMode(), h)
	tap := &tap{Conn: near}
	c := connect(t, tap)
	var specs []owamp.SessionSpec
	for n := range uint32(500) {
		specs = append(specs, toServer(n))
	}
	answers, err := c.Request(t.Context(), specs)
	if err != nil {
		t.Fatal(err)
	}
	var sent []owamp.SendReport
	for i, a := range answers {
		want := owamp.Accepted{Port: uint16(i), SID: owamp.SID{14: byte(i >> 8), 15: byte(i)}}
		if i%3 == 0 {
			want = owamp.Accepted{Accept: owamp.AcceptTemporaryLimit}
		}
		if a != want {
			t.Fatalf("answer %d is %v, want %v", i, a, want)
		}
		if a.Accept == owamp.AcceptOK {
			sent = append(sent, owamp.SendReport{SID: a.SID, NextSeq: uint32(i)})
		}
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	tap.written = nil
	if _, err := c.Stop(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	first, last := tap.written[owamp.BlockSize:], tap.written[len(tap.written)-3*owamp.BlockSize:]
	if owamp.SID(first) != (owamp.SID{14: 499 >> 8, 15: 499 & 0xff}) || owamp.SID(last) != (owamp.SID{15: 1}) {
		t.Errorf("Stop-Sessions reports first on %x and last on %x, want the reverse of the requests", first[:16], last[:16])
	}
	if len(h.stops) != 1 || len(h.stops[0].Peer) != len(sent) {
		t.Errorf("the handler was told %v, want %d reports", h.stops, len(sent))
	}
	_ = c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Each side sends its Stop-Sessions before it has read the other's.
func TestStopsCross(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newHandler()
		near, ended := serve(t.Context(), openMode(), h)
		c := connect(t, near)
		if _, err := c.Request(t.Context(), []owamp.SessionSpec{toServer(20), fromServer(30, 1)}); err != nil {
			t.Fatal(err)
		}
		h.reports = []owamp.SendReport{{SID: fromServer(30, 1).SID, NextSeq: 30}}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.done <- struct{}{}
		synctest.Wait() // the server has sent its own, and nobody asked for it
		peer, err := c.Stop(t.Context(), []owamp.SendReport{{SID: owamp.SID{15: 1}, NextSeq: 20}})
		if err != nil || !cmp.Equal(h.reports, peer) {
			t.Errorf("Stop: %v, %v; want %v", peer, err, h.reports)
		}
		_ = c.Close()
		if err := <-ended; err != nil || len(h.stops) != 1 {
			t.Errorf("Serve: %v, told %v; want one Stop-Sessions and an orderly end", err, h.stops)
		}
	})
}

// One goroutine awaits the end and another one stops: both are told the same.
func TestAwaitBesideStop(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newHandler()
		near, ended := serve(t.Context(), openMode(), h)
		c := connect(t, near)
		if _, err := c.Request(t.Context(), []owamp.SessionSpec{fromServer(30, 1)}); err != nil {
			t.Fatal(err)
		}
		h.reports = []owamp.SendReport{{SID: fromServer(30, 1).SID, NextSeq: 12}}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		awaited := make(chan []owamp.SendReport)
		go func() {
			reports, err := c.Await(t.Context())
			if err != nil {
				t.Error(err)
			}
			awaited <- reports
		}()
		synctest.Wait()
		stopped, err := c.Stop(t.Context(), nil)
		if err != nil {
			t.Error(err)
		}
		if got := <-awaited; !cmp.Equal(h.reports, got) || !cmp.Equal(h.reports, stopped) {
			t.Errorf("Await %v, Stop %v; want %v", got, stopped, h.reports)
		}
		_ = c.Close()
		<-ended
	})
}

// No time-out ends a test, and a context that ends while the client waits
// harms nothing.
func TestLongTest(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newHandler()
		near, ended := serve(t.Context(), openMode(), h)
		c := connect(t, near)
		if _, err := c.Request(t.Context(), []owamp.SessionSpec{toServer(20)}); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*24*time.Hour)
		defer cancel()
		if _, err := c.Await(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Await: %v, want that the deadline is exceeded", err)
		}
		if _, err := c.Stop(t.Context(), []owamp.SendReport{{SID: owamp.SID{15: 1}, NextSeq: 20}}); err != nil {
			t.Error(err)
		}
		_ = c.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// The server says that its end of the test failed: the client is told, with
// the reports, and can go on.
func TestPeerFailed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			play(t, far, "open-clean", 1, func(m *recorded) {
				if m.fromServer && m.name == "Stop-Sessions" {
					m.octets[1] = byte(owamp.AcceptInternalError)
				}
			})
			read(t, far, 128+16) // it asks again
		}()
		c := connect(t, near)
		startRecorded(t, c)
		peer, err := c.Stop(t.Context(), []owamp.SendReport{{SID: recordedTo, NextSeq: 20}})
		if denied, ok := errors.AsType[*control.DeniedError](err); !ok || denied.Accept != owamp.AcceptInternalError {
			t.Errorf("Stop: %v, want an internal error of the server", err)
		}
		if want := []owamp.SendReport{{SID: recordedFrom, NextSeq: 20}}; !cmp.Equal(want, peer) {
			t.Errorf("Stop: %v, want %v", peer, want)
		}
		_, err = c.Request(t.Context(), []owamp.SessionSpec{toServer(1)})
		if lost, ok := errors.AsType[*control.ConnError](err); !ok || lost.Step != "reading Accept-Session" {
			t.Errorf("Request after it: %v, want one that is sent", err)
		}
		_ = c.Close()
	})
}
