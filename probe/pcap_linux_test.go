package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"owl/internal/netlab"
	"owl/owamp"
	"owl/probe/clock"
)

// dumped is what a file of packets says of one of them.
type dumped struct {
	Sent     bool
	From, To netip.AddrPort
	TTL      uint8
	Seq      uint32
	At       time.Time
}

// readDump reads a file of packets that carry open test packets.
func readDump(t *testing.T, file io.Reader) (packets []dumped) {
	t.Helper()
	r, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return packets
		}
		if err != nil {
			t.Fatal(err)
		}
		p := gopacket.NewPacket(data, layers.LinkTypeLinuxSLL, gopacket.Default)
		link, _ := p.LinkLayer().(*layers.LinuxSLL)
		udp, _ := p.TransportLayer().(*layers.UDP)
		if link == nil || udp == nil {
			t.Fatalf("no datagram: %v", p)
		}
		d := dumped{Sent: link.PacketType == layers.LinuxSLLPacketTypeOutgoing, At: ci.Timestamp}
		from, _ := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Src().Raw())
		to, _ := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Dst().Raw())
		d.From, d.To = netip.AddrPortFrom(from, uint16(udp.SrcPort)), netip.AddrPortFrom(to, uint16(udp.DstPort))
		switch ip := p.NetworkLayer().(type) {
		case *layers.IPv4:
			d.TTL = ip.TTL
		case *layers.IPv6:
			d.TTL = ip.HopLimit
		}
		var rec owamp.Record
		if !(owamp.Seal{}).Opener().Open(udp.Payload, &rec) {
			t.Fatalf("payload %x is no test packet", udp.Payload)
		}
		d.Seq = rec.Seq
		packets = append(packets, d)
	}
}

// The file has each packet once as sent and once as received, with the time that
// the record has, and nothing of what the host sends itself to warm up.
func TestPcap(t *testing.T) {
	needRaw(t)
	for _, tc := range []struct {
		name string
		addr netip.Addr
		cfg  Config
	}{
		{"IPv4", loopback4, Config{}},
		{"IPv6", loopback6, Config{}},
		{"raw", loopback4, Config{Capture: CaptureRaw, Transmit: TransmitRaw}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var file bytes.Buffer
			tc.cfg.Pcap = &file
			e := newEngine(t, tc.cfg)
			from, to := listen(t, e, tc.addr), listen(t, e, tc.addr)
			in := newInbox()
			receive(t, to, from.Addr(), 14, in.batch)
			const n = 20
			start(t, from, spec(t, e, to.Addr(), n, 10*time.Millisecond)) // slow enough for copies
			recs := in.wait(t, n)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			var sent, received int
			for _, d := range readDump(t, &file) {
				if d.From != from.Addr() || d.To != to.Addr() || d.TTL != 255 {
					t.Errorf("packet %+v, want one from %v to %v with TTL 255", d, from.Addr(), to.Addr())
				}
				count := &received
				if d.Sent {
					count = &sent
				}
				if d.Seq != uint32(*count) {
					t.Errorf("packet %d, want %d", d.Seq, *count)
				}
				*count++
				at := e.clock.Adjust(owamp.FromTime(d.At))
				rec := recs[d.Seq]
				if !d.Sent && e.kernel && rec.Recv != at {
					t.Errorf("packet %d received at %v, in the record at %v", d.Seq, d.At, rec.Recv.Time())
				}
				if d.Sent && (at.Before(rec.Sent) || e.kernel && at.After(rec.Recv)) {
					t.Errorf("packet %d sent at %v, want a time from %v to %v", d.Seq, d.At, rec.Sent.Time(), rec.Recv.Time())
				}
			}
			if sent != n || received != n {
				t.Errorf("%d sent and %d received, want %d each", sent, received, n)
			}
		})
	}
}

