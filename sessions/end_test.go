package sessions_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"owl/internal/bubble"
	"owl/sessions"
)

// At any time, and however the peer behaves then, a stream ends at once with
// what it has.
func TestEndAtAnyTime(t *testing.T) {
	for _, way := range []struct{ send, mute bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		for at := time.Duration(0); at < 25*time.Second; at += 333 * time.Millisecond {
			t.Run(fmt.Sprintf("%+v %v", way, at), func(t *testing.T) {
				t.Parallel()
				bubble.Test(t, func(t *testing.T) {
					w := newWorld(t)
					h := w.serve(20*time.Millisecond, nil)
					cfg := config(50, 100*time.Millisecond, time.Second)
					cfg.Part = 10
					cfg.EndDelay = 500 * time.Millisecond
					cfg.Send = way.send
					w.start(cfg)
					time.Sleep(at)
					h.Mute(way.mute)
					w.finish(h)
					spans := w.spans(".owp")
					if at > 10*time.Second && len(spans) == 0 {
						t.Error("nothing was kept")
					}
					if len(spans) > 0 {
						wantChain(t, spans)
					}
					if sums := w.spans(".sum"); len(sums) < len(spans) {
						t.Errorf("%d summaries of %d sessions", len(sums), len(spans))
					}
					w.wantAccounted()
					wantUnfetched(t, w.logged(), way.send && way.mute && at > 1500*time.Millisecond)
				})
			})
		}
	}
}

// wantUnfetched says that the log tells, or does not tell, in one line of what
// was not fetched in the end.
func wantUnfetched(t *testing.T, log string, want bool) {
	t.Helper()
	n := 0
	for line := range strings.Lines(log) {
		switch {
		case strings.Contains(line, "ended before what the peer has recorded of "):
			n++
		case !strings.Contains(line, "file exists"): // a session that ends with its first part
			t.Errorf("logged %s", line)
		}
	}
	if n > 1 || want != (n == 1) {
		t.Errorf("logged %q; want that not all was fetched: %v", log, want)
	}
}

// A restart keeps what was measured and goes on at once.
func TestRestart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
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
	steps := []time.Duration{time.Hour, -time.Hour, 12 * time.Second, -12 * time.Second, 80 * 365 * 24 * time.Hour / 2, -8 * time.Second}
	for i := range 2 * len(steps) {
		step, send := steps[i/2], i%2 == 1
		t.Run(fmt.Sprint(step, " send ", send), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(time.Millisecond, nil)
				cfg := config(300, 100*time.Millisecond, 2*time.Second)
				cfg.Send = send
				w.start(cfg)
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
				most := 15 * time.Second
				if send && step < 0 {
					most += 20 * time.Second // by its new clock the peer has received the session after its end
				}
				if got := s.Gaps[sessions.GapClockInvalid]; got < time.Second || got > most || len(s.Gaps) > 1 {
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
	for _, send := range []bool{false, true} {
		t.Run(fmt.Sprint("send ", send), func(t *testing.T) { testEra(t, send) })
	}
}

func testEra(t *testing.T, send bool) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		end := time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC)
		w.clock.Set(time.Until(end) - 44*time.Second)
		w.net.Clocks[there].Set(time.Until(end) - 44*time.Second)
		h := w.serve(time.Millisecond, nil)
		cfg := config(100, 100*time.Millisecond, 2*time.Second)
		cfg.Send = send
		w.start(cfg)
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
