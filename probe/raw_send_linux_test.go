package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"owl/internal/netlab"
	"owl/owamp"
)

// mayTransmitRaw skips a test that lacks the privilege.
func mayTransmitRaw(t testing.TB) {
	t.Helper()
	if err := rawAvailable(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}

// newRawEngine returns an engine that sends raw.
func newRawEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	mayTransmitRaw(t)
	cfg.Transmit = TransmitRaw
	return newEngine(t, cfg)
}

// A wiretap sees the frames that leave the hosts of a test.
type wiretap struct{ fd int }

// listenIn looks at the interface called dev, in the network of the calling thread.
func listenIn(t *testing.T, dev string) *wiretap {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skipf("SKIPPED: packet socket: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	link, err := linkIndex(dev)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		t.Fatal(err)
	}
	all := uint16(unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link}); err != nil {
		t.Fatal(err)
	}
	timeout := unix.Timeval{Sec: 20}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	return &wiretap{fd}
}

func linkIndex(dev string) (int, error) {
	scope, err := scopeOf(netip.MustParseAddr("fe80::1%" + dev))
	return int(scope), err
}

// next returns the next outgoing IP datagram from one address and port to
// another.
func (w *wiretap) next(t *testing.T, from, to netip.AddrPort) []byte {
	t.Helper()
	b := make([]byte, 1<<16)
	for {
		n, addr, err := unix.Recvfrom(w.fd, b, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatalf("no packet from %v to %v: %v", from, to, err)
		}
		if addr.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
			continue
		}
		first := layers.LayerTypeIPv4
		if from.Addr().Is6() {
			first = layers.LayerTypeIPv6
		}
		p := gopacket.NewPacket(b[:n], first, gopacket.NoCopy)
		udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok || uint16(udp.SrcPort) != from.Port() || uint16(udp.DstPort) != to.Port() {
			continue
		}
		source, _ := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Src().Raw())
		destination, _ := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Dst().Raw())
		if source == from.Addr().WithZone("") && destination == to.Addr().WithZone("") {
			return slices.Clone(b[:n])
		}
	}
}

// blank clears what may differ between the datagrams of a UDP socket and raw
// ones: identification, header checksum and flow label, which routers do not
// look at or need not, and what is left of the time.
func blank(d []byte) []byte {
	d = slices.Clone(d)
	if d[0]>>4 == 4 {
		clear(d[4:6])
		clear(d[10:12])
		clear(d[ipv4Header+6 : ipv4Header+8])
		clear(d[ipv4Header+udpHeader+4:][:10])
	} else {
		d[1] &= 0xf0
		clear(d[2:4])
		clear(d[ipv6Header+6 : ipv6Header+8])
		clear(d[ipv6Header+udpHeader+4:][:10])
	}
	return d
}

// On the wire, raw packets are what the UDP socket sends, but that they have their
// checksums already; and gopacket finds those right.
func TestRawOnWire(t *testing.T) {
	a, b := netlab.NewVeth(t)
	for name, addr := range map[string][2]netip.Addr{"IPv4": {a.Addr4, b.Addr4}, "IPv6": {a.Addr6, b.Addr6}} {
		for _, dscp := range []uint8{0, 46} {
			for _, padding := range []uint32{0, 33, 1000} {
				t.Run(fmt.Sprintf("%s, DSCP %d, padding %d", name, dscp, padding), func(t *testing.T) {
					sent := make(map[Transmit][]byte)
					for _, how := range []Transmit{TransmitUDP, TransmitRaw} {
						e := newEngine(t, Config{Cold: true})
						if how == TransmitRaw {
							e = newRawEngine(t, Config{Cold: true})
						}
						from := listenWithin(t, e, a, PortConfig{Addr: addr[0], Ports: PortRange{Low: 8760, High: 8760}})
						to := listenWithin(t, e, b, PortConfig{Addr: addr[1], Ports: PortRange{Low: 8761, High: 8761}})
						var wire *wiretap
						within(t, a, func() error { wire = listenIn(t, "eth0"); return nil })
						in := newInbox()
						receive(t, to, from.Addr(), int(14+padding), in.batch)
						s := spec(t, e, to.Addr(), 1, time.Millisecond)
						s.Padding, s.DSCP = padding, dscp
						start(t, from, s)
						sent[how] = wire.next(t, from.Addr(), to.Addr())
						rec := in.wait(t, 1)[0]
						if rec.TTL != 255 || rec.DSCP != dscp {
							t.Errorf("%v: received with TTL %d and DSCP %d, want 255 and %d", how, rec.TTL, rec.DSCP, dscp)
						}
						from.Close()
						to.Close()
					}
					if d := cmp.Diff(blank(sent[TransmitUDP]), blank(sent[TransmitRaw])); d != "" {
						t.Errorf("-UDP +raw\n%s", d)
					}
					got := sent[TransmitRaw]
					header := len(got) - int(padding) - 14
					from, to := netip.AddrPortFrom(addr[0], 8760), netip.AddrPortFrom(addr[1], 8761)
					want := serialize(t, from, to, dscp, got[header:])
					if d := cmp.Diff(want, got); d != "" {
						t.Errorf("-gopacket +raw\n%s", d)
					}
				})
			}
		}
	}
}

