package recorder_test

import (
	"errors"
	"io/fs"
	"math"
	"net/netip"
	"testing"
	"time"

	"owl/owamp"
	"owl/owamp/schedule"
	"owl/owamp/stats"
	"owl/sessions/recorder"
)

// nowhere is a file that keeps nothing.
type nowhere struct{}

func (nowhere) ReadAt([]byte, int64) (int, error)      { return 0, errors.ErrUnsupported }
func (nowhere) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (nowhere) Truncate(int64) error                   { return nil }
func (nowhere) Sync() error                            { return nil }
func (nowhere) Name() string                           { return "nowhere" }
func (nowhere) Stat() (fs.FileInfo, error)             { return empty{}, nil }

type empty struct{ fs.FileInfo }

func (empty) Size() int64 { return 0 }

// A way is all that a packet goes through between the socket and the histogram:
// it is decoded, handed over by the receiving thread, placed in the window,
// written to the file, and counted.
type way struct {
	opener *owamp.Opener
	*recorder.Recorder
	live  stats.Live
	due   *schedule.Generator
	seq   uint32                       // of the packet that is sent next
	at    owamp.Timestamp              // when the last one was sent
	now   owamp.Timestamp              // when the last one arrived
	wires [][owamp.OpenPacketSize]byte // packets on their way
	batch []owamp.Record
}

const perDrain = 64 // packets that are received at once

func newWay(tb testing.TB) *way {
	w := &way{
		opener: owamp.Seal{}.Opener(),
		batch:  make([]owamp.Record, perDrain),
		wires:  make([][owamp.OpenPacketSize]byte, 1<<14),
		at:     owamp.FromUnix(1_800_000_000, 0),
	}
	spec := owamp.SessionSpec{
		ConfSender: true,
		Slots:      []owamp.Slot{exponential(10 * time.Microsecond)},
		Packets:    math.MaxUint32,
		SID:        owamp.SID{1, 2, 3},
		Sender:     netip.MustParseAddrPort("192.0.2.2:9000"),
		Receiver:   netip.MustParseAddrPort("192.0.2.1:9001"),
		Start:      w.at,
		Timeout:    owamp.IntervalOf(10 * time.Millisecond),
	}
	rec, err := recorder.New(recorder.Config{
		Spec: &spec,
		File: nowhere{},
		Now:  func() owamp.Timestamp { return w.now },
		Err:  func() owamp.ErrorEstimate { return precise },
		Seen: func(recs []owamp.Record) {
			for i := range recs {
				w.live.Observe(0, &recs[i])
			}
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	w.Recorder = rec
	if w.due, err = schedule.New(spec.SID, spec.Slots); err != nil {
		tb.Fatal(err)
	}
	return w
}

// send puts packets on the wires.
func (w *way) send() {
	s := owamp.Seal{}.Sealer()
	for i := range w.wires {
		w.at = w.at.Add(w.due.Next())
		s.Prepare(w.wires[i][:], w.seq)
		s.Finish(w.wires[i][:], w.at, precise)
		w.seq++
	}
}

// receive takes a drain's packets from the wires and has them counted.
func (w *way) receive(wires [][owamp.OpenPacketSize]byte) {
	for i := range wires {
		r := &w.batch[i]
		*r = owamp.Record{TTL: 64, RecvErr: precise}
		if !w.opener.Open(wires[i][:], r) {
			panic("not a packet")
		}
		r.Recv = r.Sent + 1<<18 + owamp.Timestamp(i)<<8 // about 61 µs
	}
	w.now = w.batch[len(wires)-1].Recv
	w.Batch(w.batch[:len(wires)])
	w.Live()
}

// TestPacketDoesNotAllocate holds that a packet allocates nothing between the
// socket and the histogram.
func TestPacketDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	w := newWay(t)
	w.send()
	next := w.wires
	receive := func() {
		w.receive(next[:perDrain])
		next = next[perDrain:]
	}
	for range 100 {
		receive()
	}
	if n := testing.AllocsPerRun(100, receive); n != 0 {
		t.Errorf("%v allocations in receiving %d packets, want none", n, perDrain)
	}
	if l := w.Live(); l.Received != 201*perDrain || l.Lost+uint32(l.Late) != 0 {
		t.Errorf("%+v, want all of %d packets received", l, 201*perDrain)
	}
	if d := w.live.Delay(); d.Count() != 201*perDrain || d.Min() < 61_000 || d.Max() > 66_000 {
		t.Errorf("%d delays from %d to %d ns, want %d of about 61 µs", d.Count(), d.Min(), d.Max(), 201*perDrain)
	}
}

func BenchmarkPacket(b *testing.B) {
	w := newWay(b)
	next := w.wires[:0]
	b.ReportAllocs()
	var n int
	for b.Loop() {
		if n++; n%perDrain != 0 {
			continue
		}
		if len(next) == 0 {
			b.StopTimer()
			w.send()
			next = w.wires
			b.StartTimer()
		}
		w.receive(next[:perDrain])
		next = next[perDrain:]
	}
}
