package sessions_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/sessions"
)

// In each session of a day one packet is lost, one comes twice, one is
// overtaken and one comes too late.
type dailyFate struct {
	mu       sync.Mutex
	sessions uint64 // begun
	seq      uint32 // the last
}

// The packets of a session to which something happens are in these stretches of
// it, each beginning with the number and so long that none reaches the next.
const (
	fateLost      uint32 = 0
	fateTwice     uint32 = 40
	fateOvertaken uint32 = 80
	fateLate      uint32 = 120
	fateCalm      uint32 = 170 // from here on nothing happens
)

func (f *dailyFate) of(_, _ netip.AddrPort, seq uint32) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq == 0 {
		f.sessions++
	}
	f.seq = seq
	const usual = 20 * time.Millisecond
	switch seq {
	case fateLost + f.draw(fateLost):
		return nil
	case fateTwice + f.draw(fateTwice):
		return []time.Duration{usual, 2 * usual}
	case fateOvertaken + f.draw(fateOvertaken):
		return []time.Duration{250 * time.Millisecond}
	case fateLate + f.draw(fateLate):
		return []time.Duration{2500 * time.Millisecond}
	}
	return []time.Duration{usual}
}

func (f *dailyFate) draw(of uint32) uint32 {
	return uint32(random("fate", f.sessions, uint64(of)) % 20)
}

// calm reports whether the packets of the session that is being sent to which
// something happens have all come, and returns how many sessions have begun.
func (f *dailyFate) calm() (uint64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sessions, f.seq > fateCalm && f.seq < 290
}

// A day of sessions leaves no hole, counts what has happened, and takes no more
// memory at its end than at its begin, in either direction.
func TestDay(t *testing.T) {
	for _, send := range []bool{false, true} {
		t.Run(fmt.Sprintf("send %v", send), func(t *testing.T) { testDay(t, send) })
	}
}

func testDay(t *testing.T, send bool) {
	bubble.Test(t, func(t *testing.T) {
		const packets = 300
		w := newWorld(t)
		fate := new(dailyFate)
		w.net.Fate = fate.of
		h := w.serve(5*time.Millisecond, nil)
		cfg := config(packets, 100*time.Millisecond, 2*time.Second)
		cfg.Slots[0].Type = owamp.SlotFixed // so that who overtakes whom is certain
		cfg.Part = 60
		cfg.Send = send
		w.start(cfg)

		hours := time.Duration(24)
		if send && testing.Short() {
			hours = 6
		}
		time.Sleep(time.Hour)
		heap, goroutines := w.weight()
		time.Sleep((hours - 1) * time.Hour)
		heapAfter, goroutinesAfter := w.weight()
		// What the test itself notes is the names of five files a session.
		if grown := int64(heapAfter) - int64(heap); grown > 3<<20 {
			t.Errorf("the heap has grown by %d octets in 23 hours", grown)
		}
		if goroutinesAfter > goroutines+8 {
			t.Errorf("%d goroutines after an hour, %d after a day", goroutines, goroutinesAfter)
		}

		begun, calm := fate.calm()
		for ; !calm; begun, calm = fate.calm() {
			time.Sleep(time.Second)
		}
		synctest.Wait()
		s := w.stream.Snapshot()
		n := (s.Received + s.Lost + s.NotSent + s.NotCovered) / packets
		seen, late := begun, begun
		if send {
			seen, late = n, 0 // what is fetched is of sessions that are settled, and tells of no packet that was late
		}
		if s.Duplicates != seen || s.Reordered != seen || s.Late != late {
			t.Errorf("%d duplicates, %d reordered, %d late, want %d, %d, %d", s.Duplicates, s.Reordered, s.Late, seen, seen, late)
		}
		if n != begun-1 {
			t.Errorf("%d of %d sessions are settled", n, begun)
		}
		if s.Received != n*(packets-2) || s.Lost != n*2 || s.NotSent != 0 || s.NotCovered != 0 {
			t.Errorf("received %d, lost %d, not sent %d, not covered %d of %d sessions", s.Received, s.Lost, s.NotSent, s.NotCovered, n)
		}
		whose := sessions.LossCount{sessions.CauseNetwork: s.Lost}
		if send { // and nobody watches this host
			whose = sessions.LossCount{sessions.CauseUnknown: s.Lost}
		}
		if s.LostBy != whose {
			t.Errorf("of %d losses: %v", s.Lost, s.LostBy)
		}
		if len(s.Gaps) != 0 || s.Measured != s.Elapsed || s.State != sessions.StateRunning {
			t.Errorf("state %v, gaps %v, measured %v of %v", s.State, s.Gaps, s.Measured, s.Elapsed)
		}
		w.finish(h)

		spans := w.spans(".owp")
		wantChain(t, spans)
		if len(spans) < int(hours)*60*2-1 {
			t.Errorf("%d sessions in %d hours", len(spans), hours)
		}
		for _, s := range spans[:len(spans)-1] {
			head, recs, _ := w.session(s)
			if head.NextSeq != packets || len(recs) != packets+1 {
				t.Fatalf("session %v: %d records before %d", s, len(recs), head.NextSeq)
			}
		}
		// The log has each loss in it, in few lines.
		told, lines := uint64(0), 0
		for line := range strings.Lines(w.logged()) {
			var n uint64
			if _, err := fmt.Sscanf(line[max(strings.Index(line, "lost "), 0):], "lost %d packet", &n); err != nil {
				t.Errorf("logged: %s", line)
			}
			told += n
			lines++
		}
		if s := w.stream.Snapshot(); told != s.Lost || lines > int(hours)*4+6 {
			t.Errorf("%d lines told of %d lost packets, of %d", lines, told, s.Lost)
		}
		w.wantAccounted()
	})
}

// weight returns the octets that are in use, and the goroutines.
func (w *world) weight() (heap uint64, goroutines int) {
	synctest.Wait()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, runtime.NumGoroutine()
}
