package sessions_test

import (
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"owl/internal/netlab"
	"owl/owamp"
	"owl/owamp/schedule"
	"owl/probe"
	"owl/probe/clock"
	hostwatch "owl/probe/host"
	"owl/sessions"
	"owl/sessions/recorder"
)

// A calmHost is one that does nothing wrong, as far as it knows.
type calmHost struct{}

func (calmHost) Watch(netip.Addr) {}

func (calmHost) Between(from, to owamp.Timestamp) hostwatch.Activity {
	return hostwatch.Activity{Known: true}
}

// A desk is a test port of this host that nobody reads unless a test does, and
// those who send to it.
type desk struct {
	t     *testing.T
	clock *clock.Clock
	port  *probe.Port
}

// newDesk returns a desk on this host, or in a namespace if h is not nil.
func newDesk(t *testing.T, h *netlab.Host) *desk {
	t.Helper()
	d := &desk{t: t, clock: clock.New(clock.Config{})}
	e, err := probe.New(probe.Config{Clock: d.clock, Gather: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	if h == nil {
		d.port, err = e.Listen(probe.PortConfig{Addr: netip.MustParseAddr("127.0.0.1")})
	} else if failed := h.Do(func() { d.port, err = e.Listen(probe.PortConfig{Addr: h.Addr4}) }); failed != nil {
		err = failed
	}
	if err != nil {
		t.Fatal(err)
	}
	// Without a session a port throws away what has come.
	opener := owamp.Seal{}.Opener()
	if _, err := d.port.Receive(probe.ReceiveSpec{Remote: d.port.Addr(), Opener: opener, Size: opener.Size()}, func([]owamp.Record) {}); err != nil {
		t.Fatal(err)
	}
	return d
}

// peer returns a socket that sends to the port, and its address.
func (d *desk) peer() (io.Writer, netip.AddrPort) {
	d.t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(d.port.Addr()))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// send sends the packets from first to before end, but for those that are not
// to be.
func (d *desk) send(to io.Writer, first, end uint32, not ...uint32) {
	d.t.Helper()
	sealer := owamp.Seal{}.Sealer()
	packet := make([]byte, sealer.Size())
	missing := make(map[uint32]bool)
	for _, seq := range not {
		missing[seq] = true
	}
	for seq := first; seq < end; seq++ {
		if missing[seq] {
			continue
		}
		sealer.Prepare(packet, seq)
		sealer.Finish(packet, d.clock.Now(), d.clock.Error(0))
		if _, err := to.Write(packet); err != nil {
			d.t.Fatal(err)
		}
	}
}

// A seat is a session that a desk records.
type seat struct {
	*desk
	tally     *sessions.Tally
	track     *sessions.Track
	rec       *recorder.Recorder
	receiving *probe.Receiving
	packets   uint32
}

// take begins to receive a session of n packets from a peer, the last of which
// is due now and the first was at begin.
func (d *desk) take(from netip.AddrPort, n uint32, begin owamp.Timestamp) *seat {
	d.t.Helper()
	interval := max(d.clock.Now().Sub(begin)/time.Duration(n), time.Nanosecond)
	return d.record(&owamp.SessionSpec{
		Start: begin, Packets: n, Timeout: owamp.IntervalOf(time.Minute), ConfReceiver: true,
		Slots:  []owamp.Slot{{Type: owamp.SlotFixed, Parameter: owamp.IntervalOf(interval)}},
		Sender: from, Receiver: d.port.Addr(),
	})
}

// record begins to receive a session.
func (d *desk) record(spec *owamp.SessionSpec) *seat {
	d.t.Helper()
	s := &seat{desk: d, tally: sessions.NewTally(d.clock), packets: spec.Packets}
	s.tally.Attribute(calmHost{}, nil)
	s.track = s.tally.Track()
	file, err := os.Create(filepath.Join(d.t.TempDir(), "session"))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { file.Close() })
	s.rec, err = recorder.New(recorder.Config{
		Spec: spec, File: file, Now: d.clock.Now,
		Err:  func() owamp.ErrorEstimate { return d.clock.Error(0) },
		Seen: s.track.Observe, Settled: s.track.Settled,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	opener := owamp.Seal{}.Opener()
	if s.receiving, err = d.port.Receive(probe.ReceiveSpec{Remote: spec.Sender, Opener: opener, Size: opener.Size()}, s.rec.Batch); err != nil {
		d.t.Fatal(err)
	}
	s.track.Witness(d.port.Addr().Addr(), s.receiving.Incidents, s.rec.Dropped)
	return s
}

// settle ends the session when all of its time-outs are over, which needs no
// waiting, and returns what is known of it.
func (s *seat) settle() sessions.Snapshot {
	s.t.Helper()
	s.rec.Run(s.receiving)
	report, err := s.rec.Finish(nil, s.clock.Now().AddDuration(2*time.Minute))
	if err != nil {
		s.t.Fatal(err)
	}
	s.track.Settle(report, s.receiving.Stats())
	snap := s.tally.Snapshot()
	if snap.Received+snap.Lost != uint64(s.packets) || snap.LostBy.Total() != snap.Lost {
		s.t.Errorf("%d received, %d lost, by cause %v", snap.Received, snap.Lost, snap.LostBy)
	}
	if e := s.track.Evidence(); e.Lost != snap.LostBy {
		s.t.Errorf("evidence of %v, counted %v", e.Lost, snap.LostBy)
	}
	return snap
}

// flood is more packets than the buffer of a port takes.
const flood = 50_000

// What the socket has dropped is told from what never came, packet by packet,
// though it is not known which packet is which.
func TestWhoseLosses(t *testing.T) {
	d := newDesk(t, nil)
	peer, from := d.peer()
	calmPeer, calmFrom := d.peer()
	quietPeer, quietFrom := d.peer()
	begin := d.clock.Now()
	d.send(quietPeer, 0, 20)
	d.send(calmPeer, 0, 10, 3, 4, 7)
	never := []uint32{100, 101, 7000, 7001, 7002}
	d.send(peer, 0, flood, never...)
	d.send(calmPeer, 10, 20)

	one := d.take(from, flood, begin)
	calm := d.take(calmFrom, 20, begin)
	quiet := d.take(quietFrom, 20, begin)
	drops := d.port.Stats().Drops
	if drops <= 10 {
		t.Fatalf("%d drops, want a socket that overflows", drops)
	}
	got := one.settle()
	// Ten of the drops are the calm session's, or all are: nobody can tell.
	if lost := uint64(len(never)) + drops - 10; got.Lost != lost || got.LostBy[sessions.CauseHost] != min(lost, drops) || got.LostBy[sessions.CauseNetwork] != lost-min(lost, drops) {
		t.Errorf("of %d drops: lost %d, by cause %v", drops, got.Lost, got.LostBy)
	}
	got = calm.settle()
	if got.Lost != 13 || got.LostBy[sessions.CauseHost] != 13 {
		t.Errorf("beside %d drops: lost %d, by cause %v; want an upper bound of 13", drops, got.Lost, got.LostBy)
	}
	got = quiet.settle()
	if got.Lost != 0 || got.LostBy != (sessions.LossCount{}) || got.LastLoss != nil || len(quiet.track.Evidence().Bursts) != 0 {
		t.Errorf("of a session that lost nothing: %d, %v, %v", got.Lost, got.LostBy, got.LastLoss)
	}
}

// Where one session alone has a port, the bound is as good as the count of drops.
func TestWhoseLossesOfOneSession(t *testing.T) {
	d := newDesk(t, nil)
	peer, from := d.peer()
	begin := d.clock.Now()
	never := []uint32{100, 101, 7000, 7001, 7002}
	d.send(peer, 0, flood, never...)
	s := d.take(from, flood, begin)
	drops := d.port.Stats().Drops
	got := s.settle()
	if want := (sessions.LossCount{sessions.CauseHost: drops, sessions.CauseNetwork: uint64(len(never))}); got.LostBy != want {
		t.Errorf("of %d drops, and %d packets that never came: %v", drops, len(never), got.LostBy)
	}
	if e := s.track.Evidence(); len(e.Bursts) != 3 || e.Bursts[2].Incidents.Drops != drops {
		t.Errorf("bursts %v", e.Bursts)
	}
}

// What was lost long before the socket overflowed was not lost by that.
func TestLossesBeforeDrops(t *testing.T) {
	d := newDesk(t, nil)
	peer, from := d.peer()
	strangers, _ := d.peer()
	begin := d.clock.Now().AddDuration(-20 * time.Second)
	d.send(peer, 0, 1000, 3, 4, 5) // the first of which were due long ago
	s := d.take(from, 1000, begin)
	s.receiving.Drain()
	d.send(strangers, 0, flood)
	if drops := d.port.Stats().Drops; drops == 0 {
		t.Fatal("nothing was dropped")
	}
	if got := s.settle(); got.LostBy != (sessions.LossCount{sessions.CauseNetwork: 3}) {
		t.Errorf("%v, want 3 in the network", got.LostBy)
	}
}

// A network that loses packets, and nothing else, is known by that: as many of
// them as the wire says.
func TestLossesOfTheWire(t *testing.T) {
	a, b, wire := netlab.NewWire(t, 3, netlab.Path{Delay: 5 * time.Millisecond, Bursts: netlab.Bursts{Begin: 0.05, Mean: 3}})
	from, to := newDesk(t, a), newDesk(t, b)
	const n = 300
	spec := &owamp.SessionSpec{
		Start: to.clock.Now(), Packets: n, Timeout: owamp.IntervalOf(time.Minute), ConfReceiver: true,
		Slots:  []owamp.Slot{{Type: owamp.SlotFixed, Parameter: owamp.IntervalOf(time.Millisecond)}},
		Sender: from.port.Addr(), Receiver: to.port.Addr(),
	}
	s := to.record(spec)
	gen, err := schedule.New(spec.SID, spec.Slots)
	if err != nil {
		t.Fatal(err)
	}
	sending, err := from.port.Send(probe.SendSpec{
		Remote: spec.Receiver, Start: spec.Start, Schedule: gen, Packets: n, Timeout: spec.Timeout, Sealer: owamp.Seal{}.Sealer(),
	})
	if err != nil {
		t.Fatal(err)
	}
	lost := func() uint64 { return uint64(wire.AB.Counts().Lost) }
	for s.receiving.Drain(); s.receiving.Stats().Received+lost() < n; s.receiving.Drain() {
		time.Sleep(time.Millisecond)
	}
	if got := sending.Stop(); got.NextSeq != n || len(got.Skips) != 0 {
		t.Fatalf("sent %+v", got)
	}
	got := s.settle()
	if want := (sessions.LossCount{sessions.CauseNetwork: lost()}); lost() == 0 || got.LostBy != want {
		t.Errorf("of %d packets that the wire has lost: %v", lost(), got.LostBy)
	}
}
