package sessions_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/probe"
	"owl/sessions"
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
	bubble.Test(t, func(t *testing.T) {
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
			bubble.Test(t, func(t *testing.T) {
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
		bubble.Test(t, func(t *testing.T) {
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
			bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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

// Whatever happens, each moment is measured or a gap, never both, and nothing
// that was told is taken back.
func TestAccounts(t *testing.T) {
	for _, send := range []bool{false, true} {
		for seed := range uint64(24) {
			t.Run(fmt.Sprint(send, seed), func(t *testing.T) {
				t.Parallel()
				bubble.Test(t, func(t *testing.T) { testAccounts(t, send, seed) })
			})
		}
	}
}

func testAccounts(t *testing.T, send bool, seed uint64) {
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
	cfg.Send = send
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
