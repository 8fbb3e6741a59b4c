package sessions_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/window"
	"owl/probe"
	"owl/sessions"
	"owl/sessions/internal/memwire"
	"owl/sessions/recorder"
)

var precise = owamp.NewErrorEstimate(time.Microsecond, true)

// arrived is a packet with that sequence number and TTL.
func arrived(seq uint32, ttl uint8) owamp.Record {
	return owamp.Record{Seq: seq, Sent: 1, Recv: owamp.FromUnix(int64(seq), 0), TTL: ttl}
}

// A tally adds up what running and settled sessions say.
func TestTally(t *testing.T) {
	tally := sessions.NewTally(new(memwire.Clock))
	a, b := tally.Track(), tally.Track()
	a.Receive(func() recorder.Live {
		return recorder.Live{Progress: window.Progress{Unresolved: 7, Overdue: 2}, Late: 1}
	})
	b.Receive(func() recorder.Live {
		return recorder.Live{Progress: window.Progress{Unresolved: 5}, Late: 2}
	})
	sender := tally.Track()
	sender.Send(func() probe.SendProgress { return probe.SendProgress{Slip: time.Millisecond} })
	duplicate := arrived(1, 9)
	duplicate.Flags |= owamp.FlagDuplicate
	a.Observe([]owamp.Record{arrived(0, 60), {Seq: 5}, arrived(2, 63), duplicate, arrived(1, 61)})
	b.Observe([]owamp.Record{arrived(3, 62)}) // a session has an order of its own

	s := tally.Snapshot()
	if s.Unresolved != 12 || s.Overdue != 2 || s.Late != 3 || s.SendSlip != time.Millisecond {
		t.Errorf("running: %+v", s)
	}
	if s.Duplicates != 1 || s.Reordered != 1 || s.TTL != 62 || s.TTLMin != 60 || s.TTLMax != 63 || s.LastPacket.Unix() != 3 {
		t.Errorf("packets: %+v", s)
	}
	if s.Received != 0 || s.Lost != 0 {
		t.Errorf("counted before they are settled: %+v", s)
	}

	a.Settle(recorder.Report{Ledger: window.Ledger{Received: 3, Lost: 4, NotSent: 5, NotCovered: 6}, Late: 1, Dropped: 10}, probe.ReceiveStats{Drops: 20})
	b.Leave()
	sender.SettleSending(owamp.SendReport{NextSeq: 8, Skips: []owamp.SkipRange{{First: 2, Last: 4}}}, 10)
	s = tally.Snapshot()
	if s.Received != 3 || s.Lost != 4 || s.NotSent != 5+3 || s.NotCovered != 6+2 || s.Late != 1 || s.SocketDrops != 30 {
		t.Errorf("settled: %+v", s)
	}
	if s.Unresolved != 0 || s.Overdue != 0 || s.SendSlip != 0 {
		t.Errorf("nothing runs: %+v", s)
	}
}

