package window

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"owl/owamp"
	"owl/owamp/schedule"
)

const second = 1 << 32

// model is what a window is to do, with all of the schedule at hand. Times are
// relative to the start of the session.
type model struct {
	scheduled []int64
	timeout   int64
	packets   []modelPacket
	expired   int64 // the latest time given to expire
	progress  int64 // the latest time given to state
}

type modelPacket struct {
	arrived, declared bool
	sent              int64 // of the first copy
}

func (m *model) arrive(seq uint32, sent, recv int64) Verdict {
	if int64(seq) >= int64(len(m.packets)) {
		return OutOfRange
	}
	p, due := &m.packets[seq], m.scheduled[seq]
	if p.declared || max(recv-sent, sent-recv) > m.timeout || max(sent-due, due-sent) > m.timeout || recv > due+m.timeout {
		return Stale
	}
	if p.arrived {
		return Duplicate
	}
	p.arrived, p.sent = true, sent
	return Recorded
}

// expire returns the packets that are to be told as lost and when the next one
// is due, -1 for never.
func (m *model) expire(now int64) (lost []uint32, next int64) {
	m.expired = max(m.expired, now)
	next = -1
	for i := range m.packets {
		p := &m.packets[i]
		if p.declared {
			continue
		}
		if m.scheduled[i]+m.timeout >= now {
			return lost, m.scheduled[i] + m.timeout + 1
		}
		p.declared = true
		if !p.arrived {
			lost = append(lost, uint32(i))
		}
	}
	return lost, next
}

func (m *model) state(now int64) (s Progress) {
	m.progress = max(m.progress, now)
	for i, p := range m.packets {
		if p.declared || m.scheduled[i] <= m.progress {
			s.Due++
		}
		switch {
		case p.arrived:
			s.Received++
			continue
		case p.declared:
			s.Lost++
			s.Overdue++
		case m.scheduled[i]+m.timeout < now:
			s.Overdue++
		}
	}
	s.Unresolved = s.Due
	return s
}

func (m *model) settle(nextSeq uint32, skips []owamp.SkipRange, stopped int64) (l Ledger) {
	for i, p := range m.packets {
		seq := uint32(i)
		skipped := slices.ContainsFunc(skips, func(s owamp.SkipRange) bool { return s.First <= seq && seq <= s.Last })
		switch {
		case seq >= nextSeq, p.arrived && p.sent > stopped-m.timeout:
			l.NotCovered++
		case p.arrived:
			l.Received++
		case skipped:
			l.NotSent++
		case m.scheduled[i] > stopped-m.timeout:
			l.NotCovered++
		default:
			l.Lost++
		}
	}
	return l
}

func (m *model) settleIncomplete() (l Ledger) {
	last := 0
	for i, p := range m.packets {
		if p.arrived {
			last = i
		}
	}
	for i, p := range m.packets {
		switch {
		case p.arrived:
			l.Received++
		case p.declared && i < last:
			l.Lost++
		default:
			l.NotCovered++
		}
	}
	return l
}

// event is a packet on its arrival.
type event struct {
	seq        uint32
	sent, recv int64
}

