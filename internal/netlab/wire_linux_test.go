package netlab

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// listen opens a UDP socket inside a host.
func listen(t *testing.T, h *Host, a netip.Addr) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	var err error
	if e := h.Do(func() { c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0))) }); e != nil {
		t.Fatal(e)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func addrOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// exchange sends n numbered packets and returns the numbers of those that
// arrive, in that order: the first most of them, or as many as come in time.
func exchange(t *testing.T, from, to *net.UDPConn, n, most int, wait time.Duration) []byte {
	t.Helper()
	for i := range n {
		if _, err := from.WriteToUDPAddrPort([]byte{byte(i)}, addrOf(to)); err != nil {
			t.Fatal(err)
		}
	}
	var got []byte
	buf := make([]byte, 16)
	to.SetReadDeadline(time.Now().Add(wait))
	for len(got) < most {
		_, src, err := to.ReadFromUDPAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if src != addrOf(from) {
			t.Fatalf("from %v, want %v", src, addrOf(from))
		}
		got = append(got, buf[0])
	}
	return got
}

// What a wire says of a packet is what its hosts see of it: who sent it to whom,
// when, and with which TTL and class it arrived.
func TestWire(t *testing.T) {
	const delay = 30 * time.Millisecond
	a, b, w := NewWire(t, 1, Path{Delay: delay, Hops: 5, DSCP: new(uint8(46))})
	for _, v := range []struct{ a, b netip.Addr }{{a.Addr4, b.Addr4}, {a.Addr6, b.Addr6}} {
		from, to := listen(t, a, v.a), listen(t, b, v.b)
		askForHeader(t, to, v.a.Is4())
		start := time.Now().Round(0)
		if _, err := from.WriteToUDPAddrPort([]byte("0123456789abcdefgh"), addrOf(to)); err != nil {
			t.Fatal(err)
		}
		sent := time.Now().Round(0)
		buf, oob := make([]byte, 64), make([]byte, 256)
		to.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, n, _, _, err := to.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			t.Fatal(err)
		}

		entries := slices.DeleteFunc(w.AB.Log(), func(e Entry) bool { return !Between(addrOf(from), addrOf(to))(e) })
		if len(entries) != 1 {
			t.Fatalf("%d entries between %v and %v, want one", len(entries), addrOf(from), addrOf(to))
		}
		e := entries[0]
		if e.Action != Delivered || e.TTL != 64 || e.OutTTL != 59 || e.DSCP != 0 || e.OutDSCP != 46 || string(e.Head[:]) != "0123456789abcdef" {
			t.Errorf("%+v, want TTL 64 and class 0 in, 59 and 46 out", e)
		}
		// The kernel's stamps are taken within the system calls of both ends.
		received, ttl, class := header(t, oob[:n])
		if e.In.Before(start) || e.In.After(sent) {
			t.Errorf("came in at %v, sent between %v and %v", e.In, start, sent)
		}
		if d := e.Out.Sub(e.In); d < delay {
			t.Errorf("went out after %v, before its time of %v", d, delay)
		}
		if received.Before(e.Out) || received.After(e.Done) {
			t.Errorf("received at %v, which is not between %v and %v", received, e.Out, e.Done)
		}
		if ttl != 59 || class != 46<<2 {
			t.Errorf("received with TTL %d and class %d, want 59 and %d", ttl, class, 46<<2)
		}
	}
}

