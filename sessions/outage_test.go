package sessions_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/probe"
	"owl/sessions"
	"owl/sessions/server"
)

// wantOneGap says that there is one gap between two of the stream's files, that
// the stream tells of it, and that it ends within after of the time at which
// the peer is back.
func (w *world) wantOneGap(reason sessions.GapReason, back time.Time, after time.Duration) {
	w.t.Helper()
	spans := w.spans(".owp")
	var gap time.Duration
	for i := range spans[1:] {
		if d := spans[i+1].start.Sub(spans[i].end); d != 0 {
			if gap != 0 {
				w.t.Errorf("a second gap, of %v, after session %d", d, i)
			}
			gap = d
			if d := spans[i+1].start.Time().Sub(back); d < 0 || d > after {
				w.t.Errorf("the stream resumed %v after the peer was back, want %v at most", d, after)
			}
		}
	}
	got := w.stream.Snapshot().Gaps
	if d := got[reason] - gap; d.Abs() > time.Microsecond || gap == 0 {
		w.t.Errorf("gaps %v, want %v of %s", got, gap, reason)
	}
	w.wantAccounted()
}

func TestPeerAwayAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(config(100, 100*time.Millisecond, time.Second))
		const away = 5 * time.Minute
		time.Sleep(away)
		synctest.Wait()

		dials := w.dials()
		var waits []time.Duration
		for i := range dials[1:] {
			waits = append(waits, dials[i+1].Sub(dials[i]))
		}
		if got, want := fmt.Sprint(waits), "[500ms 1s 2s 4s 8s 16s 32s 1m0s 1m0s 1m0s]"; got != want {
			t.Errorf("waits %v, want %v", got, want)
		}
		s := w.stream.Snapshot()
		if got := s.Gaps[sessions.GapPeerUnreachable]; got != away {
			t.Errorf("gap of %v, want %v", got, away)
		}
		if ratio, ok := s.Completeness(); ratio != 0 || !ok || s.State != sessions.StateWaiting {
			t.Errorf("completeness %v, %v, state %v", ratio, ok, s.State)
		}

		h := w.serve(time.Millisecond, nil)
		back := time.Now()
		time.Sleep(2 * time.Minute)
		s = w.stream.Snapshot()
		w.finish(h)
		spans := w.spans(".owp")
		if d := spans[0].start.Time().Sub(back); d > time.Minute+1100*time.Millisecond {
			t.Errorf("began %v after the peer was there", d)
		}
		if got, want := s.Gaps[sessions.GapPeerUnreachable], spans[0].start.Time().Sub(w.began()); (got - want).Abs() > time.Microsecond {
			t.Errorf("gap of %v, want %v", got, want)
		}
		wantChain(t, spans)
	})
}

// The peer dies in the middle of a session and is back after a while. What was
// measured is kept.
func TestPeerDies(t *testing.T) {
	for name, die := range map[string]func(*host){
		"killed":  (*host).kill,
		"stopped": (*host).stop,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const timeout = 2 * time.Second
				w := newWorld(t)
				h := w.serve(time.Millisecond, nil)
				w.start(config(200, 100*time.Millisecond, timeout))
				time.Sleep(70 * time.Second)
				died := time.Now()
				before := w.stream.Snapshot()
				die(h)
				time.Sleep(45 * time.Second)
				halfway := w.stream.Snapshot()
				time.Sleep(45 * time.Second)
				back := time.Now()
				h = w.serve(time.Millisecond, nil)
				time.Sleep(2 * time.Minute)
				after := w.stream.Snapshot()
				w.finish(h)
				w.wantOneGap(sessions.GapControlLost, back, 62*time.Second)

				// The file of the broken session ends with its last record.
				spans := w.spans(".owp")
				for i := range spans[:len(spans)-1] {
					head, recs, _ := w.session(spans[i])
					broken := spans[i].end != spans[i+1].start
					if broken == (len(recs) == 200) {
						t.Errorf("session %d has %d records", i, len(recs))
					}
					if !broken {
						continue
					}
					if d := recs[len(recs)-1].Sent.Sub(spans[i].end); d != 0 {
						t.Errorf("file ends %v before its last record", d)
					}
					if d := died.Sub(spans[i].end.Time()); d < 0 || d > timeout+time.Second {
						t.Errorf("file ends %v before the peer died, next sequence number %d", d, head.NextSeq)
					}
				}
				if len(before.Gaps) != 0 {
					t.Errorf("gaps before: %v", before.Gaps)
				}
				if got := halfway.Gaps[sessions.GapControlLost]; got < 44*time.Second || got > 45*time.Second+timeout+time.Second {
					t.Errorf("gap of %v after 45 s", got)
				}
				if halfway.State == sessions.StateRunning || after.State != sessions.StateRunning {
					t.Errorf("state %v while the peer was away, then %v", halfway.State, after.State)
				}
				if ratio, _ := after.Completeness(); math.Abs(ratio-float64(after.Measured)/float64(after.Elapsed)) > 1e-9 || ratio > 0.7 {
					t.Errorf("completeness %v with %v of %v", ratio, after.Measured, after.Elapsed)
				}
			})
		})
	}
}

