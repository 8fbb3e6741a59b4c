package sessions_test

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/sessions"
)

// A fetchFault harms Fetch-Sessions.
type fetchFault struct {
	mu   sync.Mutex
	left int                              // so many of them; less than 0: all
	harm func(c net.Conn, b []byte) error // in place of writing b
	n    int                              // were harmed
}

func (f *fetchFault) meddle(_ int, c net.Conn) net.Conn { return &faultyConn{c, f} }

type faultyConn struct {
	net.Conn
	*fetchFault
}

func (c *faultyConn) Write(b []byte) (int, error) {
	if len(b) == owamp.FetchSessionSize && b[0] == 4 {
		c.mu.Lock()
		harm := c.left != 0
		if harm {
			c.left--
			c.n++
		}
		c.mu.Unlock()
		if harm {
			if err := c.harm(c.Conn, b); err != nil {
				return 0, err
			}
			return len(b), nil
		}
	}
	return c.Conn.Write(b)
}

func (f *fetchFault) harmed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// The ways in which a fetch may fail that has come as far as Fetch-Session.
var (
	cutFetch  = func(c net.Conn, _ []byte) error { return errors.Join(c.Close(), errors.New("broken pipe")) }
	muteFetch = func(net.Conn, []byte) error { return nil }
	noSession = func(c net.Conn, b []byte) error { // asks for one that there is not
		b = append([]byte(nil), b...)
		b[16] ^= 0xff
		_, err := c.Write(b)
		return err
	}
)

// What could not be fetched is fetched again: nothing is missing in the end, and
// files are told of in order.
func TestFetchedAgain(t *testing.T) {
	for _, test := range []struct {
		name string
		n    int
		harm func(net.Conn, []byte) error
		log  string
	}{
		{"cut once", 1, cutFetch, ""}, // a connection that has gone stale is made anew
		{"cut", 7, cutFetch, "broken pipe; trying again in 500ms"},
		{"mute", 2, muteFetch, "trying again in 500ms"},
		{"refused", 3, noSession, "Server denied request for session data: Fetch-Ack: refused; trying again in 500ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(time.Millisecond, nil)
				fault := &fetchFault{left: 0, harm: test.harm}
				cfg := toPeer(100, 100*time.Millisecond, time.Second)
				cfg.Part = 25
				cfg.Dial = w.wires(fault.meddle)
				w.start(cfg)
				time.Sleep(30 * time.Second)
				fault.mu.Lock()
				fault.left = test.n
				fault.mu.Unlock()
				time.Sleep(5 * time.Minute)
				s := w.stream.Snapshot()
				w.finish(h)
				if fault.harmed() != test.n {
					t.Fatalf("%d fetches have failed, want %d", fault.harmed(), test.n)
				}
				all := w.spans(".owp")
				wantChain(t, all)
				if len(all) < 30 || len(s.Gaps) != 0 || s.Lost != 0 || s.NotCovered != 0 {
					t.Errorf("%d sessions, gaps %v, lost %d, not covered %d", len(all), s.Gaps, s.Lost, s.NotCovered)
				}
				if sums := len(w.spans(".sum")); sums < 5*(len(all)-1) {
					t.Errorf("%d summaries of %d sessions, want those of 4 parts, too", sums, len(all))
				}
				w.wantOrder(4)
				w.wantAccounted()
				log := w.logged()
				if (test.log == "") != (log == "") || !strings.Contains(log, test.log) {
					t.Errorf("logged %q, want %q", log, test.log)
				}
			})
		})
	}
}

// What a peer does not give in the end is a gap, with its reason, and the stream
// goes on with what it does give.
func TestNeverFetched(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Millisecond, nil)
		fault := &fetchFault{left: -1, harm: noSession}
		cfg := toPeer(100, 100*time.Millisecond, time.Second)
		cfg.Dial = w.wires(fault.meddle)
		w.start(cfg)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		s := w.stream.Snapshot()
		fault.mu.Lock()
		fault.left = 0
		fault.mu.Unlock()
		time.Sleep(2 * time.Minute)
		after := w.stream.Snapshot()
		w.finish(h)
		if s.Received != 0 || s.NotCovered == 0 || s.Lost != 0 || s.State != sessions.StateRunning {
			t.Errorf("received %d, not covered %d, lost %d, %v", s.Received, s.NotCovered, s.Lost, s.State)
		}
		if got := s.Gaps[sessions.GapRefused]; len(s.Gaps) != 1 || got < 30*time.Second {
			t.Errorf("gaps %v, want refused", s.Gaps)
		}
		if after.Received == 0 {
			t.Errorf("received nothing when the peer gave it")
		}
		w.wantAccounted()
		log := w.logged()
		if !strings.Contains(log, "is not to be had from the peer: Server denied") || !strings.Contains(log, ": refused\"") {
			t.Errorf("logged %s", log)
		}
	})
}

