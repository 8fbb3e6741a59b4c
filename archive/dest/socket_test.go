package dest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive"
	"owl/archive/dest/dial"
)

// listen accepts one connection after the other, each for serve, and returns the
// port.
func listen(t *testing.T, serve func(*net.TCPConn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().(*net.TCPAddr).Port
}

// TestTCPGolden: what is sent is what pScheduler's archiver sends.
func TestTCPGolden(t *testing.T) {
	t.Parallel()
	got := make(chan []byte, 1)
	port := listen(t, func(conn *net.TCPConn) {
		b, _ := io.ReadAll(conn)
		conn.Close()
		got <- b
	})
	d := open(t, "tcp", fmt.Sprintf(`{"host": "127.0.0.1", "port": %d}`, port))
	for _, name := range []string{"testdata/tcp/payload-1.bin", "testdata/tcp/payload-2.bin"} {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := deliver(t, d, string(want)); err != nil {
			t.Error(err)
		}
		if b := <-got; !cmp.Equal(b, want) {
			t.Errorf("%q, want %q", b, want)
		}
	}
	d = open(t, "tcp", fmt.Sprintf(`{"host": "127.0.0.1", "port": %d, "newline": true}`, port))
	item := &archive.Item{Payload: append(make([]byte, 0, 8), "{}"...)}
	if err := d.Deliver(t.Context(), item); err != nil || string(<-got) != "{}\n" || string(item.Payload) != "{}" {
		t.Errorf("newline: %v, payload %q", err, item.Payload)
	}
}

// TestTCPArrived: a result that the other side has not taken is not delivered,
// whatever the first write has said.
func TestTCPArrived(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	large := `"` + strings.Repeat("x", 4<<20) + `"`
	for _, c := range []struct {
		name    string
		payload string
		serve   func(*net.TCPConn)
		timeout time.Duration
		want    bool
	}{
		{"read and closed", large, func(c *net.TCPConn) { io.Copy(io.Discard, c); c.Close() }, time.Minute, true},
		{"read, and talked back", large, func(c *net.TCPConn) {
			io.Copy(io.Discard, c)
			io.WriteString(c, strings.Repeat("thanks ", 10000))
			c.Close()
		}, time.Minute, true},
		{"read, and never closed", large, func(c *net.TCPConn) {
			io.Copy(io.Discard, c)
			go func() { <-hold; c.Close() }()
		}, time.Minute, true},
		{"closed unread", "{}", func(c *net.TCPConn) {
			c.Read(make([]byte, 1))
			c.SetLinger(0)
			c.Close()
		}, time.Minute, false},
		{"closed halfway", large, func(c *net.TCPConn) { io.ReadFull(c, make([]byte, 1000)); c.Close() }, time.Minute, false},
		{"never read", large, func(c *net.TCPConn) { go func() { <-hold; c.Close() }() }, time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			port := listen(t, c.serve)
			d := open(t, "tcp", fmt.Sprintf(`{"host": "127.0.0.1", "port": %d}`, port))
			d.Destination.(*discreet).Destination.(*socket).timeout = c.timeout
			err := deliver(t, d, c.payload)
			if (err == nil) != c.want || archive.IsFinal(err) {
				t.Errorf("%v, want delivered: %t", err, c.want)
			}
		})
	}
}

// TestTCPCancel: who no longer wants a result delivered does not wait.
func TestTCPCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	hold := make(chan struct{})
	port := listen(t, func(conn *net.TCPConn) {
		cancel() // there is a connection, and nobody reads
		<-hold
		conn.Close()
	})
	t.Cleanup(func() { close(hold) })
	d := open(t, "tcp", fmt.Sprintf(`{"host": "127.0.0.1", "port": %d}`, port))
	err := d.Deliver(ctx, &archive.Item{Payload: []byte(`"` + strings.Repeat("x", 8<<20) + `"`)})
	if err == nil || archive.IsFinal(err) {
		t.Errorf("%v, want an error that is not final", err)
	}
}

