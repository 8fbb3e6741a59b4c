package window

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"owl/owamp"
	"owl/owamp/schedule"
)

const start owamp.Timestamp = 0xeeaba5f0877fe088

func fixed(p ...owamp.Interval) (slots []owamp.Slot) {
	for _, p := range p {
		slots = append(slots, owamp.Slot{Type: owamp.SlotFixed, Parameter: p})
	}
	return slots
}

func newWindow(t testing.TB, slots []owamp.Slot, n uint32, timeout owamp.Interval) *Window {
	t.Helper()
	g, err := schedule.New(owamp.SID{}, slots)
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(g, start, n, timeout)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// at is the time d units of 2^-32 s after start.
func at(d int64) owamp.Timestamp { return start + owamp.Timestamp(d) }

// packet is a record with times in units of 2^-32 s since start.
func packet(seq uint32, sent, recv int64) *owamp.Record {
	return &owamp.Record{Seq: seq, Sent: at(sent), Recv: at(recv)}
}

func expire(w *Window, now int64) (lost []uint32) {
	w.Expire(at(now), func(r *owamp.Record) { lost = append(lost, r.Seq) })
	return lost
}

// TestEdges are the limits of each rule, to the last bit: a packet every
// second, a timeout of ten.
func TestEdges(t *testing.T) {
	const s, timeout = second, 10 * second
	for _, tt := range []struct {
		name       string
		seq        uint32
		sent, recv int64
		want       Verdict
	}{
		{"in time", 4, 5 * s, 5*s + 1, Recorded},
		{"before it was sent", 4, 5 * s, 5*s - 1, Recorded},
		{"at its deadline", 4, 5 * s, 5*s + timeout, Recorded},
		{"after its deadline", 4, 5 * s, 5*s + timeout + 1, Stale},
		{"after its deadline, sent late", 4, 6 * s, 5*s + timeout + 1, Stale},
		{"sent a timeout late", 4, 5*s + timeout, 5*s + timeout, Recorded},
		{"sent later", 4, 5*s + timeout + 1, 5*s + timeout, Stale},
		{"sent a timeout early", 4, 5*s - timeout, 5 * s, Recorded},
		{"sent earlier", 4, 5*s - timeout - 1, 5 * s, Stale},
		{"a timeout early on both accounts", 4, 5*s - timeout, 5*s - 2*timeout, Recorded},
		{"more than that", 4, 5*s - timeout, 5*s - 2*timeout - 1, Stale},
		{"last", 99, 100 * s, 100 * s, Recorded},
		{"beyond the last", 100, 101 * s, 101 * s, OutOfRange},
		{"far beyond", math.MaxUint32, 101 * s, 101 * s, OutOfRange},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWindow(t, fixed(s), 100, timeout)
			if got := w.Arrive(packet(tt.seq, tt.sent, tt.recv)); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// TestNoTime has a packet whose send stamp is the one value that is no time.
func TestNoTime(t *testing.T) {
	g, err := schedule.New(owamp.SID{}, fixed(second))
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(g, 1<<64-second, 1, second)
	if err != nil {
		t.Fatal(err)
	}
	r := owamp.Record{Sent: 0, Recv: 1}
	if v := w.Arrive(&r); v != Stale {
		t.Errorf("%v, want %v", v, Stale)
	}
	r.Sent = 1
	if v := w.Arrive(&r); v != Recorded {
		t.Errorf("%v, want %v", v, Recorded)
	}
}

func TestExpireAtTheDeadline(t *testing.T) {
	w := newWindow(t, fixed(second), 2, 10*second)
	var lost []uint32
	emit := func(r *owamp.Record) { lost = append(lost, r.Seq) }
	next := w.Expire(start+11*second, emit)
	if len(lost) != 0 || next != start+11*second+1 {
		t.Fatalf("lost %v at the deadline of the first, next %d after it", lost, int64(next-start-11*second))
	}
	if next = w.Expire(next, emit); len(lost) != 1 || next != start+12*second+1 {
		t.Fatalf("lost %v, next %d after the deadline of the second", lost, int64(next-start-12*second))
	}
	if next = w.Expire(next, emit); len(lost) != 2 || next != 0 || !w.Done() {
		t.Fatalf("lost %v, next %d, done %v", lost, next, w.Done())
	}
	if v := w.Arrive(packet(0, second, second)); v != Stale {
		t.Errorf("after the end: %v", v)
	}
}

// TestProgress follows a session of three packets, one a second, of which the
// second does not come, to the last bit of each time.
func TestProgress(t *testing.T) {
	w := newWindow(t, fixed(second), 3, 10*second)
	for _, tt := range []struct {
		now    int64
		arrive uint32 // one more than the packet that arrives before
		expire bool
		want   Progress
	}{
		{now: -second},
		{now: second - 1},
		{now: second, want: Progress{Due: 1, Unresolved: 1}},
		{now: second, arrive: 1, want: Progress{Due: 1, Received: 1, Unresolved: 1}},
		{now: 3 * second, want: Progress{Due: 3, Received: 1, Unresolved: 3}},
		{now: 2 * second, want: Progress{Due: 3, Received: 1, Unresolved: 3}},
		{now: 12 * second, want: Progress{Due: 3, Received: 1, Unresolved: 3}},
		{now: 12*second + 1, want: Progress{Due: 3, Received: 1, Unresolved: 3, Overdue: 1}},
		{now: 12*second + 1, expire: true, want: Progress{Due: 3, Received: 1, Lost: 1, Unresolved: 3, Overdue: 1}},
		{now: 13*second + 1, arrive: 3, want: Progress{Due: 3, Received: 2, Lost: 1, Unresolved: 3, Overdue: 1}},
	} {
		if tt.arrive > 0 {
			due := int64(tt.arrive) * second
			if v := w.Arrive(packet(tt.arrive-1, due, due)); v != Recorded {
				t.Fatalf("packet %d: %v", tt.arrive-1, v)
			}
		}
		if tt.expire {
			expire(w, tt.now)
		}
		if got := w.Progress(at(tt.now)); got != tt.want {
			t.Errorf("at %d: %+v, want %+v", tt.now, got, tt.want)
		}
	}
}

// TestEnd: the end is known as soon as the last packet is.
func TestEnd(t *testing.T) {
	w := newWindow(t, fixed(second), 3, 10*second)
	want := func(at int64, known bool) {
		t.Helper()
		if got, ok := w.End(); ok != known || ok && got != start+owamp.Timestamp(at) {
			t.Errorf("end %d, known %v, want %d, %v", int64(got-start), ok, at, known)
		}
	}
	want(0, false)
	w.Arrive(packet(1, 2*second, 2*second))
	want(0, false)
	w.Arrive(packet(2, 3*second, 3*second))
	want(13*second+1, true)
	expire(w, 13*second+1)
	want(13*second+1, true)
}

func TestNoPackets(t *testing.T) {
	w := newWindow(t, fixed(second), 0, second)
	if !w.Done() || w.Expire(start, nil) != 0 {
		t.Error("not done")
	}
	if v := w.Arrive(packet(0, 0, 0)); v != OutOfRange {
		t.Errorf("packet 0: %v", v)
	}
	if got := w.Settle(0, nil, start); got != (Ledger{}) {
		t.Errorf("ledger %+v", got)
	}
}

func TestNewRefuses(t *testing.T) {
	const s owamp.Interval = second
	for _, tt := range []struct {
		name    string
		slots   []owamp.Slot
		n       uint32
		timeout owamp.Interval
		want    string // "": accepted
	}{
		{"an hour at 100/s", fixed(s / 100), math.MaxUint32, 3600 * s, ""},
		{"all at once, few", fixed(0), MaxEntries, s, ""},
		{
			"all at once, many", fixed(0), MaxEntries + 1, s,
			"4194305 packets within 3 timeouts of 1 s: want at most 4194304: too many packets within a timeout",
		},
		{
			"a million a second", fixed(s / 1e6), math.MaxUint32, 2 * s,
			"6001353 packets within 3 timeouts of 2 s: want at most 4194304: too many packets within a timeout",
		},
		{"a million a second, short", fixed(s / 1e6), 1e6, 2 * s, ""},
		{"bursts", fixed(append(make([]owamp.Interval, 1e6), 100*s)...), math.MaxUint32, s, ""},
		{
			"greater bursts", fixed(append(make([]owamp.Interval, 3e6), 100*s)...), math.MaxUint32, s,
			"6000002 packets within 3 timeouts of 1 s: want at most 4194304: too many packets within a timeout",
		},
		{
			"for ages", fixed(s), 1, math.MaxUint64,
			"timeout of 4294967296 s: want less than 536870912: too many packets within a timeout",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := schedule.New(owamp.SID{}, tt.slots)
			if err != nil {
				t.Fatal(err)
			}
			_, err = New(g, start, tt.n, tt.timeout)
			if tt.want == "" && err != nil {
				t.Fatal(err)
			}
			if tt.want != "" && (!errors.Is(err, ErrTooLarge) || err.Error() != tt.want) {
				t.Fatalf("%v, want %s", err, tt.want)
			}
		})
	}
}

// TestSizeFollowsRate runs the longest session there is at 1000 packets/s for
// a while: the window holds what was sent within the timeout, the time that it
// keeps packets, and the time between two calls of Expire.
func TestSizeFollowsRate(t *testing.T) {
	const interval = second / 1000
	w := newWindow(t, fixed(interval), math.MaxUint32, second)
	for seq := range uint32(20_000) {
		due := (int64(seq) + 1) * interval
		if seq%3 != 0 {
			if v := w.Arrive(packet(seq, due, due+5)); v != Recorded {
				t.Fatalf("packet %d: %v", seq, v)
			}
		}
		if seq%50 == 0 {
			expire(w, due)
		}
	}
	if len(w.ring) != 4096 {
		t.Errorf("%d entries", len(w.ring))
	}
}

// TestForgedSequenceNumber sends what an attacker can: every number at once.
func TestForgedSequenceNumber(t *testing.T) {
	w := newWindow(t, fixed(second/1000), math.MaxUint32, second)
	now := int64(100 * second)
	expire(w, now)
	for seq := uint32(math.MaxUint32 - 1); seq > 200_000; seq -= 50_000 {
		if v := w.Arrive(packet(seq, now, now)); v != Stale {
			t.Fatalf("packet %d: %v", seq, v)
		}
	}
	// The farthest that a clock may be off, and one packet farther.
	for seq, want := range map[uint32]Verdict{101_999: Recorded, 102_000: Stale} {
		if v := w.Arrive(packet(seq, now+second, now)); v != want {
			t.Errorf("packet %d: %v, want %v", seq, v, want)
		}
	}
	if n := w.next - w.first; n > 4001 {
		t.Errorf("%d packets in the window, want those of 4 s at most", n)
	}
	if v := w.Arrive(packet(99_999, now, now)); v != Recorded {
		t.Errorf("packet of now: %v", v)
	}
}

// TestFull lets the packets of a session that is all in the window arrive, and
// one that would be beyond it.
func TestFull(t *testing.T) {
	g, err := schedule.New(owamp.SID{}, fixed(0))
	if err != nil {
		t.Fatal(err)
	}
	w := &Window{gen: *g, start: start, packets: math.MaxUint32, timeout: second}
	if v := w.Arrive(packet(MaxEntries-1, 0, 0)); v != Recorded {
		t.Errorf("last that fits: %v", v)
	}
	if v := w.Arrive(packet(MaxEntries, 0, 0)); v != Stale {
		t.Errorf("one too many: %v", v)
	}
	if len(w.ring) != MaxEntries {
		t.Errorf("%d entries, want %d", len(w.ring), MaxEntries)
	}
	// Settled packets make room.
	w.open = 10
	if v := w.Arrive(packet(MaxEntries+9, 0, 0)); v != Recorded {
		t.Errorf("with room: %v", v)
	}
	if w.first != 10 || len(w.ring) != MaxEntries {
		t.Errorf("first %d, %d entries", w.first, len(w.ring))
	}
}

// TestHorizon has a schedule whose sums would wrap around many times.
func TestHorizon(t *testing.T) {
	w := newWindow(t, fixed(math.MaxUint64-5), math.MaxUint32, second)
	if lost := expire(w, 1<<61); lost != nil {
		t.Errorf("lost %v", lost)
	}
	if p := w.Progress(at(1 << 61)); p != (Progress{}) {
		t.Errorf("%+v", p)
	}
	if got, want := w.Settle(5, nil, at(1<<61)), (Ledger{NotCovered: math.MaxUint32}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestSettle spells out how sessions of ten packets, one a second, end: 1 is
// lost, 3 was not sent, and the others have come as far as they were sent.
func TestSettle(t *testing.T) {
	const timeout = 2 * second
	skips := []owamp.SkipRange{{First: 3, Last: 3}}
	for _, tt := range []struct {
		name    string
		nextSeq uint32
		stopped int64
		want    Ledger
	}{
		{"normal", 10, 13 * second, Ledger{Received: 8, Lost: 1, NotSent: 1}},
		{"at once after the last timeout", 10, 12 * second, Ledger{Received: 8, Lost: 1, NotSent: 1}},
		{"a moment too early", 10, 12*second - 1, Ledger{Received: 7, Lost: 1, NotSent: 1, NotCovered: 1}},
		{"stopped half-way", 7, 7 * second, Ledger{Received: 3, Lost: 1, NotSent: 1, NotCovered: 5}},
		{"stopped before the loss could be told", 2, 3*second + second/2, Ledger{Received: 1, NotCovered: 9}},
		{"stopped before the start", 0, -second, Ledger{NotCovered: 10}},
	} {
		for _, expired := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,expired=%v", tt.name, expired), func(t *testing.T) {
				w := newWindow(t, fixed(second), 10, timeout)
				for seq := range tt.nextSeq {
					due := (int64(seq) + 1) * second
					if seq == 1 || seq == 3 || due > tt.stopped {
						continue
					}
					if v := w.Arrive(packet(seq, due, due)); v != Recorded {
						t.Fatalf("packet %d: %v", seq, v)
					}
				}
				if expired {
					expire(w, tt.stopped)
				}
				var s []owamp.SkipRange
				if tt.nextSeq > 3 {
					s = skips
				}
				if got := w.Settle(tt.nextSeq, s, at(tt.stopped)); got != tt.want {
					t.Errorf("%+v, want %+v", got, tt.want)
				}
			})
		}
	}
}

// TestSettleUnseen settles a session of which nothing came and nothing was
// expired: all of it still lies beyond the window.
func TestSettleUnseen(t *testing.T) {
	const n = 1_000_000
	w := newWindow(t, fixed(second), n, second)
	skips := []owamp.SkipRange{{First: 10, Last: 19}, {First: 900, Last: 998}, {First: 1000, Last: 1099}, {First: 5000, Last: 5000}}
	got := w.Settle(6000, skips, start+1001*second)
	if want := (Ledger{Lost: 891, NotSent: 210, NotCovered: n - 1101}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if w.next != 0 {
		t.Errorf("%d packets were taken into the window", w.next)
	}
}

// TestSettleContradicted has a sender that skipped or never came to what had
// arrived and left the window long ago.
func TestSettleContradicted(t *testing.T) {
	w := newWindow(t, fixed(second), 100, second)
	for seq := range uint32(50) {
		due := (int64(seq) + 1) * second
		if seq%10 != 0 {
			w.Arrive(packet(seq, due, due))
		}
	}
	expire(w, 90*second) // 45 received, 5+38 lost
	all := []owamp.SkipRange{{First: 0, Last: math.MaxUint32}}
	if got, want := w.Settle(100, all, start+200*second), (Ledger{Received: 45, NotSent: 55}); got != want {
		t.Errorf("all skipped: %+v, want %+v", got, want)
	}
	if got, want := w.Settle(0, nil, start+200*second), (Ledger{NotCovered: 100}); got != want {
		t.Errorf("nothing considered: %+v, want %+v", got, want)
	}
}

func TestVerdictString(t *testing.T) {
	for v, want := range map[Verdict]string{
		Recorded: "recorded", Duplicate: "duplicate", Stale: "stale", OutOfRange: "out of range", 9: "verdict 9",
	} {
		if got := v.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// steady returns a step that lets one packet arrive, 1 in 16 missing, and time
// pass, of a session at 1000 packets/s that has been running for a while.
func steady(tb testing.TB) (step func()) {
	const interval = second / 1000
	w := newWindow(tb, fixed(interval), math.MaxUint32, 10*second)
	emit := func(*owamp.Record) {}
	var seq uint32
	var r owamp.Record
	step = func() {
		due := start + (owamp.Timestamp(seq)+1)*interval
		if seq%16 != 0 {
			r = owamp.Record{Seq: seq, Sent: due, Recv: due + 1000}
			if v := w.Arrive(&r); v != Recorded {
				tb.Fatalf("packet %d: %v", seq, v)
			}
		}
		if seq%64 == 0 {
			w.Expire(due, emit)
		}
		seq++
	}
	for range 20_000 {
		step()
	}
	return step
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	step := steady(t)
	if n := testing.AllocsPerRun(50_000, step); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkArrive(b *testing.B) {
	step := steady(b)
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
}
