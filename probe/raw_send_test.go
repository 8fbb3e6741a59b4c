package probe

import (
	"bytes"
	"crypto/rand"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestParseTransmit(t *testing.T) {
	for _, want := range []Transmit{TransmitUDP, TransmitRaw} {
		if got, err := ParseTransmit(want.String()); got != want || err != nil {
			t.Errorf("ParseTransmit(%q) = %v, %v", want, got, err)
		}
	}
	for _, bad := range []string{"", "RAW", "raw ", "transmit 2"} {
		if got, err := ParseTransmit(bad); err == nil {
			t.Errorf("ParseTransmit(%q) = %v, want an error", bad, got)
		}
	}
	if got, want := Transmit(7).String(), "transmit 7"; got != want {
		t.Errorf("Transmit(7) is %q, want %q", got, want)
	}
}

// raws are two addresses and ports of each family.
var raws = map[string][2]netip.AddrPort{
	"IPv4": {netip.MustParseAddrPort("192.0.2.1:8760"), netip.MustParseAddrPort("198.51.100.254:65535")},
	"IPv6": {netip.MustParseAddrPort("[2001:db8::1]:8760"), netip.MustParseAddrPort("[2001:db8:ffff::ffff]:9")},
}

// assemble returns the datagram of a packet with its padding, as it is handed to
// the kernel.
func assemble(h *rawHeader, packet []byte, sealed int) []byte {
	d := append(h.octets[:h.size:h.size], packet...)
	put16(d[h.size-2:], int(h.checksum(packet[:sealed])))
	return d
}

// serialize is gopacket's idea of the same datagram.
func serialize(t testing.TB, from, to netip.AddrPort, dscp uint8, payload []byte) []byte {
	t.Helper()
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	var ip gopacket.SerializableLayer
	if to.Addr().Is4() {
		l := &layers.IPv4{
			Version: 4, IHL: 5, TOS: dscp << 2, Flags: layers.IPv4DontFragment, TTL: 255, Protocol: layers.IPProtocolUDP,
			SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(),
		}
		udp.SetNetworkLayerForChecksum(l)
		ip = l
	} else {
		l := &layers.IPv6{
			Version: 6, TrafficClass: dscp << 2, NextHeader: layers.IPProtocolUDP, HopLimit: 255,
			SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(),
		}
		udp.SetNetworkLayerForChecksum(l)
		ip = l
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(payload))
	if err != nil {
		t.Fatal(err)
	}
	d := b.Bytes()
	if sum := d[len(d)-len(payload)-2:][:2]; sum[0]|sum[1] == 0 {
		sum[0], sum[1] = 0xff, 0xff // which gopacket forgets
	}
	return d
}

// Headers and checksums are those that gopacket makes, for packets of any content
// and padding of any length.
func TestRawHeader(t *testing.T) {
	for name, ends := range raws {
		t.Run(name, func(t *testing.T) {
			for _, sealed := range []int{14, 48} {
				for _, padding := range []int{0, 1, 2, 3, 34, 999, 1000} {
					payload := make([]byte, sealed+padding)
					h := newRawHeader(ends[0], ends[1], 46, len(payload), payload[sealed:])
					for range 50 {
						rand.Read(payload[:sealed])
						got, want := assemble(&h, payload, sealed), serialize(t, ends[0], ends[1], 46, payload)
						if ends[0].Addr().Is4() {
							copy(want[10:12], []byte{0, 0}) // the kernel's
						}
						if !bytes.Equal(want, got) {
							t.Fatalf("%d octets with %d of padding (-want +got)\n%s", sealed, padding, cmp.Diff(want, got))
						}
					}
					rand.Read(payload[sealed:])
					h = newRawHeader(ends[0], ends[1], 0, len(payload), payload[sealed:])
					if got, want := assemble(&h, payload, sealed)[h.size-2:], serialize(t, ends[0], ends[1], 0, payload)[h.size-2:]; !bytes.Equal(got, want) {
						t.Errorf("%d octets with %d of random padding: checksum and packet\n%x, want\n%x", sealed, padding, got, want)
					}
				}
			}
		})
	}
}

// A checksum of 0 is written as what is the same but says that there is one.
func TestRawChecksumZero(t *testing.T) {
	for name, ends := range raws {
		t.Run(name, func(t *testing.T) {
			packet := make([]byte, 14)
			h := newRawHeader(ends[0], ends[1], 0, len(packet), nil)
			put16(packet, int(h.checksum(packet))) // now all words add up to 0
			if got := h.checksum(packet); got != 0xffff {
				t.Errorf("checksum %#x, want 0xffff", got)
			}
		})
	}
}

// FuzzRawChecksum compares the checksum with gopacket's.
func FuzzRawChecksum(f *testing.F) {
	f.Add(make([]byte, 14), []byte(nil))
	f.Add(bytes.Repeat([]byte{0xff}, 48), []byte{0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, packet, padding []byte) {
		packet = packet[:len(packet)&^1]
		payload := append(slices.Clip(packet), padding...)
		if len(payload) > rawLongest {
			return
		}
		for _, ends := range raws {
			h := newRawHeader(ends[0], ends[1], 0, len(payload), padding)
			want := serialize(t, ends[0], ends[1], 0, payload)[h.size-2 : h.size]
			if got := assemble(&h, payload, len(packet))[h.size-2 : h.size]; !bytes.Equal(got, want) {
				t.Errorf("%v: checksum %x, want %x", ends, got, want)
			}
		}
	})
}

func BenchmarkRawChecksum(b *testing.B) {
	packet := make([]byte, 48)
	h := newRawHeader(raws["IPv6"][0], raws["IPv6"][1], 0, 48+1000, make([]byte, 1000))
	b.ReportAllocs()
	for b.Loop() {
		h.checksum(packet)
	}
}
