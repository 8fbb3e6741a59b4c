package recorder_test

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/window"
	"owl/sessions/recorder"

	gocmp "github.com/google/go-cmp/cmp"
)

// What comes, comes twice, comes too late or does not come at all is in the
// file, in the counts and was seen.
func TestRecord(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, 6, fixed(100*time.Millisecond), time.Second, 0)
		b.Run(b.source)
		b.until(3, 5*time.Millisecond)
		b.arrive(time.Millisecond, 0, 2, 2, 1)
		b.until(5, 5*time.Millisecond)
		b.arrive(2*time.Millisecond, 5, 6000)
		synctest.Wait()
		if got, want := b.Live(), (recorder.Live{Progress: window.Progress{Due: 6, Received: 4, Unresolved: 6}}); got != want {
			t.Errorf("live %+v, want %+v", got, want)
		}
		<-b.Done()
		b.arrive(1100*time.Millisecond, 3) // too late
		synctest.Wait()
		if got := b.Live(); got.Late != 1 || got.Lost != 2 || got.Overdue != 2 || got.Unresolved != 6 {
			t.Errorf("live %+v, want 1 late, 2 lost and overdue of 6 unresolved", got)
		}
		report, err := b.Finish(&owamp.SendReport{NextSeq: 6}, now())
		if err != nil {
			t.Fatal(err)
		}
		if want := (recorder.Report{Ledger: window.Ledger{Received: 4, Lost: 2}, Late: 1}); report != want {
			t.Errorf("report %+v, want %+v", report, want)
		}
		r, recs := b.read()
		if got, want := sequence(recs), "0 2 2 1 5 [3] [4]"; got != want {
			t.Errorf("records %s, want %s", got, want)
		}
		if h := r.Header(); h.Finished != owp.Normal || h.NextSeq != 6 {
			t.Errorf("finished %v before %d", h.Finished, h.NextSeq)
		}
		if got := sequence(b.seen); got != sequence(recs) {
			t.Errorf("seen %s, want %s", got, sequence(recs))
		}
		if b.seen[2].Flags&owamp.FlagDuplicate == 0 || b.seen[1].Flags != 0 {
			t.Errorf("flags %v of a packet and %v of its duplicate", b.seen[1].Flags, b.seen[2].Flags)
		}
		if lost := recs[5]; lost.Sent != b.due[3] || lost.RecvErr != precise || lost.TTL != 255 {
			t.Errorf("lost record %+v", lost)
		}
		if got := b.Live(); got.Unresolved != 0 || got.Overdue != 0 {
			t.Errorf("settled, but live %+v", got)
		}
		if !b.source.closed {
			t.Error("the source is not closed")
		}
		if _, err := b.Finish(nil, now()); err == nil || !strings.Contains(err.Error(), "finished twice") {
			t.Errorf("second end: %v", err)
		}
	})
}

