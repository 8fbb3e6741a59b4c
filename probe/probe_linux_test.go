package probe

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/owamp/schedule"
	"owl/probe/clock"
)

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.MustParseAddr("::1")
)

func newEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	if cfg.Clock == nil {
		cfg.Clock = clock.New(clock.Config{})
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func listen(t testing.TB, e *Engine, addr netip.Addr) *Port {
	t.Helper()
	p, err := e.Listen(PortConfig{Addr: addr})
	if err != nil {
		if addr.Is6() && errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Skipf("SKIPPED: no IPv6 here: %v", err)
		}
		t.Fatal(err)
	}
	return p
}

// inbox collects the records of a session.
type inbox struct {
	mu   sync.Mutex
	recs []owamp.Record
	more chan struct{}
}

func newInbox() *inbox { return &inbox{more: make(chan struct{}, 1)} }

func (in *inbox) batch(recs []owamp.Record) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.recs = append(in.recs, recs...)
	select {
	case in.more <- struct{}{}:
	default:
	}
}

func (in *inbox) records() []owamp.Record {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]owamp.Record(nil), in.recs...)
}

// wait returns the records when there are n.
func (in *inbox) wait(t testing.TB, n int) []owamp.Record {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		if recs := in.records(); len(recs) >= n {
			return recs
		}
		select {
		case <-in.more:
		case <-deadline:
			t.Fatalf("%d records, want %d", len(in.records()), n)
		}
	}
}

func receive(t testing.TB, p *Port, from netip.AddrPort, size int, batch Batch) *Receiving {
	t.Helper()
	r, err := p.Receive(ReceiveSpec{Remote: from, Opener: owamp.Seal{}.Opener(), Size: size}, batch)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// spec is a session of n packets to the given peer, one every interval from now
// on.
func spec(t testing.TB, e *Engine, to netip.AddrPort, n uint32, every time.Duration) SendSpec {
	t.Helper()
	gen, err := schedule.New(owamp.SID{1}, []owamp.Slot{{Type: owamp.SlotFixed, Parameter: owamp.IntervalOf(every)}})
	if err != nil {
		t.Fatal(err)
	}
	return SendSpec{
		Remote:   to,
		Start:    e.clock.Now(),
		Schedule: gen,
		Packets:  n,
		Timeout:  owamp.IntervalOf(10 * time.Second),
		Sealer:   owamp.Seal{}.Sealer(),
		SID:      owamp.SID{1},
	}
}

// start begins to send and returns a channel that is closed when all is sent.
func start(t testing.TB, p *Port, s SendSpec) (*Sending, <-chan struct{}) {
	t.Helper()
	done := make(chan struct{})
	s.Done = func() { close(done) }
	snd, err := p.Send(s)
	if err != nil {
		t.Fatal(err)
	}
	return snd, done
}

func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("waited 20 s for %s", what)
	}
}

func testDelivery(t *testing.T, cfg Config, addr netip.Addr, dscp uint8) {
	e := newEngine(t, cfg)
	from, to := listen(t, e, addr), listen(t, e, addr)
	const n = 1000
	in := newInbox()
	s := spec(t, e, to.Addr(), n, 50*time.Microsecond)
	s.DSCP = dscp
	r := receive(t, to, from.Addr(), owamp.OpenPacketSize, in.batch)
	snd, done := start(t, from, s)
	recs := in.wait(t, n)
	await(t, "the sender", done)
	if d := cmp.Diff(owamp.SendReport{SID: s.SID, NextSeq: n}, snd.Stop()); d != "" {
		t.Error(d)
	}
	if p := snd.Progress(); p.Sent != n || p.Skipped != 0 || p.Err != nil || p.MaxSlip < p.Slip || p.Slip < 0 {
		t.Errorf("progress %+v, want all sent", p)
	}
	due := s.Start
	for i, rec := range recs {
		due = due.Add(s.Schedule.Next())
		if rec.Seq != uint32(i) {
			t.Fatalf("record %d is of packet %d", i, rec.Seq)
		}
		if rec.Sent.Before(due) {
			t.Fatalf("packet %d left %v before it was due", i, due.Sub(rec.Sent))
		}
		if e.kernel && !rec.Recv.After(rec.Sent) {
			t.Fatalf("packet %d arrived %v before it was sent", i, rec.Sent.Sub(rec.Recv))
		}
		wantFlags := owamp.FlagDSCP
		if !e.kernel {
			wantFlags |= owamp.FlagUserStamp
		}
		if rec.TTL != 255 || rec.DSCP != dscp || rec.Flags != wantFlags || !rec.SentErr.Valid() || !rec.RecvErr.Valid() {
			t.Fatalf("packet %d: %+v, want TTL 255, DSCP %d, flags %b and valid errors", i, rec, dscp, wantFlags)
		}
	}
	if st := r.Stats(); st != (ReceiveStats{Received: n}) {
		t.Errorf("stats %+v, want %d received and nothing else", st, n)
	}
}

