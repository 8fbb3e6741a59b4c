package probe

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"owl/owamp"
)

// encrypted returns the seal of a session in encrypted mode, whose keys are
// zeros.
func encrypted() owamp.Seal {
	return owamp.NewSeal(owamp.ModeEncrypted, zero(owamp.NewSeal), owamp.SID{1})
}

// zero returns the zero keys that newSeal takes, whose type has no name here.
func zero[K any](_ func(owamp.Mode, *K, owamp.SID) owamp.Seal) *K { return new(K) }

// copies makes the engine's copies arrive at a socket of the test instead of at
// the sink.
func copies(t *testing.T, e *Engine, addr netip.Addr) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	to, err := sockaddrOf(conn.LocalAddr().(*net.UDPAddr).AddrPort(), addr.Is6())
	if err != nil {
		t.Fatal(err)
	}
	k := e.lane.sinks[0]
	if addr.Is6() {
		k = e.lane.sinks[1]
	}
	if k == nil {
		t.Fatalf("no sink on %v", addr)
	}
	k.to = to
	return conn
}

// count returns how many datagrams lie in a socket, and where they are from.
func count(t *testing.T, conn *net.UDPConn) (n int, from map[netip.AddrPort]bool) {
	t.Helper()
	from = make(map[netip.AddrPort]bool)
	b := make([]byte, 2000)
	// What is sent over the loopback interface has arrived when the call that
	// sends it returns.
	conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	for {
		_, at, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return n, from
		}
		from[at] = true
		n++
	}
}

// Copies go to the sink and nowhere else: the peer gets each packet once, as it
// would without them. With PacingEconomy there is always time for all copies.
func TestCopiesStayHere(t *testing.T) {
	const n = 5
	for _, tc := range []struct {
		name   string
		addr   netip.Addr
		device string
	}{{"IPv4", loopback4, ""}, {"IPv6", loopback6, ""}, {"device", loopback4, "lo"}} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEngine(t, Config{Pacing: PacingEconomy})
			to := listen(t, e, tc.addr)
			from, err := e.Listen(PortConfig{Addr: tc.addr, Device: tc.device})
			if err != nil {
				t.Skipf("SKIPPED: %v", err)
			}
			sink := copies(t, e, tc.addr)
			in := newInbox()
			r := receive(t, to, from.Addr(), owamp.OpenPacketSize, in.batch)
			s := spec(t, e, to.Addr(), n, 5*quietAfter)
			s.Padding = 2 * longestCopy
			s.Start = s.Start.AddDuration(5 * quietAfter) // none is late
			snd, done := start(t, from, s)
			await(t, "the sender", done)
			for i, rec := range in.wait(t, n) {
				if rec.Seq != uint32(i) {
					t.Errorf("record %d is of packet %d", i, rec.Seq)
				}
			}
			snd.Stop()
			r.Drain()
			if st := r.Stats(); st != (ReceiveStats{Received: n}) {
				t.Errorf("stats %+v, want %d received and nothing else", st, n)
			}
			if st := to.Stats(); st != (PortStats{}) {
				t.Errorf("port stats %+v, want zeros", st)
			}
			got, senders := count(t, sink)
			// A host that is so busy that packets are late together has no rest
			// between them.
			if got == 0 || got > n*warmCopies || got%warmCopies != 0 {
				t.Errorf("%d copies of %d packets, want %d for each after a rest", got, n, warmCopies)
			}
			if own := senders[from.Addr()]; own != (tc.device == "") || len(senders) != 1 {
				t.Errorf("copies from %v, want them from %v only if that is not bound to a device", senders, from.Addr())
			}
		})
	}
}

// The first packet of a stream comes after a rest, too, and packets that follow
// each other closely have none.
func TestCopiesOnlyAfterRest(t *testing.T) {
	e := newEngine(t, Config{Pacing: PacingEconomy})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	sink := copies(t, e, loopback4)
	in := newInbox()
	receive(t, to, from.Addr(), owamp.OpenPacketSize, in.batch)
	s := spec(t, e, to.Addr(), 200, 10*time.Microsecond)
	start(t, from, s)
	in.wait(t, 200)
	if n, _ := count(t, sink); n == 0 || n > 10*warmCopies {
		t.Errorf("%d copies of 200 packets in 2 ms, want %d before the first", n, warmCopies)
	}
}

func TestCold(t *testing.T) {
	e := newEngine(t, Config{Cold: true})
	for _, k := range e.lane.sinks {
		if k != nil {
			t.Error("an engine that is cold has a sink")
		}
	}
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	in := newInbox()
	receive(t, to, from.Addr(), owamp.OpenPacketSize, in.batch)
	start(t, from, spec(t, e, to.Addr(), 3, 2*quietAfter))
	in.wait(t, 3)
}

