package capture

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	from4 = netip.MustParseAddr("192.0.2.1")
	to4   = netip.MustParseAddr("198.51.100.200")
	from6 = netip.MustParseAddr("2001:db8::1")
	to6   = netip.MustParseAddr("2001:db8:ffff::2")
)

// naiveSum is the checksum's sum as RFC 1071 defines it.
func naiveSum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		s += word
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func TestSum(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		b := make([]byte, random.IntN(200))
		for i := range b {
			b[i] = byte(random.Uint32())
			if random.IntN(3) == 0 {
				b[i] = 0xff
			}
		}
		want := naiveSum(b)
		if got := sum(b); got != want {
			t.Fatalf("sum of %x is %#04x, want %#04x", b, got, want)
		}
		at := random.IntN(len(b)+1) &^ 1
		if got := add(sum(b[:at]), sum(b[at:])); got != want {
			t.Fatalf("sum of %x in two parts is %#04x, want %#04x", b, got, want)
		}
	}
}

// serialize makes a packet of layers with right lengths and checksums.
func serialize(t testing.TB, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

func ip4(options ...layers.IPv4Option) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 61, TOS: 46<<2 | 1, Id: 77, Protocol: layers.IPProtocolUDP, SrcIP: from4.AsSlice(), DstIP: to4.AsSlice(), Options: options}
}

func ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 60, TrafficClass: 10<<2 | 2, FlowLabel: 0xabcde, NextHeader: next, SrcIP: from6.AsSlice(), DstIP: to6.AsSlice()}
}

func datagram(network gopacket.NetworkLayer) *layers.UDP {
	u := &layers.UDP{SrcPort: 5000, DstPort: 8760}
	u.SetNetworkLayerForChecksum(network)
	return u
}

// header is an extension header of IPv6, of eight octets and more times eight:
// options that are padding.
func header(next layers.IPProtocol, more int) gopacket.Payload {
	b := make([]byte, 8+8*more)
	b[0], b[1] = byte(next), byte(more)
	b[2], b[3] = 1, byte(len(b)-4) // PadN
	return b
}

// fragmentOf is a fragment header.
func fragmentOf(next layers.IPProtocol, offset int, more bool, id uint32) gopacket.Payload {
	b := make([]byte, 8)
	b[0] = byte(next)
	field := uint16(offset)
	if more {
		field |= 1
	}
	binary.BigEndian.PutUint16(b[2:], field)
	binary.BigEndian.PutUint32(b[4:], id)
	return b
}

// udp6 returns a datagram of IPv6 as it follows the packet's headers.
func udp6(t testing.TB, payload string) gopacket.Payload {
	return serialize(t, datagram(ip6(layers.IPProtocolUDP)), gopacket.Payload(payload))
}

func tag(kind uint16, id uint16, next uint16) (frameType uint16, b []byte) {
	return kind, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, id), next)
}

func changed(b []byte, at int, to byte) []byte {
	b = bytes.Clone(b)
	b[at] = to
	return b
}