// tshark reads the file: each packet once, with its ports, times and TTL.
func TestPcapTshark(t *testing.T) {
	needRaw(t)
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("SKIPPED: the command tshark is not installed")
	}
	a, b, _ := netlab.NewWire(t, 1, netlab.Path{Hops: 3})
	name := filepath.Join(t.TempDir(), "test.pcapng")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	e := newEngine(t, Config{Pcap: file})
	other := newEngine(t, Config{})
	const n = 25
	var want, got []string
	for i, addr := range [][2]netip.Addr{{a.Addr4, b.Addr4}, {a.Addr6, b.Addr6}} {
		from := listenWithin(t, other, a, PortConfig{Addr: addr[0]})
		to := listenWithin(t, e, b, PortConfig{Addr: addr[1]})
		in := newInbox()
		receive(t, to, from.Addr(), 14, in.batch)
		start(t, from, spec(t, e, to.Addr(), n, time.Millisecond))
		for _, rec := range in.wait(t, n) {
			at := rec.Recv.Time().UTC()
			want = append(want, fmt.Sprintf("%d.%09d %d %d %d 252 tun0 0", at.Unix(), at.Nanosecond(),
				from.Addr().Port(), to.Addr().Port(), 4+2*i))
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "tshark", "-r", name, "-T", "fields", "-E", "separator= ",
		"-e", "frame.time_epoch", "-e", "udp.srcport", "-e", "udp.dstport", "-e", "ip.version", "-e", "ip.ttl", "-e", "ipv6.hlim",
		"-e", "frame.interface_name", "-e", "sll.pkttype").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if e.kernel {
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	} else if len(got) != len(want) {
		t.Errorf("%d packets, want %d", len(got), len(want))
	}
}

// All fragments of a padded packet are in the file, and of no other host's.
func TestPcapFragments(t *testing.T) {
	needRaw(t)
	a, b := netlab.NewVeth(t)
	for i, addr := range [][2]netip.Addr{{a.Addr4, b.Addr4}, {a.Addr6, b.Addr6}} {
		var file bytes.Buffer
		e, other := newEngine(t, Config{Pcap: &file, Capture: CaptureRaw}), newEngine(t, Config{})
		from := listenWithin(t, other, a, PortConfig{Addr: addr[0]})
		to := listenWithin(t, e, b, PortConfig{Addr: addr[1]})
		in := newInbox()
		receive(t, to, from.Addr(), 3014, in.batch)
		const n = 5
		s := spec(t, e, to.Addr(), n, time.Millisecond)
		s.Padding = 3000
		start(t, from, s)
		in.wait(t, n)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := pcapgo.NewNgReader(&file, pcapgo.DefaultNgReaderOptions)
		if err != nil {
			t.Fatal(err)
		}
		var octets, frames int
		for {
			data, _, err := r.ReadPacketData()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			frames++
			octets += len(data) - 16 - (20 + 28*i) // the link's header and the packet's
		}
		if frames != 3*n || octets != n*(8+3014) {
			t.Errorf("IPv%d: %d fragments with %d octets, want %d with %d", 4+2*i, frames, octets, 3*n, n*(8+3014))
		}
	}
}

// A process without the privilege is told at once.
func TestRawNeedsPrivilege(t *testing.T) {
	needRaw(t)
	var caps [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	// A thread that gives up its privileges is not used for anything else.
	errs := make(chan error, 3)
	go func() {
		runtime.LockOSThread()
		errs <- unix.Capset(&header, &caps[0])
		for _, cfg := range []Config{{Capture: CaptureRaw}, {Pcap: io.Discard}} {
			cfg.Clock = clock.New(clock.Config{})
			e, err := New(cfg)
			if err == nil {
				e.Close()
			}
			errs <- err
		}
	}()
	if err := <-errs; err != nil {
		t.Skipf("SKIPPED: privileges cannot be given up: %v", err)
	}
	for range 2 {
		if err := <-errs; !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_RAW") {
			t.Errorf("without the privilege: %v, want an error that names CAP_NET_RAW", err)
		}
	}
}
