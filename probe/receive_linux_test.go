package probe

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
)

// A session whose packets wait longer for the reader than they were under way
// has the stamps of their arrival.
func TestStampsAreOfArrival(t *testing.T) {
	const gather = 200 * time.Millisecond
	e := newEngine(t, Config{Gather: gather})
	if !e.kernel {
		t.Skipf("SKIPPED: %v", e.stamps.Err)
	}
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	in := newInbox()
	receive(t, to, from.Addr(), owamp.OpenPacketSize, in.batch)
	start(t, from, spec(t, e, to.Addr(), 1, time.Millisecond))
	rec := in.wait(t, 1)[0]
	if delay := rec.Recv.Sub(rec.Sent); delay <= 0 || delay > gather/2 {
		t.Errorf("delay %v of a packet that was read after %v, want that of loopback", delay, gather)
	}
}

func TestWhatIsIgnored(t *testing.T) { testWhatIsIgnored(t, Config{}) }

func testWhatIsIgnored(t *testing.T, cfg Config) {
	e := newEngine(t, cfg)
	p := listen(t, e, loopback4)
	peer, from := raw(t, p)
	stranger, _ := raw(t, p)
	in := newInbox()
	r := receive(t, p, from, 34, in.batch)

	stranger.Write(packet(7, 34))
	peer.Write(packet(1, 34))
	peer.Write(packet(2, 33))  // short
	peer.Write(nil)            // shorter
	peer.Write(packet(3, 900)) // longer
	bad := packet(4, 34)
	bad[13] = 0 // multiplier
	peer.Write(bad)
	peer.Write(packet(1, 34)) // a duplicate is for others to find
	stranger.Write(nil)

	before := e.clock.Now()
	if drained := r.Drain(); drained.Before(before) && cfg.Capture == CaptureUDP {
		t.Errorf("drained up to %v ago, want now", before.Sub(drained))
	}
	drain(t, r)
	var seqs []uint32
	for _, rec := range in.records() {
		seqs = append(seqs, rec.Seq)
	}
	if d := cmp.Diff([]uint32{1, 3, 1}, seqs); d != "" {
		t.Errorf("sequence numbers: %s", d)
	}
	if got, want := r.Stats(), (ReceiveStats{Received: 3, Short: 2, Malformed: 1}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
	if got, want := p.Stats(), (PortStats{Strangers: 2}); got != want {
		t.Errorf("port stats %+v, want %+v", got, want)
	}
}

func TestPairBusy(t *testing.T) {
	e := newEngine(t, Config{})
	p := listen(t, e, loopback4)
	one := netip.MustParseAddrPort("127.0.0.1:5000")
	in := newInbox()
	r := receive(t, p, one, 14, in.batch)
	opener := owamp.Seal{}.Opener()
	mapped := netip.AddrPortFrom(netip.AddrFrom16(one.Addr().As16()), one.Port())
	for _, same := range []netip.AddrPort{one, mapped} {
		if _, err := p.Receive(ReceiveSpec{Remote: same, Opener: opener, Size: 14}, in.batch); !errors.Is(err, ErrPairBusy) {
			t.Errorf("second session with %v: %v, want ErrPairBusy", same, err)
		}
	}
	receive(t, p, netip.MustParseAddrPort("127.0.0.1:5001"), 14, in.batch)
	receive(t, p, netip.MustParseAddrPort("127.0.0.2:5000"), 14, in.batch)
	r.Close()
	r.Close()
	receive(t, p, one, 14, in.batch)
}

func TestManySessionsShareAPort(t *testing.T) {
	e := newEngine(t, Config{})
	to := listen(t, e, loopback4)
	const sessions, n = 40, 50
	boxes := make([]*inbox, sessions)
	var done []<-chan struct{}
	for i := range boxes {
		from := listen(t, e, loopback4)
		boxes[i] = newInbox()
		receive(t, to, from.Addr(), 14, boxes[i].batch)
		_, d := start(t, from, spec(t, e, to.Addr(), n, time.Millisecond))
		done = append(done, d)
	}
	// One port sends to many as well.
	from := listen(t, e, loopback4)
	for range sessions {
		sink := listen(t, e, loopback4)
		in := newInbox()
		boxes = append(boxes, in)
		receive(t, sink, from.Addr(), 14, in.batch)
		_, d := start(t, from, spec(t, e, sink.Addr(), n, time.Millisecond))
		done = append(done, d)
	}
	for _, d := range done {
		await(t, "a sender", d)
	}
	for i, in := range boxes {
		for k, rec := range in.wait(t, n) {
			if rec.Seq != uint32(k) {
				t.Fatalf("session %d: record %d is of packet %d", i, k, rec.Seq)
			}
		}
	}
	if st := to.Stats(); st != (PortStats{}) {
		t.Errorf("port stats %+v, want zeros", st)
	}
}

// Who asks again and again gets what has arrived, if not each time.
func TestDrained(t *testing.T) {
	e := newEngine(t, Config{Gather: time.Hour}) // nobody else empties the port
	p := listen(t, e, loopback4)
	peer, from := raw(t, p)
	in := newInbox()
	r := receive(t, p, from, 34, in.batch)
	last := r.Drained()
	for seq := range uint32(20) {
		peer.Write(packet(seq, 34))
		for deadline := time.Now().Add(10 * time.Second); len(in.records()) <= int(seq); {
			drained := r.Drained()
			if drained.Before(last) || drained.After(e.clock.Now()) {
				t.Fatalf("drained up to %v after %v", drained, last)
			}
			if last = drained; time.Now().After(deadline) {
				t.Fatalf("packet %d is not delivered", seq)
			}
		}
	}
}

func TestUserStamps(t *testing.T) { testUserStamps(t, CaptureUDP, 0) }

// testUserStamps checks stamps of our own, which are late by what the kernel keeps
// packets for and by the waking up of the reader.
func testUserStamps(t *testing.T, how Capture, kept time.Duration) {
	var log bytes.Buffer
	e := newEngine(t, Config{UserStamps: true, Capture: how, Log: slog.New(slog.NewTextHandler(&log, nil))})
	least := kept + 2*e.stamps.Wake
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	in := newInbox()
	receive(t, to, from.Addr(), 14, in.batch)
	start(t, from, spec(t, e, to.Addr(), 100, 200*time.Microsecond))
	for _, rec := range in.wait(t, 100) {
		if rec.Flags&owamp.FlagUserStamp == 0 || !rec.Recv.After(rec.Sent) || rec.RecvErr.Duration() < least {
			t.Fatalf("%+v: want a stamp of our own, after the sender's, with an error of at least %v", rec, least)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d log lines, want one:\n%s", n, log.String())
	}
}

// No batch is delivered once Close has returned, and none at the same time as
// another.
func TestReceivingClose(t *testing.T) {
	e := newEngine(t, Config{Gather: 50 * time.Microsecond})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	for range 20 {
		var inside, after atomic.Int32
		var closed atomic.Bool
		got := make(chan struct{}, 1)
		r := receive(t, to, from.Addr(), 14, func([]owamp.Record) {
			if inside.Add(1) != 1 {
				after.Add(1)
			}
			if closed.Load() {
				after.Add(1)
			}
			runtime.Gosched()
			inside.Add(-1)
			select {
			case got <- struct{}{}:
			default:
			}
		})
		snd, err := from.Send(spec(t, e, to.Addr(), 1e6, 20*time.Microsecond))
		if err != nil {
			t.Fatal(err)
		}
		await(t, "a batch", got)
		var draining sync.WaitGroup
		for range 3 {
			draining.Go(func() { r.Drain() })
		}
		r.Close()
		closed.Store(true)
		draining.Wait()
		r.Drain()
		snd.Stop()
		if n := after.Load(); n != 0 {
			t.Fatalf("%d batches after Close or two at a time", n)
		}
	}
}