// How a session ends decides what its file and its ledger say.
func TestEnds(t *testing.T) {
	for _, test := range []struct {
		name     string
		end      func(b *bench) (recorder.Report, error)
		ledger   window.Ledger
		records  string
		finished owp.Finished
		next     uint32
		skips    []owamp.SkipRange
	}{
		// All ends come right after packet 7, of 10, was due; 0 to 4 and 6 have
		// come, 5 is lost, and 4 to 7 are younger than a time-out.
		{"no report", func(b *bench) (recorder.Report, error) { return b.Finish(nil, now()) },
			window.Ledger{Received: 4, NotCovered: 6}, "0 1 2 3", owp.Normal, 10, nil},
		{"stopped early", func(b *bench) (recorder.Report, error) {
			return b.Finish(&owamp.SendReport{NextSeq: 3}, now())
		}, window.Ledger{Received: 3, NotCovered: 7}, "0 1 2", owp.Normal, 3, nil},
		{"skips", func(b *bench) (recorder.Report, error) {
			b.until(9, 2*time.Second)
			return b.Finish(&owamp.SendReport{NextSeq: 10, Skips: []owamp.SkipRange{{First: 7, Last: 8}}}, now())
		}, window.Ledger{Received: 6, Lost: 2, NotSent: 2}, "0 1 2 3 4 6 [5] [7] [8] [9]", owp.Normal, 10, []owamp.SkipRange{{First: 7, Last: 8}}},
		{"later", func(b *bench) (recorder.Report, error) {
			b.until(9, 2*time.Second)
			return b.Finish(&owamp.SendReport{NextSeq: 10}, now())
		}, window.Ledger{Received: 6, Lost: 4}, "0 1 2 3 4 6 [5] [7] [8] [9]", owp.Normal, 10, nil},
		{"control lost", func(b *bench) (recorder.Report, error) { return b.FinishIncomplete(now()) },
			window.Ledger{Received: 6, NotCovered: 4}, "0 1 2 3 4 6", owp.Incomplete, 0, nil},
		{"control lost later", func(b *bench) (recorder.Report, error) {
			b.until(9, 2*time.Second)
			return b.FinishIncomplete(now())
		}, window.Ledger{Received: 6, Lost: 1, NotCovered: 3}, "0 1 2 3 4 6 [5]", owp.Incomplete, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := newBench(t, 10, fixed(100*time.Millisecond), 350*time.Millisecond, 0)
				b.Run(b.source)
				for _, seq := range []uint32{0, 1, 2, 3, 4, 6} {
					b.until(seq, time.Microsecond)
					b.arrive(0, seq)
				}
				b.until(7, time.Microsecond)
				report, err := test.end(b)
				if err != nil {
					t.Fatal(err)
				}
				if report.Ledger != test.ledger {
					t.Errorf("ledger %+v, want %+v", report.Ledger, test.ledger)
				}
				r, recs := b.read()
				if got := sequence(recs); got != test.records {
					t.Errorf("records %s, want %s", got, test.records)
				}
				if h := r.Header(); h.Finished != test.finished || h.NextSeq != test.next {
					t.Errorf("finished %v before %d, want %v before %d", h.Finished, h.NextSeq, test.finished, test.next)
				}
				if diff := gocmp.Diff(test.skips, r.Skips()); diff != "" && len(test.skips)+len(r.Skips()) > 0 {
					t.Errorf("skips (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// What the sender says of packets that it cannot have sent is an error, not a
// file.
func TestImpossibleReport(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, 5, fixed(100*time.Millisecond), time.Second, 0)
		b.Run(b.source)
		_, err := b.Finish(&owamp.SendReport{NextSeq: 6}, now())
		if err == nil || !strings.Contains(err.Error(), "next sequence number 6: want at most 5") {
			t.Errorf("got %v", err)
		}
	})
}

// Parts that are summarized while the session runs say the same as the whole
// file does of their packets at the end.
func TestParts(t *testing.T) {
	for seed := range uint64(40) {
		bubble.Test(t, func(t *testing.T) { testParts(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func testParts(t *testing.T, random *rand.Rand) {
	const packets = 120
	each := []uint32{1, 7, 20, 40, 60}[random.IntN(5)]
	b := newBench(t, packets, exponential(50*time.Millisecond), time.Second, each)
	type arrival struct {
		at  owamp.Timestamp
		rec owamp.Record
	}
	var arrivals []arrival
	for seq := range uint32(packets) {
		for copies := 1 - random.IntN(10)/9 + random.IntN(10)/9; copies > 0; copies-- {
			delay := time.Duration(random.IntN(20)) * time.Millisecond
			if random.IntN(4) == 0 {
				delay = time.Duration(random.IntN(1200)) * time.Millisecond // some too late
			}
			rec := b.packet(seq, delay)
			arrivals = append(arrivals, arrival{rec.Recv, rec})
		}
	}
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	next := 0
	b.source.drain = func() {
		for ; next < len(arrivals) && !arrivals[next].at.After(now()); next++ {
			b.Batch([]owamp.Record{arrivals[next].rec})
		}
	}
	b.Run(b.source)
	<-b.Done()
	if _, err := b.Finish(nil, now()); err != nil {
		t.Fatal(err)
	}

	r, _ := b.read()
	var last uint32
	end := b.spec.Start
	for i, p := range b.parts {
		if p.Index != i || p.First != last || p.Start != end || p.End != b.due[p.Last-1] {
			t.Errorf("part %+v after %d at %d", p, last, end)
		}
		last, end = p.Last, p.End
		if got, want := b.texts[i], b.summarize(r, p, 0); got != want {
			t.Errorf("part %+v:\n%s\nthe whole file says of it:\n%s", p, got, want)
		}
	}
	if last != packets {
		t.Errorf("parts end with packet %d, want %d", last, packets)
	}
}

// A part is told of once its last packet is settled, the last part at the end,
// and none that the sender did not finish.
func TestPartsInTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, 40, fixed(100*time.Millisecond), time.Second, 10)
		b.Run(b.source)
		for i := range 3 {
			b.until(uint32(10*i+9), time.Second-time.Millisecond)
			synctest.Wait()
			if b.told() != i {
				t.Errorf("%d parts before the end of part %d", b.told(), i)
			}
			time.Sleep(60 * time.Millisecond)
			synctest.Wait()
			if b.told() != i+1 {
				t.Errorf("%d parts after the end of part %d", b.told(), i)
			}
		}
		<-b.Done()
		synctest.Wait()
		if b.told() != 3 {
			t.Errorf("%d parts before the end of the session, want 3", b.told())
		}
		if _, err := b.Finish(&owamp.SendReport{NextSeq: 35}, now()); err != nil {
			t.Fatal(err)
		}
		if b.told() != 3 {
			t.Errorf("%d parts of a session that was stopped within the fourth", b.told())
		}
	})
}

// However long nobody looked, and however short the time-out is, a loss stands
// in the file before what came long after it: else nobody could read it.
func TestLossesBeforeLaterArrivals(t *testing.T) {
	for _, timeout := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, time.Second} {
		bubble.Test(t, func(t *testing.T) {
			b := newBench(t, 2000, fixed(2*time.Millisecond), timeout, 0)
			b.Run(b.source)
			for seq := range uint32(2000) {
				b.until(seq, time.Millisecond)
				if seq%3 != 0 && (seq <= 500 || seq >= 1500) {
					b.arrive(time.Millisecond, seq)
				}
			}
			<-b.Done()
			report, err := b.Finish(nil, now())
			if err != nil {
				t.Fatal(err)
			}
			if report.Ledger.NotCovered != 0 || report.Ledger.Received+report.Ledger.Lost != 2000 || report.Late != 0 {
				t.Errorf("report %+v", report)
			}
			r, _ := b.read()
			b.summarize(r, recorder.Part{Last: 2000}, 0)
		})
	}
}

// What comes faster than it can be recorded is dropped and counted.
func TestOverflow(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, 1<<18, fixed(time.Microsecond), time.Second, 0)
		const batch = 1 << 10
		recs := make([]owamp.Record, batch)
		for i := range uint32(1<<18) / batch {
			for j := range recs {
				recs[j] = b.packet(i*batch+uint32(j), 0)
			}
			b.Batch(recs)
		}
		if got := b.Live().Dropped; got != 1<<17 {
			t.Errorf("dropped %d, want %d", got, 1<<17)
		}
		b.Run(b.source)
		<-b.Done()
		report, err := b.Finish(nil, now())
		if err != nil {
			t.Fatal(err)
		}
		if want := (recorder.Report{Ledger: window.Ledger{Received: 1 << 17, Lost: 1 << 17}, Dropped: 1 << 17}); report != want {
			t.Errorf("report %+v, want %+v", report, want)
		}
	})
}

