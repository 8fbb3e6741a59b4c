package capture

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"owl/owamp"
)

const epoch owamp.Timestamp = 0xeaf0_0000_0000_0000

// cut4 cuts a packet of IPv4 without options into fragments that carry the given
// numbers of octets, the last one the rest.
func cut4(packet []byte, id uint16, sizes ...int) [][]byte {
	var out [][]byte
	body, at := packet[20:], 0
	for i := 0; at < len(body); i++ {
		n := len(body) - at
		if i < len(sizes) {
			n = min(n, sizes[i])
		}
		f := append(bytes.Clone(packet[:20]), body[at:at+n]...)
		field := uint16(at / 8)
		if at+n < len(body) {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		binary.BigEndian.PutUint16(f[4:], id)
		binary.BigEndian.PutUint16(f[6:], field)
		binary.BigEndian.PutUint16(f[10:], 0)
		binary.BigEndian.PutUint16(f[10:], ^sum(f[:20]))
		out = append(out, f)
		at += n
	}
	return out
}

// cut6 does so with one of IPv6 without extension headers; what is fragmented may
// begin with such headers, first the kind of the first one.
func cut6(t testing.TB, first layers.IPProtocol, body []byte, id uint32, sizes ...int) [][]byte {
	t.Helper()
	var out [][]byte
	for i, at := 0, 0; at < len(body); i++ {
		n := len(body) - at
		if i < len(sizes) {
			n = min(n, sizes[i])
		}
		out = append(out, serialize(t, ip6(layers.IPProtocolIPv6Fragment),
			fragmentOf(first, at, at+n < len(body), id), gopacket.Payload(body[at:at+n])))
		at += n
	}
	return out
}

// feed gives fragments to an assembler, one every millisecond, and returns how
// many datagrams they made and the last one.
func feed(t *testing.T, a *Assembler, kind uint16, frames ...[]byte) (complete int, last Packet) {
	t.Helper()
	for i, data := range frames {
		var p Packet
		f := Frame{Type: kind, Data: data, Time: epoch.AddDuration(time.Duration(i) * time.Millisecond)}
		if got := p.Parse(&f); got != Fragment {
			t.Fatalf("fragment %d: Parse = %d", i, got)
		}
		if a.Add(&p) {
			complete++
			last = p
			last.Payload = bytes.Clone(p.Payload)
		}
	}
	return complete, last
}

// Datagrams come out however they are cut and shuffled, repeated or not, once.
func TestAssembler(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	a := new(Assembler)
	for round := range 2000 {
		payload := make([]byte, random.IntN(3000)+1)
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		sizes := make([]int, random.IntN(8)+1)
		for i := range sizes {
			sizes[i] = 8 * (1 + random.IntN(60))
		}
		var frames [][]byte
		kind := uint16(typeIPv4)
		if round%2 == 0 {
			packet := serialize(t, ip4(), datagram(ip4()), gopacket.Payload(payload))
			frames = cut4(packet, uint16(round), sizes...)
		} else {
			kind = typeIPv6
			body := serialize(t, datagram(ip6(layers.IPProtocolUDP)), gopacket.Payload(payload))
			first := layers.IPProtocolUDP
			if random.IntN(2) == 0 {
				body, first = append(bytes.Clone(header(first, 1)), body...), layers.IPProtocolIPv6Destination
				sizes[0] = max(sizes[0], 24) // all headers are in the first one
			}
			frames = cut6(t, first, body, uint32(round), sizes...)
		}
		if len(frames) == 1 {
			continue // not fragmented
		}
		random.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
		again := frames[random.IntN(len(frames)-1)]
		frames = append(frames[:len(frames)-1:len(frames)-1], again, frames[len(frames)-1])
		n, p := feed(t, a, kind, frames...)
		if n != 1 {
			t.Fatalf("round %d: %d datagrams of %d fragments %v, want 1", round, n, len(frames), sizes)
		}
		if want := epoch.AddDuration(time.Duration(len(frames)-1) * time.Millisecond); p.Time != want {
			t.Errorf("round %d: time %v, want that of the last fragment, %v", round, p.Time.Time(), want.Time())
		}
		if p.Source.Port() != 5000 || p.Destination.Port() != 8760 || p.Length != len(payload) || !bytes.Equal(p.Payload, payload[:min(len(payload), Head)]) {
			t.Fatalf("round %d: packet %+v of %d octets", round, p, len(payload))
		}
		if p.TTL != 61-uint8(round%2) || p.DSCP != 46-36*uint8(round%2) {
			t.Fatalf("round %d: TTL %d, DSCP %d", round, p.TTL, p.DSCP)
		}
	}
	for i := range a.open {
		if s := &a.open[i]; s.used {
			t.Errorf("a datagram of %v is left", s.runs[:s.count])
		}
	}
}

// What a host refuses is refused: overlaps, contradictions, wrong checksums.
func TestAssemblerRefuses(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789"), 10)
	packet := serialize(t, ip4(), datagram(ip4()), gopacket.Payload(payload))
	good := cut4(packet, 1, 48, 32)
	overlap := cut4(packet, 1, 40, 40)
	longer := cut4(append(bytes.Clone(packet), make([]byte, 8)...), 1, 48, 32)
	spoilt := cut4(packet, 1, 48, 32)
	spoilt[1][25] ^= 1
	short := cut4(changed(packet, 20+5, 50), 1, 48, 32)
	for _, tc := range []struct {
		name   string
		frames [][]byte
		want   int
	}{
		{"good", good, 1},
		{"another overlaps", [][]byte{good[0], overlap[1], good[1], good[2]}, 0},
		{"the length changes", [][]byte{good[0], good[2], longer[2], good[1]}, 0},
		{"octets behind the end", [][]byte{good[0], longer[2], good[1]}, 0},
		{"a wrong checksum", spoilt, 0},
		{"UDP is shorter than what came", short, 0},
		{"the first is missing", good[1:], 0},
		{"the last is missing", good[:2], 0},
		{"twice", append(good[:3:3], good...), 2},
	} {
		if n, _ := feed(t, new(Assembler), typeIPv4, tc.frames...); n != tc.want {
			t.Errorf("%s: %d datagrams, want %d", tc.name, n, tc.want)
		}
	}
}

// However many datagrams are never completed, and in however many parts, an
// Assembler goes on, and needs nothing for it.
func TestAssemblerIsBounded(t *testing.T) {
	packet := serialize(t, ip4(), datagram(ip4()), make(gopacket.Payload, 1000))
	a := new(Assembler)
	var p Packet
	f := Frame{Type: typeIPv4, Time: epoch}
	var frames [][]byte
	for id := range uint16(3 * maxAssemblies) {
		frames = append(frames, cut4(packet, id, 8)[0])
	}
	if n := testing.AllocsPerRun(5, func() {
		for _, data := range frames {
			f.Data = data
			f.Time = f.Time.AddDuration(time.Microsecond)
			p.Parse(&f)
			if a.Add(&p) {
				t.Fatal("a datagram is complete")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d fragments, want none", n, len(frames))
	}
	if n, _ := feed(t, a, typeIPv4, cut4(packet, 9999, 504)...); n != 1 {
		t.Errorf("%d datagrams among many that are never completed, want 1", n)
	}

	// Every other part of a datagram.
	sizes := make([]int, 60)
	for i := range sizes {
		sizes[i] = 8
	}
	parts := cut4(packet, 1, sizes...)
	var gaps [][]byte
	for i := 0; i < len(parts); i += 2 {
		gaps = append(gaps, parts[i])
	}
	for i := 1; i < len(parts); i += 2 {
		gaps = append(gaps, parts[i])
	}
	if n, _ := feed(t, new(Assembler), typeIPv4, gaps...); n != 0 {
		t.Errorf("%d datagrams of more pieces than are remembered", n)
	}

	// One that takes too long is another's.
	late := cut4(packet, 1, 504)
	a = new(Assembler)
	feed(t, a, typeIPv4, late[0])
	f.Data, f.Time = late[1], epoch.AddDuration(patience+time.Second)
	p.Parse(&f)
	if a.Add(&p) {
		t.Errorf("a datagram is complete after %v", patience+time.Second)
	}
}

// Whatever fragments come, nothing but what was sent comes out.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3}, uint8(5))
	f.Add([]byte{3, 2, 1, 0, 0, 1, 2, 3}, uint8(1))
	payload := bytes.Repeat([]byte("abcdefgh"), 30)
	f.Fuzz(func(t *testing.T, order []byte, size uint8) {
		packet := serialize(t, ip4(), datagram(ip4()), gopacket.Payload(payload))
		step := 8 * (1 + int(size)%16)
		sizes := make([]int, len(packet)/step)
		for i := range sizes {
			sizes[i] = step
		}
		parts := cut4(packet, 1, sizes...)
		a := new(Assembler)
		var p Packet
		for i, n := range order {
			data := bytes.Clone(parts[int(n)%len(parts)])
			if i%3 == 2 { // a part of something else
				data = data[:len(data)-8*(int(n)/64)%max(len(data)-27, 1)]
				binary.BigEndian.PutUint16(data[2:], uint16(len(data)))
				binary.BigEndian.PutUint16(data[10:], 0)
				binary.BigEndian.PutUint16(data[10:], ^sum(data[:20]))
			}
			if p.Parse(&Frame{Type: typeIPv4, Data: data, Time: epoch}) == Fragment && a.Add(&p) {
				if p.Length != len(payload) || !bytes.Equal(p.Payload, payload[:Head]) {
					t.Fatalf("packet %+v", p)
				}
			}
		}
	})
}