// askForHeader has the kernel tell of each packet when it came, its TTL and its
// class.
func askForHeader(t *testing.T, c *net.UDPConn, ipv4 bool) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	level, ttl, class := unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVTCLASS
	if ipv4 {
		level, ttl, class = unix.IPPROTO_IP, unix.IP_RECVTTL, unix.IP_RECVTOS
	}
	raw.Control(func(fd uintptr) {
		for _, o := range [][2]int{{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS}, {level, ttl}, {level, class}} {
			if e := unix.SetsockoptInt(int(fd), o[0], o[1], 1); e != nil {
				err = e
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func header(t *testing.T, oob []byte) (received time.Time, ttl, class byte) {
	t.Helper()
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 3 {
		t.Fatalf("control messages %v, %v", msgs, err)
	}
	for _, m := range msgs {
		switch [2]int32{m.Header.Level, m.Header.Type} {
		case [2]int32{unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS}:
			received = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		case [2]int32{unix.IPPROTO_IP, unix.IP_TTL}, [2]int32{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}:
			ttl = m.Data[0]
		default:
			class = m.Data[0]
		}
	}
	return received, ttl, class
}

// What arrives is what the log says has come out, in that order.
func TestWireHarm(t *testing.T) {
	a, b, w := NewWire(t, 1, Path{})
	from, to := listen(t, a, a.Addr4), listen(t, b, b.Addr4)
	flow := Between(addrOf(from), addrOf(to))
	entries := func() []Entry { return slices.DeleteFunc(w.AB.Log(), func(e Entry) bool { return !flow(e) }) }

	w.Set(Path{Loss: 0.2, Bursts: Bursts{Begin: 0.02, Mean: 4}, Duplicate: 0.2, Reorder: 0.2, Extent: 2})
	got := exchange(t, from, to, 200, 400, reorderWait+time.Second)
	log := entries()
	var want []byte
	for _, e := range log {
		if e.CameOut() {
			want = append(want, e.Head[0])
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("arrived (-log +got):\n%s", d)
	}
	c := Tally(log)
	if c.Packets != 200 || c.Lost == 0 || c.Duplicated == 0 || c.Reordered == 0 || w.AB.Counts().Packets < c.Packets {
		t.Errorf("%+v: want 200 packets and each kind of harm", c)
	}

	w.AB.Play(Step{For: time.Hour, Path: Path{Down: true}}, Step{})
	if got := exchange(t, from, to, 3, 1, 300*time.Millisecond); got != nil {
		t.Errorf("%v arrived over a wire that is down", got)
	}
	w.Set(Path{})
	if got := exchange(t, from, to, 3, 3, 10*time.Second); !slices.Equal(got, []byte{0, 1, 2}) {
		t.Errorf("%v arrived after the wire came back", got)
	}
	w.AB.AwaitPackets(t, 206, 10*time.Second)
	if log = entries(); len(log) < 206 || log[len(log)-4].Action != CutOff {
		t.Errorf("%v: want the last but three cut off", fates(log[len(log)-6:]))
	}
}

// A datagram that is too large for a packet is on record as its fragments.
func TestWireFragments(t *testing.T) {
	a, b, w := NewWire(t, 1, Path{Hops: 1})
	for _, v := range []struct{ a, b netip.Addr }{{a.Addr4, b.Addr4}, {a.Addr6, b.Addr6}} {
		from, to := listen(t, a, v.a), listen(t, b, v.b)
		datagram := make([]byte, 4000)
		if _, err := from.WriteToUDPAddrPort(datagram, addrOf(to)); err != nil {
			t.Fatal(err)
		}
		to.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, _, err := to.ReadFromUDPAddrPort(make([]byte, 5000)); n != len(datagram) || err != nil {
			t.Fatalf("read %d octets, %v", n, err)
		}
		entries := slices.DeleteFunc(w.AB.Log(), func(e Entry) bool { return !e.UDP() || e.From.Addr() != v.a })
		if len(entries) != 3 || entries[0].From != addrOf(from) || entries[1].From.Port() != 0 {
			t.Fatalf("%+v: want three fragments, the first of them with ports", entries)
		}
		for i, e := range entries {
			if e.More != (i < 2) || e.ID != entries[0].ID || (e.Offset == 0) != (i == 0) {
				t.Errorf("fragment %d: %+v", i, e)
			}
		}
	}
}

func TestWireSparesTCP(t *testing.T) {
	a, b, _ := NewWire(t, 1, Path{Loss: 1})
	var l net.Listener
	var c net.Conn
	var err error
	b.Do(func() { l, err = net.Listen("tcp", netip.AddrPortFrom(b.Addr6, 861).String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a.Do(func() { c, err = net.Dial("tcp", l.Addr().String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		s.Write([]byte("greeting"))
		s.Close()
	}()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := io.ReadAll(c); string(got) != "greeting" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}
