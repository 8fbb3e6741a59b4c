package sessions_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/probe"
	"owl/sessions"
	"owl/sessions/server"
)

// toPeer is a stream like config's in which this host sends.
func toPeer(n uint32, mean, timeout time.Duration) sessions.StreamConfig {
	cfg := config(n, mean, timeout)
	cfg.Send = true
	cfg.EndDelay = time.Second
	return cfg
}

// names returns the names of the files that the stream has told of, in order.
func (w *world) names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.written)
}

// wantOrder says that sessions were told of one after the other, each with its
// parts first.
func (w *world) wantOrder(parts int) {
	w.t.Helper()
	var at, begun owamp.Timestamp // where what was told of ends; where the session of the parts begins
	summaries, whole := 0, ""
	for i, name := range w.names() {
		s := w.span(name)
		switch {
		case whole != "":
			if name != strings.TrimSuffix(whole, "owp")+"sum" {
				w.t.Errorf("name %d: %s after %s, want its summary", i, name, whole)
			}
			whole = ""
		case strings.HasSuffix(name, ".owp"):
			if summaries > 0 && s.start != begun || summaries == 0 && i > 0 && s.start.Before(at) {
				w.t.Errorf("name %d: %s, want the session whose parts were told of, or a later one", i, name)
			}
			if summaries > parts {
				w.t.Errorf("name %d: %s after %d parts, want at most %d", i, name, summaries, parts)
			}
			at, whole, summaries = s.end, name, 0
		default:
			if summaries == 0 {
				begun = s.start
			} else if s.start != at {
				w.t.Errorf("name %d: %s, want a part that begins where the one before ends", i, name)
			}
			at = s.end
			summaries++
		}
	}
}

// A stream to the peer is as one from it: without a hole, each packet accounted
// for, the files those of the peer, and told of in order.
func TestSend(t *testing.T) {
	for _, test := range []struct {
		name          string
		n             uint32
		mean, timeout time.Duration
		part          uint32
		rtt           time.Duration
	}{
		{"whole", 300, 100 * time.Millisecond, 2 * time.Second, 0, 20 * time.Millisecond},
		{"parts", 300, 100 * time.Millisecond, 2 * time.Second, 50, 20 * time.Millisecond},
		{"short", 100, 10 * time.Millisecond, 2 * time.Second, 20, 200 * time.Millisecond},
		{"long time-out", 20, 100 * time.Millisecond, 25 * time.Second, 0, 100 * time.Millisecond},
		{"slow", 4, 4 * time.Second, time.Second, 1, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(test.rtt/2, nil)
				cfg := toPeer(test.n, test.mean, test.timeout)
				cfg.Part = test.part
				var mu sync.Mutex
				var seen uint64
				cfg.Seen = func(recs []owamp.Record) {
					mu.Lock()
					defer mu.Unlock()
					for i := range recs {
						if !recs[i].Lost() {
							seen++
						}
					}
				}
				w.start(cfg)
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				s := w.stream.Snapshot()
				w.finish(h)

				all := w.spans(".owp")
				wantChain(t, all)
				if want := int((2*time.Minute - 2*test.timeout) / (time.Duration(test.n) * test.mean)); len(all) < want {
					t.Errorf("%d sessions in 3 minutes, want %d or more", len(all), want)
				}
				if len(s.Gaps) != 0 || s.Lost != 0 || s.NotSent != 0 || s.NotCovered != 0 || s.State != sessions.StateRunning {
					t.Errorf("%+v, want nothing but packets received", s)
				}
				if s.Received == 0 || s.Received%uint64(test.n) != 0 || s.Unresolved == 0 || s.Overdue != 0 || s.TTL != 250 {
					t.Errorf("received %d, unresolved %d, overdue %d, TTL %d", s.Received, s.Unresolved, s.Overdue, s.TTL)
				}
				whole := 0
				for i, of := range all {
					head, recs, skips := w.session(of)
					if head.Finished != owp.Normal || !head.Spec.ConfReceiver || head.Spec.Sender.Addr() != here || len(skips) != 0 {
						t.Errorf("session %d: %+v, skips %v", i, head, skips)
					}
					if head.NextSeq == test.n && len(recs) == int(test.n) {
						whole++
					} else if i < len(all)-1-int(test.timeout/time.Duration(test.n)/test.mean) {
						t.Errorf("session %d: %d records, next sequence number %d", i, len(recs), head.NextSeq)
					}
					if got := w.summary(of)["FROM_ADDR"]; got != here.String() {
						t.Errorf("session %d is from %s, want %v", i, got, here)
					}
				}
				mu.Lock()
				defer mu.Unlock()
				if after := w.stream.Snapshot(); seen != after.Received || after.Unresolved != 0 {
					t.Errorf("told of %d packets, received %d, unresolved %d", seen, after.Received, after.Unresolved)
				}
				parts := 0
				if test.part != 0 {
					parts = int(test.n / test.part)
					if sums := len(w.spans(".sum")); sums < whole*(parts+1) {
						t.Errorf("%d summaries of %d sessions of %d parts", sums, whole, parts)
					}
				}
				w.wantOrder(parts)
				w.wantAccounted()
				// With round trips like these there is no time for a last fetch.
				if log := w.logged(); log != "" && (test.rtt < 100*time.Millisecond || strings.Count(log, "\n") > 1) {
					t.Errorf("logged: %s", log)
				}
			})
		})
	}
}

