package netlab

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// packet4 and packet6 are packets of 10.98.0.1 and fd98::1, told apart by the
// first octet of what they carry.
func packet4(protocol, n byte) []byte {
	b := make([]byte, header4+8+20)
	b[0], b[ttl4], b[protocol4] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[id4:], 0x1234)
	copy(b[source4:], []byte{10, 98, 0, 1, 10, 98, 0, 2})
	binary.BigEndian.PutUint16(b[checksum4:], ^sum(b[:header4]))
	return datagram(b, header4, n)
}

func packet6(protocol, n byte) []byte {
	b := make([]byte, header6+8+20)
	b[0], b[hopLimit6], b[next6] = 0x60, 64, protocol
	b[source6], b[source6+1], b[source6+15] = 0xfd, 0x98, 1
	b[dest6], b[dest6+1], b[dest6+15] = 0xfd, 0x98, 2
	return datagram(b, header6, n)
}

func datagram(b []byte, at int, n byte) []byte {
	binary.BigEndian.PutUint16(b[at:], 8760)
	binary.BigEndian.PutUint16(b[at+2:], 9000)
	b[at+8] = n
	return b
}

// number returns what tells such packets apart.
func number(b []byte) byte { return b[len(b)-20] }

// sum is RFC 1071's: 0xffff over a header whose checksum is right.
func sum(h []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(h); i += 2 {
		s += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// extended puts an extension header of IPv6 in front of what a packet carries.
func extended(b []byte, kind byte, header ...byte) []byte {
	header[0] = b[next6]
	b = slices.Insert(slices.Clone(b), header6, header...)
	b[next6] = kind
	return b
}

func TestParse(t *testing.T) {
	four := Packet{
		From: netip.MustParseAddrPort("10.98.0.1:8760"), To: netip.MustParseAddrPort("10.98.0.2:9000"),
		Protocol: ProtocolUDP, TTL: 64, ID: 0x1234, Size: 48, Head: [16]byte{7},
	}
	six := four
	six.From, six.To = netip.MustParseAddrPort("[fd98::1]:8760"), netip.MustParseAddrPort("[fd98::2]:9000")
	six.ID, six.Size = 0, 68
	with := func(p Packet, f func(*Packet)) Packet {
		f(&p)
		return p
	}
	portless := func(p *Packet) {
		p.From, p.To = netip.AddrPortFrom(p.From.Addr(), 0), netip.AddrPortFrom(p.To.Addr(), 0)
		p.Head = [16]byte{}
	}
	patched := func(b []byte, at int, v ...byte) []byte {
		copy(b[at:], v)
		return b
	}
	options := slices.Insert(packet4(ProtocolUDP, 7), header4, 1, 1, 1, 1)
	options[0] = 0x46

	for _, c := range []struct {
		name string
		b    []byte
		want Packet
	}{
		{"IPv4", packet4(ProtocolUDP, 7), four},
		{"IPv6", packet6(ProtocolUDP, 7), six},
		{"IPv4 with options", options, with(four, func(p *Packet) { p.Size = 52 })},
		{"IPv4 TCP", packet4(ProtocolTCP, 7), with(four, func(p *Packet) { p.Protocol, p.Head = ProtocolTCP, [16]byte{} })},
		{"IPv4 class", patched(packet4(ProtocolUDP, 7), tos4, 46<<2|3), with(four, func(p *Packet) { p.DSCP = 46 })},
		{"IPv6 class", patched(packet6(ProtocolUDP, 7), 0, 0x6b, 0xb5), with(six, func(p *Packet) { p.DSCP = 46 })},
		{"IPv4 first fragment", patched(packet4(ProtocolUDP, 7), fragment4, 0x20, 0), with(four, func(p *Packet) { p.More = true })},
		{"IPv4 last fragment", patched(packet4(ProtocolUDP, 7), fragment4, 0, 185), with(four, func(p *Packet) { p.Offset = 1480; portless(p) })},
		{"IPv6 first fragment", extended(packet6(ProtocolUDP, 7), 44, 0, 0, 0, 1, 0, 1, 2, 3), with(six, func(p *Packet) { p.ID, p.More, p.Size = 0x10203, true, 76 })},
		{"IPv6 last fragment", extended(packet6(ProtocolUDP, 7), 44, 0, 0, 5, 0xa8, 0, 1, 2, 3), with(six, func(p *Packet) { p.ID, p.Offset, p.Size = 0x10203, 1448, 76; portless(p) })},
		{"IPv6 hop by hop", extended(packet6(ProtocolUDP, 7), 0, 0, 1, 4, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), with(six, func(p *Packet) { p.Size = 84 })},
		{"IPv6 extension that is cut off", packet6(60, 7)[:header6+7], with(six, func(p *Packet) { p.Protocol, p.Size = 60, 47; portless(p) })},
		{"too short", packet4(ProtocolUDP, 7)[:19], Packet{Size: 19}},
		{"no IP", make([]byte, 100), Packet{Size: 100}},
	} {
		if d := cmp.Diff(c.want, parse(c.b), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// Whatever a path changes of a header, its checksum is right and nothing else
// changes.
func TestChange(t *testing.T) {
	for _, base := range [][]byte{packet4(ProtocolUDP, 7), packet6(ProtocolUDP, 7)} {
		for hops := range uint8(64) {
			for dscp := range uint8(64) {
				b := slices.Clone(base)
				set(b, 1, b[1]|2) // IPv4: ECN; IPv6: flow label
				was := parse(b)
				if !lowerTTL(b, hops) {
					t.Fatalf("TTL 64 does not survive %d hops", hops)
				}
				remark(b, dscp)
				want := was
				want.TTL, want.DSCP = 64-hops, dscp
				if got := parse(b); got != want {
					t.Fatalf("%d hops, DSCP %d: %+v, want %+v", hops, dscp, got, want)
				}
				if version(b) == 4 && (sum(b[:header4]) != 0xffff || b[1]&3 != 2) {
					t.Fatalf("%d hops, DSCP %d: checksum or ECN of % x is wrong", hops, dscp, b[:header4])
				}
				if version(b) == 6 && (b[0]>>4 != 6 || b[1]&0x3f != 2) {
					t.Fatalf("DSCP %d: % x", dscp, b[:4])
				}
			}
		}
	}
	for _, hops := range []uint8{64, 65, 255} {
		for _, b := range [][]byte{packet4(ProtocolUDP, 7), packet6(ProtocolUDP, 7)} {
			was := slices.Clone(b)
			if lowerTTL(b, hops) || !slices.Equal(b, was) {
				t.Errorf("TTL 64 survives %d hops, or was changed", hops)
			}
		}
	}
}

// FuzzPacket lets a lane treat whatever there is.
func FuzzPacket(f *testing.F) {
	f.Add(packet4(ProtocolUDP, 1), uint8(1), uint8(46))
	f.Add(packet6(ProtocolUDP, 1), uint8(64), uint8(0))
	f.Add(extended(packet6(ProtocolUDP, 7), 44, 0, 0, 0, 1, 0, 1, 2, 3), uint8(3), uint8(8))
	f.Add(extended(packet6(ProtocolUDP, 7), 0, 0, 255, 0, 0, 0, 0, 0, 0), uint8(3), uint8(8))
	short, _ := hex.DecodeString("6000000000082c40")
	f.Add(short, uint8(3), uint8(8))
	f.Fuzz(func(t *testing.T, b []byte, hops, dscp uint8) {
		was := parse(b)
		if was.Size != len(b) || was.Offset < 0 {
			t.Fatalf("%+v of %d octets", was, len(b))
		}
		l := newLane(1, Path{Hops: hops, DSCP: new(dscp & 0x3f), Duplicate: 1})
		valid := version(b) != 4 || sum(b[:header4]) == 0xffff
		l.enter(slices.Clone(b), t0)
		delivered, next := leave(l, t0)
		if !next.IsZero() {
			t.Fatal("something is left")
		}
		if was.Protocol == 0 && version(b) == 0 {
			return // what is no packet passes as it is
		}
		for _, e := range l.log {
			if e.Packet != was {
				t.Fatalf("logged %+v of %+v", e.Packet, was)
			}
			if e.CameOut() && (e.OutTTL != was.TTL-hops || e.OutDSCP != dscp&0x3f) {
				t.Fatalf("%+v after %d hops and DSCP %d", e, hops, dscp&0x3f)
			}
		}
		for _, p := range delivered {
			if len(p) != len(b) || version(b) == 4 && valid && sum(p[:header4]) != 0xffff {
				t.Fatalf("% x came out of % x", p, b)
			}
		}
	})
}