// One connection of several breaks: the other sessions go on, and the gap is
// within the session of that one.
func TestOneConnectionCut(t *testing.T) {
	for i := range 4 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			h := w.serve(time.Millisecond, nil)
			w.start(config(50, 100*time.Millisecond, 3*time.Second))
			time.Sleep(42 * time.Second)
			if n := h.Conns(); n < 4 {
				t.Fatalf("%d connections, want 4 or more", n)
			}
			h.CutOne(i)
			time.Sleep(40 * time.Second)
			w.finish(h)
			got := w.stream.Snapshot().Gaps
			if d := got[sessions.GapControlLost]; d > 11*time.Second || len(got) > 2 {
				t.Errorf("connection %d cut: gaps %v, want no more than a session, of control_lost", i, got)
			}
			holes := 0
			spans := w.spans(".owp")
			for i := range spans[1:] {
				if spans[i].end != spans[i+1].start {
					holes++
				}
			}
			if holes > 1 {
				t.Errorf("connection %d cut: %d holes", i, holes)
			}
			w.wantAccounted()
		})
	}
}

// All connections break, one after another as they do when a server's processes
// are killed, and whichever is first, the stream goes on as soon as can be: it
// does not wait for the end of the last session that was requested.
func TestConnectionsCutInTurn(t *testing.T) {
	for name, which := range map[string]func(left int) int{
		"first to last": func(int) int { return 0 },
		"last to first": func(left int) int { return left - 1 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(time.Millisecond, nil)
				w.start(config(200, 10*time.Millisecond, time.Second))
				time.Sleep(40 * time.Second)
				for n := h.Conns(); n > 0; n-- {
					h.CutOne(which(n))
					synctest.Wait()
				}
				time.Sleep(20 * time.Second)
				w.finish(h)
				w.wantAccounted()
				var gap time.Duration
				spans := w.spans(".owp")
				for i := range spans[1:] {
					gap += spans[i+1].start.Sub(spans[i].end)
				}
				if most := 3 * time.Second; gap <= 0 || gap > most {
					t.Errorf("nothing for %v, want at most %v: the server was there", gap, most)
				}
				if got := w.stream.Snapshot().Gaps[sessions.GapControlLost]; (got - gap).Abs() > time.Microsecond {
					t.Errorf("told of a gap of %v, want %v", got, gap)
				}
				if told := strings.Count(w.logged(), "no data for"); told != 1 {
					t.Errorf("told of %d gaps, want one", told)
				}
			})
		})
	}
}

// A server that has no room for a second session costs gaps, not the stream.
func TestRefusedOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.net.Refuse = func(c probe.PortConfig) error {
			if c.Addr == there && w.net.Ports() > 1 {
				return syscall.EADDRNOTAVAIL
			}
			return nil
		}
		h := w.serve(time.Millisecond, nil)
		w.start(config(300, 100*time.Millisecond, 2*time.Second))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		s := w.stream.Snapshot()
		w.finish(h)
		if n := len(w.spans(".owp")); n < 8 {
			t.Errorf("%d sessions, want 8 or more", n)
		}
		if got := s.Gaps[sessions.GapRefused]; got == 0 || got > 60*time.Second {
			t.Errorf("gaps %v, want less than a minute of refused", s.Gaps)
		}
		if n := len(w.dials()); n > 100 {
			t.Errorf("dialled %d times", n)
		}
		w.wantAccounted()
	})
}

