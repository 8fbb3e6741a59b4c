package cli

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDialMute: an address that does not answer at all leaves time for the next
// one.
func TestDialMute(t *testing.T) {
	port := listenAt(t, "127.0.0.2", 0)
	mute(t, [4]byte{127, 0, 0, 1}, port)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	d := Dialer{Resolver: fakeDNS{"server": addrs("127.0.0.1", "127.0.0.2")}, Server: "server", Port: strconv.Itoa(port)}
	if got, want := dialed(d.Dial(ctx)), "127.0.0.1 to 127.0.0.2, test with 127.0.0.2"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// mute listens at an address whose queue of connections is full: the kernel
// drops what comes for it.
func mute(t *testing.T, addr [4]byte, port int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: addr, Port: port}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	to := net.JoinHostPort(net.IP(addr[:]).String(), strconv.Itoa(port))
	for range 10 {
		c, err := net.DialTimeout("tcp", to, 200*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("SKIPPED: the queue of a socket that nobody reads from does not fill")
}

func TestDialDevice(t *testing.T) {
	port := listenAt(t, "127.0.0.1", 0)
	d := Dialer{Resolver: fakeDNS{}, Server: "127.0.0.1", Port: strconv.Itoa(port), Device: "lo"}
	got := dialed(d.Dial(t.Context()))
	if want := "127.0.0.1 to 127.0.0.1, test with 127.0.0.1"; got != want && (os.Geteuid() == 0 || !strings.HasSuffix(got, "binding to device lo: operation not permitted")) {
		t.Errorf("%s, want %s", got, want)
	}
	d.Device = "nosuch0"
	if got := dialed(d.Dial(t.Context())); !strings.Contains(got, ": binding to device nosuch0: ") {
		t.Errorf("%s", got)
	}
}