// What is too long to be sent raw is sent and fragmented by the UDP socket: by
// its length, or since the interface's MTU is that small.
func TestRawTooLong(t *testing.T) {
	a, b := netlab.NewVeth(t)
	for _, h := range []*netlab.Host{a, b} {
		if _, err := h.Output(exec.CommandContext(t.Context(), "ip", strings.Fields("link set eth0 mtu 600")...)); err != nil {
			t.Fatal(err)
		}
	}
	e := newRawEngine(t, Config{})
	e.lane.left.every = 1
	from := listenWithin(t, e, a, PortConfig{Addr: a.Addr4})
	for _, tc := range []struct {
		padding uint32
		dscp    uint8
		raw     bool
	}{{1100, 0, true}, {1100, 46, true}, {3000, 0, false}, {3000, 46, false}} {
		to := listenWithin(t, e, b, PortConfig{Addr: b.Addr4})
		in := newInbox()
		receive(t, to, from.Addr(), int(14+tc.padding), in.batch)
		s := spec(t, e, to.Addr(), 5, time.Millisecond)
		s.Padding, s.DSCP = tc.padding, tc.dscp
		snd, err := from.Send(s)
		if err != nil {
			t.Fatal(err)
		}
		for i, rec := range in.wait(t, 5) {
			if rec.Seq != uint32(i) || rec.DSCP != tc.dscp {
				t.Errorf("padding %d: record %d is of packet %d with DSCP %d", tc.padding, i, rec.Seq, rec.DSCP)
			}
		}
		if rep := snd.Stop(); len(rep.Skips) != 0 || rep.NextSeq != 5 {
			t.Errorf("padding %d: report %+v, want 5 packets and no skips", tc.padding, rep)
		}
	}
	needReports(t, e)
	// The kernel has not been asked about what it refused.
	if st := settled(t, e, from); st.Asked == 0 || st.Missing > 0 {
		t.Errorf("asked about %d packets, %d reports missing, want some and none", st.Asked, st.Missing)
	}
}

// Sessions of all modes arrive, with classes, padding and both families, and
// copies of them stay here.
func TestRawSessions(t *testing.T) {
	const n = 20
	modes := map[string]owamp.Seal{"open": {}, "encrypted": encrypted(),
		"authenticated": owamp.NewSeal(owamp.ModeAuthenticated, zero(owamp.NewSeal), owamp.SID{1})}
	for name, seal := range modes {
		for _, addr := range []netip.Addr{loopback4, loopback6} {
			t.Run(fmt.Sprint(name, " ", addr), func(t *testing.T) {
				e := newRawEngine(t, Config{Pacing: PacingEconomy})
				from, to := listen(t, e, addr), listen(t, e, addr)
				sink := copies(t, e, addr)
				in := newInbox()
				s := spec(t, e, to.Addr(), n, 2*quietAfter)
				s.Sealer, s.Padding, s.DSCP = seal.Sealer(), 101, 10
				r, err := to.Receive(ReceiveSpec{Remote: from.Addr(), Opener: seal.Opener(), Size: s.Sealer.Size() + 101}, in.batch)
				if err != nil {
					t.Fatal(err)
				}
				_, done := start(t, from, s)
				await(t, "the sender", done)
				for i, rec := range in.wait(t, n) {
					if rec.Seq != uint32(i) || rec.TTL != 255 || rec.DSCP != 10 {
						t.Errorf("record %d: %+v", i, rec)
					}
				}
				if st := r.Stats(); st != (ReceiveStats{Received: n}) {
					t.Errorf("stats %+v, want %d received and nothing else", st, n)
				}
				if got, senders := count(t, sink); got == 0 || !senders[from.Addr()] || len(senders) != 1 {
					t.Errorf("%d copies from %v, want some from %v", got, senders, from.Addr())
				}
			})
		}
	}
}