func TestDelivery(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) { testDelivery(t, Config{}, loopback4, 0) })
	t.Run("IPv6", func(t *testing.T) { testDelivery(t, Config{}, loopback6, 0) })
	t.Run("IPv4 EF", func(t *testing.T) { testDelivery(t, Config{}, loopback4, 46) })
	t.Run("IPv6 AF11", func(t *testing.T) { testDelivery(t, Config{}, loopback6, 10) })
}

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

// What goes over the wire is the packet as RFC 4656 section 4.1.2 has it, and
// the padding.
func TestWireLayout(t *testing.T) {
	e := newEngine(t, Config{})
	p := listen(t, e, loopback4)
	peer, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback4, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	s := spec(t, e, peer.LocalAddr().(*net.UDPAddr).AddrPort(), 2, time.Microsecond)
	s.Padding = 21
	s.PadSource = bytes.NewReader([]byte("abcdefghijklmnopqrstu and more"))
	start(t, p, s)
	for seq := range uint32(2) {
		b := make([]byte, 100)
		peer.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, from, err := peer.ReadFromUDPAddrPort(b)
		if err != nil {
			t.Fatal(err)
		}
		if from != p.Addr() {
			t.Errorf("packet from %v, want %v", from, p.Addr())
		}
		if n != 35 || binary.BigEndian.Uint32(b) != seq || string(b[14:n]) != "abcdefghijklmnopqrstu" {
			t.Errorf("packet %x, want 35 octets with sequence number %d and the padding", b[:n], seq)
		}
		sent := owamp.Timestamp(binary.BigEndian.Uint64(b[4:]))
		if sent.Before(s.Start) || sent.After(e.clock.Now()) {
			t.Errorf("time stamp %v, want one from %v to now", sent.Time(), s.Start.Time())
		}
		if est := owamp.ErrorEstimate(binary.BigEndian.Uint16(b[12:])); !est.Valid() {
			t.Errorf("error estimate %#04x is not valid", est)
		}
	}
}