// What is sent is unresolved until it was fetched, and then settled for good,
// whatever the peer claims to have.
func TestTallyFetched(t *testing.T) {
	for _, test := range []struct {
		received, lost uint32
		want           [3]uint64 // received, lost, not covered but for 2 that were not sent by then
	}{
		{4, 1, [3]uint64{4, 1, 0}},
		{3, 1, [3]uint64{3, 1, 1}},
		{0, 0, [3]uint64{0, 0, 5}},
		{9, 9, [3]uint64{5, 0, 0}},
		{3, 9, [3]uint64{3, 2, 0}},
	} {
		tally := sessions.NewTally(new(memwire.Clock))
		track := tally.Track()
		progress := probe.SendProgress{Sent: 3, Skipped: 2, Slip: time.Millisecond, Gap: 900}
		track.SendAndFetch(func() probe.SendProgress { return progress })
		if s := tally.Snapshot(); s.Unresolved != 5 || s.NotSent != 0 || s.SendSlip != time.Millisecond || s.TransmitGap != 900 {
			t.Errorf("sending: %+v", s)
		}
		track.Glimpse([]owamp.Record{arrived(0, 60), arrived(2, 61), {Seq: 1}})
		if s := tally.Snapshot(); s.TTL != 61 || s.TTLMin != 60 || s.LastPacket.Unix() != 2 || s.Received+s.Duplicates+s.Reordered != 0 {
			t.Errorf("glimpsed: %+v", s)
		}
		track.Sent(owamp.SendReport{NextSeq: 8, Skips: []owamp.SkipRange{{First: 2, Last: 4}}}, 10)
		if s := tally.Snapshot(); s.Unresolved != 5 || s.NotSent != 3 || s.NotCovered != 2 || s.SendSlip != 0 {
			t.Errorf("sent: %+v", s)
		}
		for range 2 { // the second time there is nothing left
			track.Fetched(test.received, test.lost)
			s := tally.Snapshot()
			if got := [3]uint64{s.Received, s.Lost, s.NotCovered - 2}; got != test.want || s.Unresolved != 0 || s.NotSent != 3 {
				t.Errorf("fetched %d and %d lost: %v, %+v; want %v", test.received, test.lost, got, s, test.want)
			}
		}
	}
}

// An outage counts as it lasts, from when it began, by its first reason.
func TestTallyGaps(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var clock memwire.Clock
		tally := sessions.NewTally(&clock)
		want := func(elapsed, measured, refused, lost time.Duration) {
			t.Helper()
			s := tally.Snapshot()
			near := func(a, b time.Duration) bool { return (a - b).Abs() < time.Microsecond }
			if !near(s.Elapsed, elapsed) || !near(s.Measured, measured) || !near(s.Gaps[sessions.GapRefused], refused) || !near(s.Gaps[sessions.GapControlLost], lost) {
				t.Errorf("measured %v of %v, gaps %v; want %v of %v, refused %v, control lost %v", s.Measured, s.Elapsed, s.Gaps, measured, elapsed, refused, lost)
			}
		}
		const s = time.Second
		want(0, 0, 0, 0)
		tally.Begin(clock.Now().AddDuration(s))
		want(0, 0, 0, 0)
		time.Sleep(5 * s)
		want(4*s, 4*s, 0, 0)
		tally.Outage(sessions.GapRefused, clock.Now().AddDuration(2*s))
		time.Sleep(s)
		want(5*s, 5*s, 0, 0)
		time.Sleep(3 * s)
		want(8*s, 6*s, 2*s, 0)
		tally.Resume(clock.Now().AddDuration(s))
		want(8*s, 5*s, 3*s, 0)
		time.Sleep(2 * s)
		tally.Gap(sessions.GapControlLost, s)
		want(10*s, 6*s, 3*s, s)
		clock.Set(time.Hour)
		tally.Shift(time.Hour)
		want(10*s, 6*s, 3*s, s)
		tally.End(clock.Now())
		time.Sleep(time.Hour)
		want(10*s, 6*s, 3*s, s)
		tally.Snapshot().Gaps[sessions.GapRefused] = 0 // the caller's own
		want(10*s, 6*s, 3*s, s)
	})
}

