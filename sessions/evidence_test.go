package sessions

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
	"owl/owamp/window"
	"owl/probe"
	"owl/probe/host"
	"owl/sessions/internal/memwire"
	"owl/sessions/recorder"
)

const trialBegin owamp.Timestamp = 0xeaf0_0000_0000_0000

// due is when packet seq of the trials' sessions is due: 10 a second.
func due(seq uint32) owamp.Timestamp {
	return trialBegin.AddDuration(time.Duration(seq) * 100 * time.Millisecond)
}

// A witness is a host that does what a test says, and notes what it is asked.
type witness struct {
	activity  host.Activity
	incidents probe.Incidents
	asked     [][2]time.Duration // since the begin
	watched   []netip.Addr
}

func (w *witness) Watch(local netip.Addr) { w.watched = append(w.watched, local) }

func (w *witness) Between(from, to owamp.Timestamp) host.Activity {
	w.asked = append(w.asked, [2]time.Duration{from.Sub(trialBegin), to.Sub(trialBegin)})
	return w.activity
}

func (w *witness) between(from, to owamp.Timestamp) probe.Incidents { return w.incidents }

// try returns a trial with witnesses, and the bursts that it tells of.
func try(w *witness) (t *trial, told *[]LossBurst) {
	told = new([]LossBurst)
	return &trial{
		host:      w,
		incidents: w.between,
		told:      func(b *LossBurst) { *told = append(*told, *b) },
	}, told
}

// lose gives packets to a trial that are lost.
func lose(t *trial, seqs ...uint32) {
	for _, seq := range seqs {
		t.lost(&owamp.Record{Seq: seq, Sent: due(seq)})
	}
}

// come lets a packet arrive after a delay.
func come(t *trial, seq uint32, delay time.Duration) {
	t.arrived(&owamp.Record{Seq: seq, Sent: due(seq), Recv: due(seq).AddDuration(delay)})
}

// ranges returns the sequence numbers of bursts.
func ranges(bursts []LossBurst) (r [][2]uint32) {
	for _, b := range bursts {
		r = append(r, [2]uint32{b.First, b.Last})
	}
	return r
}

