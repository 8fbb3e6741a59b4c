package probe

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
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
