package sessions_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/probe"
	"owl/sessions"
	"owl/sessions/internal/memwire"
	"owl/sessions/ports"
	"owl/sessions/server"
)

// A crowd is streams that share control connections and test ports.
type crowd struct {
	*world
	broker  *sessions.Broker
	pool    *ports.Pool
	streams []*sessions.Stream
	cancels []context.CancelFunc
	running sync.WaitGroup
	most    int // connections that existed at once
}

// gather begins to measure with n streams, one each 2 ms, of which every other
// one sends; change may do something to each before.
func (w *world) gather(n int, cfg sessions.StreamConfig, change func(i int, cfg *sessions.StreamConfig)) *crowd {
	w.t.Helper()
	c := &crowd{
		world:  w,
		broker: sessions.NewBroker(sessions.BrokerConfig{Dial: w.dial, Clock: w.clock}),
		pool:   ports.NewPool(w.net, probe.PortRange{}, ""),
	}
	for i := range n {
		cfg := cfg
		cfg.Broker, cfg.Pool, cfg.Clock = c.broker, c.pool, w.clock
		cfg.Random = memwire.Random(fmt.Sprint("stream ", i))
		cfg.Log = w.logger(slog.LevelInfo).With("stream", i)
		cfg.Delay = time.Duration(i) * 2 * time.Millisecond
		cfg.Send = i%2 == 1
		cfg.Scratch = w.dir
		if change != nil {
			change(i, &cfg)
		}
		s, err := sessions.NewStream(cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(w.t.Context())
		c.streams = append(c.streams, s)
		c.cancels = append(c.cancels, cancel)
		c.running.Go(func() { s.Run(ctx) })
	}
	return c
}

// watch lets time go by, and counts connections.
func (c *crowd) watch(h *host, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		c.most = max(c.most, h.Conns())
	}
	synctest.Wait()
}

// end ends all streams and the server.
func (c *crowd) end(h *host) {
	c.t.Helper()
	begin := time.Now()
	for _, cancel := range c.cancels {
		cancel()
	}
	c.running.Wait()
	if took := time.Since(begin); took > 400*time.Millisecond {
		c.t.Errorf("the streams ended in %v, want at most 400ms", took)
	}
	c.broker.Close()
	c.pool.Close()
	h.stop()
	time.Sleep(10 * time.Second)
	if n := c.net.Ports(); n != 0 {
		c.t.Errorf("%d test ports are open at the end", n)
	}
	if n := h.Conns(); n != 0 {
		c.t.Errorf("%d connections exist at the end", n)
	}
}

// wantWhole says that stream i has measured all the time, without loss.
func (c *crowd) wantWhole(i int) {
	c.t.Helper()
	s := c.streams[i].Snapshot()
	if len(s.Gaps) != 0 || s.Measured != s.Elapsed || s.Lost != 0 || s.NotSent != 0 || s.NotCovered != 0 || s.Received == 0 {
		c.t.Errorf("stream %d: gaps %v, measured %v of %v, received %d, lost %d, not sent %d, not covered %d",
			i, s.Gaps, s.Measured, s.Elapsed, s.Received, s.Lost, s.NotSent, s.NotCovered)
	}
}

// Many streams measure without a hole over few connections: how many are in a
// cohort follows from how many end within 2 s.
func TestCohorts(t *testing.T) {
	for _, test := range []struct {
		streams    int
		mean       time.Duration
		slot       owamp.SlotType
		long       time.Duration
		most, dial int // connections at once, and in all
	}{
		// They stay together: 45 s of each 30 s, in 16 cohorts of 64.
		{1000, time.Second, owamp.SlotFixed, 10 * time.Minute, 40, 400},
		// They drift apart by 5.5 s a session, and what begins together does not
		// end within 2 s.
		{100, time.Second, owamp.SlotExponential, 2 * time.Hour, 90, 14000},
		// Sessions of 3 s, of which 5 exist at once: at first they wait for nobody.
		{100, 100 * time.Millisecond, owamp.SlotExponential, 5 * time.Minute, 100, 1500},
	} {
		t.Run(fmt.Sprintf("%d/%v/%v", test.streams, test.mean, test.slot), func(t *testing.T) {
			t.Parallel()
			if testing.Short() {
				test.long /= 8
			}
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(5*time.Millisecond, nil)
				cfg := config(30, test.mean, time.Second)
				cfg.Slots[0].Type = test.slot
				c := w.gather(test.streams, cfg, nil)
				c.watch(h, test.long)
				for i := range c.streams {
					c.wantWhole(i)
				}
				open := w.net.Ports()
				c.end(h)
				t.Logf("%d connections at once, %d in all, %d ports", c.most, len(w.dials()), open)
				if c.most > test.most || len(w.dials()) > test.dial {
					t.Errorf("%d connections at once, %d in all, want at most %d, %d", c.most, len(w.dials()), test.most, test.dial)
				}
				for line := range strings.Lines(w.logged()) {
					// At the end what the server has is not fetched any more, and sessions
					// that overlap stop one after the other.
					if strings.Contains(line, "level=WARN") && !strings.Contains(line, "ended before") && !strings.Contains(line, ": restarted") {
						t.Errorf("logged %s", line)
					}
				}
			})
		})
	}
}