// raw sends datagrams that no engine would send.
func raw(t testing.TB, to *Port) (conn *net.UDPConn, addr netip.AddrPort) {
	t.Helper()
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr().Addr(), 0)), net.UDPAddrFromAddrPort(to.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func packet(seq uint32, size int) []byte {
	b := make([]byte, max(size, owamp.OpenPacketSize))
	s := owamp.Seal{}.Sealer()
	s.Prepare(b, seq)
	s.Finish(b, owamp.FromTime(time.Now()), owamp.UnknownError)
	return b[:size]
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

func TestSkipWhatTheKernelRefuses(t *testing.T) {
	e := newEngine(t, Config{})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	s := spec(t, e, to.Addr(), 5, time.Microsecond)
	s.Padding = 70000
	snd, done := start(t, from, s)
	await(t, "the sender", done)
	want := owamp.SendReport{SID: s.SID, NextSeq: 5, Skips: []owamp.SkipRange{{First: 0, Last: 4}}}
	if d := cmp.Diff(want, snd.Stop()); d != "" {
		t.Error(d)
	}
	if p := snd.Progress(); p.Sent != 0 || p.Skipped != 5 || !errors.Is(p.Err, unix.EMSGSIZE) {
		t.Errorf("progress %+v, want 5 skipped for EMSGSIZE", p)
	}
}

func TestGreatestPadding(t *testing.T) {
	e := newEngine(t, Config{})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	in := newInbox()
	receive(t, to, from.Addr(), 14+65000, in.batch)
	s := spec(t, e, to.Addr(), 3, time.Millisecond)
	s.Padding, s.PadSource = 65000, rand.Reader
	start(t, from, s)
	in.wait(t, 3)
}

// refusing makes the engine's kernel refuse what verdict says.
func refusing(e *Engine, verdict func(s *Sending) syscall.Errno) {
	transmit := e.lane.transmit
	e.lane.transmit = func(s *Sending) syscall.Errno {
		if errno := verdict(s); errno != 0 {
			return errno
		}
		return transmit(s)
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name  string
		errno func(seq uint32, try int) syscall.Errno
		skips []owamp.SkipRange
	}{
		{"firewall", func(seq uint32, _ int) syscall.Errno {
			if seq == 2 || seq == 3 || seq == 9 {
				return unix.EPERM
			}
			return 0
		}, []owamp.SkipRange{{First: 2, Last: 3}, {First: 9, Last: 9}}},
		{"full queue for a while", func(seq uint32, try int) syscall.Errno {
			if seq%3 == 0 && try < 10 {
				return unix.ENOBUFS
			}
			return 0
		}, nil},
		{"error of an earlier packet", func(_ uint32, try int) syscall.Errno {
			if try < pendingErrors-1 {
				return unix.ECONNREFUSED
			}
			return 0
		}, nil},
		{"no route", func(seq uint32, _ int) syscall.Errno {
			if seq >= 8 {
				return unix.ENETUNREACH
			}
			return 0
		}, []owamp.SkipRange{{First: 8, Last: 9}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEngine(t, Config{})
			tries := make(map[uint32]int)
			refusing(e, func(s *Sending) syscall.Errno {
				try := tries[s.seq]
				tries[s.seq]++
				return tc.errno(s.seq, try)
			})
			from, to := listen(t, e, loopback4), listen(t, e, loopback4)
			in := newInbox()
			receive(t, to, from.Addr(), 14, in.batch)
			snd, done := start(t, from, spec(t, e, to.Addr(), 10, time.Millisecond))
			await(t, "the sender", done)
			rep := snd.Stop()
			if d := cmp.Diff(owamp.SendReport{SID: owamp.SID{1}, NextSeq: 10, Skips: tc.skips}, rep); d != "" {
				t.Error(d)
			}
			p := snd.Progress()
			in.wait(t, int(p.Sent))
			skipped := make(map[uint32]bool)
			for _, r := range rep.Skips {
				for seq := r.First; seq <= r.Last; seq++ {
					skipped[seq] = true
				}
			}
			if int(p.Sent) != 10-len(skipped) || int(p.Skipped) != len(skipped) {
				t.Errorf("progress %+v, want %d skipped of 10", p, len(skipped))
			}
			for _, rec := range in.records() {
				if skipped[rec.Seq] {
					t.Errorf("packet %d arrived and was skipped", rec.Seq)
				}
			}
		})
	}
}

// A queue that stays full costs packets, and only of its own session, once they
// are too late.
func TestFullQueueSkipsAfterTimeout(t *testing.T) {
	e := newEngine(t, Config{})
	from, to, other := listen(t, e, loopback4), listen(t, e, loopback4), listen(t, e, loopback4)
	refusing(e, func(s *Sending) syscall.Errno {
		if s.port == from {
			return unix.ENOBUFS
		}
		return 0
	})
	s := spec(t, e, to.Addr(), 3, time.Millisecond)
	s.Timeout = owamp.IntervalOf(20 * time.Millisecond)
	snd, done := start(t, from, s)
	in := newInbox()
	receive(t, to, other.Addr(), 14, in.batch)
	start(t, other, spec(t, e, to.Addr(), 10, time.Millisecond))
	in.wait(t, 10)
	await(t, "the sender", done)
	want := owamp.SendReport{SID: s.SID, NextSeq: 3, Skips: []owamp.SkipRange{{First: 0, Last: 2}}}
	if d := cmp.Diff(want, snd.Stop()); d != "" {
		t.Error(d)
	}
	if p := snd.Progress(); !errors.Is(p.Err, unix.ENOBUFS) {
		t.Errorf("progress %+v, want the error ENOBUFS", p)
	}
}

// Packets that are overdue at the start are skipped, the others sent at once.
func TestLatePackets(t *testing.T) {
	e := newEngine(t, Config{})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	in := newInbox()
	receive(t, to, from.Addr(), 14, in.batch)
	s := spec(t, e, to.Addr(), 2000, time.Second)
	s.Start = s.Start.AddDuration(-1990*time.Second - 500*time.Millisecond)
	s.Timeout = owamp.IntervalOf(100 * time.Second)
	snd, _ := start(t, from, s)
	// Packet k is due at start + k+1 s: packets 1890 to 1989 are late by less
	// than the time-out.
	recs := in.wait(t, 100)
	rep := snd.Stop()
	if d := cmp.Diff([]owamp.SkipRange{{First: 0, Last: recs[0].Seq - 1}}, rep.Skips); d != "" {
		t.Error(d)
	}
	if first := recs[0].Seq; first != 1889 && first != 1890 {
		t.Errorf("first packet sent: %d, want 1890", first)
	}
	if int(rep.NextSeq) != int(recs[0].Seq)+len(in.records()) {
		t.Errorf("next sequence number %d after %d from %d", rep.NextSeq, len(in.records()), recs[0].Seq)
	}
}

func TestTooManySkipsEndTheSession(t *testing.T) {
	e := newEngine(t, Config{})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	refusing(e, func(s *Sending) syscall.Errno {
		if s.seq%2 == 0 {
			return unix.EPERM
		}
		return 0
	})
	s := spec(t, e, to.Addr(), 3*maxSkips, 0)
	snd, err := from.Send(s)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the session", snd.gone)
	rep := snd.Stop()
	if rep.NextSeq != 2*maxSkips || len(rep.Skips) != maxSkips {
		t.Errorf("next sequence number %d with %d skip ranges, want %d with %d", rep.NextSeq, len(rep.Skips), 2*maxSkips, maxSkips)
	}
	if err := owamp.ValidateSkips(rep.Skips, rep.NextSeq, s.Packets); err != nil {
		t.Error(err)
	}
}

func TestStop(t *testing.T) {
	e := newEngine(t, Config{})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	in := newInbox()
	r := receive(t, to, from.Addr(), 14, in.batch)
	s := spec(t, e, to.Addr(), 1e6, time.Millisecond)
	s.Done = func() { t.Error("Done was called for a session that was stopped") }
	snd, err := from.Send(s)
	if err != nil {
		t.Fatal(err)
	}
	in.wait(t, 20)
	rep := snd.Stop()
	r.Drain()
	if n := len(in.records()); int(rep.NextSeq) != n || len(rep.Skips) != 0 {
		t.Errorf("report %+v, want next sequence number %d, as many as arrived", rep, n)
	}
	if d := cmp.Diff(rep, snd.Stop()); d != "" {
		t.Errorf("second Stop: %s", d)
	}

	// Before the first packet, while the lane sleeps.
	s.Start = s.Start.AddDuration(time.Hour)
	if snd, err = from.Send(s); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(owamp.SendReport{SID: s.SID}, snd.Stop()); d != "" {
		t.Error(d)
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

func TestNothingToSend(t *testing.T) {
	e := newEngine(t, Config{})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	snd, done := start(t, from, spec(t, e, to.Addr(), 0, time.Second))
	await(t, "the sender", done)
	if d := cmp.Diff(owamp.SendReport{SID: owamp.SID{1}}, snd.Stop()); d != "" {
		t.Error(d)
	}
}

// The ICMP errors of a peer that is gone do not cost another session of the
// same port a packet.
func TestDeadPeer(t *testing.T) {
	for name, addr := range map[string]netip.Addr{"IPv4": loopback4, "IPv6": loopback6} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, Config{})
			from, to, dead := listen(t, e, addr), listen(t, e, addr), listen(t, e, addr)
			dead.Close()
			in := newInbox()
			receive(t, to, from.Addr(), 14, in.batch)
			const n = 300
			deadSnd, deadDone := start(t, from, spec(t, e, dead.Addr(), n, 500*time.Microsecond))
			snd, done := start(t, from, spec(t, e, to.Addr(), n, 500*time.Microsecond))
			await(t, "the live session", done)
			await(t, "the dead session", deadDone)
			in.wait(t, n)
			for what, s := range map[string]*Sending{"live": snd, "dead": deadSnd} {
				if d := cmp.Diff(owamp.SendReport{SID: owamp.SID{1}, NextSeq: n}, s.Stop()); d != "" {
					t.Errorf("%s session: %s", what, d)
				}
			}
		})
	}
}