// A limited is a listener whose connections write n octets only.
type limited struct {
	net.Listener
	n     int
	after func(net.Conn) // done once with each instead of what is too much
}

func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &limitedConn{Conn: c, left: l.n, after: l.after}, nil
}

type limitedConn struct {
	net.Conn
	mu    sync.Mutex
	left  int
	after func(net.Conn)
}

func (c *limitedConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(c.left, len(b))
	if n > 0 {
		if n, err := c.Conn.Write(b[:n]); err != nil {
			return n, err
		}
		c.left -= n
	}
	if n < len(b) && c.after != nil {
		c.after(c.Conn)
		c.after = nil
	}
	return len(b), nil
}

// The octets that a server has sent at the end of each step: Server-Greeting,
// Server-Start, Accept-Session, Start-Ack.
var steps = []int{64, 112, 160, 192}

// A peer that falls silent, closes or talks garbage at any point of the set-up
// is tried again, ever more rarely, and does not keep the stream from ending.
func TestBadPeer(t *testing.T) {
	ways := map[string]func(net.Conn){
		"silent":  nil,
		"closes":  func(c net.Conn) { c.Close() },
		"garbage": func(c net.Conn) { c.Write([]byte(strings.Repeat("\xff", 1000))) },
	}
	for way, after := range ways {
		for n := range steps[3] {
			if n%7 != 0 && n != 64 && n != 160 {
				continue
			}
			if way == "garbage" && n > 160 {
				continue // the octets that are left of Start-Ack may be anything
			}
			t.Run(fmt.Sprint(way, n), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					ln := w.listen(time.Millisecond)
					h := w.serveOn(ln, &limited{Listener: ln, n: n, after: after}, nil)
					w.start(config(100, 100*time.Millisecond, time.Second))
					time.Sleep(10*time.Minute + 123*time.Millisecond)
					s := w.stream.Snapshot()
					tries := len(w.dials())
					w.finish(h)
					if tries < 7 || tries > 20 {
						t.Errorf("dialled %d times in 10 minutes", tries)
					}
					got := s.Gaps[sessions.GapHandshakeFailed]
					// In a garbled Accept-Session the first octet may be a refusal.
					got += s.Gaps[sessions.GapRefused]
					if got < 10*time.Minute || got > 10*time.Minute+time.Second {
						t.Errorf("gaps %v, want 10 minutes of handshake_failed", s.Gaps)
					}
					for line := range strings.Lines(w.logged()) {
						if !strings.Contains(line, "trying again in") {
							t.Errorf("logged %s", line)
						}
					}
					if spans := w.spans(".owp"); len(spans) != 0 {
						t.Errorf("files %v", spans)
					}
				})
			})
		}
	}
}

// A peer whose Stop-Sessions never comes, or is garbage, costs no data.
func TestNoStopSessions(t *testing.T) {
	for way, after := range map[string]func(net.Conn){
		"silent":  nil,
		"closes":  func(c net.Conn) { c.Close() },
		"garbage": func(c net.Conn) { c.Write([]byte(strings.Repeat("\xff", 1000))) },
	} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				ln := w.listen(time.Millisecond)
				h := w.serveOn(ln, &limited{Listener: ln, n: steps[3], after: after}, nil)
				w.start(config(100, 100*time.Millisecond, time.Second))
				time.Sleep(2 * time.Minute)
				s := w.stream.Snapshot()
				w.finish(h)
				spans := w.spans(".owp")
				wantChain(t, spans)
				if len(spans) < 8 {
					t.Errorf("%d sessions", len(spans))
				}
				if s.NotCovered != 0 || s.Lost != 0 || s.Received != uint64(100*settled(s)) {
					t.Errorf("received %d, lost %d, not covered %d", s.Received, s.Lost, s.NotCovered)
				}
				for _, of := range spans[:6] {
					head, recs, _ := w.session(of)
					if head.Finished != 2 || len(recs) != 100 {
						t.Errorf("session %v: %v with %d records", of, head.Finished, len(recs))
					}
				}
				w.wantAccounted()
			})
		})
	}
}

// settled returns how many sessions of 100 packets s has settled.
func settled(s sessions.Snapshot) int {
	return int(s.Received+s.Lost+s.NotSent+s.NotCovered) / 100
}