// A stream that ends, and one that begins anew, leave their cohort; those that
// stay do not notice.
func TestCohortLeft(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(5*time.Millisecond, nil)
		c := w.gather(8, config(300, 100*time.Millisecond, time.Second), nil)
		c.watch(h, 45*time.Second)
		if c.most > 4+4 { // cohorts, and to fetch
			t.Errorf("%d connections of 8 streams", c.most)
		}
		for i := range 2 { // one that receives and one that sends
			c.cancels[i]()
			c.streams[2+i].Restart()
		}
		c.watch(h, 2*time.Minute)
		for i := range 2 {
			s := c.streams[i].Snapshot()
			if s.State != sessions.StateStopped || s.Received < 350 || s.Lost != 0 {
				t.Errorf("stream %d, which was ended after 45 s: state %v, received %d, lost %d", i, s.State, s.Received, s.Lost)
			}
			s = c.streams[2+i].Snapshot()
			if gap := s.Gaps[sessions.GapRestarted]; s.State != sessions.StateRunning || len(s.Gaps) != 1 || gap > 4*time.Second || s.Lost != 0 {
				t.Errorf("stream %d, which began anew: state %v, gaps %v, lost %d", 2+i, s.State, s.Gaps, s.Lost)
			}
		}
		for i := 4; i < 8; i++ {
			c.wantWhole(i)
		}
		c.end(h)
	})
}

// What a server refuses to one stream others have.
func TestCohortRefused(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(5*time.Millisecond, nil)
		c := w.gather(8, config(300, 100*time.Millisecond, time.Second), func(i int, cfg *sessions.StreamConfig) {
			if i < 2 {
				cfg.Padding = 65500 // more than a packet has room for
			}
		})
		c.watch(h, 2*time.Minute)
		for i := range 2 {
			if s := c.streams[i].Snapshot(); len(s.Gaps) != 1 || s.Gaps[sessions.GapRefused] != s.Elapsed {
				t.Errorf("stream %d: gaps %v of %v, want refused", i, s.Gaps, s.Elapsed)
			}
		}
		for i := 2; i < 8; i++ {
			c.wantWhole(i)
		}
		c.end(h)
	})
}

// With a connection its cohort is lost, and nothing else.
func TestCohortCut(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(5*time.Millisecond, nil)
		c := w.gather(100, config(300, 100*time.Millisecond, time.Second), func(_ int, cfg *sessions.StreamConfig) { cfg.Send = false })
		c.watch(h, 20*time.Second) // in their first sessions, in 3 cohorts or so
		before := h.Conns()
		h.CutOne(0)
		c.watch(h, 2*time.Minute)
		lost := 0
		for i, s := range c.streams {
			s := s.Snapshot()
			if s.State != sessions.StateRunning {
				t.Errorf("stream %d: state %v", i, s.State)
			}
			switch gap := s.Gaps[sessions.GapControlLost]; {
			case len(s.Gaps) == 0:
				c.wantWhole(i)
			case len(s.Gaps) > 1 || gap < 100*time.Millisecond || gap > 40*time.Second:
				t.Errorf("stream %d: gaps %v", i, s.Gaps)
			default:
				lost++
			}
		}
		if lost < 10 || lost > 64 {
			t.Errorf("%d streams have lost a connection, one of %d, want those of one cohort", lost, before)
		}
		c.end(h)
	})
}

// In an outage one connection is tried for all, and all are back at once.
func TestCohortOutage(t *testing.T) {
	for _, way := range []struct {
		name       string
		die        func(*host)
		reason     sessions.GapReason
		startsAway bool
	}{
		{name: "killed", die: (*host).kill, reason: sessions.GapControlLost},
		{name: "stopped", die: (*host).stop, reason: sessions.GapControlLost},
		{name: "away at first", reason: sessions.GapPeerUnreachable, startsAway: true},
	} {
		t.Run(way.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				const away = 5 * time.Minute
				streams := 500
				if testing.Short() {
					streams = 200
				}
				w := newWorld(t)
				cfg := config(60, 500*time.Millisecond, time.Second)
				var c *crowd
				if way.startsAway {
					c = w.gather(streams, cfg, nil)
				} else {
					h := w.serve(5*time.Millisecond, nil)
					c = w.gather(streams, cfg, nil)
					c.watch(h, 40*time.Second)
					way.die(h)
				}
				before := len(w.dials())
				time.Sleep(away)
				synctest.Wait()
				tries := w.dials()[before:]
				// 0.5 s, 1 s, … 32 s, 60 s, and those that were under way.
				if len(tries) > 20 {
					t.Errorf("%d connections were tried in 5 minutes", len(tries))
				}
				for i, s := range c.streams {
					if s := s.Snapshot(); s.Gaps[way.reason] < away-15*time.Second {
						t.Errorf("stream %d: gaps %v after %v", i, s.Gaps, away)
					}
				}
				h := w.serve(5*time.Millisecond, nil)
				for len(w.dials()) == before+len(tries) {
					time.Sleep(100 * time.Millisecond)
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				running := 0
				for _, s := range c.streams {
					if s.Snapshot().State == sessions.StateRunning {
						running++
					}
				}
				if running != streams {
					t.Errorf("%d of %d streams run 5 s after the server was found", running, streams)
				}
				gaps := make([]time.Duration, streams)
				for i, s := range c.streams {
					gaps[i] = s.Snapshot().Gaps[way.reason]
				}
				c.watch(h, time.Minute)
				for i, s := range c.streams {
					if got := s.Snapshot().Gaps[way.reason]; got != gaps[i] {
						t.Errorf("stream %d: a gap of %v grew to %v", i, gaps[i], got)
					}
				}
				c.end(h)
			})
		})
	}
}

// A server that answers nothing keeps nobody from ending, whatever is under way.
func TestCohortEndAtAnyTime(t *testing.T) {
	for at := 20 * time.Millisecond; at < 14*time.Second; at += 777 * time.Millisecond {
		for _, mute := range []bool{false, true} {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(20*time.Millisecond, func(c *server.Config) { c.EndDelay = 500 * time.Millisecond })
				c := w.gather(10, config(20, 100*time.Millisecond, time.Second), nil)
				time.Sleep(at)
				h.Mute(mute)
				c.end(h)
			})
		}
	}
}
