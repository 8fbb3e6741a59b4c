package probe

import (
	"log/slog"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/netlab"
	"owl/owamp"
	"owl/probe/capture"
)

// needRaw skips a test where packet sockets are forbidden.
func needRaw(t testing.TB) {
	t.Helper()
	if err := capture.Available(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}

// drain waits until all that has arrived by now has been delivered.
func drain(t testing.TB, r *Receiving) {
	t.Helper()
	now := r.port.engine.clock.Now()
	for deadline := time.Now().Add(10 * time.Second); r.Drain().Before(now); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("drained up to %v ago after 10 s", now.Sub(r.Drain()))
		}
	}
}

func TestRawDelivery(t *testing.T) {
	needRaw(t)
	raw := Config{Capture: CaptureRaw}
	t.Run("IPv4", func(t *testing.T) { testDelivery(t, raw, loopback4, 0) })
	t.Run("IPv6", func(t *testing.T) { testDelivery(t, raw, loopback6, 0) })
	t.Run("IPv4 EF", func(t *testing.T) { testDelivery(t, raw, loopback4, 46) })
	t.Run("IPv6 AF11", func(t *testing.T) { testDelivery(t, raw, loopback6, 10) })
}

func TestRawIgnores(t *testing.T) {
	needRaw(t)
	testWhatIsIgnored(t, Config{Capture: CaptureRaw})
}

func TestRawUserStamps(t *testing.T) {
	needRaw(t)
	testUserStamps(t, CaptureRaw, ringRetire)
}

// run runs a command in the network of h.
func run(t *testing.T, h *netlab.Host, command string) {
	t.Helper()
	if err := try(t, h, command); err != nil {
		t.Fatal(err)
	}
}

func try(t *testing.T, h *netlab.Host, command string) error {
	t.Helper()
	words := strings.Fields(command)
	_, err := h.Output(exec.CommandContext(t.Context(), words[0], words[1:]...))
	return err
}

// Both back ends say the same of the same packets but for the time, of which the
// ring's is not later.
func TestBackEndsAgree(t *testing.T) {
	needRaw(t)
	a, b, _ := netlab.NewWire(t, 1, netlab.Path{Delay: time.Millisecond, Hops: 3})
	for _, tc := range []struct {
		name    string
		from    netip.Addr
		to      netip.Addr
		padding uint32
		dscp    uint8
	}{
		{"IPv4", a.Addr4, b.Addr4, 0, 0},
		{"IPv6", a.Addr6, b.Addr6, 0, 0},
		{"IPv4 EF padded", a.Addr4, b.Addr4, 1000, 46},
		{"IPv6 CS1 odd padding", a.Addr6, b.Addr6, 33, 8},
		{"IPv4 in fragments", a.Addr4, b.Addr4, 3001, 46},
		{"IPv6 in fragments", a.Addr6, b.Addr6, 3001, 46},
		{"IPv4 longest", a.Addr4, b.Addr4, 65507 - 14, 0},
		{"IPv6 longest", a.Addr6, b.Addr6, 65487 - 14, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const n = 50
			var got [2][]owamp.Record
			for i, how := range []Capture{CaptureUDP, CaptureRaw} {
				e := newEngine(t, Config{Capture: how})
				from := listenWithin(t, e, a, PortConfig{Addr: tc.from})
				to := listenWithin(t, e, b, PortConfig{Addr: tc.to})
				in := newInbox()
				r := receive(t, to, from.Addr(), 14+int(tc.padding), in.batch)
				s := spec(t, e, to.Addr(), n, time.Millisecond)
				s.Padding, s.DSCP = tc.padding, tc.dscp
				start(t, from, s)
				got[i] = in.wait(t, n)
				if st := r.Stats(); st != (ReceiveStats{Received: n}) {
					t.Errorf("%v: stats %+v, want %d received", how, st, n)
				}
				for j := range got[i] {
					rec := &got[i][j]
					if d := rec.Recv.Sub(rec.Sent); d < time.Millisecond || d > 5*time.Second {
						t.Errorf("%v: packet %d: delay %v", how, rec.Seq, d)
					}
					rec.Sent, rec.Recv, rec.SentErr, rec.RecvErr = 0, 0, 0, 0
				}
			}
			if d := cmp.Diff(got[0], got[1]); d != "" {
				t.Errorf("udp and raw differ: %s", d)
			}
			if rec := got[1][0]; rec.TTL != 252 || rec.DSCP != tc.dscp {
				t.Errorf("record %+v, want TTL 252 and DSCP %d", rec, tc.dscp)
			}
		})
	}
}