func TestParse(t *testing.T) {
	text := "a test packet of odd length"
	payload := gopacket.Payload(text)
	v4 := serialize(t, ip4(), datagram(ip4()), payload)
	v4none := changed(changed(v4, 26, 0), 27, 0)
	v4options := serialize(t, ip4(layers.IPv4Option{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}), datagram(ip4()), payload)
	v6 := serialize(t, ip6(layers.IPProtocolUDP), datagram(ip6(layers.IPProtocolUDP)), payload)
	v6none := changed(changed(v6, 46, 0), 47, 0)
	v6extended := serialize(t, ip6(layers.IPProtocolIPv6HopByHop), header(layers.IPProtocolIPv6Destination, 0), header(layers.IPProtocolIPv6Routing, 2), header(layers.IPProtocolUDP, 1), udp6(t, text))
	const segmentsLeft = 40 + 8 + 24 + 3 // in the routing header, the third one
	v6routed := changed(v6extended, segmentsLeft, 0)
	v6routedOn := changed(v6extended, segmentsLeft, 1)
	atomic := serialize(t, ip6(layers.IPProtocolIPv6Fragment), fragmentOf(layers.IPProtocolUDP, 0, false, 9), udp6(t, text))
	misplaced := serialize(t, ip6(layers.IPProtocolIPv6Destination), header(layers.IPProtocolIPv6HopByHop, 0), header(layers.IPProtocolUDP, 0), udp6(t, text))
	var many []gopacket.SerializableLayer
	many = append(many, ip6(layers.IPProtocolIPv6Destination))
	for range maxHeaders {
		many = append(many, header(layers.IPProtocolIPv6Destination, 0))
	}
	tooMany := serialize(t, append(many, header(layers.IPProtocolUDP, 0), udp6(t, text))...)

	_, vlan := tag(typeVLAN, 5, typeIPv4)
	_, qinq := tag(typeService, 7, typeVLAN)
	qinq = append(append(qinq, vlan...), v4...)
	vlan = append(vlan, v4...)
	fragment := changed(v4, 6, 0x20)
	fragment = changed(changed(fragment, 10, 0), 11, 0)
	binary.BigEndian.PutUint16(fragment[10:], ^sum(fragment[:20]))

	for _, tc := range []struct {
		name  string
		frame Frame
		want  Kind
	}{
		{"IPv4", Frame{Type: typeIPv4, Data: v4}, Datagram},
		{"IPv4 in a short frame's padding", Frame{Type: typeIPv4, Data: append(bytes.Clone(v4), make([]byte, 9)...)}, Datagram},
		{"IPv4 with options", Frame{Type: typeIPv4, Data: v4options}, Datagram},
		{"IPv4 without UDP's checksum", Frame{Type: typeIPv4, Data: v4none}, Datagram},
		{"IPv4 in a VLAN", Frame{Type: typeVLAN, Data: vlan}, Datagram},
		{"IPv4 in a VLAN in another", Frame{Type: typeService, Data: qinq}, Datagram},
		{"IPv4 in a VLAN of old", Frame{Type: typeQinQ, Data: vlan}, Datagram},
		{"IPv4 in a VLAN in another, as its type", Frame{Type: typeIPv4, Data: vlan, HasTag: true}, Datagram},
		{"IPv4 in a VLAN that looks like IPv4", Frame{Type: typeIPv4, Data: changed(vlan, 0, 0x45), HasTag: true}, Datagram},
		{"IPv6 in a VLAN that looks like IPv6", Frame{Type: typeIPv6, Data: append([]byte{0x60, 5, 0x86, 0xdd}, v6...), HasTag: true}, Datagram},
		{"IPv4 behind its only tag", Frame{Type: typeIPv4, Data: v4, HasTag: true}, Datagram},
		{"IPv6 behind its only tag", Frame{Type: typeIPv6, Data: v6, HasTag: true}, Datagram},
		{"IPv6", Frame{Type: typeIPv6, Data: v6}, Datagram},
		{"IPv6 with headers", Frame{Type: typeIPv6, Data: v6routed}, Datagram},
		{"IPv6 in one fragment", Frame{Type: typeIPv6, Data: atomic}, Datagram},
		{"a checksum that is not made yet", Frame{Type: typeIPv4, Data: changed(v4, 27, 1), Sound: true}, Datagram},

		{"IPv4, a wrong checksum", Frame{Type: typeIPv4, Data: changed(v4, 40, 'x')}, Damaged},
		{"IPv4, a wrong header checksum", Frame{Type: typeIPv4, Data: changed(v4, 8, 62), Sound: true}, Damaged},
		{"IPv4, cut off", Frame{Type: typeIPv4, Data: v4[:len(v4)-1], Sound: true}, Damaged},
		{"IPv4, cut off in the header", Frame{Type: typeIPv4, Data: v4[:19], Sound: true}, Damaged},
		{"nothing", Frame{Type: typeIPv4}, Damaged},
		{"IPv6 as IPv4", Frame{Type: typeIPv4, Data: v6}, Damaged},
		{"IPv6, a wrong checksum", Frame{Type: typeIPv6, Data: changed(v6, 60, 'x')}, Damaged},
		{"IPv6 without UDP's checksum", Frame{Type: typeIPv6, Data: v6none}, Damaged},
		{"IPv6, cut off", Frame{Type: typeIPv6, Data: v6[:len(v6)-1], Sound: true}, Damaged},
		{"IPv6 with hop-by-hop options behind others", Frame{Type: typeIPv6, Data: misplaced, Sound: true}, Damaged},
		{"UDP longer than the packet", Frame{Type: typeIPv6, Data: changed(v6, 44, 1), Sound: true}, Damaged},
		{"UDP shorter than its header", Frame{Type: typeIPv6, Data: changed(v6, 45, 7), Sound: true}, Damaged},
		{"a VLAN tag, cut off", Frame{Type: typeVLAN, Data: vlan[:3]}, Damaged},

		{"IPv6 on its way to others", Frame{Type: typeIPv6, Data: v6routedOn}, Other},
		{"IPv6 with too many headers", Frame{Type: typeIPv6, Data: tooMany, Sound: true}, Other},
		{"TCP", Frame{Type: typeIPv6, Data: changed(v6, 6, 6)}, Other},
		{"ARP", Frame{Type: 0x0806, Data: make([]byte, 28)}, Other},
		{"a fragment", Frame{Type: typeIPv4, Data: fragment}, Damaged}, // not a multiple of 8
	} {
		t.Run(tc.name, func(t *testing.T) {
			var p Packet
			got := p.Parse(&tc.frame)
			if got != tc.want {
				t.Fatalf("Parse = %d, want %d", got, tc.want)
			}
			if got != Datagram {
				return
			}
			want := Packet{Source: netip.AddrPortFrom(from4, 5000), Destination: netip.AddrPortFrom(to4, 8760), TTL: 61, DSCP: 46}
			if p.Source.Addr().Is6() {
				want = Packet{Source: netip.AddrPortFrom(from6, 5000), Destination: netip.AddrPortFrom(to6, 8760), TTL: 60, DSCP: 10}
			}
			if p.Source != want.Source || p.Destination != want.Destination || p.TTL != want.TTL || p.DSCP != want.DSCP || p.Length != len(text) || string(p.Payload) != text {
				t.Errorf("packet %+v, want %+v with %q", p, want, text)
			}
		})
	}
}

