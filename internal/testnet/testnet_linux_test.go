package testnet

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

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

func TestVeth(t *testing.T) {
	a, b := New(t)
	for _, v := range []struct{ a, b netip.Addr }{{a.Addr4, b.Addr4}, {a.Addr6, b.Addr6}} {
		if got := exchange(t, listen(t, a, v.a), listen(t, b, v.b), 3, 3, 10*time.Second); string(got) != "\x00\x01\x02" {
			t.Errorf("%v to %v: %v arrived", v.a, v.b, got)
		}
	}
	out, err := b.Output(exec.Command("ip", "-br", "address", "show", "dev", "eth0"))
	if err != nil || !strings.Contains(out, "10.98.0.2/24") {
		t.Errorf("b's address: %q, %v", out, err)
	}
	if _, err := a.Output(exec.Command("ip", "link", "show", "dev", "nosuch0")); err == nil || !strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("a command that fails: %v", err)
	}
}

// TestDoLeavesNoThreadInside looks for the namespace of each of this process's
// threads after many visits.
func TestDoLeavesNoThreadInside(t *testing.T) {
	var home, inside, mainThread unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &home); err != nil {
		t.Fatal(err)
	}
	a, _ := New(t)
	for range 20 {
		if err := a.Do(func() { unix.Stat("/proc/thread-self/ns/net", &inside) }); err != nil {
			t.Fatal(err)
		}
		if inside.Ino == home.Ino {
			t.Fatal("Do ran outside")
		}
	}
	if err := unix.Stat("/proc/self/ns/net", &mainThread); err != nil || mainThread.Ino != home.Ino {
		t.Fatalf("the main thread has left: %v", err)
	}
	for range 20 {
		done := make(chan uint64)
		go func() {
			var s unix.Stat_t
			unix.Stat("/proc/thread-self/ns/net", &s)
			done <- s.Ino
		}()
		if ino := <-done; ino != home.Ino {
			t.Fatal("a goroutine of the program runs inside the host")
		}
	}
}

func TestWire(t *testing.T) {
	const delay = 30 * time.Millisecond
	a, b, w := NewWire(t, Path{Delay: delay, Hops: 5})
	for _, v := range []struct{ a, b netip.Addr }{{a.Addr4, b.Addr4}, {a.Addr6, b.Addr6}} {
		from, to := listen(t, a, v.a), listen(t, b, v.b)
		start := time.Now()
		if _, err := from.WriteToUDPAddrPort([]byte{1}, addrOf(to)); err != nil {
			t.Fatal(err)
		}
		raw, err := to.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if v.a.Is4() {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
			} else {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		buf, oob := make([]byte, 16), make([]byte, 64)
		to.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, n, _, _, err := to.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < delay {
			t.Errorf("%v arrived after %v, before its time of %v", v.b, d, delay)
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(msgs) != 1 {
			t.Fatalf("control messages %v, %v", msgs, err)
		}
		if ttl := msgs[0].Data[0]; ttl != 64-5 {
			t.Errorf("%v arrived with TTL %d, want 59", v.b, ttl)
		}
	}

	from, to := listen(t, a, a.Addr4), listen(t, b, b.Addr4)
	before, _ := w.Counts()
	w.Set(Path{Loss: 0.3, Duplicate: 0.2, Reorder: 0.2})
	got := exchange(t, from, to, 200, 400, reorderWait+time.Second)
	after, _ := w.Counts()
	sent, lost, dup := after.Packets-before.Packets, after.Lost-before.Lost, after.Duplicated-before.Duplicated
	if sent != 200 || lost == 0 || dup == 0 || after.Reordered == before.Reordered {
		t.Errorf("the wire has counted %+v after %+v: want 200 packets and each kind of harm", after, before)
	}
	if len(got) != sent-lost+dup {
		t.Errorf("%d arrived, want %d-%d+%d", len(got), sent, lost, dup)
	}
	inversions := 0
	for i := 1; i < len(got); i++ {
		if got[i] < got[i-1] {
			inversions++
		}
	}
	if inversions != after.Reordered-before.Reordered {
		t.Errorf("%d arrived after a later one, want %d", inversions, after.Reordered-before.Reordered)
	}

	w.Set(Path{Down: true})
	if got := exchange(t, from, to, 3, 1, 300*time.Millisecond); got != nil {
		t.Errorf("%v arrived over a wire that is down", got)
	}
	w.Set(Path{})
	if got := exchange(t, from, to, 3, 3, 10*time.Second); !slices.Equal(got, []byte{0, 1, 2}) {
		t.Errorf("%v arrived after the wire came back", got)
	}
}

func TestWireSparesTCP(t *testing.T) {
	a, b, _ := NewWire(t, Path{Loss: 1})
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