// A host reaches itself, and its ports on VLANs and by link-local addresses,
// with the ring as without.
func TestRawInterfaces(t *testing.T) {
	needRaw(t)
	a, b := netlab.NewVeth(t)
	vlans := true
	for i, h := range []*netlab.Host{a, b} {
		run(t, h, "ip address add fe80::"+string('a'+rune(i))+"/64 dev eth0 nodad")
		run(t, h, "ip address add 10.96.0."+string('1'+rune(i))+"/24 dev eth0")
		if try(t, h, "ip link add link eth0 name eth0.5 type vlan id 5") != nil {
			vlans = false
			continue
		}
		run(t, h, "ip address add 10.97.0."+string('1'+rune(i))+"/24 dev eth0.5")
		run(t, h, "ip link set eth0.5 up")
	}
	at := netip.MustParseAddr
	for _, tc := range []struct {
		name     string
		on       *netlab.Host
		from, to netip.Addr
		device   string
	}{
		{"veth", a, a.Addr4, b.Addr4, ""},
		{"device", a, a.Addr6, b.Addr6, "eth0"},
		{"VLAN", a, at("10.97.0.1"), at("10.97.0.2"), ""},
		{"VLAN as device", a, at("10.97.0.1"), at("10.97.0.2"), "eth0.5"},
		{"link-local", a, at("fe80::a%eth0"), at("fe80::b%eth0"), ""},
		{"itself", b, b.Addr4, b.Addr4, ""},
		{"itself by IPv6", b, b.Addr6, b.Addr6, ""},
		{"itself by link-local address", b, at("fe80::b%eth0"), at("fe80::b%eth0"), ""},
		{"itself from another address", b, at("10.96.0.2"), b.Addr4, ""},
		{"loopback", b, at("127.0.0.9"), at("127.0.0.8"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if strings.Contains(tc.name, "VLAN") && !vlans {
				t.Skip("SKIPPED: this kernel makes no VLAN interfaces")
			}
			e := newEngine(t, Config{Capture: CaptureRaw})
			from := listenWithin(t, e, tc.on, PortConfig{Addr: tc.from, Device: tc.device})
			to := listenWithin(t, e, b, PortConfig{Addr: tc.to, Device: tc.device})
			in := newInbox()
			var r *Receiving
			const n = 20
			within(t, b, func() error {
				r = receive(t, to, from.Addr(), 14, in.batch)
				return nil
			})
			s := spec(t, e, to.Addr(), n, time.Millisecond)
			within(t, tc.on, func() error {
				start(t, from, s)
				return nil
			})
			for i, rec := range in.wait(t, n) {
				if rec.Seq != uint32(i) || rec.TTL != 255 {
					t.Errorf("record %d: %+v", i, rec)
				}
			}
			drain(t, r)
			if st := r.Stats(); st != (ReceiveStats{Received: n}) {
				t.Errorf("stats %+v, want %d received, each once", st, n)
			}
		})
	}
}

