package probe

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"owl/internal/netlab"
	"owl/owamp"
	"owl/probe/stamp"
)

// needReports skips where the kernel reports no departures.
func needReports(t testing.TB, e *Engine) {
	t.Helper()
	if !e.kernel || e.stamps.Departures.Err != nil {
		t.Skipf("SKIPPED: the kernel reports no departures: %v, %v", e.stamps.Err, e.stamps.Departures.Err)
	}
}

// settled returns what is known of departures once all asks are answered or given
// up.
func settled(t *testing.T, e *Engine, from ...*Port) TransmitStats {
	t.Helper()
	for _, p := range from {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := e.lane.left.waiting.Load(); n != 0 {
		t.Errorf("%d asks are left when their ports are closed", n)
	}
	st := e.Transmit()
	if st.Gap.Packets+st.Missing != st.Asked {
		t.Errorf("%d gaps and %d missing of %d asked", st.Gap.Packets, st.Missing, st.Asked)
	}
	return st
}

func testDepartures(t *testing.T, e *Engine, from, to *Port, dscp uint8) {
	needReports(t, e)
	in := newInbox()
	receive(t, to, from.Addr(), 14, in.batch)
	const n = 4000
	s := spec(t, e, to.Addr(), n, 100*time.Microsecond)
	s.DSCP = dscp
	snd, done := start(t, from, s)
	await(t, "the sender", done)
	var delay time.Duration
	for _, rec := range in.wait(t, n) {
		delay = max(delay, rec.Recv.Sub(rec.Sent))
		if rec.DSCP != dscp {
			t.Fatalf("packet %d has DSCP %d, want %d", rec.Seq, rec.DSCP, dscp)
		}
	}
	last := snd.Progress().Gap
	st := settled(t, e, from)
	t.Logf("asked %d, missing %d, gap p50 %v p99 %v max %v, high %v", st.Asked, st.Missing, st.Gap.Quantile(0.5), st.Gap.Quantile(0.99), st.Gap.Quantile(1), st.High)
	if st.Asked < n/askEvery/2 || st.Asked > n/askEvery+5 || st.Missing > st.Asked/4 {
		t.Errorf("asked %d times about %d packets, %d missing, want about one of %d asked and next to none missing", st.Asked, n, st.Missing, askEvery)
	}
	// Over these paths a packet leaves before it arrives.
	if m := st.Gap.Quantile(1); m <= 0 || m > delay+delay/meterSub {
		t.Errorf("the greatest gap is %v, want some, and no more than the greatest delay of %v", m, delay)
	}
	if last <= 0 || last > st.Gap.Quantile(1) || st.High <= 0 || st.High > st.Gap.Quantile(1) {
		t.Errorf("last gap %v, high %v, want both positive and at most %v", last, st.High, st.Gap.Quantile(1))
	}
	e.lane.gap.longest = time.Hour // that of the C suite's kind would be
	if got := e.lane.precision(); got != st.High {
		t.Errorf("packets are said to leave within %v of their stamps, want %v", got, st.High)
	}
}

// Each packet that the kernel was asked about is found again.
func TestDepartures(t *testing.T) {
	for _, own := range []bool{true, false} {
		for name, addr := range map[string]netip.Addr{"IPv4": loopback4, "IPv6": loopback6} {
			for class, dscp := range map[string]uint8{"": 0, " EF": 46} {
				numbers := " counted"
				if own {
					numbers = " own numbers"
				}
				t.Run(name+class+numbers, func(t *testing.T) {
					e := newEngine(t, Config{})
					if own && !e.stamps.Departures.OwnIDs {
						t.Skip("SKIPPED: the kernel gives reports no numbers of ours")
					}
					e.lane.left = newDepartures(e.clock, own)
					testDepartures(t, e, listen(t, e, addr), listen(t, e, addr), dscp)
				})
			}
		}
	}
	for name, addr := range map[string]netip.Addr{"raw, IPv4": loopback4, "raw, IPv6": loopback6} {
		t.Run(name, func(t *testing.T) {
			mayTransmitRaw(t)
			e := newEngine(t, Config{Transmit: TransmitRaw})
			testDepartures(t, e, listen(t, e, addr), listen(t, e, addr), 46)
		})
	}
	t.Run("veth", func(t *testing.T) {
		a, b := netlab.NewVeth(t)
		e := newEngine(t, Config{})
		from := listenWithin(t, e, a, PortConfig{Addr: a.Addr4})
		to := listenWithin(t, e, b, PortConfig{Addr: b.Addr4})
		testDepartures(t, e, from, to, 0)
	})
}

// A port that sends and receives is asked only while its reader is not waiting
// for it, and all its reports are found.
func TestDeparturesBothWays(t *testing.T) {
	e := newEngine(t, Config{})
	needReports(t, e)
	e.lane.left.last = e.clock.Now()
	a, b := listen(t, e, loopback4), listen(t, e, loopback4)
	inA, inB := newInbox(), newInbox()
	receive(t, a, b.Addr(), 14, inA.batch)
	receive(t, b, a.Addr(), 14, inB.batch)
	const n = 5000
	_, doneA := start(t, a, spec(t, e, b.Addr(), n, 200*time.Microsecond))
	_, doneB := start(t, b, spec(t, e, a.Addr(), n, 200*time.Microsecond))
	await(t, "a", doneA)
	await(t, "b", doneB)
	inA.wait(t, n)
	inB.wait(t, n)
	st := settled(t, e, a, b)
	t.Logf("asked %d, missing %d, gap p50 %v p99 %v", st.Asked, st.Missing, st.Gap.Quantile(0.5), st.Gap.Quantile(0.99))
	if st.Asked < 3 || st.Missing > st.Asked/4 {
		t.Errorf("asked %d times, %d missing, want some and next to none", st.Asked, st.Missing)
	}
}

// Nobody is woken by a report.
func TestReportsWakeNobody(t *testing.T) {
	e := newEngine(t, Config{Gather: time.Hour})
	needReports(t, e)
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	// It has received before, and so was waited for.
	in := newInbox()
	r := receive(t, from, to.Addr(), 14, in.batch)
	r.Close()
	_, done := start(t, from, spec(t, e, to.Addr(), 3*askEvery, 100*time.Microsecond))
	await(t, "the sender", done)
	if asked := e.Transmit().Asked; asked == 0 {
		t.Error("the kernel was asked about no packet")
	}
	var events [1]unix.EpollEvent
	if n, err := unix.EpollWait(e.poller.epoll, events[:], 0); n != 0 {
		t.Errorf("%d events, %v: want none, for nobody waits for a port that only sends", n, err)
	}
}

// What becomes of reports that do not come, or cannot be true.
func TestMissingReports(t *testing.T) {
	e := newEngine(t, Config{})
	p, other := listen(t, e, loopback4), listen(t, e, loopback4)
	s := &Sending{port: p, packet: make([]byte, 14)}
	for _, own := range []bool{true, false} {
		d := newDepartures(e.clock, own)
		p.reports.enabled, p.reports.next = true, 0
		at := e.clock.Now()
		ask := func() (id uint32) {
			t.Helper()
			at = at.AddDuration(time.Millisecond)
			s.at = at
			for range askEvery {
				if s.asking != nil {
					t.Fatal("asked twice at once")
				}
				d.begin(s)
			}
			if s.asking == nil {
				t.Fatalf("not asked about one of %d packets", askEvery)
			}
			id = d.asks[d.slot].id
			d.end(s, at, 0)
			return id
		}
		check := func(what string, asked, gaps, missing uint64, waiting int32) {
			t.Helper()
			st := d.stats()
			if st.Asked != asked || st.Gap.Packets != gaps || st.Missing != missing || d.waiting.Load() != waiting {
				t.Errorf("own %t, %s: %+v with %d gaps and %d waiting, want %d asked, %d gaps, %d missing, %d waiting",
					own, what, st, st.Gap.Packets, d.waiting.Load(), asked, gaps, missing, waiting)
			}
		}
		after := func(gap time.Duration) owamp.Timestamp { return at.AddDuration(gap) }

		d.last = at // else the first would be asked about
		id := ask()
		d.match(&other.reports, stamp.Report{ID: id, Time: after(10)})
		d.match(&p.reports, stamp.Report{ID: id + 1, Time: after(10)})
		check("another socket's, another number", 1, 0, 0, 1)
		d.match(&p.reports, stamp.Report{ID: id, Time: after(1000)})
		check("the right one", 1, 1, 0, 0)
		d.match(&p.reports, stamp.Report{ID: id, Time: after(1000)})
		check("once more", 1, 1, 0, 0)
		if got := time.Duration(s.gap.Load()); got < 999 || got > 1001 {
			t.Errorf("gap %v, want 1 µs", got)
		}
		for what, gap := range map[string]time.Duration{"before it was sent": -time.Microsecond, "an hour later": time.Hour} {
			st := d.stats()
			d.match(&p.reports, stamp.Report{ID: ask(), Time: after(gap)})
			check(what, st.Asked+1, 1, st.Missing+1, 0)
		}
		d.match(&p.reports, stamp.Report{ID: ask()})
		check("without a time", 4, 1, 3, 0)
		ask()
		ask()
		d.collect(at)
		check("not overdue but one", 6, 1, 3, 2)
		d.collect(at.AddDuration(reportWithin + 1))
		check("overdue", 6, 1, 5, 0)
		ask()
		d.collect(at.AddDuration(-time.Hour))
		check("the clock was set back", 7, 1, 6, 0)
		for range enoughGaps {
			d.match(&p.reports, stamp.Report{ID: ask(), Time: after(time.Millisecond)})
		}
		if got := d.stats().High; got < time.Millisecond-1 || got > time.Millisecond+1 {
			t.Errorf("high gap %v, want 1 ms", got)
		}
		for range asksAtOnce {
			ask()
		}
		st := d.stats()
		// All places are taken, and the lane has not had time for reports.
		d.since = askEvery
		if d.begin(s); s.asking != nil {
			t.Error("asked, although all places are taken")
		}
		d.forget(&p.reports)
		check("port closed", st.Asked, st.Gap.Packets, st.Missing+asksAtOnce, 0)
		if got := d.stats().High; got != 0 {
			t.Errorf("high gap %v when nothing has been reported for long, want unknown", got)
		}
	}
}

// A packet that the kernel has refused has no report, and those after it have
// their own.
func TestDeparturesAfterRefusals(t *testing.T) {
	for _, own := range []bool{true, false} {
		t.Run(fmt.Sprintf("own numbers %t", own), func(t *testing.T) {
			e := newEngine(t, Config{})
			needReports(t, e)
			if own && !e.stamps.Departures.OwnIDs {
				t.Skip("SKIPPED: the kernel gives reports no numbers of ours")
			}
			e.lane.left = newDepartures(e.clock, own)
			from, to := listen(t, e, loopback4), listen(t, e, loopback4)
			in := newInbox()
			receive(t, to, from.Addr(), 14, in.batch)
			refused := 0
			transmit := e.lane.transmit
			e.lane.transmit = func(s *Sending) syscall.Errno {
				if s.asking != nil && refused < 4 {
					// The kernel has counted it, and says that it was not sent.
					refused++
					transmit(s)
					return unix.EPERM
				}
				return transmit(s)
			}
			const n = 3000
			snd, done := start(t, from, spec(t, e, to.Addr(), n, 100*time.Microsecond))
			await(t, "the sender", done)
			in.wait(t, int(snd.Progress().Sent))
			st := settled(t, e, from)
			if refused == 0 || st.Asked == 0 || st.Missing > 1 {
				t.Errorf("%d refused, asked %d, missing %d, want some, some, and few", refused, st.Asked, st.Missing)
			}
			t.Logf("refused %d, asked %d, missing %d, gap max %v", refused, st.Asked, st.Missing, st.Gap.Quantile(1))
		})
	}
}

func TestAskingAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	e := newEngine(t, Config{})
	needReports(t, e)
	p, to := listen(t, e, loopback4), listen(t, e, loopback4)
	s := &Sending{port: p, packet: make([]byte, 14)}
	var err error
	if s.to, err = p.remote(to.Addr()); err != nil {
		t.Fatal(err)
	}
	s.setClass(46)
	p.reports.enable(e, nil)
	d := e.lane.left
	if n := testing.AllocsPerRun(200, func() {
		d.since = askEvery
		d.begin(s)
		now := e.clock.Now()
		errno := s.transmit()
		d.end(s, now, errno)
		d.collect(now)
	}); n != 0 {
		t.Errorf("%v allocations a packet that is asked about, want none", n)
	}
	if st := d.stats(); st.Asked != 201 || st.Gap.Packets < 150 {
		t.Errorf("asked %d, %d answers, want 201 and about as many", st.Asked, st.Gap.Packets)
	}
}

// A port that its reader waits for is not asked about.
func TestNotAskedWhilePolled(t *testing.T) {
	e := newEngine(t, Config{Gather: time.Hour}) // once woken, the reader stays away
	needReports(t, e)
	p := listen(t, e, loopback4)
	peer, from := raw(t, p)
	s := &Sending{port: p, packet: make([]byte, 14)}
	p.reports.enable(e, nil)
	asked := func() bool {
		e.lane.left.since = askEvery
		e.lane.left.begin(s)
		defer e.lane.left.cancel(s)
		return s.asking != nil
	}
	if !asked() {
		t.Error("not asked, although nobody waits for the port")
	}
	r := receive(t, p, from, 14, func([]owamp.Record) {})
	if asked() {
		t.Error("asked, although a report would wake the reader")
	}
	peer.Write(packet(1, 14))
	for deadline := time.Now().Add(20 * time.Second); !asked(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not asked within 20 s of a packet that has woken the reader")
		}
	}
	r.Close()
	if !asked() {
		t.Error("not asked, although nobody waits for the port any longer")
	}
}