// What was sealed for copies is sealed anew: the receiver opens every packet,
// and none leaves before it is due.
func TestPacings(t *testing.T) {
	for _, pacing := range []Pacing{PacingNormal, PacingPrecise, PacingEconomy} {
		t.Run(pacing.String(), func(t *testing.T) {
			e := newEngine(t, Config{Pacing: pacing})
			from, to := listen(t, e, loopback4), listen(t, e, loopback4)
			seal := encrypted()
			s := spec(t, e, to.Addr(), 20, 2*quietAfter)
			s.Sealer = seal.Sealer()
			in := newInbox()
			r, err := to.Receive(ReceiveSpec{Remote: from.Addr(), Opener: seal.Opener(), Size: s.Sealer.Size()}, in.batch)
			if err != nil {
				t.Fatal(err)
			}
			snd, done := start(t, from, s)
			await(t, "the sender", done)
			due := s.Start
			for i, rec := range in.wait(t, 20) {
				if due = due.Add(s.Schedule.Next()); rec.Seq != uint32(i) || rec.Sent.Before(due) {
					t.Errorf("record %d is of packet %d, sent %v after it was due", i, rec.Seq, rec.Sent.Sub(due))
				}
			}
			if st := r.Stats(); st.Malformed != 0 {
				t.Errorf("%d packets could not be opened", st.Malformed)
			}
			slip := e.Slip()
			if slip.Packets != 20 || slip.Quantile(1) < snd.Progress().MaxSlip {
				t.Errorf("the engine has seen %d slips of at most %v, want 20 of at most %v", slip.Packets, slip.Quantile(1), snd.Progress().MaxSlip)
			}
		})
	}
}

// The thread that sends is as the pacing wants it, and has nothing to do with
// the process when it has ended.
func TestThread(t *testing.T) {
	for _, pacing := range []Pacing{PacingNormal, PacingPrecise, PacingEconomy} {
		t.Run(pacing.String(), func(t *testing.T) {
			e := newEngine(t, Config{Pacing: pacing})
			var policy uint32
			var slack int
			e.lane.transmit = func(*Sending) (errno unix.Errno) {
				attr, err := unix.SchedGetAttr(0, 0)
				if err != nil {
					return unix.EINVAL
				}
				policy = attr.Policy
				slack, _ = unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
				return 0
			}
			p := listen(t, e, loopback4)
			snd, done := start(t, p, spec(t, e, p.Addr(), 1, time.Millisecond))
			await(t, "the sender", done)
			if err := snd.Progress().Err; err != nil {
				t.Fatal(err)
			}
			if policy == unix.SCHED_FIFO && pacing == PacingEconomy {
				t.Error("the thread goes before all others, which is no economy")
			}
			want := int(leastSlack)
			if pacing == PacingEconomy {
				want = int(economySlack)
			}
			// A real-time thread is never woken late on purpose.
			if slack != want && policy != unix.SCHED_FIFO {
				t.Errorf("the timers' slack is %d ns, want %d", slack, want)
			}
		})
	}
}

func TestCopiesDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	e := newEngine(t, Config{})
	p := listen(t, e, loopback4)
	s := spec(t, e, p.Addr(), 1, time.Hour)
	s.Sealer = encrypted().Sealer()
	snd, err := p.Send(s)
	if err != nil {
		t.Fatal(err)
	}
	snd.Stop() // it is the test's now
	if n := testing.AllocsPerRun(100, func() {
		snd.warm(e.lane, e.lane.sinks[0], e.clock.Now().AddDuration(time.Hour))
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// A lane that does not sleep is no real-time thread any longer, and one again
// when it sleeps; meanwhile it is woken up as precisely as before.
func TestRealTimeOnlyWhileItSleeps(t *testing.T) {
	var wrong []string
	thread := func() {
		runtime.LockOSThread() // and ends with it
		state := func(when string, want uint32) {
			attr, err := unix.SchedGetAttr(0, 0)
			if err != nil || attr.Policy != want {
				wrong = append(wrong, fmt.Sprintf("%s: policy %d, %v; want %d", when, attr.Policy, err, want))
			}
			if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); want == unix.SCHED_NORMAL && slack != int(leastSlack) {
				wrong = append(wrong, fmt.Sprintf("%s: slack %d, %v", when, slack, err))
			}
		}
		now := owamp.Timestamp(1 << 60)
		setSlack(leastSlack)
		var p priority
		if err := p.raise(now); err != nil {
			wrong = append(wrong, "SKIPPED: "+err.Error())
			return
		}
		state("at first", unix.SCHED_FIFO)
		p.look(now.AddDuration(-time.Hour))
		state("the clock was set", unix.SCHED_FIFO)
		now = now.AddDuration(-time.Hour)
		for _, step := range []struct {
			when   string
			asleep time.Duration
			want   uint32
		}{
			{"it sleeps enough", sleepWindow / 2, unix.SCHED_FIFO},
			{"it does not sleep", 0, unix.SCHED_NORMAL},
			{"it sleeps a little", sleepWindow / 7, unix.SCHED_NORMAL},
			{"it sleeps again", sleepWindow / 4, unix.SCHED_FIFO},
			{"it sleeps a little less", sleepWindow / 7, unix.SCHED_FIFO},
		} {
			p.asleep = step.asleep
			p.look(now.AddDuration(sleepWindow / 2))
			if p.asleep != step.asleep {
				wrong = append(wrong, step.when+": looked at before its time")
			}
			now = now.AddDuration(sleepWindow)
			p.look(now)
			state(step.when, step.want)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		thread()
	}()
	<-done
	for _, w := range wrong {
		if strings.HasPrefix(w, "SKIPPED") {
			t.Skip(w)
		}
		t.Error(w)
	}
}