// What the ring has no room for is counted, once in all its sessions, and each
// port knows when it was.
func TestRawDrops(t *testing.T) {
	needRaw(t)
	e := newEngine(t, Config{Gather: time.Hour, Capture: CaptureRaw}) // nobody reads
	p, other := listen(t, e, loopback4), listen(t, e, loopback4)
	peer, from := raw(t, p)
	in := newInbox()
	r := receive(t, p, from, 14, in.batch)
	beside := receive(t, other, from, 14, in.batch)
	before := e.clock.Now()
	const n = 30000
	datagram := make([]byte, 1400)
	copy(datagram, packet(0, 14))
	for range n {
		peer.Write(datagram)
	}
	drain(t, r)
	after := e.clock.Now()
	st := r.Stats()
	if st.Drops == 0 || st.Received+st.Drops != n {
		t.Errorf("stats %+v, want received and drops to add up to %d", st, n)
	}
	if got := beside.Stats(); got != (ReceiveStats{}) {
		t.Errorf("stats %+v of a session beside it, want zeros", got)
	}
	for _, p := range []*Receiving{r, beside} {
		if got := p.Incidents(before, after).Drops; got != st.Drops {
			t.Errorf("%d drops in that time, want %d", got, st.Drops)
		}
		if got := p.Incidents(after, after.AddDuration(time.Hour)).Drops; got != 0 {
			t.Errorf("%d drops afterwards, want none", got)
		}
	}
	peer.Write(packet(1, 14))
	drain(t, r)
	if got := r.Stats(); got.Received != st.Received+1 || got.Drops != st.Drops {
		t.Errorf("stats %+v after one more packet, %+v before", got, st)
	}
}

// The host does not tell the peer of a raw port that nobody listens there.
func TestRawPortIsReachable(t *testing.T) {
	needRaw(t)
	e := newEngine(t, Config{Capture: CaptureRaw})
	p := listen(t, e, loopback4)
	peer, from := raw(t, p)
	in := newInbox()
	receive(t, p, from, 14, in.batch)
	for seq := range uint32(10) {
		if _, err := peer.Write(packet(seq, 14)); err != nil {
			t.Errorf("packet %d: %v", seq, err)
		}
	}
	in.wait(t, 10)
}

// Ports come and go; those that stay miss nothing.
func TestRawPortsComeAndGo(t *testing.T) {
	needRaw(t)
	e := newEngine(t, Config{Capture: CaptureRaw})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	in := newInbox()
	r := receive(t, to, from.Addr(), 14, in.batch)
	const n = 2000
	_, done := start(t, from, spec(t, e, to.Addr(), n, 100*time.Microsecond))
	for sending := true; sending; {
		p := listen(t, e, loopback4)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			sending = false
		default:
		}
	}
	drain(t, r)
	if st := r.Stats(); st != (ReceiveStats{Received: n}) {
		t.Errorf("stats %+v, want %d received", st, n)
	}
	for _, p := range []*Port{from, to} {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(e.rings.open) != 0 || len(e.sources) != 0 {
		t.Errorf("%d rings and %d sources are left without ports", len(e.rings.open), len(e.sources))
	}
	if drained := r.Drain(); drained.After(e.clock.Now()) {
		t.Errorf("drained up to %v after the end", drained)
	}
}

func TestRawReceivingAllocations(t *testing.T) {
	needRaw(t)
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	e := newEngine(t, Config{Gather: time.Hour, Capture: CaptureRaw})
	p := listen(t, e, loopback4)
	peer, from := raw(t, p)
	var n int
	r := receive(t, p, from, 14, func(recs []owamp.Record) { n += len(recs) })
	datagram := packet(0, 14)
	if allocs := testing.AllocsPerRun(50, func() {
		for range 100 {
			peer.Write(datagram)
		}
		drain(t, r)
	}); allocs != 0 {
		t.Errorf("%v allocations for 100 packets, want none", allocs)
	}
	if n != 51*100 {
		t.Errorf("%d packets received, want 5100", n)
	}
}