// Whoever looks while a session is recorded, and settled, waits for nothing that
// waits for him.
func TestSnapshotBesideRecording(t *testing.T) {
	for range 4 {
		tally := sessions.NewTally(new(memwire.Clock))
		spec := owamp.SessionSpec{
			ConfSender: true,
			Slots:      []owamp.Slot{{Type: owamp.SlotFixed, Parameter: 1 << 12}},
			Packets:    1 << 16,
			Sender:     netip.MustParseAddrPort("192.0.2.2:9000"),
			Receiver:   netip.MustParseAddrPort("192.0.2.1:9001"),
			Start:      new(memwire.Clock).Now(),
			Timeout:    1 << 32,
		}
		f, err := os.Create(filepath.Join(directory(t), "session.owp"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		track := tally.Track()
		rec, err := recorder.New(recorder.Config{
			Spec: &spec, File: f, Now: new(memwire.Clock).Now, Seen: track.Observe,
			Err: func() owamp.ErrorEstimate { return precise },
		})
		if err != nil {
			t.Fatal(err)
		}
		rec.Run(silence{})
		track.Receive(rec.Live)
		var all sync.WaitGroup
		all.Go(func() {
			for seq := range uint32(2000) {
				at := spec.Start.Add(owamp.Interval(seq+1) << 12)
				rec.Batch([]owamp.Record{{Seq: seq, Sent: at, Recv: at + 1, SentErr: precise, RecvErr: precise}})
			}
		})
		all.Go(func() {
			var last uint64
			for range 2000 {
				s := tally.Snapshot()
				if s.Received < last {
					t.Errorf("received went from %d back to %d", last, s.Received)
				}
				last = s.Received
			}
		})
		all.Wait()
		report, err := rec.FinishIncomplete(new(memwire.Clock).Now())
		if err != nil {
			t.Fatal(err)
		}
		track.Settle(report, probe.ReceiveStats{})
		if s := tally.Snapshot(); s.Received != 2000 {
			t.Errorf("received %d, want 2000", s.Received)
		}
	}
}

// silence is a source of nothing.
type silence struct{}

func (silence) Drain() owamp.Timestamp   { return new(memwire.Clock).Now() }
func (silence) Drained() owamp.Timestamp { return new(memwire.Clock).Now() }
func (silence) Close()                   {}

// A stream cannot be made of what cannot be measured.
func TestNewStreamErrors(t *testing.T) {
	for want, change := range map[string]func(*sessions.StreamConfig){
		"a session needs at least 1 packet":            func(c *sessions.StreamConfig) { c.Packets = 0 },
		"the mean interval must be greater than 0":     func(c *sessions.StreamConfig) { c.Slots = nil },
		"the loss time-out must be greater than 0":     func(c *sessions.StreamConfig) { c.Timeout = 0 },
		"the 7 packets of a sub-session do not divide": func(c *sessions.StreamConfig) { c.Part = 7 },
		"slot 0 is of type 7":                          func(c *sessions.StreamConfig) { c.Slots[0].Type = 7 },
		"too many packets within a timeout": func(c *sessions.StreamConfig) {
			c.Packets = 1 << 30
			c.Slots[0].Parameter = 4295
			c.Timeout = 10 << 32
		},
	} {
		cfg := config(100, time.Second, time.Second)
		change(&cfg)
		if _, err := sessions.NewStream(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// A directory that goes away costs the data of that time, and the stream goes
// on when it is back.
func TestDirectoryAway(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Millisecond, nil)
		w.start(config(100, 100*time.Millisecond, time.Second))
		time.Sleep(35 * time.Second)
		var s sessions.Snapshot
		w.withoutDirectory(func() {
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			s = w.stream.Snapshot()
		})
		time.Sleep(2 * time.Minute)
		w.finish(h)
		if got := s.Gaps[sessions.GapLocalOverload]; got < 100*time.Second || got > 130*time.Second {
			t.Errorf("gaps %v, want about two minutes of local_overload", s.Gaps)
		}
		if n := len(w.spans(".owp")); n < 5 {
			t.Errorf("%d files since", n)
		}
		if !strings.Contains(w.logged(), "no such file or directory") {
			t.Errorf("logged %s", w.logged())
		}
	})
}

// withoutDirectory does something while the stream's directory is not there.
func (w *world) withoutDirectory(do func()) {
	w.t.Helper()
	away := w.dir + ".away"
	if err := os.Rename(w.dir, away); err != nil {
		w.t.Fatal(err)
	}
	defer os.RemoveAll(away)
	do()
	if err := os.Mkdir(w.dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
}