// A peerHandler is a server of which the test says what it does. It sends no
// packets.
type peerHandler struct {
	mu     sync.Mutex
	specs  []owamp.SessionSpec
	answer owamp.Accepted
	report owamp.SendReport
	after  time.Duration // until it is done, from Start-Sessions
}

func (p *peerHandler) conversation() control.Handler {
	return &peerConversation{peerHandler: p, done: make(chan struct{})}
}

type peerConversation struct {
	*peerHandler
	done  chan struct{}
	spec  owamp.SessionSpec
	timer *time.Timer
}

func (p *peerConversation) Request(_ context.Context, spec *owamp.SessionSpec) owamp.Accepted {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.specs = append(p.specs, *spec)
	p.spec = *spec
	return p.answer
}

func (p *peerConversation) Start(context.Context) owamp.Accept {
	p.timer = time.AfterFunc(p.after, func() { close(p.done) })
	return owamp.AcceptOK
}

func (p *peerConversation) Done() <-chan struct{} { return p.done }

func (p *peerConversation) Report() []owamp.SendReport {
	p.timer.Stop()
	r := p.report
	r.SID = p.spec.SID
	return []owamp.SendReport{r}
}

func (p *peerConversation) Stop(context.Context, []owamp.SendReport, owamp.Accept, owamp.Timestamp) {
}

func (p *peerConversation) Abort(error) {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// pretend makes p the peer.
func (w *world) pretend(p *peerHandler) *host {
	ctx, cancel := context.WithCancel(w.t.Context())
	ln := w.listen(time.Millisecond)
	h := &host{Listener: ln, w: w, cancel: cancel, ended: make(chan error, 1)}
	context.AfterFunc(ctx, func() { ln.Close() })
	go func() {
		var all sync.WaitGroup
		for {
			conn, err := ln.Accept()
			if err != nil {
				break
			}
			all.Go(func() {
				control.Serve(ctx, conn, control.ServerConfig{Modes: owamp.ModeOpen}, p.conversation())
			})
		}
		all.Wait()
		h.ended <- nil
	}()
	return h
}

// A peer that always answers with the same port, which would mix up sessions
// that overlap, is asked again from another one.
func TestPortCollision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := &peerHandler{answer: owamp.Accepted{Port: 7777}, report: owamp.SendReport{NextSeq: 100}, after: time.Hour}
		h := w.pretend(p)
		w.start(config(100, 100*time.Millisecond, time.Second))
		time.Sleep(time.Minute)
		s := w.stream.Snapshot()
		w.finish(h)
		wantChain(t, w.spans(".owp"))
		if len(s.Gaps) != 0 || s.Lost == 0 || s.Received != 0 {
			t.Errorf("gaps %v, lost %d, received %d", s.Gaps, s.Lost, s.Received)
		}
		from := make(map[uint16]int)
		for _, spec := range p.specs {
			from[spec.Receiver.Port()]++
		}
		if len(from) < 2 || len(from) > 4 {
			t.Errorf("requests from ports %v, want 2 to 4 of them", from)
		}
	})
}

// A server with a single test port serves sessions that overlap, to several
// ports of this host.
func TestSinglePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Millisecond, func(c *server.Config) { c.Ports = probe.PortRange{Low: 8760, High: 8760} })
		w.start(config(100, 100*time.Millisecond, time.Second))
		time.Sleep(time.Minute)
		w.finish(h)
		wantChain(t, w.spans(".owp"))
		if got := w.stream.Snapshot().Gaps; len(got) > 1 || got[sessions.GapRestarted] > 2*time.Second {
			t.Errorf("gaps %v", got)
		}
	})
}

// A peer that stops early, or at once, each time, does not make the stream try
// without a pause.
func TestStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.pretend(&peerHandler{answer: owamp.Accepted{Port: 7777}})
		w.start(config(100, 100*time.Millisecond, time.Second))
		time.Sleep(10 * time.Minute)
		s := w.stream.Snapshot()
		w.finish(h)
		if n := len(w.dials()); n > 30 {
			t.Errorf("dialled %d times in 10 minutes", n)
		}
		if s.Gaps[sessions.GapControlLost] < 9*time.Minute {
			t.Errorf("gaps %v", s.Gaps)
		}
		if n := len(w.spans(".owp")); n != 0 {
			t.Errorf("%d files of sessions without a packet", n)
		}
		if s.NotCovered == 0 || s.Received+s.Lost+s.NotSent != 0 {
			t.Errorf("received %d, lost %d, not sent %d, not covered %d", s.Received, s.Lost, s.NotSent, s.NotCovered)
		}
	})
}