// What was recorded is in the file a second later, whatever becomes of the
// process.
func TestFlush(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, 100, fixed(100*time.Millisecond), time.Second, 0)
		b.Run(b.source)
		b.until(9, 0)
		b.arrive(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if _, recs := b.read(); len(recs) < 10 {
			t.Errorf("%d records are in the file, want 10 or more", len(recs))
		}
		if _, err := b.FinishIncomplete(now()); err != nil {
			t.Fatal(err)
		}
	})
}

// A file that cannot be written is an error at the end, which names the session.
func TestWriteError(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, 10, fixed(100*time.Millisecond), time.Second, 2)
		b.Run(b.source)
		b.until(0, 0)
		b.file.Close()
		b.arrive(0, 0)
		<-b.Done()
		_, err := b.Finish(nil, now())
		if !errors.Is(err, os.ErrClosed) || !strings.HasPrefix(err.Error(), "recording session 01020300") {
			t.Errorf("got %v", err)
		}
	})
}

// A session that was set up and never ran can be ended.
func TestNeverRun(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, 10, fixed(100*time.Millisecond), time.Second, 0)
		report, err := b.FinishIncomplete(now())
		if err != nil || report.Ledger.NotCovered != 10 {
			t.Errorf("report %+v, %v", report, err)
		}
	})
}