// A peer that lets sessions run and never a fetch is asked for a day, and for so
// many sessions at most; what is too old is a gap.
func TestFetchGivenUp(t *testing.T) {
	for _, test := range []struct {
		name      string
		n         uint32
		mean      time.Duration
		run       time.Duration
		low, high time.Duration // gaps
	}{
		{"too old", 100, 10 * time.Second, 27 * time.Hour, 2 * time.Hour, 3 * time.Hour},
		{"too many", 2, time.Second, (4096 + 500) * 2 * time.Second, 900 * time.Second, 1100 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(time.Millisecond, nil)
				fault := &fetchFault{left: -1, harm: cutFetch}
				cfg := toPeer(test.n, test.mean, time.Second)
				cfg.Slots[0].Type = owamp.SlotFixed
				cfg.Dial = w.wires(fault.meddle)
				w.start(cfg)
				time.Sleep(test.run)
				synctest.Wait()
				s := w.stream.Snapshot()
				w.finish(h)
				if got := s.Gaps[sessions.GapControlLost]; len(s.Gaps) != 1 || got < test.low || got > test.high {
					t.Errorf("gaps %v, want control_lost of %v to %v", s.Gaps, test.low, test.high)
				}
				if s.Received != 0 || s.NotCovered == 0 || s.State != sessions.StateRunning {
					t.Errorf("received %d, not covered %d, %v", s.Received, s.NotCovered, s.State)
				}
				w.wantAccounted()
				if n := strings.Count(w.logged(), "trying again in"); n > 10 {
					t.Errorf("told of %d tries that failed in the same way", n)
				}
			})
		})
	}
}

// The peer dies in the middle of a session, and is back after a while with what
// it had recorded.
func TestPeerOfSendDies(t *testing.T) {
	for name, die := range map[string]func(*host){
		"killed":  (*host).kill,
		"stopped": (*host).stop,
		"silent":  func(h *host) { h.Mute(true); time.Sleep(time.Second); h.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				const timeout = 2 * time.Second
				w := newWorld(t)
				h := w.serve(time.Millisecond, nil)
				cfg := toPeer(200, 100*time.Millisecond, timeout)
				cfg.Part = 50
				w.start(cfg)
				time.Sleep(70 * time.Second)
				before := w.stream.Snapshot()
				die(h)
				died := time.Now()
				time.Sleep(30 * time.Second)
				halfway := w.stream.Snapshot()
				h = w.serve(time.Millisecond, nil)
				back := time.Now()
				time.Sleep(2 * time.Minute)
				after := w.stream.Snapshot()
				w.finish(h)
				w.wantOneGap(sessions.GapControlLost, back, 22*time.Second)
				w.wantOrder(4)

				spans := w.spans(".owp")
				for i := range spans[:len(spans)-1] {
					head, recs, _ := w.session(spans[i])
					if spans[i].end == spans[i+1].start {
						if head.Finished != owp.Normal || len(recs) != 200 {
							t.Errorf("session %d: %v with %d records", i, head.Finished, len(recs))
						}
						continue
					}
					if d := died.Sub(spans[i].end.Time()); d < 0 || d > timeout+2*time.Second {
						t.Errorf("the broken session ends %v before the peer died", d)
					}
				}
				if len(before.Gaps) != 0 || halfway.State == sessions.StateRunning || after.State != sessions.StateRunning {
					t.Errorf("gaps %v before; state %v, then %v", before.Gaps, halfway.State, after.State)
				}
				if after.Received < before.Received+800 || after.Lost != 0 {
					t.Errorf("received %d, then %d, lost %d", before.Received, after.Received, after.Lost)
				}
			})
		})
	}
}

