package cli

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// listenAt listens at an address of this host and returns the port; 0 is any.
func listenAt(t *testing.T, host string, port int) int {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		t.Skipf("SKIPPED: listening at %s: %v", host, err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// dialed says how a connection came out.
func dialed(c *Connection, err error) string {
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	return fmt.Sprintf("%v to %v, test with %v", c.Local, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(), c.Peer)
}

func TestDial(t *testing.T) {
	dns := fakeDNS{
		"both":   addrs("127.0.0.1", "::1"),
		"second": addrs("127.0.0.2", "127.0.0.1"), // nobody listens at the first
		"only4":  addrs("127.0.0.1"),
		"far":    addrs("192.0.2.1", "2001:db8::1"),
		"far4":   addrs("192.0.2.1"),
	}
	port := listenAt(t, "127.0.0.1", 0)
	listenAt(t, "::1", port)
	for _, c := range []struct {
		d    Dialer
		want string
	}{
		{Dialer{Server: "both"}, "::1 to ::1, test with ::1"},
		{Dialer{Server: "both", Test: "both"}, "::1 to ::1, test with ::1"},
		{Dialer{Server: "both", Family: IPv4}, "127.0.0.1 to 127.0.0.1, test with 127.0.0.1"},
		{Dialer{Server: "both", Family: IPv6}, "::1 to ::1, test with ::1"},
		{Dialer{Server: "::ffff:127.0.0.1"}, "127.0.0.1 to 127.0.0.1, test with 127.0.0.1"},
		{Dialer{Server: "second"}, "127.0.0.1 to 127.0.0.1, test with 127.0.0.1"},
		// The test goes elsewhere, over the same version of IP.
		{Dialer{Server: "both", Test: "far"}, "::1 to ::1, test with 2001:db8::1"},
		{Dialer{Server: "only4", Test: "far"}, "127.0.0.1 to 127.0.0.1, test with 192.0.2.1"},
		{Dialer{Server: "both", Test: "far4"}, "127.0.0.1 to 127.0.0.1, test with 192.0.2.1"},
		{Dialer{Server: "::1", Test: "far4"}, `host "far4": no address of the IP version of ::1`},
		{Dialer{Server: "both", Test: "far4", Family: IPv6}, `host "far4": no IPv6 address`},
		// From an address or an interface.
		{Dialer{Server: "only4", Source: "127.0.0.3"}, "127.0.0.3 to 127.0.0.1, test with 127.0.0.1"},
		{Dialer{Server: "both", Source: "127.0.0.3"}, "127.0.0.3 to 127.0.0.1, test with 127.0.0.1"},
		{Dialer{Server: "only4", Source: "::1"}, `source "::1": no address that can talk to 127.0.0.1`},
		{Dialer{Server: "only4", Source: "nosuch"}, `source "nosuch": host "nosuch": no such host`},
		{Dialer{Server: "only4", Source: "192.0.2.7"},
			fmt.Sprintf("Couldn't open 'control' connection to server 127.0.0.1:%d from 192.0.2.7: cannot assign requested address", port)},
		// Names and ports that lead nowhere.
		{Dialer{Server: "absent"}, `host "absent": no such host`},
		{Dialer{Server: "broken"}, `host "broken": server misbehaving`},
		{Dialer{Server: "both", Test: "absent"}, `host "absent": no such host`},
		{Dialer{Server: "127.0.0.2"}, fmt.Sprintf("Couldn't open 'control' connection to server 127.0.0.2:%d: connection refused", port)},
		{Dialer{Server: "only4", Port: "nosuchservice"}, `port "nosuchservice": want a number from 1 to 65535 or the name of a service`},
	} {
		c.d.Resolver = dns
		if c.d.Port == "" {
			c.d.Port = strconv.Itoa(port)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if got := dialed(c.d.Dial(ctx)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.d, got, c.want)
		}
		cancel()
	}
}

// TestDialMoved: names are looked up at each dialling.
func TestDialMoved(t *testing.T) {
	port := listenAt(t, "127.0.0.1", 0)
	dns := fakeDNS{"server": addrs("127.0.0.2")}
	d := Dialer{Resolver: dns, Server: "server", Port: strconv.Itoa(port)}
	if c, err := d.Dial(t.Context()); err == nil {
		c.Close()
		t.Fatal("connected where nobody listens")
	}
	dns["server"] = addrs("127.0.0.1")
	c, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestDialCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := Dialer{Resolver: fakeDNS{}, Server: "127.0.0.1", Port: "861"}
	if c, err := d.Dial(ctx); err == nil || !strings.Contains(err.Error(), "operation was canceled") {
		t.Errorf("%v, %v", c, err)
	}
}

// TestTimeShift: seconds, and nothing that is none.
func TestTimeShift(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"":        0,
		"0":       0,
		"0.0055":  5500 * time.Microsecond,
		"-0.0055": -5500 * time.Microsecond,
		"1e6":     1e6 * time.Second,
	} {
		got, err := TimeShift(func(string) string { return s })
		if err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"x", "5ms", "nan", "inf", "-1e9", " 1"} {
		got, err := TimeShift(func(string) string { return s })
		want := fmt.Sprintf("OWAMP_DEBUG_TIMEOFFSET=%q: want seconds, as 0.0055 or -2", s)
		if err == nil || err.Error() != want || got != 0 {
			t.Errorf("%q: %v, %v, want %s", s, got, err, want)
		}
	}
}

func TestPickZone(t *testing.T) {
	sources := addrs("fe80::1%a", "fe80::1%b", "192.0.2.1")
	for remote, want := range map[string]string{"fe80::2%b": "fe80::1%b", "fe80::2": "fe80::1%a", "::ffff:192.0.2.9": "192.0.2.1"} {
		if got, ok := Pick(sources, netip.MustParseAddr(remote)); !ok || got.String() != want {
			t.Errorf("to %s from %v, %t, want %s", remote, got, ok, want)
		}
	}
	if got, ok := Pick(sources, netip.MustParseAddr("fe80::2%c")); ok {
		t.Errorf("to another zone from %v", got)
	}
}
