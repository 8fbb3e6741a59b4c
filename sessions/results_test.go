package sessions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/sessions"
	"owl/sessions/result"
)

// A sink keeps the results of a stream.
type sink struct {
	mu   sync.Mutex
	all  []*result.Result
	put  func(context.Context) error // nil: takes everything
	puts int
}

func (s *sink) Put(ctx context.Context, r *result.Result) error {
	s.mu.Lock()
	s.puts++
	put := s.put
	s.mu.Unlock()
	if put != nil {
		if err := put(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, r)
	return nil
}

// results returns what the sink has, split by whether something was measured.
func (s *sink) results() (measured, failed []*result.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.all {
		if r.Succeeded {
			measured = append(measured, r)
		} else {
			failed = append(failed, r)
		}
	}
	return measured, failed
}

// withSink gives cfg a sink.
func withSink(cfg *sessions.StreamConfig) *sink {
	s := new(sink)
	cfg.Sink = s
	cfg.Task = result.TaskConfig{Tool: "powstream", ToolVersion: "1.0", Host: "here.example", Remote: "there.example"}
	return s
}

// wantOneEach says that no two results stand for the same second, that all are of
// one task, and that each can be written.
func (s *sink) wantOneEach(t *testing.T) {
	t.Helper()
	s.wantNoTimeTwice(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.all {
		if d := r.Start.Time().Sub(r.Time); d < -3*time.Second || d >= time.Second {
			t.Errorf("result of %v stands for %v", r.Start.Time(), r.Time)
		}
	}
}

// wantNoTimeTwice is wantOneEach for results that may stand for another time than
// they are of.
func (s *sink) wantNoTimeTwice(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	times, ids := make(map[int64]bool), make(map[string]bool)
	for _, r := range s.all {
		if at := r.Time.Unix(); times[at] {
			t.Errorf("two results stand for %v", r.Time)
		} else {
			times[at] = true
		}
		if ids[r.ID] {
			t.Errorf("two results are %s", r.ID)
		}
		ids[r.ID] = true
		if text, err := r.JSON("", true); err != nil || !json.Valid(text) {
			t.Errorf("%v in %s", err, text)
		}
		if r.Task.ID() != s.all[0].Task.ID() {
			t.Error("results of several tasks")
		}
	}
}

// wantFiles says that there is a result of each of the stream's files, with the
// counts of its records.
func (w *world) wantFiles(s *sink) {
	w.t.Helper()
	measured, _ := s.results()
	by := make(map[owamp.Timestamp]*result.Result)
	for _, r := range measured {
		by[r.Start] = r
	}
	spans := w.spans(".owp")
	if len(spans) != len(measured) {
		w.t.Errorf("%d results of %d sessions", len(measured), len(spans))
	}
	for _, of := range spans {
		r := by[of.start]
		if r == nil {
			w.t.Errorf("no result of session %v", of)
			continue
		}
		if r.End != of.end {
			w.t.Errorf("result of session %v ends at %v", of, r.End)
		}
		h, recs, _ := w.session(of)
		var received, lost, duplicates uint64
		for i := range recs {
			switch {
			case recs[i].Lost():
				lost++
			default:
				received++
			}
		}
		received -= r.Duplicates
		duplicates = r.Duplicates
		if r.Received != received || r.Lost != lost || r.Sent != received+lost || r.Packets != uint64(h.Spec.Packets) || fmt.Sprint(duplicates) != w.summary(of)["DUPS"] {
			w.t.Errorf("session %v: %d records, received %d and lost %d; result: received %d, lost %d, sent %d of %d", of, len(recs), received, lost, r.Received, r.Lost, r.Sent, r.Packets)
		}
		if r.SID != h.Spec.SID.String() {
			w.t.Errorf("session %v is %v, result says %s", of, h.Spec.SID, r.SID)
		}
	}
}

// wantHolesTold says that results tell of each hole between the stream's files
// once, with its length.
func (w *world) wantHolesTold(s *sink) {
	w.t.Helper()
	var holes, told time.Duration
	spans := w.spans(".owp")
	for i := range spans[1:] {
		holes += max(spans[i+1].start.Sub(spans[i].end), 0)
	}
	measured, failed := s.results()
	for _, r := range append(measured, failed...) {
		for _, g := range r.Gaps {
			told += g.Length()
			if g.Open != (g.Length() == 0) || g.Open && r.Succeeded && r.Sessions == 1 {
				w.t.Errorf("gap %+v of a result of %v", g, r.Time)
			}
		}
	}
	if (holes-told).Abs() > time.Microsecond || holes == 0 {
		w.t.Errorf("results tell of gaps of %v, files have holes of %v", told, holes)
	}
}

// Each session makes a result, whichever way the packets go.
func TestResults(t *testing.T) {
	for name, make := range map[string]func(uint32, time.Duration, time.Duration) sessions.StreamConfig{"from the peer": config, "to the peer": toPeer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(10*time.Millisecond, nil)
				cfg := make(100, 100*time.Millisecond, 2*time.Second)
				s := withSink(&cfg)
				w.start(cfg)
				time.Sleep(2 * time.Minute)
				w.finish(h)
				measured, failed := s.results()
				if len(measured) < 9 || len(failed) != 0 {
					t.Errorf("%d results, %d failed", len(measured), len(failed))
				}
				w.wantFiles(s)
				s.wantOneEach(t)
				for _, r := range measured[:9] {
					if c, ok := r.Completeness(); c != 1 || !ok || len(r.Gaps) != 0 || r.Received != 100 || r.Part != -1 || r.LostBy["network"] != 0 || len(r.LostBy) != 4 {
						t.Errorf("result %+v", r)
					}
				}
				if log := w.logged(); log != "" {
					t.Errorf("logged: %s", log)
				}
			})
		})
	}
}