// What the peer says that it skipped is not sent, which is not lost.
func TestSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		skips := []owamp.SkipRange{{First: 0, Last: 9}, {First: 50, Last: 50}}
		h := w.pretend(&peerHandler{
			answer: owamp.Accepted{Port: 7777},
			report: owamp.SendReport{NextSeq: 100, Skips: skips},
			after:  time.Hour,
		})
		cfg := config(100, 100*time.Millisecond, time.Second)
		cfg.Slots[0].Type = owamp.SlotFixed
		w.start(cfg)
		time.Sleep(35 * time.Second)
		s := w.stream.Snapshot()
		w.finish(h)
		if s.NotSent != 33 || s.Lost != 267 {
			t.Errorf("not sent %d, lost %d, want 33 and 267", s.NotSent, s.Lost)
		}
		for _, of := range w.spans(".owp")[:3] {
			if _, recs, got := w.session(of); fmt.Sprint(got) != fmt.Sprint(skips) || len(recs) != 100 {
				t.Errorf("skips %v in the file with %d records, want %v and 100", got, len(recs), skips)
			}
		}
	})
}

// At any time, and however the peer behaves then, a stream ends at once with
// what it has.
func TestEndAtAnyTime(t *testing.T) {
	for _, mute := range []bool{false, true} {
		for at := time.Duration(0); at < 25*time.Second; at += 333 * time.Millisecond {
			t.Run(fmt.Sprint(at, mute), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					h := w.serve(50*time.Millisecond, nil)
					cfg := config(50, 100*time.Millisecond, time.Second)
					cfg.Part = 10
					cfg.EndDelay = 500 * time.Millisecond
					w.start(cfg)
					time.Sleep(at)
					h.Mute(mute)
					w.finish(h)
					spans := w.spans(".owp")
					if at > 8*time.Second && len(spans) == 0 {
						t.Error("nothing was kept")
					}
					if len(spans) > 0 {
						wantChain(t, spans)
					}
					if sums := w.spans(".sum"); len(sums) < len(spans) {
						t.Errorf("%d summaries of %d sessions", len(sums), len(spans))
					}
					w.wantAccounted()
				})
			})
		}
	}
}

// A restart keeps what was measured and goes on at once.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Millisecond, nil)
		w.start(config(300, 100*time.Millisecond, 2*time.Second))
		time.Sleep(50 * time.Second)
		at := time.Now()
		w.stream.Restart()
		time.Sleep(50 * time.Second)
		gaps := w.stream.Snapshot().Gaps
		w.finish(h)
		w.wantAccounted()
		// The packets of the last time-out are dropped (RFC 4656 section 3.8),
		// and the new session begins a second later.
		if got := gaps[sessions.GapRestarted]; len(gaps) != 1 || got < time.Second || got > 4*time.Second {
			t.Errorf("gaps %v, want 1 to 4 s of restarted", gaps)
		}
		for i, s := range w.spans(".owp") {
			if s.start.Time().Before(at) && s.end.Time().After(at) {
				t.Errorf("session %d, %v, goes over the restart", i, s)
			}
		}
	})
}

// The clock is set: what was measured before is kept, and the stream goes on by
// the new time.
func TestClockSet(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour, 12 * time.Second, -12 * time.Second, 80 * 365 * 24 * time.Hour / 2, -8 * time.Second} {
		t.Run(step.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(time.Millisecond, nil)
				w.start(config(300, 100*time.Millisecond, 2*time.Second))
				time.Sleep(50 * time.Second)
				before := len(w.spans(".owp"))
				w.clock.Set(step)
				w.net.Clocks[there].Set(step)
				time.Sleep(90 * time.Second)
				s := w.stream.Snapshot()
				w.finish(h)
				if s.State != sessions.StateRunning {
					t.Errorf("state %v", s.State)
				}
				if n := len(w.spans(".owp")); n < before+3 {
					t.Errorf("%d files before the step, %d after", before, n)
				}
				if got := s.Gaps[sessions.GapClockInvalid]; got < time.Second || got > 15*time.Second || len(s.Gaps) > 1 {
					t.Errorf("gaps %v, want some seconds of clock_invalid", s.Gaps)
				}
				if s.Elapsed < 130*time.Second || s.Elapsed > 145*time.Second {
					t.Errorf("elapsed %v, want 140 s less a little", s.Elapsed)
				}
				if n := strings.Count(w.logged(), "the clock was set"); n != 1 {
					t.Errorf("%d lines about the clock: %s", n, w.logged())
				}
			})
		})
	}
}