// More than a window can hold is refused.
func TestTooLarge(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "session.owp"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = recorder.New(recorder.Config{File: f, Spec: &owamp.SessionSpec{
		Packets: 1 << 30,
		Slots:   []owamp.Slot{{Type: owamp.SlotFixed, Parameter: 4295}},
		Timeout: 10 << 32,
	}})
	if !errors.Is(err, window.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, window.ErrTooLarge)
	}
}

// Once its buffers have grown, taking packets over costs no allocation.
func TestBatchAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, 10000, fixed(time.Microsecond), time.Hour, 0)
		b.Run(b.source)
		defer b.FinishIncomplete(now())
		b.seen = make([]owamp.Record, 0, 20000)
		var recs [8]owamp.Record
		seq := uint32(0)
		one := func() {
			for i := range recs {
				recs[i] = b.packet(seq, 0)
				seq++
			}
			b.Batch(recs[:])
			synctest.Wait()
		}
		for range 300 {
			one()
		}
		if n := testing.AllocsPerRun(300, one); n != 0 {
			t.Errorf("%v allocations a batch, want none", n)
		}
	})
}

// A recorder whose sender was late with its last packets is done when their
// time-out, too, is over: then they count, whoever stops the session.
func TestDoneAfterLateSender(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, 3, fixed(100*time.Millisecond), time.Second, 0)
		b.Run(b.source)
		b.until(2, 700*time.Millisecond)
		for seq := range uint32(3) {
			rec := b.packet(seq, 0)
			rec.Sent = now()
			rec.Recv = rec.Sent.AddDuration(time.Millisecond)
			b.Batch([]owamp.Record{rec})
		}
		sent := now()
		<-b.Done()
		if early := sent.AddDuration(time.Second).Sub(now()); early >= 0 {
			t.Errorf("done %v before the last packet's time-out was over", early)
		}
		report, err := b.Finish(nil, now())
		if err != nil {
			t.Fatal(err)
		}
		_, recs := b.read()
		if got := sequence(recs); got != "0 1 2" || report.Ledger.Received != 3 {
			t.Errorf("the file has %s, the ledger is %+v: want all three received", got, report.Ledger)
		}
	})
}

// A session that is cut short tells of no part that is not whole.
func TestCutShort(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBench(t, 20, fixed(100*time.Millisecond), time.Second, 10)
		b.Run(b.source)
		for seq := range uint32(20) {
			b.until(seq, time.Millisecond)
			b.arrive(time.Millisecond, seq)
		}
		b.until(19, 500*time.Millisecond) // part 0 is over, the last is not
		b.CutShort()
		if _, err := b.Finish(nil, now()); err != nil {
			t.Fatal(err)
		}
		if b.told() != 1 {
			t.Errorf("told of %d parts, want the first alone", b.told())
		}
	})
}
