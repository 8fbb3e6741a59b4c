package probe

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/owamp/schedule"
)

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
	begin := time.Now()
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
	// They are late since the session began late.
	late, slip := e.Incidents().LateSend, snd.Progress().MaxSlip
	if since := time.Since(begin); late > since || slip > since || e.Slip().Sum > 100*since {
		t.Errorf("this host is said to have been late by %v, slips are up to %v, %v in all", late, slip, e.Slip().Sum)
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
	snd, done := start(t, from, s)
	await(t, "the end of the session", done)
	rep := snd.Stop()
	if rep.NextSeq != 2*maxSkips || len(rep.Skips) != maxSkips {
		t.Errorf("next sequence number %d with %d skip ranges, want %d with %d", rep.NextSeq, len(rep.Skips), 2*maxSkips, maxSkips)
	}
	if err := owamp.ValidateSkips(rep.Skips, rep.NextSeq, s.Packets); err != nil {
		t.Error(err)
	}
}

// However long a peer wants it to be between two packets, none is due before its
// time: time stamps wrap around after 136 years.
func TestPacketsThatAreDueInDecades(t *testing.T) {
	e := newEngine(t, Config{})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	in := newInbox()
	receive(t, to, from.Addr(), 14, in.batch)
	var far []*Sending
	for i, slots := range [][]owamp.Slot{
		{{Type: owamp.SlotFixed, Parameter: math.MaxUint64}},
		{{Type: owamp.SlotFixed, Parameter: 1 << 63}},
		{{Type: owamp.SlotFixed, Parameter: 1 << 62}, {Type: owamp.SlotFixed, Parameter: 1 << 62}},
	} {
		s := spec(t, e, to.Addr(), math.MaxUint32, 0)
		var err error
		if s.Schedule, err = schedule.New(owamp.SID{byte(i)}, slots); err != nil {
			t.Fatal(err)
		}
		s.Timeout = math.MaxUint64
		snd, err := from.Send(s)
		if err != nil {
			t.Fatal(err)
		}
		far = append(far, snd)
	}
	near, done := start(t, from, spec(t, e, to.Addr(), 10, time.Millisecond))
	await(t, "a session whose packets are due now", done)
	in.wait(t, 10)
	for i, snd := range append(far, near) {
		want := owamp.SendReport{SID: owamp.SID{1}}
		if snd == near {
			want.NextSeq = 10
		}
		if d := cmp.Diff(want, snd.Stop()); d != "" {
			t.Errorf("session %d: %s", i, d)
		}
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
