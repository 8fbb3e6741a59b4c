package probe

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/netlab"
	"owl/owamp"
	"owl/probe/capture"
)

// needRaw skips a test where packet sockets are forbidden.
func needRaw(t testing.TB) {
	t.Helper()
	if err := capture.Available(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}

func TestRawDelivery(t *testing.T) {
	needRaw(t)
	raw := Config{Capture: CaptureRaw}
	t.Run("IPv4", func(t *testing.T) { testDelivery(t, raw, loopback4, 0) })
	t.Run("IPv6", func(t *testing.T) { testDelivery(t, raw, loopback6, 0) })
	t.Run("IPv4 EF", func(t *testing.T) { testDelivery(t, raw, loopback4, 46) })
	t.Run("IPv6 AF11", func(t *testing.T) { testDelivery(t, raw, loopback6, 10) })
}

func TestRawIgnores(t *testing.T) {
	needRaw(t)
	testWhatIsIgnored(t, Config{Capture: CaptureRaw})
}

// addAddress gives a device of a host one more address.
func addAddress(t *testing.T, h *netlab.Host, address string) {
	t.Helper()
	run(t, h, "ip address add "+address)
}

func run(t *testing.T, h *netlab.Host, command string) {
	t.Helper()
	words := strings.Fields(command)
	if _, err := h.Output(exec.CommandContext(t.Context(), words[0], words[1:]...)); err != nil {
		t.Fatal(err)
	}
}

// Both back ends say the same of the same packets but for the time, of which the
// ring's is not later.
func TestBackEndsAgree(t *testing.T) {
	needRaw(t)
	a, b, _ := netlab.NewWire(t, 1, netlab.Path{Delay: time.Millisecond, Hops: 3})
	for _, tc := range []struct {
		name    string
		from    netip.Addr
		to      netip.Addr
		padding uint32
		dscp    uint8
	}{
		{"IPv4", a.Addr4, b.Addr4, 0, 0},
		{"IPv6", a.Addr6, b.Addr6, 0, 0},
		{"IPv4 EF padded", a.Addr4, b.Addr4, 1000, 46},
		{"IPv6 CS1 odd padding", a.Addr6, b.Addr6, 33, 8},
		{"IPv4 in fragments", a.Addr4, b.Addr4, 3001, 46},
		{"IPv6 in fragments", a.Addr6, b.Addr6, 3001, 46},
		{"IPv4 longest", a.Addr4, b.Addr4, 65507 - 14, 0},
		{"IPv6 longest", a.Addr6, b.Addr6, 65487 - 14, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const n = 50
			var got [2][]owamp.Record
			for i, how := range []Capture{CaptureUDP, CaptureRaw} {
				e := newEngine(t, Config{Capture: how})
				from := listenWithin(t, e, a, PortConfig{Addr: tc.from})
				to := listenWithin(t, e, b, PortConfig{Addr: tc.to})
				in := newInbox()
				r := receive(t, to, from.Addr(), 14+int(tc.padding), in.batch)
				s := spec(t, e, to.Addr(), n, time.Millisecond)
				s.Padding, s.DSCP = tc.padding, tc.dscp
				start(t, from, s)
				got[i] = in.wait(t, n)
				if st := r.Stats(); st != (ReceiveStats{Received: n}) {
					t.Errorf("%v: stats %+v, want %d received", how, st, n)
				}
				for j := range got[i] {
					rec := &got[i][j]
					if d := rec.Recv.Sub(rec.Sent); d < time.Millisecond || d > 5*time.Second {
						t.Errorf("%v: packet %d: delay %v", how, rec.Seq, d)
					}
					rec.Sent, rec.Recv, rec.SentErr, rec.RecvErr = 0, 0, 0, 0
				}
			}
			if d := cmp.Diff(got[0], got[1]); d != "" {
				t.Errorf("udp and raw differ: %s", d)
			}
			if rec := got[1][0]; rec.TTL != 252 || rec.DSCP != tc.dscp {
				t.Errorf("record %+v, want TTL 252 and DSCP %d", rec, tc.dscp)
			}
		})
	}
}