// A burst ends when a packet behind it has come, or when one is lost that is not
// the next, and not before.
func TestBursts(t *testing.T) {
	tr, told := try(new(witness))
	check := func(want ...[2]uint32) {
		t.Helper()
		if d := cmp.Diff(want, ranges(*told)); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
	lose(tr, 3, 4, 5)
	tr.settled(6)
	check()
	lose(tr, 6)
	tr.settled(7)
	check()
	tr.settled(8)
	check([2]uint32{3, 6})
	tr.settled(9)
	lose(tr, 10, 12)
	check([2]uint32{3, 6}, [2]uint32{10, 10})
	e := tr.end(6, nil)
	check([2]uint32{3, 6}, [2]uint32{10, 10}, [2]uint32{12, 12})
	if d := cmp.Diff(*told, e.Bursts); d != "" {
		t.Errorf("kept (-told +kept)\n%s", d)
	}
	for i, b := range e.Bursts {
		if b.From != due(b.First) || b.To != due(b.Last) || b.Bursts != 1 || b.Lost.Total() != uint64(b.Last-b.First)+1 {
			t.Errorf("burst %d: %+v", i, b)
		}
	}
}

// A path that is dead is judged every ten seconds.
func TestLongBurst(t *testing.T) {
	tr, told := try(new(witness))
	for seq := range uint32(250) {
		lose(tr, seq)
	}
	tr.end(250, nil)
	if d := cmp.Diff([][2]uint32{{0, 99}, {100, 199}, {200, 249}}, ranges(*told)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// The host is asked of the time in which the packets would have come: a while
// after they were sent, by a clock that may be wrong.
func TestWhenTheHostIsAsked(t *testing.T) {
	const ms = time.Millisecond
	w := new(witness)
	tr, _ := try(w)
	lose(tr, 10, 11)
	tr.settled(20) // none has come so far
	come(tr, 19, 40*ms)
	lose(tr, 20)
	tr.settled(30)
	come(tr, 29, -time.Hour)
	lose(tr, 30, 31)
	tr.settled(40)
	want := [][2]time.Duration{
		{0, 2100 * ms},
		{1790 * ms, 2290 * ms},
		{2750*ms - time.Hour, 3350*ms - time.Hour},
	}
	if d := cmp.Diff(want, w.asked); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	// What goes out goes out when it is due, whenever it arrives.
	w = new(witness)
	tr, _ = try(w)
	tr.sends = true
	come(tr, 9, time.Hour)
	lose(tr, 10)
	tr.end(1, nil)
	if d := cmp.Diff([][2]time.Duration{{750 * ms, 1250 * ms}}, w.asked); d != "" {
		t.Errorf("sending: (-want +got)\n%s", d)
	}
}

// What this host did says whose a burst of three packets was.
func TestVerdict(t *testing.T) {
	known := host.Activity{Known: true}
	for _, tt := range []struct {
		name    string
		sends   bool
		witness witness
		inside  uint64
		want    LossCount
	}{
		{name: "nothing", witness: witness{activity: known}, want: LossCount{CauseNetwork: 3}},
		{name: "nothing, of a host that says nothing", want: LossCount{CauseNetwork: 3}},
		{name: "fewer drops", witness: witness{activity: known, incidents: probe.Incidents{Drops: 2}}, want: LossCount{CauseHost: 2, CauseNetwork: 1}},
		{name: "as many drops", witness: witness{activity: known, incidents: probe.Incidents{Drops: 3}}, want: LossCount{CauseHost: 3}},
		{name: "more drops", witness: witness{activity: known, incidents: probe.Incidents{Drops: 99}}, want: LossCount{CauseHost: 3}},
		{name: "inside", witness: witness{activity: known}, inside: 1, want: LossCount{CauseHost: 1, CauseNetwork: 2}},
		{name: "softnet", witness: witness{activity: host.Activity{Known: true, SoftnetDropped: 1}}, want: LossCount{CauseHostSuspect: 3}},
		{name: "read late", witness: witness{activity: known, incidents: probe.Incidents{LateReads: 1}}, want: LossCount{CauseHostSuspect: 3}},
		{name: "drops and softnet", witness: witness{activity: host.Activity{Known: true, SoftnetDropped: 1}, incidents: probe.Incidents{Drops: 1}}, want: LossCount{CauseHost: 1, CauseHostSuspect: 2}},
		{name: "what only matters to who sends", witness: witness{activity: host.Activity{Known: true, DeviceUnsent: 1}, incidents: probe.Incidents{Refused: 1, LateSends: 1}}, want: LossCount{CauseNetwork: 3}},
		{name: "sent", sends: true, witness: witness{activity: known}, want: LossCount{CauseNetwork: 3}},
		{name: "sent, of a host that says nothing", sends: true, want: LossCount{CauseUnknown: 3}},
		{name: "sent, what only matters to who receives", sends: true, witness: witness{activity: host.Activity{Known: true, SoftnetDropped: 1}, incidents: probe.Incidents{Drops: 9, LateReads: 1}}, want: LossCount{CauseNetwork: 3}},
		{name: "refused", sends: true, witness: witness{activity: known, incidents: probe.Incidents{Refused: 1}}, want: LossCount{CauseHostSuspect: 3}},
		{name: "sent late", sends: true, witness: witness{activity: known, incidents: probe.Incidents{LateSends: 1}}, want: LossCount{CauseHostSuspect: 3}},
		{name: "unsent", sends: true, witness: witness{activity: host.Activity{Known: true, DeviceUnsent: 1}}, want: LossCount{CauseHostSuspect: 3}},
	} {
		tr, told := try(&tt.witness)
		tr.sends, tr.inside = tt.sends, func() uint64 { return tt.inside }
		lose(tr, 7, 8, 9)
		e := tr.end(3, nil)
		if e.Lost != tt.want || len(*told) != 1 || (*told)[0].Lost != tt.want {
			t.Errorf("%s: %v, told %v, want %v", tt.name, e.Lost, *told, tt.want)
		}
	}
	// With nobody to ask, nobody knows.
	tr := new(trial)
	lose(tr, 7)
	if e := tr.end(1, nil); e.Lost != (LossCount{CauseUnknown: 1}) {
		t.Errorf("nobody asked: %v", e.Lost)
	}
}

// What was lost inside this program is nobody else's, and not another burst's.
func TestLostInsideOnce(t *testing.T) {
	tr, told := try(&witness{activity: host.Activity{Known: true}})
	inside := uint64(0)
	tr.inside = func() uint64 { return inside }
	lose(tr, 1)
	tr.settled(10)
	inside = 2
	lose(tr, 10, 11, 12)
	tr.settled(20)
	lose(tr, 20)
	e := tr.end(5, nil)
	if want := (LossCount{CauseHost: 2, CauseNetwork: 3}); e.Lost != want || (*told)[1].Lost[CauseHost] != 2 {
		t.Errorf("%v, want %v", e.Lost, want)
	}
}

// However a session ends, causes add up to its lost packets: a sender says what
// it did not send, and what is not covered lies at the end.
func TestEvidenceAddsUp(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		const n = 400
		w := new(witness)
		tr, _ := try(w)
		var lost []uint32
		report := &owamp.SendReport{NextSeq: n - uint32(random.IntN(n/4))}
		for seq := range uint32(n) {
			if seq >= report.NextSeq || random.IntN(3) == 0 {
				w.activity = host.Activity{Known: true, SoftnetDropped: uint64(random.IntN(2))}
				w.incidents = probe.Incidents{Drops: uint64(random.IntN(3))}
				lose(tr, seq)
				lost = append(lost, seq)
			} else {
				come(tr, seq, time.Millisecond)
				tr.settled(seq + 1)
			}
			if len(tr.evidence.Bursts) > maxBursts {
				t.Fatalf("%d bursts", len(tr.evidence.Bursts))
			}
		}
		for seq := uint32(0); seq < report.NextSeq; seq++ {
			if slices.Contains(lost, seq) && random.IntN(4) == 0 {
				report.Skips = append(report.Skips, owamp.SkipRange{First: seq, Last: seq})
			}
		}
		covered := report.NextSeq - uint32(random.IntN(20))
		want := uint64(0)
		for _, seq := range lost {
			if seq < covered && !skipped(report.Skips, seq) {
				want++
			}
		}
		e := tr.end(want, report)
		if e.Lost.Total() != want || e.Lost[CauseUnknown] != 0 {
			t.Fatalf("%v of %d lost packets", e.Lost, want)
		}
		var sum LossCount
		for i := range e.Bursts {
			b := &e.Bursts[i]
			sum.Add(&b.Lost)
			if i > 0 && b.First <= e.Bursts[i-1].Last {
				t.Errorf("burst %d begins at %d, the one before ends at %d", i, b.First, e.Bursts[i-1].Last)
			}
			if b.Lost.Total() == 0 {
				t.Errorf("burst %d has no packet", i)
			}
		}
		if sum != e.Lost {
			t.Fatalf("bursts have %v, all %v", sum, e.Lost)
		}
	}
}

// Losses that were never told of, as may be of a session that ends early, are
// nobody's.
func TestEvidenceOfUntold(t *testing.T) {
	tr, _ := try(&witness{activity: host.Activity{Known: true}})
	lose(tr, 4)
	if e := tr.end(3, nil); e.Lost != (LossCount{CauseNetwork: 1, CauseUnknown: 2}) {
		t.Errorf("%v", e.Lost)
	}
}

// What this host knows that it did not send is no loss to tell of.
func TestUnsentIsNotTold(t *testing.T) {
	tr, told := try(&witness{activity: host.Activity{Known: true}})
	tr.sends = true
	tr.sent = &owamp.SendReport{NextSeq: 10, Skips: []owamp.SkipRange{{First: 3, Last: 5}}}
	lose(tr, 2, 3, 4, 5, 6, 10, 11)
	if e := tr.end(2, nil); e.Lost != (LossCount{CauseNetwork: 2}) {
		t.Errorf("%v", e.Lost)
	}
	if d := cmp.Diff([][2]uint32{{2, 2}, {6, 6}}, ranges(*told)); d != "" {
		t.Errorf("told (-want +got)\n%s", d)
	}
}

// Nor does it make others count less where bursts on both sides of it are joined.
func TestUnsentBetweenBursts(t *testing.T) {
	tr, _ := try(&witness{activity: host.Activity{Known: true}})
	tr.sends = true
	tr.sent = &owamp.SendReport{NextSeq: 1000}
	lost := uint64(0)
	for seq := uint32(0); seq < 4*maxBursts; seq += 2 {
		tr.sent.Skips = append(tr.sent.Skips, owamp.SkipRange{First: seq + 1, Last: seq + 1})
		lose(tr, seq, seq+1)
		lost++
	}
	if e := tr.end(lost, nil); e.Lost != (LossCount{CauseNetwork: lost}) || len(e.Bursts) != maxBursts {
		t.Errorf("%v in %d bursts, want %d in the network, in %d", e.Lost, len(e.Bursts), lost, maxBursts)
	}
}

// A report may come while packets that are lost are still told of.
func TestReportedWhileObserved(t *testing.T) {
	tally := NewTally(new(memwire.Clock))
	tally.Attribute(new(witness), nil)
	track := tally.Track()
	var observing sync.WaitGroup
	observing.Go(func() {
		for seq := range uint32(20) {
			track.Observe([]owamp.Record{{Seq: seq, Sent: due(seq)}})
			track.Settled(seq + 1)
		}
	})
	track.Reported(&owamp.SendReport{NextSeq: 20, Skips: []owamp.SkipRange{{First: 3, Last: 5}}})
	observing.Wait()
	track.Settle(recorder.Report{Ledger: window.Ledger{Lost: 17, NotSent: 3}}, probe.ReceiveStats{})
	if s := tally.Snapshot(); s.Lost != 17 || s.LostBy != (LossCount{CauseUnknown: 17}) {
		t.Errorf("lost %d, by cause %v; want 17 of unknown cause", s.Lost, s.LostBy)
	}
}

func TestUnsent(t *testing.T) {
	report := &owamp.SendReport{NextSeq: 100, Skips: []owamp.SkipRange{{First: 10, Last: 19}, {First: 30, Last: 30}, {First: 90, Last: 99}}}
	for _, tt := range []struct {
		first, last uint32
		want        uint64
	}{
		{0, 9, 0}, {0, 10, 1}, {15, 16, 2}, {0, 40, 11}, {30, 30, 1}, {31, 89, 0}, {95, 99, 5}, {95, 104, 10}, {100, 100, 1}, {200, 1<<32 - 1, 1<<32 - 200}, {0, 1<<32 - 1, 21 + 1<<32 - 100},
	} {
		if got := unsent(report, tt.first, tt.last); got != tt.want {
			t.Errorf("%d of %d to %d, want %d", got, tt.first, tt.last, tt.want)
		}
	}
	if got := unsent(&owamp.SendReport{}, 0, 9); got != 10 {
		t.Errorf("%d of a sender that sent nothing, want 10", got)
	}
}

func TestCauses(t *testing.T) {
	var names []string
	for c := range Causes() {
		names = append(names, c.String())
	}
	if d := cmp.Diff([]string{"unknown", "network", "host_suspect", "host"}, names); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if got := Cause(9).String(); got != "cause(9)" {
		t.Errorf("%q", got)
	}
	for _, tt := range []struct {
		n    LossCount
		want Cause
	}{
		{LossCount{}, CauseUnknown}, {LossCount{CauseUnknown: 3, CauseNetwork: 1}, CauseNetwork}, {LossCount{CauseNetwork: 9, CauseHostSuspect: 1}, CauseHostSuspect}, {LossCount{1, 1, 1, 1}, CauseHost},
	} {
		if got := tt.n.Cause(); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.n, got, tt.want)
		}
	}
}

// Packets that arrive cost nothing but a few stores.
func TestArrivalsDoNotAllocate(t *testing.T) {
	tally := NewTally(new(memwire.Clock))
	tally.Attribute(new(witness), nil)
	track := tally.Track()
	track.Witness(netip.MustParseAddr("192.0.2.1"), new(witness).between, nil)
	recs := []owamp.Record{{Seq: 1, Sent: due(1), Recv: due(2)}, {Seq: 2, Sent: due(2), Recv: due(3)}}
	if n := testing.AllocsPerRun(1000, func() {
		track.Observe(recs)
		track.Settled(2)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
