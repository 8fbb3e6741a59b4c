package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"owl/histogram"
	"owl/owamp"
)

// observe folds records of one session into a Live, duplicates marked as the
// receiver's window marks them.
func observe(recs []owamp.Record) *Live {
	l := new(Live)
	seen := make(map[uint32]bool)
	for _, r := range recs {
		if !r.Lost() && seen[r.Seq] {
			r.Flags |= owamp.FlagDuplicate
		}
		seen[r.Seq] = true
		l.Observe(0, &r)
	}
	return l
}

func TestLiveAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 20 {
		s, times := newSession(t, 2000)
		recs := arrivals(rng, times, s.Spec.Timeout)
		l := observe(recs)
		got := l.Totals()

		var want Totals
		var wantDelay, wantIPDV histogram.Live
		delays := make(map[uint32]time.Duration)
		isLost := make(map[uint32]bool)
		greatest := -1
		for _, r := range recs {
			if r.Lost() {
				want.Lost++
				isLost[r.Seq] = true
				continue
			}
			if _, ok := delays[r.Seq]; ok {
				want.Duplicates++
				continue
			}
			if want.Received == 0 {
				want.MinTTL = 255
			}
			want.Received++
			want.MinTTL, want.MaxTTL, want.LastTTL = min(want.MinTTL, r.TTL), max(want.MaxTTL, r.TTL), r.TTL
			want.Last = r.Recv
			want.Synced = r.SentErr == sure
			want.MaxError = 2 * sure.Duration()
			if int(r.Seq) < greatest {
				want.Reordered++
			}
			greatest = max(greatest, int(r.Seq))
			delays[r.Seq] = r.Recv.Sub(r.Sent)
			wantDelay.Insert(int64(delays[r.Seq]))
		}
		var run uint64
		for seq := range s.Spec.Packets {
			if isLost[seq] {
				if run++; run == 1 {
					want.Bursts++
				}
				want.LongestBurst = max(want.LongestBurst, run)
				continue
			}
			run = 0
			if d, ok := delays[seq+1]; ok {
				wantIPDV.Insert(int64(d - delays[seq]))
			}
		}
		if got != want {
			t.Errorf("totals\n%+v, want\n%+v", got, want)
		}
		if *l.Delay() != wantDelay {
			t.Errorf("delays differ: %d from %d to %d, want %d from %d to %d", l.Delay().Count(), l.Delay().Min(), l.Delay().Max(), wantDelay.Count(), wantDelay.Min(), wantDelay.Max())
		}
		if *l.IPDV() != wantIPDV {
			t.Errorf("delay variations differ: %d, want %d", l.IPDV().Count(), wantIPDV.Count())
		}
		if got, want := l.PDV(0.95), time.Duration(wantDelay.Quantile(0.95)-wantDelay.Min()); got != want {
			t.Errorf("95th percentile of the variation is %v, want %v", got, want)
		}
	}
}

// Sequence numbers that begin again with each session make one sequence.
func TestLiveAcrossSessions(t *testing.T) {
	_, times := newSession(t, 20)
	var l Live
	see := func(base uint64, r owamp.Record) { l.Observe(base, &r) }
	see(0, record(8, times[8], 0.001))
	see(10, record(0, times[10], 0.002)) // before the session before it has ended
	see(0, record(9, times[9], 0.0015))
	see(10, record(1, times[11], 0.001))
	if got := l.Totals(); got.Reordered != 1 || got.Received != 4 {
		t.Errorf("%d of %d reordered, want 1 of 4", got.Reordered, got.Received)
	}
	if got := l.IPDV().Count(); got != 3 {
		t.Errorf("%d pairs of packets, want 3: 8 and 9, 9 and 10, 10 and 11", got)
	}
	see(10, lostRecord(2, times[12]))
	see(10, lostRecord(3, times[13]))
	see(14, lostRecord(0, times[14]))
	see(14, lostRecord(2, times[16]))
	if got := l.Totals(); got.Lost != 4 || got.Bursts != 2 || got.LongestBurst != 3 {
		t.Errorf("%d lost in %d bursts of up to %d, want 4 in 2 of up to 3", got.Lost, got.Bursts, got.LongestBurst)
	}
}

func TestLiveReset(t *testing.T) {
	_, times := newSession(t, 20)
	var l Live
	for i := range uint32(10) {
		r := record(i, times[i], 0.001)
		l.Observe(0, &r)
	}
	l.Reset()
	if l.Totals() != (Totals{}) || l.Delay().Count() != 0 || l.IPDV().Count() != 0 || l.PDV(0.5) != 0 {
		t.Errorf("after a reset: %+v", l.Totals())
	}
	late, next := record(5, times[5], 0.1), record(10, times[10], 0.002)
	l.Observe(0, &late)
	l.Observe(0, &next)
	if got := l.Totals(); got.Reordered != 1 || got.Received != 2 {
		t.Errorf("%d of %d reordered after a reset, want 1 of 2", got.Reordered, got.Received)
	}
	if got := l.IPDV(); got.Count() != 3 || got.Max() < int64(time.Millisecond) {
		t.Errorf("%d pairs after a reset, want 3: 4 and 5, 5 and 6, 9 and 10", got.Count())
	}
}

func TestLiveErrorSaturates(t *testing.T) {
	_, times := newSession(t, 1)
	r := record(0, times[0], 0.001)
	r.SentErr, r.RecvErr = 0x3fff, 0x3fff
	var l Live
	l.Observe(0, &r)
	if got := l.Totals(); got.MaxError != math.MaxInt64 || got.Synced {
		t.Errorf("error %v, synced %v of the greatest estimates, want %v and not", got.MaxError, got.Synced, time.Duration(math.MaxInt64))
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	s, times := newSession(t, 2000)
	recs := arrivals(rand.New(rand.NewPCG(6, 6)), times, s.Spec.Timeout)
	var l Live
	i := 0
	if n := testing.AllocsPerRun(len(recs)-1, func() {
		l.Observe(0, &recs[i])
		i++
	}); n != 0 {
		t.Errorf("%g allocations a record, want 0", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	s, times := newSession(b, 2000)
	recs := arrivals(rand.New(rand.NewPCG(7, 7)), times, s.Spec.Timeout)
	recs = slices.DeleteFunc(recs, func(r owamp.Record) bool { return r.Lost() })
	l := new(Live)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		l.Observe(0, &recs[i])
		if i++; i == len(recs) {
			i = 0
		}
	}
}
