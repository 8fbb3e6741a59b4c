package sessions_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
	"owl/probe"
	"owl/sessions"
	"owl/sessions/server"
)

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
				bubble.Test(t, func(t *testing.T) {
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
			bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := &peerHandler{answer: owamp.Accepted{Port: 7777}, report: owamp.SendReport{NextSeq: 100}, after: time.Hour}
		h := w.pretend(p)
		w.start(config(100, 100*time.Millisecond, time.Second))
		time.Sleep(time.Minute)
		s := w.stream.Snapshot()
		w.finish(h)
		spans := w.spans(".owp")
		wantChain(t, spans)
		if len(s.Gaps) != 0 || s.Lost == 0 || s.Received != 0 {
			t.Errorf("gaps %v, lost %d, received %d", s.Gaps, s.Lost, s.Received)
		}
		from := make(map[uint16]int)
		for _, spec := range p.specs {
			from[spec.Receiver.Port()]++
		}
		if len(from) < 2 {
			t.Errorf("requests from ports %v, want several", from)
		}
		// Once it is known for that, each session has a port of its own at once.
		if n := len(p.specs) - len(spans); n > 3 {
			t.Errorf("%d requests for %d sessions", len(p.specs), len(spans))
		}
	})
}

// A server with a single test port serves sessions that overlap, to several
// ports of this host.
func TestSinglePort(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