// A stream without files makes the same results.
func TestResultsWithoutFiles(t *testing.T) {
	for name, each := range map[string]sessions.Each{"sessions": sessions.EachSession, "parts": sessions.EachPart} {
		for _, send := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/send=%v", name, send), func(t *testing.T) {
				t.Parallel()
				bubble.Test(t, func(t *testing.T) {
					w := newWorld(t)
					h := w.serve(10*time.Millisecond, nil)
					cfg := config(100, 100*time.Millisecond, time.Second)
					cfg.Send, cfg.EndDelay, cfg.Part, cfg.Each = send, time.Second, 25, each
					s := withSink(&cfg)
					w.startWithoutFiles(cfg)
					time.Sleep(time.Minute)
					w.finish(h)
					measured, failed := s.results()
					want := map[sessions.Each]int{sessions.EachSession: 4, sessions.EachPart: 16}[each]
					if len(measured) < want || len(failed) != 0 {
						t.Errorf("%d results, %d failed, want %d or more", len(measured), len(failed), want)
					}
					s.wantOneEach(t)
					for i, r := range measured[:want] {
						part, packets := -1, uint64(100)
						if each == sessions.EachPart {
							part, packets = i%4, 25
						}
						if r.Part != part || r.Packets != packets || r.Received != packets {
							t.Errorf("result %d: part %d, received %d of %d, want part %d and %d", i, r.Part, r.Received, r.Packets, part, packets)
						}
						if i > 0 && r.Start != measured[i-1].End {
							t.Errorf("result %d begins %v after the end of the one before", i, r.Start.Sub(measured[i-1].End))
						}
					}
				})
			})
		}
	}
}

// startWithoutFiles is start for a stream without a directory.
func (w *world) startWithoutFiles(cfg sessions.StreamConfig) {
	cfg.Scratch = w.dir
	w.startWith(cfg)
}

// Parts that are shorter than a second make a result a second, of which nothing
// is counted twice or missing.
func TestShortPartsAreMerged(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(10*time.Millisecond, nil)
		cfg := config(300, 10*time.Millisecond, time.Second)
		cfg.Slots[0].Type = owamp.SlotFixed
		cfg.Part, cfg.Each, cfg.Raw = 30, sessions.EachPart, true
		s := withSink(&cfg)
		w.start(cfg)
		time.Sleep(40 * time.Second)
		w.finish(h)
		s.wantOneEach(t)
		measured, _ := s.results()
		whole := 0
		var at owamp.Timestamp
		for i, r := range measured {
			if i > 0 && r.Start != at {
				t.Errorf("result %d begins %v after the end of the one before", i, r.Start.Sub(at))
			}
			at = r.End
			if r.Sessions > 2 && r.Received == 30*uint64(r.Sessions) && r.Packets == r.Received {
				whole++
			}
		}
		if whole < 25 {
			t.Errorf("%d whole results, want 25 or more", whole)
		}
	})
}