func TestUserStamps(t *testing.T) {
	var log bytes.Buffer
	e := newEngine(t, Config{UserStamps: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	in := newInbox()
	receive(t, to, from.Addr(), 14, in.batch)
	start(t, from, spec(t, e, to.Addr(), 100, 200*time.Microsecond))
	for _, rec := range in.wait(t, 100) {
		if rec.Flags&owamp.FlagUserStamp == 0 || !rec.Recv.After(rec.Sent) || rec.RecvErr.Duration() < 2*e.stamps.Wake {
			t.Fatalf("%+v: want a stamp of our own, after the sender's, with an error of at least %v", rec, 2*e.stamps.Wake)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d log lines, want one:\n%s", n, log.String())
	}
}

func TestListen(t *testing.T) {
	e := newEngine(t, Config{})
	for _, addr := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if p, err := e.Listen(PortConfig{Addr: addr}); err == nil {
			t.Errorf("Listen on %v = %v, want an error", addr, p.Addr())
		}
	}
	// Three neighbours, found by filling them up.
	var ports PortRange
	for low := uint16(42000); ; low += 3 {
		ports = PortRange{low, low + 2}
		var taken []*Port
		for range 3 {
			p, err := e.Listen(PortConfig{Addr: loopback4, Ports: ports})
			if err != nil {
				break
			}
			taken = append(taken, p)
		}
		if len(taken) < 3 { // somebody else has one of them
			for _, p := range taken {
				p.Close()
			}
			continue
		}
		seen := make(map[uint16]bool)
		for _, p := range taken {
			seen[p.Addr().Port()] = true
		}
		if len(seen) != 3 || !seen[low] || !seen[low+1] || !seen[low+2] {
			t.Errorf("ports %v of the range %v, want each once", seen, ports)
		}
		break
	}
	if _, err := e.Listen(PortConfig{Addr: loopback4, Ports: ports}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("fourth port of the range %v: %v, want EADDRINUSE", ports, err)
	}
	if _, err := e.Listen(PortConfig{Addr: loopback4, Device: "nosuchdevice0"}); err == nil || !strings.Contains(err.Error(), "nosuchdevice0") {
		t.Errorf("a device that is not there: %v, want an error that names it", err)
	}
}

func TestBadSpecs(t *testing.T) {
	e := newEngine(t, Config{})
	p := listen(t, e, loopback4)
	good := spec(t, e, netip.MustParseAddrPort("127.0.0.1:9"), 1, time.Second)
	for name, change := range map[string]func(*SendSpec){
		"no port":      func(s *SendSpec) { s.Remote = netip.MustParseAddrPort("127.0.0.1:0") },
		"no address":   func(s *SendSpec) { s.Remote = netip.AddrPort{} },
		"IPv6":         func(s *SendSpec) { s.Remote = netip.MustParseAddrPort("[::1]:9") },
		"DSCP":         func(s *SendSpec) { s.DSCP = 64 },
		"no schedule":  func(s *SendSpec) { s.Schedule = nil },
		"no sealer":    func(s *SendSpec) { s.Sealer = nil },
		"little noise": func(s *SendSpec) { s.Padding, s.PadSource = 9, strings.NewReader("12345678") },
	} {
		bad := good
		change(&bad)
		if _, err := p.Send(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := p.Receive(ReceiveSpec{Remote: good.Remote}, func([]owamp.Record) {}); err == nil {
		t.Error("no opener: no error")
	}
	opener := owamp.Seal{}.Opener()
	if _, err := p.Receive(ReceiveSpec{Remote: good.Remote, Opener: opener}, nil); err == nil {
		t.Error("no batch: no error")
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

func TestClose(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	e, err := New(Config{Clock: clock.New(clock.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	in := newInbox()
	r := receive(t, to, from.Addr(), 14, in.batch)
	first, err := from.Send(spec(t, e, to.Addr(), 1e6, time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	in.wait(t, 3)
	// The port with its sessions, then the engine with the other port's.
	if err := from.Close(); err != nil {
		t.Error(err)
	}
	if rep := first.Stop(); rep.NextSeq < 3 || rep.NextSeq == 1e6 {
		t.Errorf("report %+v of a session whose port was closed, want some packets", rep)
	}
	if _, err := from.Send(spec(t, e, to.Addr(), 1, time.Second)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("sending on a closed port: %v, want net.ErrClosed", err)
	}
	if _, err := to.Send(spec(t, e, to.Addr(), 1e6, time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := to.Close(); err != nil {
		t.Errorf("closing a port after its engine: %v", err)
	}
	r.Drain()
	r.Stats()
	r.Close()
	if _, err := e.Listen(PortConfig{Addr: loopback4}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen on a closed engine: %v, want net.ErrClosed", err)
	}
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("GOMAXPROCS is %d, was %d", n, before)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, what := range []string{"probe.(*Engine)", "probe.(*lane)"} {
		if bytes.Contains(stacks, []byte(what)) {
			t.Errorf("a goroutine of the engine is left:\n%s", stacks)
		}
	}
}

// Sessions come and go while the lane begins, sends and ends.
func TestChurn(t *testing.T) {
	e := newEngine(t, Config{})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 40 {
				snd, err := from.Send(spec(t, e, to.Addr(), uint32(i%4), 30*time.Microsecond))
				if err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 {
					<-snd.gone
				}
				rep, p := snd.Stop(), snd.Progress()
				if rep.NextSeq != p.Sent || i%3 == 0 && p.Sent != uint32(i%4) {
					t.Errorf("next sequence number %d after %d of %d packets", rep.NextSeq, p.Sent, i%4)
				}
			}
		})
	}
	all.Wait()
	from.mu.Lock()
	defer from.mu.Unlock()
	if n := len(from.sending); n != 0 {
		t.Errorf("the port remembers %d sessions that were stopped", n)
	}
}