// TestUDP: a datagram is a result, of at most payload-size octets.
func TestUDP(t *testing.T) {
	t.Parallel()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	port := l.LocalAddr().(*net.UDPAddr).Port
	read := func() string {
		l.SetReadDeadline(time.Now().Add(time.Minute))
		b := make([]byte, 1<<16)
		n, _, err := l.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	d := open(t, "udp", fmt.Sprintf(`{"host": "127.0.0.1", "port": %d, "bind": "127.0.0.1"}`, port))
	longest := `"` + strings.Repeat("x", datagramSize-2) + `"`
	if err := deliver(t, d, longest); err != nil || read() != longest {
		t.Errorf("508 octets: %v", err)
	}
	err = deliver(t, d, longest+" ")
	if !archive.IsFinal(err) || err.Error() != "payload of 509 bytes is too big (maximum 508)" {
		t.Errorf("509 octets: %v", err)
	}
	d = open(t, "udp", fmt.Sprintf(`{"host": "127.0.0.1", "port": %d, "payload-size": 1000000, "newline": true}`, port))
	if err := deliver(t, d, longest); err != nil || read() != longest+"\n" {
		t.Errorf("newline: %v", err)
	}
	if err := deliver(t, d, `"`+strings.Repeat("x", 1<<16)+`"`); !archive.IsFinal(err) {
		t.Errorf("more than a packet: %v", err)
	}
}

// TestUDPRefused: a host says that nobody listens.
func TestUDPRefused(t *testing.T) {
	t.Parallel()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.LocalAddr().(*net.UDPAddr).Port
	d := open(t, "udp", fmt.Sprintf(`{"host": "127.0.0.1", "port": %d}`, port))
	l.Close()
	if err := deliver(t, d, "{}"); !errors.Is(err, syscall.ECONNREFUSED) || archive.IsFinal(err) {
		t.Errorf("%v", err)
	}
}

// TestSocketNames: which addresses are tried, in which order, and when there is
// no use in it.
func TestSocketNames(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	port := listen(t, func(conn *net.TCPConn) {
		io.Copy(io.Discard, conn)
		got <- conn.RemoteAddr().(*net.TCPAddr).IP.String()
		conn.Close()
	})
	nowhere := &net.DNSError{Err: "no such host", IsNotFound: true}
	later := &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	four, other, six := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.77"), netip.MustParseAddr("::1")
	for _, c := range []struct {
		name, data string
		answers    map[string]any // of the resolver, by network and name: addresses, or an error
		asked      string
		want       string // of the error; empty: it is delivered
		final      bool
	}{
		{"IPv6 is asked for first, and IPv4 tried next", `"host": "h"`,
			map[string]any{"ip6 h": []netip.Addr{six}, "ip4 h": []netip.Addr{other, four}}, "ip6 h ip4 h", "", false},
		{"only IPv4", `"host": "h", "ip-version": 4`, map[string]any{"ip4 h": []netip.Addr{four}}, "ip4 h", "", false},
		{"only IPv6", `"host": "h", "ip-version": 6`, map[string]any{"ip6 h": []netip.Addr{six}}, "ip6 h", "refused", false},
		{"no such host", `"host": "h"`, map[string]any{"ip6 h": nowhere, "ip4 h": nowhere}, "ip6 h ip4 h", "unable to resolve host h: ", true},
		{"the resolver is ill", `"host": "h"`, map[string]any{"ip6 h": nowhere, "ip4 h": later}, "ip6 h ip4 h", "unable to resolve host h: ", false},
		{"it is ill for IPv6", `"host": "h"`, map[string]any{"ip6 h": later, "ip4 h": []netip.Addr{four}}, "ip6 h ip4 h", "", false},
		{"an address", `"host": "127.0.0.1"`, nil, "", "", false},
		{"an address of the other version", `"host": "127.0.0.1", "ip-version": 6`, nil, "", "unable to resolve host 127.0.0.1: it is not an address of IPv6", true},
		{"from an address", `"host": "h", "bind": "127.0.0.77"`,
			map[string]any{"ip6 h": []netip.Addr{six}, "ip4 h": []netip.Addr{four}}, "ip6 h ip4 h", "", false},
		{"from a name", `"host": "127.0.0.1", "bind": "b"`,
			map[string]any{"ip6 b": nowhere, "ip4 b": []netip.Addr{other}}, "ip6 b ip4 b", "", false},
		{"from no name", `"host": "127.0.0.1", "bind": "b"`, map[string]any{"ip6 b": nowhere, "ip4 b": nowhere}, "ip6 b ip4 b", "unable to resolve bind b: ", true},
		{"from the other family", `"host": "127.0.0.1", "bind": "::1"`, nil, "", "host and bind have mismatched socket families", true},
		{"from nowhere here", `"host": "127.0.0.1", "bind": "192.0.2.1"`, nil, "", "bind: ", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t, "tcp", fmt.Sprintf(`{"port": %d, %s}`, port, c.data))
			var asked []string
			d.Destination.(*discreet).Destination.(*socket).Lookup = func(_ context.Context, network, host string) ([]netip.Addr, error) {
				asked = append(asked, network+" "+host)
				switch a := c.answers[network+" "+host].(type) {
				case []netip.Addr:
					return a, nil
				case error:
					return nil, a
				}
				return nil, errors.New("not to be asked for")
			}
			err := deliver(t, d, "{}")
			if s := strings.Join(asked, " "); s != c.asked {
				t.Errorf("asked for %q, want %q", s, c.asked)
			}
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				want := "127.0.0.1"
				if strings.Contains(c.name, "from ") {
					want = "127.0.0.77"
				}
				if from := <-got; from != want {
					t.Errorf("from %s, want %s", from, want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || archive.IsFinal(err) != c.final {
				t.Errorf("%v, want %q, final: %t", err, c.want, c.final)
			}
		})
	}
	if _, err := (&dial.Endpoint{Host: "no-such-host.invalid", Port: 1}).Connect(t.Context(), "tcp"); err == nil {
		t.Error("connected to no-such-host.invalid")
	}
}