// What is cut is told as far as it was measured, and the outage with results of
// its own: one when it begins, and one for each length of a session.
func TestResultsOfOutage(t *testing.T) {
	for _, each := range []sessions.Each{sessions.EachSession, sessions.EachPart} {
		for _, send := range []bool{false, true} {
			t.Run(fmt.Sprintf("each=%d/send=%v", each, send), func(t *testing.T) {
				t.Parallel()
				bubble.Test(t, func(t *testing.T) {
					w := newWorld(t)
					h := w.serve(time.Millisecond, nil)
					cfg := config(200, 100*time.Millisecond, 2*time.Second)
					cfg.Send, cfg.EndDelay, cfg.Part, cfg.Each = send, time.Second, 50, each
					s := withSink(&cfg)
					w.start(cfg)
					time.Sleep(70 * time.Second)
					died := time.Now()
					h.kill()
					time.Sleep(90 * time.Second)
					h = w.serve(time.Millisecond, nil)
					time.Sleep(3 * time.Minute)
					synctest.Wait()
					w.finish(h)
					s.wantOneEach(t)
					if each == sessions.EachSession {
						w.wantFiles(s)
					}

					measured, failed := s.results()
					w.wantHolesTold(s)
					for i, r := range measured {
						c, ok := r.Completeness()
						if cut := r.Scheduled > r.Measured; !ok || cut == (c == 1) {
							t.Errorf("result %d: measured %v of %v, completeness %v", i, r.Measured, r.Scheduled, c)
						}
					}
					if len(failed) < 4 || len(failed) > 9 {
						t.Errorf("%d results of the outage, want 4 to 9", len(failed))
					}
					for i, r := range failed {
						if r.Gaps[0].Reason != "control_lost" || !strings.HasPrefix(r.Error, "no data since ") {
							t.Errorf("failure %d: %+v, %s", i, r.Gaps, r.Error)
						}
						if r.Start.Time().Before(died.Add(-21*time.Second)) || r.Made.Before(r.Time) {
							t.Errorf("failure %d of %v, made at %v; the peer died at %v", i, r.Time, r.Made, died)
						}
						if i > 0 && r.Gaps[0].Open && failed[i-1].Gaps[0].Open && r.Start.Sub(failed[i-1].Start) < 19*time.Second {
							t.Errorf("failure %d is %v after the one before", i, r.Start.Sub(failed[i-1].Start))
						}
					}
				})
			})
		}
	}
}

// A peer that is away from the start makes results that say so.
func TestResultsWithoutPeer(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := config(100, 100*time.Millisecond, time.Second)
		s := withSink(&cfg)
		w.start(cfg)
		began := time.Now()
		time.Sleep(65 * time.Second)
		synctest.Wait()
		w.end()
		s.wantOneEach(t)
		measured, failed := s.results()
		if len(measured) != 0 || len(failed) != 7 {
			t.Fatalf("%d results, %d failed, want 7 failed", len(measured), len(failed))
		}
		for i, r := range failed {
			if d := r.Start.Time().Sub(began.Add(time.Duration(i) * 10 * time.Second)); d.Abs() > time.Microsecond {
				t.Errorf("failure %d is of %v, %v off", i, r.Start.Time(), d)
			}
			if r.Gaps[0].Reason != "peer_unreachable" || !strings.Contains(r.Error, "no route to host") {
				t.Errorf("failure %d: %s", i, r.Error)
			}
		}
	})
}

// A sink that fails or hangs is told of once, and keeps nobody from measuring.
func TestSinkFails(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Millisecond, nil)
		cfg := config(50, 100*time.Millisecond, time.Second)
		s := withSink(&cfg)
		s.put = func(context.Context) error { return errors.New("no space left on device") }
		w.start(cfg)
		time.Sleep(time.Minute)
		s.mu.Lock()
		s.put = nil
		s.mu.Unlock()
		time.Sleep(30 * time.Second)
		s.mu.Lock()
		s.put = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		s.mu.Unlock()
		time.Sleep(time.Minute)
		begin := time.Now()
		w.cancel()
		<-w.ended
		if took := time.Since(begin); took > 6*time.Second {
			t.Errorf("the stream waited %v for its sink", took)
		}
		h.stop()
		if n := strings.Count(w.logged(), "a result is not archived: no space left on device"); n != 1 {
			t.Errorf("told %d times: %s", n, w.logged())
		}
		if !strings.Contains(w.logged(), "results are archived again; ") {
			t.Errorf("not told that it works: %s", w.logged())
		}
		wantChain(t, w.spans(".owp"))
		w.wantAccounted()
	})
}