// An interface that goes down is told of, and brings packets again when it is
// back.
func TestRawInterfaceGoesDown(t *testing.T) {
	needRaw(t)
	a, b := netlab.NewVeth(t)
	said := make(chan string, 8)
	e := newEngine(t, Config{Capture: CaptureRaw, Log: slog.New(slog.NewTextHandler(lines(said), nil))})
	from, to := listenWithin(t, e, a, PortConfig{Addr: a.Addr4}), listenWithin(t, e, b, PortConfig{Addr: b.Addr4})
	in := newInbox()
	receive(t, to, from.Addr(), 14, in.batch)
	start(t, from, spec(t, e, to.Addr(), 5, time.Millisecond))
	in.wait(t, 5)
	run(t, b, "ip link set eth0 down")
	for deadline := time.After(20 * time.Second); ; {
		select {
		case line := <-said:
			if !strings.Contains(line, "interface=eth0") || !strings.Contains(line, "network is down") {
				continue
			}
		case <-deadline:
			t.Fatal("nothing is said of an interface that is down")
		}
		break
	}
	run(t, b, "ip link set eth0 up")
	start(t, from, spec(t, e, to.Addr(), 1000, 5*time.Millisecond)) // until it is up
	in.wait(t, 10)
}

// Where packets come in over another interface than that of their address a ring
// brings none, which is said.
func TestRawMissesOtherInterfaces(t *testing.T) {
	needRaw(t)
	a, b := netlab.NewVeth(t)
	service := netip.MustParseAddr("10.99.7.1")
	run(t, b, "ip address add 10.99.7.1/32 dev lo")
	run(t, a, "ip route add 10.99.7.1 via "+b.Addr4.String())
	said := make(chan string, 8)
	e := newEngine(t, Config{Capture: CaptureRaw, Log: slog.New(slog.NewTextHandler(lines(said), &slog.HandlerOptions{Level: slog.LevelWarn}))})
	from := listenWithin(t, e, a, PortConfig{Addr: a.Addr4})
	seen, missed := listenWithin(t, e, b, PortConfig{Addr: b.Addr4}), listenWithin(t, e, b, PortConfig{Addr: service})
	const n = 5
	for _, to := range []*Port{seen, missed} {
		in := newInbox()
		r := receive(t, to, from.Addr(), 14, in.batch)
		_, done := start(t, from, spec(t, e, to.Addr(), n, time.Millisecond))
		await(t, "the sender", done)
		if to == seen {
			in.wait(t, n)
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			to.mu.Lock()
			refused, ok := to.askDrops()
			to.mu.Unlock()
			if ok && refused == n {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d packets have come to the socket of %v, want %d", refused, to.Addr(), n)
			}
		}
		if got := len(in.records()); to == missed && got != 0 {
			t.Errorf("%d packets came over an interface that is not looked at", got)
		}
		r.Close()
		receive(t, to, from.Addr(), 14, in.batch).Close() // to be told once
	}
	var all []string
	for len(said) > 0 {
		all = append(all, <-said)
	}
	if len(all) != 1 || !strings.Contains(all[0], missed.Addr().String()) || !strings.Contains(all[0], "packets=5") {
		t.Errorf("log %q, want one line about 5 packets to %v", all, missed.Addr())
	}
}

// lines is a writer that passes on what is written to it, as long as there is
// room.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}

// What comes after a drain had not arrived by the time that the drain has told.
// Between a packet's stamp and the ring the host may be interrupted, so that few
// may have been.
func TestRawDrainIsHonest(t *testing.T) {
	needRaw(t)
	e := newEngine(t, Config{Capture: CaptureRaw})
	from, to := listen(t, e, loopback4), listen(t, e, loopback4)
	in := newInbox()
	r := receive(t, to, from.Addr(), 14, in.batch)
	const n = 2000
	_, done := start(t, from, spec(t, e, to.Addr(), n, 200*time.Microsecond))
	told := r.Drain()
	seen, early, advanced := 0, 0, 0
	for sending := true; sending || seen < n; time.Sleep(300 * time.Microsecond) {
		select {
		case <-done:
			sending = false
		default:
		}
		before := told
		told = r.Drain()
		if told.Before(before) {
			t.Fatalf("drained up to %v, and then up to %v", before.Time(), told.Time())
		}
		if told.After(before) {
			advanced++
		}
		recs := in.records()
		for ; seen < len(recs); seen++ {
			if recs[seen].Recv.Before(before) {
				early++
			}
		}
	}
	if early > n/20 || advanced < 10 {
		t.Errorf("%d of %d packets had arrived before they were drained, in %d steps", early, n, advanced)
	}
}