// The summaries of parts come while the session runs, and say of each part what
// the whole says.
func TestSendParts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.net.Fate = new(dailyFate).of
		h := w.serve(5*time.Millisecond, nil)
		cfg := toPeer(300, 100*time.Millisecond, 2*time.Second)
		cfg.Slots[0].Type = owamp.SlotFixed
		cfg.Part = 60
		w.start(cfg)
		// The second part ends 12 s after the start at 1 s; its last time-out is
		// over at 15 s, and it is asked for 3 s later.
		time.Sleep(1020*time.Millisecond + 12*time.Second + 2*time.Second + 2900*time.Millisecond)
		if n := len(w.names()); n != 1 {
			t.Errorf("%d parts, want one", n)
		}
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if n := len(w.names()); n != 2 {
			t.Errorf("%d parts, want two", n)
		}
		s := w.stream.Snapshot()
		if s.Received != 0 || s.LastPacket.IsZero() || s.Unresolved < 160 {
			t.Errorf("received %d, unresolved %d, last packet %v: want none settled, and the last seen", s.Received, s.Unresolved, s.LastPacket)
		}
		time.Sleep(time.Minute)
		w.finish(h)
		all := w.spans(".owp")
		lost := 0
		for _, of := range w.spans(".sum") {
			if of.start.Before(all[0].end) && of.length() < all[0].length() {
				sum := w.summary(of)
				if sum["SAMPLE_PACKET_COUNT"] != "60" || sum["SESSION_FINISHED"] != "0" {
					t.Errorf("part %v: %v", of, sum)
				}
				lost += atoi(t, sum["LOST"])
			}
		}
		if want := atoi(t, w.summary(all[0])["LOST"]); lost != want || lost != 2 {
			t.Errorf("parts have lost %d, the whole %d, want 2", lost, want)
		}
	})
}

func atoi(t *testing.T, s string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return n
}

// A peer that takes its time over each request does not make a hole, as long as
// the request for the next session is answered before that begins.
func TestSlowGrant(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(10*time.Millisecond, func(c *server.Config) { c.Random = slowRandom{c.Random} })
		w.start(toPeer(200, 100*time.Millisecond, 3*time.Second))
		time.Sleep(5 * time.Minute)
		s := w.stream.Snapshot()
		w.finish(h)
		all := w.spans(".owp")
		wantChain(t, all)
		if len(all) < 14 || len(s.Gaps) != 0 || s.Lost != 0 || s.NotCovered != 0 {
			t.Errorf("%d sessions, %+v", len(all), s)
		}
		// The first one was to begin before it was granted: what was overdue by
		// more than a time-out then was not sent, which is not lost.
		_, recs, skips := w.session(all[0])
		if len(skips) != 1 || skips[0].First != 0 || len(recs) != 200 || s.NotSent != uint64(skips[0].Last)+1 {
			t.Errorf("%d records, skips %v, not sent %d", len(recs), skips, s.NotSent)
		}
	})
}

// A slowRandom takes its time over the random number in a session ID.
type slowRandom struct{ io.Reader }

func (r slowRandom) Read(b []byte) (int, error) {
	if len(b) == 4 {
		time.Sleep(6 * time.Second)
	}
	return r.Reader.Read(b)
}

// A server with a single test port takes sessions that overlap, from several
// ports of this host.
func TestSendSinglePort(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Millisecond, func(c *server.Config) { c.Ports = probe.PortRange{Low: 8760, High: 8760} })
		w.start(toPeer(100, 100*time.Millisecond, time.Second))
		time.Sleep(2 * time.Minute)
		gaps := w.stream.Snapshot().Gaps
		w.finish(h)
		wantChain(t, w.spans(".owp"))
		if len(gaps) != 0 {
			t.Errorf("gaps %v", gaps)
		}
	})
}

// wires is a Dial whose connections the test may meddle with.
func (w *world) wires(meddle func(n int, conn net.Conn) net.Conn) func(context.Context) (sessions.Path, error) {
	var mu sync.Mutex
	n := -1
	return func(ctx context.Context) (sessions.Path, error) {
		p, err := w.dial(ctx)
		if err != nil {
			return p, err
		}
		mu.Lock()
		defer mu.Unlock()
		n++
		p.Conn = meddle(n, p.Conn)
		return p, nil
	}
}

// A host that has skipped more packets than it can note ends the session. What the
// peer has recorded by then is fetched, and whose fault the rest is is said.
func TestGivingUp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const n, sent = 300, 150
		w.net.GiveUp = func(_ netip.AddrPort, seq uint32) bool { return seq == sent }
		h := w.serve(10*time.Millisecond, nil)
		w.start(toPeer(n, 100*time.Millisecond, 2*time.Second))
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		s := w.stream.Snapshot()
		w.finish(h)
		all := w.spans(".owp")
		if len(all) < 3 {
			t.Fatalf("%d sessions in 3 minutes", len(all))
		}
		for _, of := range all[:len(all)-1] { // the last one was cut short
			if head, recs, _ := w.session(of); head.NextSeq != sent || len(recs) != sent {
				t.Errorf("%d records, next sequence number %d, want %d of each", len(recs), head.NextSeq, sent)
			}
		}
		if len(s.Gaps) != 1 || s.Gaps[sessions.GapLocalOverload] == 0 || s.Received < 3*sent || s.Lost != 0 {
			t.Errorf("received %d, lost %d, gaps %v; want gaps for %v alone", s.Received, s.Lost, s.Gaps, sessions.GapLocalOverload)
		}
	})
}
