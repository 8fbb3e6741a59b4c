package testnet

import (
	"encoding/binary"
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// packet4 and packet6 are least packets, told apart by their last octet.
func packet4(protocol, n byte) []byte {
	p := make([]byte, header4+1)
	p[0], p[ttl4], p[protocol4], p[header4] = 0x45, 64, protocol, n
	binary.BigEndian.PutUint16(p[checksum4:], checksum(p[:header4]))
	return p
}

func packet6(protocol, n byte) []byte {
	p := make([]byte, header6+1)
	p[0], p[hopLimit6], p[protocol6], p[header6] = 0x60, 64, protocol, n
	return p
}

// checksum is RFC 1071's, over a header whose checksum field is zero.
func checksum(h []byte) uint16 {
	var sum uint32
	for i := 0; i < len(h); i += 2 {
		sum += uint32(h[i])<<8 | uint32(h[i+1])
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

const protocolTCP = 6

// chances returns a source of the given numbers, and of 0.999 after them.
func chances(c ...float64) func() float64 {
	return func() float64 {
		if len(c) == 0 {
			return 0.999
		}
		x := c[0]
		c = c[1:]
		return x
	}
}

func arrivals(l *lane, now time.Time) (ns []byte, next time.Time) {
	next = l.leave(now, func(p []byte) { ns = append(ns, p[len(p)-1]) })
	return ns, next
}

func TestLane(t *testing.T) {
	t0 := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		name    string
		path    Path
		chances []float64
		packets [][]byte
		want    []byte
		counts  Counts
	}{
		{"clean", Path{}, nil, [][]byte{packet4(protocolUDP, 1), packet6(protocolUDP, 2)}, []byte{1, 2}, Counts{Packets: 2}},
		{"loss", Path{Loss: 0.5}, []float64{0.4, 0.6}, [][]byte{packet4(protocolUDP, 1), packet4(protocolUDP, 2)}, []byte{2}, Counts{Packets: 2, Lost: 1}},
		{"loss spares TCP", Path{Loss: 1}, nil, [][]byte{packet4(protocolTCP, 1), packet6(protocolTCP, 2)}, []byte{1, 2}, Counts{}},
		{"down takes all", Path{Down: true}, nil, [][]byte{packet4(protocolTCP, 1), packet6(protocolUDP, 2)}, nil, Counts{Packets: 1, Lost: 1}},
		{"duplicate", Path{Duplicate: 0.5}, []float64{0.1, 0.9}, [][]byte{packet4(protocolUDP, 1), packet4(protocolUDP, 2)}, []byte{1, 1, 2}, Counts{Packets: 2, Duplicated: 1}},
		{"reorder", Path{Reorder: 0.5}, []float64{0.1}, [][]byte{packet4(protocolUDP, 1), packet4(protocolTCP, 9), packet4(protocolUDP, 2), packet4(protocolUDP, 3)}, []byte{9, 2, 1, 3}, Counts{Packets: 3, Reordered: 1}},
		{"too many hops", Path{Hops: 64}, nil, [][]byte{packet4(protocolUDP, 1), packet6(protocolUDP, 2)}, nil, Counts{Packets: 2, Lost: 2}},
		{"no IP packet", Path{Hops: 1}, nil, [][]byte{{0x45, 7}}, []byte{7}, Counts{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &lane{path: c.path, random: chances(c.chances...)}
			for _, p := range c.packets {
				l.enter(p, t0)
			}
			got, next := arrivals(l, t0)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("arrived:\n%s", d)
			}
			if d := cmp.Diff(c.counts, l.counts); d != "" {
				t.Errorf("counts:\n%s", d)
			}
			if !next.IsZero() {
				t.Errorf("something is left, due %v", next.Sub(t0))
			}
		})
	}
}

func TestLaneTimes(t *testing.T) {
	t0 := time.Unix(1_000_000, 0)
	l := &lane{path: Path{Delay: 10 * time.Millisecond, Jitter: 20 * time.Millisecond}, random: chances(0.5, 0)}
	l.enter(packet4(protocolUDP, 1), t0)
	l.enter(packet4(protocolUDP, 2), t0) // without jitter, yet not before the first
	got, next := arrivals(l, t0.Add(20*time.Millisecond-1))
	if got != nil || next != t0.Add(20*time.Millisecond) {
		t.Errorf("too early: %v arrived, next after %v", got, next.Sub(t0))
	}
	got, next = arrivals(l, t0.Add(20*time.Millisecond))
	if d := cmp.Diff([]byte{1, 2}, got); d != "" || !next.IsZero() {
		t.Errorf("when due: %s next %v", d, next)
	}
}

func TestLaneReorderWithoutSuccessor(t *testing.T) {
	t0 := time.Unix(1_000_000, 0)
	l := &lane{path: Path{Reorder: 1}, random: chances(0)}
	l.enter(packet4(protocolUDP, 1), t0)
	got, next := arrivals(l, t0)
	if got != nil || next != t0.Add(reorderWait) {
		t.Fatalf("at first %v, next after %v", got, next.Sub(t0))
	}
	got, _ = arrivals(l, next)
	if d := cmp.Diff([]byte{1}, got); d != "" || l.counts.Reordered != 0 {
		t.Errorf("%s reordered %d, but nothing has overtaken it", d, l.counts.Reordered)
	}
}

func TestLowerTTL(t *testing.T) {
	for hops := range uint8(64) {
		p := packet4(protocolUDP, 1)
		if !lowerTTL(p, hops) || p[ttl4] != 64-hops {
			t.Fatalf("after %d hops TTL %d", hops, p[ttl4])
		}
		got := binary.BigEndian.Uint16(p[checksum4:])
		binary.BigEndian.PutUint16(p[checksum4:], 0)
		if want := checksum(p[:header4]); got != want {
			t.Errorf("after %d hops checksum %#04x, want %#04x", hops, got, want)
		}
	}
	p := packet6(protocolUDP, 1)
	if !lowerTTL(p, 3) || p[hopLimit6] != 61 {
		t.Errorf("hop limit %d, want 61", p[hopLimit6])
	}
}

func FuzzLane(f *testing.F) {
	f.Add(packet4(protocolUDP, 1), uint8(1))
	f.Add(packet6(protocolUDP, 1), uint8(64))
	fragment, _ := hex.DecodeString("6000000000082c40")
	f.Add(fragment, uint8(3))
	f.Fuzz(func(t *testing.T, p []byte, hops uint8) {
		size := len(p)
		l := &lane{path: Path{Hops: hops, Duplicate: 1}, random: chances(0)}
		l.enter(p, time.Unix(0, 0))
		n := 0
		l.leave(time.Unix(0, 0), func(q []byte) {
			n++
			if len(q) != size {
				t.Fatalf("a packet of %d octets came out with %d", size, len(q))
			}
		})
		if n > 2 {
			t.Fatalf("one packet came out %d times", n)
		}
	})
}
