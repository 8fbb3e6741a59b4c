package probe

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"owl/internal/netlab"
	"owl/owamp"
)

// An injector puts frames on a host's Ethernet.
type injector struct {
	t        *testing.T
	fd       int
	from, to net.HardwareAddr
}

func newInjector(t *testing.T, from, to *netlab.Host) *injector {
	t.Helper()
	in := &injector{t: t}
	within(t, to, func() error {
		dev, err := net.InterfaceByName("eth0")
		if err == nil {
			in.to = dev.HardwareAddr
		}
		return err
	})
	within(t, from, func() error {
		dev, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		in.from = dev.HardwareAddr
		if in.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(in.fd, &unix.SockaddrLinklayer{Ifindex: dev.Index})
	})
	t.Cleanup(func() { unix.Close(in.fd) })
	return in
}

// send sends a frame with the given tags, each with its Ethernet type, and
// packet.
func (in *injector) send(packet []byte, tags ...uint16) {
	in.t.Helper()
	b := slices.Concat([]byte(in.to), []byte(in.from))
	for i, kind := range tags {
		b = binary.BigEndian.AppendUint16(b, kind)
		b = binary.BigEndian.AppendUint16(b, uint16(i)) // the first is a priority, no VLAN
	}
	kind := uint16(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		kind = unix.ETH_P_IPV6
	}
	b = append(binary.BigEndian.AppendUint16(b, kind), packet...)
	for len(b) < 60 { // what is shorter is no frame
		b = append(b, 0xee)
	}
	if _, err := unix.Write(in.fd, b); err != nil {
		in.t.Fatal(err)
	}
}

// Frames that no engine sends, but networks bring, are read, or ignored as the
// host would.
func TestRawFrames(t *testing.T) {
	needRaw(t)
	a, b := netlab.NewVeth(t)
	e := newEngine(t, Config{Capture: CaptureRaw})
	to4, to6 := listenWithin(t, e, b, PortConfig{Addr: b.Addr4}), listenWithin(t, e, b, PortConfig{Addr: b.Addr6})
	const port = 5000
	in4, in6 := newInbox(), newInbox()
	r4 := receive(t, to4, netip.AddrPortFrom(a.Addr4, port), 34, in4.batch)
	r6 := receive(t, to6, netip.AddrPortFrom(a.Addr6, port), 34, in6.batch)
	wire := newInjector(t, a, b)

	udp := func(network gopacket.NetworkLayer, to *Port) *layers.UDP {
		u := &layers.UDP{SrcPort: port, DstPort: layers.UDPPort(to.Addr().Port())}
		u.SetNetworkLayerForChecksum(network)
		return u
	}
	make4 := func(seq uint32, options ...layers.IPv4Option) []byte {
		ip := &layers.IPv4{Version: 4, TTL: 77, TOS: 46 << 2, Protocol: layers.IPProtocolUDP, SrcIP: a.Addr4.AsSlice(), DstIP: b.Addr4.AsSlice(), Options: options}
		return serialized(t, ip, udp(ip, to4), gopacket.Payload(packet(seq, 34)))
	}
	make6 := func(seq uint32, headers ...gopacket.SerializableLayer) []byte {
		plain := &layers.IPv6{Version: 6, HopLimit: 66, TrafficClass: 10 << 2, NextHeader: layers.IPProtocolUDP, SrcIP: a.Addr6.AsSlice(), DstIP: b.Addr6.AsSlice()}
		body := serialized(t, udp(plain, to6), gopacket.Payload(packet(seq, 34)))
		ip := *plain
		if len(headers) > 0 {
			ip.NextHeader = layers.IPProtocolIPv6Destination
		}
		return serialized(t, append(append([]gopacket.SerializableLayer{&ip}, headers...), gopacket.Payload(body))...)
	}
	const (
		vlan    = 0x8100
		service = 0x88a8
	)
	padding := func(next layers.IPProtocol) gopacket.Payload {
		return gopacket.Payload{byte(next), 0, 1, 4, 0, 0, 0, 0}
	}
	wrong := func(b []byte, at int) []byte {
		b[at] ^= 1
		return b
	}
	wire.send(make4(0))
	wire.send(make4(1), vlan)
	wire.send(make4(2), vlan, vlan)
	wire.send(make4(3), service, vlan)
	wire.send(make4(4, layers.IPv4Option{OptionType: 1}))
	wire.send(wrong(make4(100), 60)) // the payload, and so the checksum
	wire.send(wrong(make4(101), 8))  // the TTL, and so the header's
	wire.send(make4(102)[:60])       // cut off
	wire.send(wrong(make4(103), 19)) // to another address
	wire.send(make4(5))              // the last

	wire.send(make6(0))
	wire.send(make6(1), vlan)
	wire.send(make6(2, padding(layers.IPProtocolUDP)))
	wire.send(make6(3, padding(layers.IPProtocolIPv6Destination), padding(layers.IPProtocolUDP)), service, vlan)
	wire.send(make6(4, gopacket.Payload{17, 0, 1, 4, 0, 0, 0, 0}))
	wire.send(wrong(make6(100), 80))
	wire.send(make6(101)[:70])
	wire.send(make6(5))

	drain(t, r4)
	drain(t, r6)
	for _, tc := range []struct {
		name      string
		recs      []owamp.Record
		stats     ReceiveStats
		ttl, dscp uint8
	}{
		{"IPv4", in4.records(), r4.Stats(), 77, 46},
		{"IPv6", in6.records(), r6.Stats(), 66, 10},
	} {
		var seqs []uint32
		for _, rec := range tc.recs {
			seqs = append(seqs, rec.Seq)
			if rec.TTL != tc.ttl || rec.DSCP != tc.dscp {
				t.Errorf("%s: record %+v, want TTL %d and DSCP %d", tc.name, rec, tc.ttl, tc.dscp)
			}
			if d := rec.Recv.Sub(rec.Sent); e.kernel && (d <= 0 || d > 10*time.Second) {
				t.Errorf("%s: packet %d: delay %v", tc.name, rec.Seq, d)
			}
		}
		if d := cmp.Diff([]uint32{0, 1, 2, 3, 4, 5}, seqs); d != "" {
			t.Errorf("%s: sequence numbers: %s", tc.name, d)
		}
		if tc.stats != (ReceiveStats{Received: 6}) {
			t.Errorf("%s: stats %+v, want 6 received and nothing else", tc.name, tc.stats)
		}
	}
}

func serialized(t *testing.T, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(buf.Bytes())
}