// play runs a session, all of whose events come from draw, which returns a
// number in [0, n), against a window and the model. An honest session has no
// packet that the sender did not send.
func play(t *testing.T, draw func(n int64) int64, honest bool) {
	between := func(low, high int64) int64 { return low + draw(high-low+1) }
	one := func(in int64) bool { return draw(in) == in-1 }

	timeout := []int64{2 * second, second / 2, 0, 30 * second}[draw(4)]
	n := uint32(draw(150))
	var slots []owamp.Slot
	for range between(1, 3) {
		slots = append(slots, owamp.Slot{
			Type:      owamp.SlotType(draw(2)),
			Parameter: owamp.Interval(draw(second)),
		})
	}
	sid := owamp.SID{byte(draw(256)), byte(draw(256))}
	g, err := schedule.New(sid, slots)
	if err != nil {
		t.Fatal(err)
	}
	// The first of these starts lets most sessions cross the end of the era.
	start := []owamp.Timestamp{1<<64 - 20*second, 0xeeaba5f0877fe088}[draw(2)]
	w, err := New(g, start, n, owamp.Interval(timeout))
	if err != nil {
		t.Fatal(err)
	}

	m := &model{progress: math.MinInt64, timeout: timeout, packets: make([]modelPacket, n), scheduled: make([]int64, n)}
	var due int64
	for i := range m.scheduled {
		due += int64(g.Next())
		m.scheduled[i] = due
	}

	// What the sender does, and the network.
	stopped := due + timeout + draw(second)
	if one(3) {
		stopped = draw(due + timeout + 1)
	}
	offset := []int64{0, 0, between(-second, second)}[draw(3)] // of the receiver's clock
	var (
		events  []event
		skips   []owamp.SkipRange
		nextSeq uint32
	)
	for i, due := range m.scheduled {
		if due > stopped-offset {
			break
		}
		nextSeq++
		if one(8) {
			if k := len(skips); k > 0 && skips[k-1].Last == uint32(i)-1 {
				skips[k-1].Last++
			} else {
				skips = append(skips, owamp.SkipRange{First: uint32(i), Last: uint32(i)})
			}
			continue
		}
		if one(8) {
			continue // lost
		}
		sent := due + draw(second/1000)
		if one(8) {
			sent += draw(timeout + second)
		}
		for {
			e := event{seq: uint32(i), sent: sent, recv: sent + offset + draw(second/10)}
			if one(8) {
				e.recv += draw(timeout + second)
			}
			events = append(events, e)
			if !one(8) {
				break
			}
		}
	}
	if !honest {
		for range draw(30) {
			e := event{seq: uint32(draw(int64(n) + 3)), recv: draw(due + 2*timeout + second)}
			e.sent = e.recv + between(-timeout-second, timeout+second)
			if e.seq < n && one(2) {
				e.sent = m.scheduled[e.seq] + between(-timeout, timeout)
			}
			events = append(events, e)
		}
	}
	// The instant at which the era begins has the time stamp that means none.
	events = slices.DeleteFunc(events, func(e event) bool { return start+owamp.Timestamp(e.sent) == 0 })
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.recv, b.recv) })

	// expire and progress, at times.
	expire := func(now int64) {
		var got []uint32
		next := w.Expire(start+owamp.Timestamp(now), func(r *owamp.Record) {
			got = append(got, r.Seq)
			want := owamp.Record{
				Seq:     r.Seq,
				Sent:    start + owamp.Timestamp(m.scheduled[r.Seq]),
				SentErr: owamp.UnknownError,
				TTL:     255,
			}
			if *r != want {
				t.Fatalf("lost record %+v, want %+v", *r, want)
			}
		})
		want, wantNext := m.expire(now)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("expired at %d (-want +got):\n%s", now, diff)
		}
		switch {
		case wantNext < 0:
			if next != 0 || !w.Done() {
				t.Fatalf("nothing left, but next is %d and done %v", next, w.Done())
			}
		case next != start+owamp.Timestamp(wantNext) || w.Done():
			t.Fatalf("next is %d, want %d; done is %v", int64(next-start), wantNext, w.Done())
		}
	}
	progress := func(now int64) {
		got, want := w.Progress(start+owamp.Timestamp(now)), m.state(now)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("progress at %d (-want +got):\n%s", now, diff)
		}
	}
	var now int64
	for _, e := range events {
		if e.recv > stopped {
			break
		}
		if one(3) {
			now = max(now, between(now, max(now, e.recv)))
			expire(now)
		}
		if one(4) {
			progress(between(now-second, max(now, e.recv)))
		}
		r := owamp.Record{Seq: e.seq, Sent: start + owamp.Timestamp(e.sent), Recv: start + owamp.Timestamp(e.recv)}
		got, want := w.Arrive(&r), m.arrive(e.seq, e.sent, e.recv)
		if got != want {
			t.Fatalf("packet %d sent %d received %d: %v, want %v", e.seq, e.sent, e.recv, got, want)
		}
		if flag := r.Flags & owamp.FlagDuplicate; (flag != 0) != (want == Duplicate) {
			t.Fatalf("%v packet has flags %b", got, r.Flags)
		}
	}
	if one(2) {
		expire(max(now, between(stopped, stopped+second)))
	}
	if one(2) {
		progress(stopped)
	}

	// The end.
	if one(4) {
		if diff := gocmp.Diff(m.settleIncomplete(), w.SettleIncomplete()); diff != "" {
			t.Fatalf("incomplete (-want +got):\n%s", diff)
		}
		return
	}
	if one(4) {
		nextSeq = n
	}
	if !honest {
		// Anything that the wire can carry.
		nextSeq = uint32(draw(int64(n) + 3))
		for range draw(5) {
			skips = append(skips, owamp.SkipRange{First: uint32(draw(int64(n) + 3)), Last: uint32(draw(1 << 32))})
		}
	} else if err := owamp.ValidateSkips(skips, nextSeq, n); err != nil {
		t.Fatal(err)
	}
	got, want := w.Settle(nextSeq, skips, start+owamp.Timestamp(stopped)), m.settle(nextSeq, skips, stopped)
	if diff := gocmp.Diff(want, got); honest && diff != "" {
		t.Fatalf("settled at %d (-want +got):\n%s", stopped, diff)
	}
	if sum := uint64(got.Received) + uint64(got.Lost) + uint64(got.NotSent) + uint64(got.NotCovered); sum != uint64(n) {
		t.Fatalf("%+v adds up to %d, want %d", got, sum, n)
	}
	if again := w.Settle(nextSeq, skips, start+owamp.Timestamp(stopped)); again != got {
		t.Fatalf("settled again: %+v, want %+v", again, got)
	}
	if p := w.Progress(start + owamp.Timestamp(stopped)); p.Unresolved != 0 || p.Overdue != 0 {
		t.Fatalf("settled, but %+v", p)
	}
	expire(due + timeout + 1)
	if !w.Done() {
		t.Fatal("not done after the last timeout")
	}
}

func TestAgainstModel(t *testing.T) {
	runs := 3000
	if testing.Short() {
		runs = 200
	}
	for _, kind := range []string{"honest", "hostile"} {
		t.Run(kind, func(t *testing.T) {
			for i := range runs {
				r := rand.New(rand.NewPCG(uint64(i), 1))
				play(t, r.Int64N, kind == "honest")
				if t.Failed() {
					t.Fatalf("run %d", i)
				}
			}
		})
	}
}

// FuzzWindow is TestAgainstModel with the input as the source of all choices.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{}, true)
	for i := range uint64(8) {
		r := rand.New(rand.NewPCG(i, 2))
		data := make([]byte, 400)
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		f.Add(data, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, honest bool) {
		play(t, func(n int64) int64 {
			v := uint64(0)
			for m := uint64(n - 1); m > 0 && len(data) > 0; m >>= 8 {
				v, data = v<<8|uint64(data[0]), data[1:]
			}
			return int64(v % uint64(n))
		}, honest)
	})
}
