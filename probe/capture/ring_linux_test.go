package capture

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openRing opens a ring that takes datagrams to the given ports.
func openRing(t testing.TB, iface Interface, outgoing bool, numbers ...uint16) *Ring {
	t.Helper()
	if err := Available(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	filter, err := Filter(numbers, outgoing)
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenRing(RingConfig{Interface: iface, Filter: filter, Outgoing: outgoing, Size: 1 << 20, Retire: 4 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func loopback(t testing.TB) Interface {
	t.Helper()
	found, err := Interfaces(netip.MustParseAddr("127.0.0.1"), "")
	if err != nil || len(found) != 1 {
		t.Fatalf("interfaces of 127.0.0.1: %v, %v", found, err)
	}
	return found[0]
}

// next waits for a frame.
func next(t testing.TB, r *Ring, f *Frame) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !r.Next(f); {
		left := time.Until(deadline)
		if left <= 0 {
			t.Fatal("no frame came within 10 s")
		}
		fds := []unix.PollFd{{Fd: int32(r.FD()), Events: unix.POLLIN}}
		unix.Poll(fds, int(left.Milliseconds()))
	}
}

func TestRingOnLoopback(t *testing.T) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	at := c.LocalAddr().(*net.UDPAddr).AddrPort()
	r := openRing(t, loopback(t), false, at.Port())
	if !r.Quiet() {
		t.Error("a ring is not quiet before anything came")
	}
	before := time.Now()
	if _, err := c.WriteToUDPAddrPort([]byte("hello"), at); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	taken := r.Taken()
	var f Frame
	var p Packet
	next(t, r, &f)
	if kind := p.Parse(&f); kind != Datagram {
		t.Fatalf("kind %d of %+v", kind, f)
	}
	if p.Source != at || p.Destination != at || string(p.Payload) != "hello" || p.Length != 5 || p.TTL != 64 || p.DSCP != 0 {
		t.Errorf("packet %+v", p)
	}
	if !f.Sound || f.Direction != Received || f.HasTag {
		t.Errorf("frame %+v", f)
	}
	if s := p.Time.Time(); s.Before(before.Round(0)) || s.After(after.Round(0)) {
		t.Errorf("stamp %v, want one from %v to %v", s, before, after)
	}
	if r.Next(&f) {
		t.Errorf("one more frame: %+v", f)
	}
	if !r.Quiet() || r.Taken() != taken+1 {
		t.Errorf("quiet %v, taken %d, want an empty ring and %d", r.Quiet(), r.Taken(), taken+1)
	}
	if s, err := r.Stats(); err != nil || s != (RingStats{Frames: 1}) {
		t.Errorf("stats %+v, %v", s, err)
	}
}