func TestParseAllocations(t *testing.T) {
	f := Frame{Type: typeIPv6, Data: serialize(t, ip6(layers.IPProtocolUDP), datagram(ip6(layers.IPProtocolUDP)), make(gopacket.Payload, 48))}
	var p Packet
	if n := testing.AllocsPerRun(100, func() {
		if p.Parse(&f) != Datagram {
			t.Fatal("no datagram")
		}
	}); n != 0 {
		t.Errorf("%v allocations a packet, want none", n)
	}
}

// oracle reads a frame with gopacket, and reports whether it is a datagram that
// is whole and passes its checksums. What gopacket does not tell it decides by
// itself: checksums, and the order of extension headers.
func oracle(f *Frame) (p Packet, ok bool) {
	packet := gopacket.NewPacket(f.Data, layers.EthernetType(f.Type), gopacket.DecodeOptions{NoCopy: true, Lazy: true})
	// It would go on to read the payload, if the port is that of something.
	if packet.Layer(layers.LayerTypeUDP) == nil || packet.Metadata().Truncated {
		return p, false
	}
	tags, headers, network := 0, 0, false
	var udp *layers.UDP
	for _, layer := range packet.Layers() {
		switch l := layer.(type) {
		case *layers.Dot1Q:
			tags++
		case *layers.IPv4:
			if network || l.Version != 4 || l.Length < 20 || naiveSum(l.Contents) != 0xffff {
				return p, false
			}
			network = true
			p.TTL, p.DSCP = l.TTL, l.TOS>>2
			p.setAddrs(l.SrcIP, l.DstIP)
		case *layers.IPv6:
			if network || l.Version != 6 {
				return p, false
			}
			network = true
			if l.HopByHop != nil {
				headers++
			}
			p.TTL, p.DSCP = l.HopLimit, l.TrafficClass>>2
			p.setAddrs(l.SrcIP, l.DstIP)
		case *layers.IPv6HopByHop:
			if headers++; headers > 1 {
				return p, false
			}
		case *layers.IPv6Destination:
			headers++
		case *layers.IPv6Routing:
			headers++
			if l.SegmentsLeft != 0 {
				return p, false
			}
		case *layers.UDP:
			udp = l
		}
		if udp != nil {
			break
		}
	}
	if udp == nil || !network || tags >= maxTags || headers >= maxHeaders || udp.Length < 8 {
		return p, false
	}
	p.Source = netip.AddrPortFrom(p.Source.Addr(), uint16(udp.SrcPort))
	p.Destination = netip.AddrPortFrom(p.Destination.Addr(), uint16(udp.DstPort))
	p.Payload, p.Length = udp.Payload, len(udp.Payload)
	if udp.Checksum == 0 {
		return p, p.Source.Addr().Is4()
	}
	from, to := p.Source.Addr().AsSlice(), p.Destination.Addr().AsSlice()
	pseudo := append(append(append([]byte{0, 17}, from...), to...), byte(udp.Length>>8), byte(udp.Length))
	pseudo = append(append(pseudo, udp.Contents...), udp.Payload...)
	return p, f.Sound || naiveSum(pseudo) == 0xffff
}