// A thousand ports send from one descriptor to one port, which tells them apart.
func TestRawManyPorts(t *testing.T) {
	const ports, each = 1000, 5
	e := newRawEngine(t, Config{})
	to := listen(t, e, loopback4)
	seen := make([]int, ports)
	full := make(chan struct{})
	var missing = ports * each
	start := e.clock.Now().AddDuration(200 * time.Millisecond)
	for i := range ports {
		from := listen(t, e, loopback4)
		receive(t, to, from.Addr(), 14, func(recs []owamp.Record) { // one at a time, for they share the port
			seen[i] += len(recs)
			if missing -= len(recs); missing == 0 {
				close(full)
			}
		})
		s := spec(t, e, to.Addr(), each, 100*time.Millisecond)
		s.Start = start.AddDuration(time.Duration(i) * 100 * time.Microsecond)
		if _, err := from.Send(s); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(e.raw.open); n != 1 {
		t.Errorf("%d raw sockets, want one", n)
	}
	select {
	case <-full:
	case <-time.After(30 * time.Second):
		t.Fatal("not all packets have arrived")
	}
	for i, n := range seen {
		if n != each {
			t.Errorf("%d packets of session %d, want %d", n, i, each)
		}
	}
}

// A raw socket goes with the last port that needs it.
func TestRawSocketsClosed(t *testing.T) {
	e := newRawEngine(t, Config{})
	first, second := listen(t, e, loopback4), listen(t, e, loopback4)
	if first.raw != second.raw {
		t.Error("two ports of an address have two raw sockets")
	}
	first.Close()
	if len(e.raw.open) != 1 {
		t.Error("the raw socket went with the first of two ports")
	}
	second.Close()
	if len(e.raw.open) != 0 {
		t.Errorf("%d raw sockets without a port", len(e.raw.open))
	}
}

// Link-local addresses and ports that are bound to a device work as with UDP.
func TestRawLinkLocal(t *testing.T) {
	a, b := netlab.NewVeth(t)
	for h, addr := range map[*netlab.Host]string{a: "fe80::a/64", b: "fe80::b/64"} {
		cmd := exec.CommandContext(t.Context(), "ip", strings.Fields("address add "+addr+" dev eth0 nodad")...)
		if _, err := h.Output(cmd); err != nil {
			t.Fatal(err)
		}
	}
	e := newRawEngine(t, Config{})
	for _, device := range []string{"", "eth0"} {
		from := listenWithin(t, e, a, PortConfig{Addr: netip.MustParseAddr("fe80::a%eth0"), Device: device})
		to := listenWithin(t, e, b, PortConfig{Addr: netip.MustParseAddr("fe80::b%eth0"), Device: device})
		in := newInbox()
		within(t, b, func() error {
			receive(t, to, netip.AddrPortFrom(netip.MustParseAddr("fe80::a"), from.Addr().Port()), 14, in.batch)
			return nil
		})
		s := spec(t, e, netip.AddrPortFrom(netip.MustParseAddr("fe80::b"), to.Addr().Port()), 20, time.Millisecond)
		within(t, a, func() error {
			start(t, from, s)
			return nil
		})
		in.wait(t, 20)
	}
}

// The kernel chooses the route by the source, as it does for the UDP socket.
func TestRawRouteBySource(t *testing.T) {
	a, b := netlab.NewVeth(t)
	for _, args := range []string{
		"address add 10.99.1.1/32 dev eth0", "address add 10.99.1.2/32 dev eth0",
		"rule add from 10.99.1.1 table 99", "route add 198.51.100.1 via " + b.Addr4.String() + " src 10.99.1.1 table 99",
	} {
		if _, err := a.Output(exec.CommandContext(t.Context(), "ip", strings.Fields(args)...)); err != nil {
			t.Fatal(err)
		}
	}
	e := newRawEngine(t, Config{})
	remote := netip.MustParseAddrPort("198.51.100.1:9")
	for local, want := range map[string]uint32{"10.99.1.1": 3, "10.99.1.2": 0} {
		from := listenWithin(t, e, a, PortConfig{Addr: netip.MustParseAddr(local)})
		snd, done := start(t, from, spec(t, e, remote, 3, time.Millisecond))
		await(t, "the sender", done)
		if got := snd.Progress(); got.Sent != want {
			t.Errorf("from %s: %+v, want %d packets sent", local, got, want)
		}
	}
}

func TestRawDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: the race detector allocates")
	}
	e := newRawEngine(t, Config{})
	p := listen(t, e, loopback4)
	s := spec(t, e, p.Addr(), 1, time.Hour)
	s.Sealer = encrypted().Sealer()
	snd, err := p.Send(s)
	if err != nil {
		t.Fatal(err)
	}
	snd.Stop() // it is the test's now
	if n := testing.AllocsPerRun(100, func() {
		if errno := snd.transmit(); errno != 0 {
			t.Error(errno)
		}
		snd.warm(e.lane, e.lane.sinks[0], e.clock.Now().AddDuration(time.Hour))
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// BenchmarkManyPorts measures what it costs that each session has a port of its
// own, from the ports' sockets and from one raw one; see BenchmarkDelay.
func BenchmarkManyPorts(b *testing.B) {
	mayTransmitRaw(b)
	for _, sessions := range []int{1, 1_000, 5_000} {
		for _, how := range []Transmit{TransmitUDP, TransmitRaw} {
			b.Run(fmt.Sprintf("%v, %d ports", how, sessions), func(b *testing.B) {
				benchmarkDelay(b, Config{Transmit: how}, 20_000, sessions)
			})
		}
	}
}