// The results of a restarted, and of a stepped, stream have times of their own.
func TestResultsOfRestarts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Millisecond, nil)
		cfg := config(20, 50*time.Millisecond, time.Second)
		s := withSink(&cfg)
		w.start(cfg)
		for i := range 10 {
			time.Sleep(17*time.Second + time.Duration(i)*123*time.Millisecond)
			w.stream.Restart()
		}
		time.Sleep(20 * time.Second)
		w.finish(h)
		s.wantOneEach(t)
		w.wantHolesTold(s)
	})
}

// What the peer does not give of sessions that were sent is told of, too.
func TestResultsOfUnfetched(t *testing.T) {
	for _, test := range []struct {
		name   string
		harm   func(net.Conn, []byte) error
		run    time.Duration
		reason string
	}{
		{"never given", noSession, 5 * time.Minute, "refused"},
		{"the stream ends", cutFetch, 25 * time.Second, "restarted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(time.Millisecond, nil)
				fault := &fetchFault{left: -1, harm: test.harm}
				cfg := toPeer(100, 100*time.Millisecond, time.Second)
				cfg.Dial = w.wires(fault.meddle)
				s := withSink(&cfg)
				w.start(cfg)
				time.Sleep(test.run)
				w.finish(h)
				s.wantOneEach(t)
				measured, failed := s.results()
				if len(measured) != 0 || len(failed) < 2 {
					t.Errorf("%d results, %d failed, want 0 and 2 or more", len(measured), len(failed))
				}
				var gaps time.Duration
				for i, r := range failed {
					g := r.Gaps[0]
					gaps += g.Length()
					if i == 0 && g.Reason != test.reason || g.Open || r.Time != r.Start.Time().Truncate(time.Second) {
						t.Errorf("failure %d stands for %v: %+v", i, r.Time, r)
					}
					if i > 0 && r.Start.Before(failed[i-1].End) {
						t.Errorf("failure %d begins at %v, before the end of the one before", i, r.Start.Time())
					}
				}
				var want time.Duration
				for _, g := range w.stream.Snapshot().Gaps {
					want += g
				}
				if rest := want - gaps; rest < -time.Microsecond || rest > time.Second { // what was under way
					t.Errorf("results tell of gaps of %v, the stream of %v", gaps, want)
				}
			})
		})
	}
}

// When the clock is set far, back or forth, no two results stand for one time.
func TestResultsOfSteps(t *testing.T) {
	for _, step := range []time.Duration{-20 * time.Second, -3 * time.Second, 30 * time.Second} {
		t.Run(step.String(), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(time.Millisecond, nil)
				cfg := config(20, 50*time.Millisecond, 2*time.Second)
				s := withSink(&cfg)
				w.start(cfg)
				time.Sleep(40 * time.Second)
				w.clock.Set(step)
				time.Sleep(40 * time.Second)
				w.finish(h)
				s.wantNoTimeTwice(t)
				measured, failed := s.results()
				if len(measured) < 30 {
					t.Errorf("%d results, %d failed", len(measured), len(failed))
				}
				reasons := map[string]bool{}
				for _, r := range append(measured, failed...) {
					for _, g := range r.Gaps {
						reasons[g.Reason] = true
					}
				}
				if !reasons["clock_invalid"] {
					t.Errorf("gaps because of %v, want clock_invalid", reasons)
				}
			})
		})
	}
}

// The histogram of a result is that of the session's summary, bin by bin.
func TestResultHasBinsOfSummary(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(13*time.Millisecond, nil)
		cfg := config(100, 100*time.Millisecond, 2*time.Second)
		s := withSink(&cfg)
		w.start(cfg)
		time.Sleep(time.Minute)
		w.finish(h)
		measured, _ := s.results()
		compared := 0
		for i, of := range w.spans(".sum") {
			text, err := os.ReadFile(filepath.Join(w.dir, sessions.FileName(of.start, of.end, ".sum")))
			if err != nil {
				t.Fatal(err)
			}
			_, list, _ := strings.Cut(string(text), "<BUCKETS>\n")
			list, _, _ = strings.Cut(list, "</BUCKETS>")
			want := make(map[string]uint64)
			for line := range strings.Lines(list) {
				var bin, n int64
				if _, err := fmt.Sscan(line, &bin, &n); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				want[strconv.FormatFloat(float64(bin)/10, 'f', -1, 64)] = uint64(n) // 0.0001 s, in ms
				compared++
			}
			body, err := measured[i].JSON("", false)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Result struct {
					Histogram map[string]uint64 `json:"histogram-latency"`
				}
			}
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got.Result.Histogram); d != "" {
				t.Errorf("session %d (-.sum +result)\n%s", i, d)
			}
		}
		if compared < 5 {
			t.Errorf("%d bins were compared", compared)
		}
	})
}