func (p *Packet) setAddrs(from, to net.IP) {
	a, _ := netip.AddrFromSlice(from)
	b, _ := netip.AddrFromSlice(to)
	p.Source, p.Destination = netip.AddrPortFrom(a, 0), netip.AddrPortFrom(b, 0)
}

// compare fails if Parse and gopacket do not read the same.
func compare(t *testing.T, f *Frame) {
	t.Helper()
	var p Packet
	kind := p.Parse(f)
	want, ok := oracle(f)
	if ok != (kind == Datagram) && !unreadable(f.Data) {
		t.Fatalf("frame of type %#04x %x: Parse = %d, gopacket takes it: %v", f.Type, f.Data, kind, ok)
	}
	if !ok || kind != Datagram {
		return
	}
	if p.Source != want.Source || p.Destination != want.Destination || p.TTL != want.TTL || p.DSCP != want.DSCP || p.Length != want.Length || !bytes.Equal(p.Payload, want.Payload) {
		t.Fatalf("frame of type %#04x %x: %+v, gopacket reads %+v", f.Type, f.Data, p, want)
	}
}

// unreadable reports whether a frame may have what gopacket and Parse judge
// differently for good reasons: it knows no whole packets with a fragment header,
// and only one kind of routing header; it looks into options, and refuses what
// is wrong there; it knows jumbograms.
func unreadable(b []byte) bool {
	for range maxTags {
		if len(b) > ipv6Header && b[0]>>4 == 6 {
			return b[6] != protocolUDP || b[4]|b[5] == 0
		}
		if len(b) > 20 && b[0]>>4 == 4 && (b[0]&0xf > 5 || b[2]|b[3] == 0) {
			return true
		}
		if len(b) < tagSize {
			break
		}
		b = b[tagSize:]
	}
	return false
}

func seeds(t testing.TB) []Frame {
	payload := gopacket.Payload("payload of a packet")
	v4 := serialize(t, ip4(), datagram(ip4()), payload)
	v6 := serialize(t, ip6(layers.IPProtocolUDP), datagram(ip6(layers.IPProtocolUDP)), payload)
	_, vlan := tag(typeVLAN, 5, typeIPv6)
	return []Frame{
		{Type: typeIPv4, Data: v4},
		{Type: typeIPv6, Data: v6},
		{Type: typeVLAN, Data: append(vlan, v6...)},
		{Type: typeIPv6, Data: serialize(t, ip6(layers.IPProtocolIPv6HopByHop), header(layers.IPProtocolUDP, 1), udp6(t, "extended"))},
		{Type: typeIPv6, Data: serialize(t, ip6(layers.IPProtocolIPv6Destination), header(layers.IPProtocolUDP, 0), udp6(t, "extended"))},
		{Type: typeIPv4, Data: serialize(t, ip4(layers.IPv4Option{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}), datagram(ip4()), payload)},
	}
}

// Whatever is changed in a packet, gopacket and Parse agree about it.
func TestParseAgreesWithGopacket(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	frames := seeds(t)
	for range 50_000 {
		f := frames[random.IntN(len(frames))]
		f.Data = bytes.Clone(f.Data)
		f.Sound = random.IntN(2) == 0
		for range random.IntN(4) {
			f.Data[random.IntN(len(f.Data))] = byte(random.Uint32())
		}
		if random.IntN(4) == 0 {
			f.Data = f.Data[:random.IntN(len(f.Data)+1)]
		}
		compare(t, &f)
	}
}

func FuzzParse(f *testing.F) {
	for _, frame := range seeds(f) {
		f.Add(frame.Type, frame.Data, false)
		f.Add(frame.Type, frame.Data, true)
	}
	f.Add(uint16(typeIPv6), serialize(f, ip6(layers.IPProtocolIPv6Fragment), fragmentOf(layers.IPProtocolUDP, 0, true, 1), udp6(f, "12345678")), false)
	f.Fuzz(func(t *testing.T, kind uint16, data []byte, sound bool) {
		frame := Frame{Type: kind, Data: data, Sound: sound}
		compare(t, &frame)
		var p Packet
		what := p.Parse(&frame)
		if what == Fragment {
			new(Assembler).Add(&p)
		}
		// What is read without a tag is read no differently behind one.
		frame.HasTag = true
		var tagged Packet
		if got := tagged.Parse(&frame); what == Datagram && (got != Datagram || tagged.Source != p.Source || tagged.Length != p.Length) {
			t.Fatalf("frame of type %#04x %x: %+v, behind a tag %d, %+v", frame.Type, data, p, got, tagged)
		}
	})
}
