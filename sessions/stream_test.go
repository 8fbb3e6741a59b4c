package sessions_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/sessions"
)

// Sessions have no holes between them, whatever their length, the time-out and
// the round trip.
func TestChain(t *testing.T) {
	for _, length := range []time.Duration{time.Second, 3 * time.Second, 30 * time.Second, 300 * time.Second} {
		for _, timeout := range []time.Duration{500 * time.Millisecond, 2 * time.Second, 10 * time.Second, 45 * time.Second, 60 * time.Second} {
			for _, rtt := range []time.Duration{0, 100 * time.Millisecond, min(length/3, 4*time.Second)} {
				t.Run(fmt.Sprintf("%v/%v/%v", length, timeout, rtt), func(t *testing.T) {
					t.Parallel()
					bubble.Test(t, func(t *testing.T) { testChain(t, length, timeout, rtt) })
				})
			}
		}
	}
}

func testChain(t *testing.T, length, timeout, rtt time.Duration) {
	const packets = 60
	// Fixed waiting times: here it is certain that no session is short.
	cfg := config(packets, length/packets, timeout)
	cfg.Slots[0].Type = 1
	w := newWorld(t)
	h := w.serve(rtt/2, nil)
	w.start(cfg)
	time.Sleep(21*length + timeout + 10*rtt + 10*time.Second)
	synctest.Wait()
	running := w.stream.Snapshot()
	w.finish(h)

	spans := w.spans(".owp")
	wantChain(t, spans)
	if len(spans) < 20 {
		t.Fatalf("%d sessions, want 20 or more", len(spans))
	}
	if log := w.logged(); log != "" {
		t.Errorf("logged: %s", log)
	}
	if running.State != sessions.StateRunning {
		t.Errorf("state %v, want running", running.State)
	}
	for _, s := range spans[:20] {
		if d := s.length() - length; d.Abs() > time.Microsecond {
			t.Errorf("session of %v, want %v", s.length(), length)
		}
		h, recs, skips := w.session(s)
		if h.Finished != 1 || h.NextSeq != packets || len(recs) != packets || len(skips) != 0 {
			t.Errorf("session %v: finished %v before %d, with %d records, %v skipped", s, h.Finished, h.NextSeq, len(recs), skips)
		}
		sum := w.summary(s)
		if sum["SENT"] != fmt.Sprint(packets) || sum["LOST"] != "0" || sum["DUPS"] != "0" {
			t.Errorf("session %v: sent %s, lost %s, duplicates %s", s, sum["SENT"], sum["LOST"], sum["DUPS"])
		}
	}
	w.wantAccounted()
}

// A session is asked for ten seconds before its start as soon as the first ones
// are under way.
func TestLead(t *testing.T) {
	for _, length := range []time.Duration{2 * time.Second, 30 * time.Second} {
		bubble.Test(t, func(t *testing.T) {
			cfg := config(100, length/100, 2*time.Second)
			w := newWorld(t)
			h := w.serve(20*time.Millisecond, nil)
			w.start(cfg)
			time.Sleep(20 * length)
			w.finish(h)
			spans := w.spans(".owp")
			dials := w.dials()
			for i, s := range spans {
				if dials[i].Sub(w.began()) < 15*time.Second {
					continue
				}
				if lead := s.start.Time().Sub(dials[i]); lead < 10*time.Second-time.Microsecond || lead > 11*time.Second {
					t.Errorf("session %d of %v was asked for %v ahead, want 10s", i, length, lead)
				}
			}
		})
	}
}

// Parts are written before the session that they are of, each when it is over.
func TestParts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		cfg := config(100, 100*time.Millisecond, 2*time.Second)
		cfg.Part = 25
		w := newWorld(t)
		h := w.serve(time.Millisecond, nil)
		w.start(cfg)
		time.Sleep(45 * time.Second)
		w.finish(h)

		full := w.spans(".owp")
		if len(full) < 4 {
			t.Fatalf("%d sessions, want 4 or 5", len(full))
		}
		wantChain(t, full)
		for _, s := range full[:3] {
			var order []string
			var parts []span
			for _, name := range w.written {
				of := w.span(name)
				switch {
				case of.start.Before(s.start) || of.end.After(s.end):
				case strings.HasSuffix(name, ".owp"):
					order = append(order, "owp")
				case of == s:
					order = append(order, "sum")
				default:
					order = append(order, "part")
					parts = append(parts, of)
				}
			}
			if want := []string{"part", "part", "part", "part", "owp", "sum"}; !slices.Equal(order, want) {
				t.Fatalf("files of %v are written in the order %v, want %v", s, order, want)
			}
			if parts[0].start != s.start || parts[3].end != s.end {
				t.Errorf("parts from %v to %v of %v", parts[0].start, parts[3].end, s)
			}
			wantChain(t, parts)
			for _, p := range parts {
				if sum := w.summary(p); sum["SENT"] != "25" || sum["SAMPLE_PACKET_COUNT"] != "25" || sum["LOST"] != "0" {
					t.Errorf("part %v: %v", p, sum)
				}
			}
		}
	})
}

// A stream of sessions that are too short has holes, which it tells of, and
// does not exhaust itself.
func TestTooShort(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		cfg := config(10, 10*time.Millisecond, 20*time.Second)
		w := newWorld(t)
		h := w.serve(time.Millisecond, nil)
		w.start(cfg)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		most := h.Conns()
		w.finish(h)
		if most > 64 {
			t.Errorf("%d sessions at a time, want at most 64", most)
		}
		if n := len(w.dials()); n > 1000 {
			t.Errorf("dialled %d times in 2 minutes", n)
		}
		if n := strings.Count(w.logged(), "Holes in data are likely"); n != 1 {
			t.Errorf("%d warnings, want 1: %s", n, w.logged())
		}
		got := w.stream.Snapshot()
		if got.Gaps[sessions.GapLocalOverload] < time.Minute {
			t.Errorf("gaps %v, want more than a minute of local_overload", got.Gaps)
		}
		w.wantAccounted()
	})
}

// The wait for the path to be long is told of once, too.
func TestShortForPath(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Second, nil)
		w.start(config(100, 20*time.Millisecond, 2*time.Second))
		time.Sleep(time.Minute)
		w.finish(h)
		if n := strings.Count(w.logged(), "Holes in data are likely"); n != 1 {
			t.Errorf("%d warnings, want 1: %s", n, w.logged())
		}
	})
}
