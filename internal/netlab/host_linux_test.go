package netlab

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestVeth(t *testing.T) {
	a, b := NewVeth(t)
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
	a, _ := NewVeth(t)
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