// The era of time stamps ends in February 2036, in the middle of a session.
func TestEra(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		end := time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC)
		w.clock.Set(time.Until(end) - 44*time.Second)
		w.net.Clocks[there].Set(time.Until(end) - 44*time.Second)
		h := w.serve(time.Millisecond, nil)
		w.start(config(100, 100*time.Millisecond, 2*time.Second))
		time.Sleep(90 * time.Second)
		s := w.stream.Snapshot()
		w.finish(h)
		spans := w.spans(".owp")
		wantChain(t, spans)
		if len(spans) < 7 || spans[0].start < spans[len(spans)-1].start {
			t.Errorf("%d sessions from %d to %d", len(spans), spans[0].start, spans[len(spans)-1].end)
		}
		if len(s.Gaps) != 0 || s.Lost != 0 || s.NotCovered != 0 {
			t.Errorf("gaps %v, lost %d, not covered %d", s.Gaps, s.Lost, s.NotCovered)
		}
		w.wantAccounted()
	})
}

// Whatever happens, each moment is measured or a gap, never both, and nothing
// that was told is taken back.
func TestAccounts(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testAccounts(t, seed) })
		})
	}
}

func testAccounts(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t)
	var full atomic.Bool
	w.net.Refuse = func(c probe.PortConfig) error {
		if full.Load() && c.Addr == there {
			return syscall.EADDRNOTAVAIL
		}
		return nil
	}
	lengths := []time.Duration{time.Second, 4 * time.Second, 20 * time.Second, 50 * time.Second}
	cfg := config(20, lengths[seed%4]/20, time.Duration(1+random.IntN(8))*time.Second)
	cfg.RetryCap = 10 * time.Second
	rtt := time.Duration(random.IntN(200)) * time.Millisecond
	h := w.serve(rtt/2, nil)
	w.start(cfg)
	var last sessions.Snapshot
	for range 40 {
		pause := time.Duration(random.Int64N(int64(30 * time.Second)))
		switch what := random.IntN(9); what {
		case 0:
			h.Cut()
		case 1, 2:
			h.CutOne(random.IntN(max(h.Conns(), 1)))
		case 3:
			h.kill()
			time.Sleep(pause)
			h = w.serve(rtt/2, nil)
		case 4:
			h.stop()
			time.Sleep(pause)
			h = w.serve(rtt/2, nil)
		case 5:
			w.stream.Restart()
		case 6:
			full.Store(true)
			time.Sleep(pause)
			full.Store(false)
		case 7:
			h.Mute(true)
			time.Sleep(pause)
			h.Mute(false)
		}
		for end := time.Now().Add(pause); time.Now().Before(end); time.Sleep(777 * time.Millisecond) {
			synctest.Wait()
			s := w.stream.Snapshot()
			for reason := range sessions.GapReasons() {
				if s.Gaps[reason] < last.Gaps[reason] {
					t.Errorf("gap %s went from %v back to %v", reason, last.Gaps[reason], s.Gaps[reason])
				}
			}
			if s.Received < last.Received || s.Lost < last.Lost || s.NotSent < last.NotSent || s.NotCovered < last.NotCovered || s.Late < last.Late {
				t.Errorf("counters went back from %+v to %+v", last, s)
			}
			last = s
		}
	}
	w.finish(h)
	spans := w.spans(".owp")
	for i := range spans[1:] {
		if spans[i+1].start.Before(spans[i].end) {
			t.Errorf("files %v and %v overlap", spans[i], spans[i+1])
		}
	}
	w.wantAccounted()
}