// A partition that no connection notices costs what was under way, and nothing
// else.
func TestSendPartition(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Millisecond, nil)
		cfg := toPeer(100, 100*time.Millisecond, time.Second)
		w.start(cfg)
		time.Sleep(42 * time.Second)
		h.Mute(true)
		time.Sleep(20 * time.Second)
		h.Mute(false)
		time.Sleep(5 * time.Minute)
		w.finish(h)
		w.wantAccounted()
		spans := w.spans(".owp")
		if len(spans) < 25 {
			t.Errorf("%d sessions", len(spans))
		}
		for i := range spans[1:] {
			if spans[i+1].start.Before(spans[i].end) {
				t.Errorf("files %v and %v overlap", spans[i], spans[i+1])
			}
		}
	})
}

// A stream that ends while it fetches ends in time, and tells in one line what
// it has not got.
func TestEndWhileFetching(t *testing.T) {
	for name, harm := range map[string]func(net.Conn, []byte) error{"mute": muteFetch, "cut": cutFetch, "refused": noSession} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(10*time.Millisecond, nil)
				fault := &fetchFault{left: -1, harm: harm}
				cfg := toPeer(100, 100*time.Millisecond, time.Second)
				cfg.Dial = w.wires(fault.meddle)
				w.start(cfg)
				time.Sleep(25 * time.Second)
				s := w.stream.Snapshot()
				w.finish(h)
				const want = "ended before what the peer has recorded of "
				if n := strings.Count(w.logged(), want); n != 1 {
					t.Errorf("logged %s; want one line of %q", w.logged(), want)
				}
				end := w.stream.Snapshot()
				if end.Unresolved != 0 || end.NotCovered < s.Unresolved || end.Received != 0 {
					t.Errorf("unresolved %d, not covered %d, received %d; before the end %d unresolved", end.Unresolved, end.NotCovered, end.Received, s.Unresolved)
				}
				if n := len(w.names()); n != 0 {
					t.Errorf("%d files", n)
				}
				w.wantAccounted()
			})
		})
	}
}

// A stream that ends with sessions that a peer was too busy to give gets them
// then, if it can.
func TestFetchedAtTheEnd(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(10*time.Millisecond, nil)
		fault := &fetchFault{left: -1, harm: cutFetch}
		cfg := toPeer(100, 100*time.Millisecond, time.Second)
		cfg.Dial = w.wires(fault.meddle)
		w.start(cfg)
		time.Sleep(45 * time.Second)
		fault.mu.Lock()
		fault.left = 0
		fault.mu.Unlock()
		w.finish(h)
		spans := w.spans(".owp")
		wantChain(t, spans)
		if len(spans) != 5 {
			t.Errorf("%d sessions, want 4 and what there is of another", len(spans))
		}
		w.wantOrder(0)
		w.wantAccounted()
	})
}

// A restart keeps what was measured, and fetches it while the stream goes on.
func TestSendRestart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Millisecond, nil)
		w.start(toPeer(300, 100*time.Millisecond, 2*time.Second))
		time.Sleep(50 * time.Second)
		w.stream.Restart()
		time.Sleep(time.Minute)
		gaps := w.stream.Snapshot().Gaps
		w.finish(h)
		w.wantAccounted()
		if got := gaps[sessions.GapRestarted]; len(gaps) != 1 || got < time.Second || got > 4*time.Second {
			t.Errorf("gaps %v, want 1 to 4 s of restarted", gaps)
		}
		if n := len(w.spans(".owp")); n < 4 {
			t.Errorf("%d sessions", n)
		}
	})
}

// A directory that goes away does not cost what the peer has.
func TestFetchIntoNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Millisecond, nil)
		w.start(toPeer(100, 100*time.Millisecond, time.Second))
		time.Sleep(35 * time.Second)
		w.withoutDirectory(func() { time.Sleep(2 * time.Minute) })
		time.Sleep(2 * time.Minute)
		s := w.stream.Snapshot()
		w.finish(h)
		if len(s.Gaps) != 0 || s.NotCovered != 0 {
			t.Errorf("gaps %v, not covered %d: the peer has all of it", s.Gaps, s.NotCovered)
		}
		if !strings.Contains(w.logged(), "no such file or directory; trying again in") {
			t.Errorf("logged %s", w.logged())
		}
	})
}
