package hostfacts

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// TestQueues: what the kernel says of queues is what tc says of them, in a network
// of its own.
func TestQueues(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(program); err != nil || os.Geteuid() != 0 {
			t.Skipf("SKIPPED: want root, ip and tc: %v", err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread stays in the new network, and ends with this goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Logf("SKIPPED: no network of its own: %v", err)
			return
		}
		testQueues(t)
	}()
	<-done
}

func run(args string) (string, error) {
	words := strings.Fields(args)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", args, err, out)
	}
	return string(out), err
}

func testQueues(t *testing.T) {
	for _, command := range []string{
		"ip link add out0 type veth peer name in0", "ip link set out0 up", "ip link set in0 up", "ip link set lo up",
		"ip addr add 192.0.2.1/24 dev out0", "ip addr add 2001:db8::1/64 dev out0 nodad",
		"ip route add default via 192.0.2.254", "ip -6 route add default via 2001:db8::fe",
	} {
		if _, err := run(command); err != nil {
			t.Error(err)
			return
		}
	}
	seen := 0
	for _, discipline := range []string{
		"pfifo limit 77", "bfifo limit 12345", "prio", "fq_codel", "fq_codel limit 600 target 7ms interval 2s noecn", "codel", "fq", "pie",
		"netem delay 10ms 3ms loss 5% limit 333", "tbf rate 5mbit burst 16kb limit 64kb", "htb default 10", "cake bandwidth 20mbit", "sfq",
	} {
		if _, err := run("tc qdisc replace dev out0 root handle 1: " + discipline); err != nil {
			t.Logf("SKIPPED: this kernel has none: %v", err)
			continue
		}
		if strings.HasPrefix(discipline, "htb") {
			if _, err := run("tc class add dev out0 parent 1: classid 1:10 htb rate 3mbit ceil 9mbit prio 2"); err != nil {
				t.Error(err)
			}
		}
		text, err := run("tc -s qdisc show dev out0")
		if err != nil {
			t.Error(err)
			continue
		}
		seen++
		m := decoded(t, Gather(t.Context(), Request{Target: netip4, Extended: true}))
		way, _ := m["EGRESS_INFO"].(map[string]any)
		if way["iface"] != "out0" || way["src"] != "192.0.2.1" || way["nexthop"] != "192.0.2.254" || way["target"] != "198.51.100.7" {
			t.Errorf("the way out: %v", way)
		}
		want := parseQueues(text, "qdisc")
		got, _ := splitQueues(kernelQueues(t, unix.RTM_GETQDISC))
		for i := range min(len(got), len(want)) {
			if got[i].Name != want[i].Name || got[i].ID != want[i].ID || got[i].Parent != want[i].Parent {
				t.Errorf("%s: %+v, tc says %+v", discipline, got[i], want[i])
			}
			for name, value := range got[i].Params {
				if said, ok := want[i].Params[name]; !ok || said != value {
					t.Errorf("%s: %s is %q, tc says %q (of %v)", discipline, name, value, said, want[i].Params)
				}
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d disciplines, tc says %d", discipline, len(got), len(want))
		}
		compareStatistics(t, discipline)
		if strings.HasPrefix(discipline, "htb") {
			text, err := run("tc class show dev out0")
			classes, _ := splitQueues(kernelQueues(t, unix.RTM_GETTCLASS))
			if err != nil || len(classes) != 1 || classes[0].ID != "1:10" || classes[0].Params["rate"] != "3Mbit" || classes[0].Params["ceil"] != "9Mbit" || classes[0].Params["prio"] != "2" {
				t.Errorf("classes: %+v, tc says %s%v", classes, text, err)
			}
		}
	}
	if seen == 0 {
		t.Error("no discipline was tried")
	}
	gateways := defaultGateways()
	if d := cmp.Diff([]gateway{{"192.0.2.254", "out0"}, {"2001:db8::fe", "out0"}}, gateways); d != "" {
		t.Errorf("gateways (-want +got)\n%s", d)
	}
	if w := wayTo(netip6); w == nil || w.iface != "out0" || w.source != "2001:db8::1" || w.nextHop != "2001:db8::fe" {
		t.Errorf("the way out of IPv6: %+v", w)
	}
}

// compareStatistics holds what the kernel says of what has gone through queues
// against what tc says, which a packet between the two would change.
func compareStatistics(t *testing.T, discipline string) {
	counts := func(all []string) (lines []string) {
		for _, s := range all {
			lines = append(lines, strings.Split(s, "\n")[1:3]...)
		}
		return lines
	}
	d := ""
	for range 100 {
		text, err := run("tc -s qdisc show dev out0")
		if err != nil {
			t.Error(err)
			return
		}
		_, statistics := splitQueues(kernelQueues(t, unix.RTM_GETQDISC))
		if d = cmp.Diff(counts(parseStatistics(text)), counts(statistics)); d == "" {
			return
		}
	}
	t.Errorf("%s: statistics (-tc +got)\n%s", discipline, d)
}

func kernelQueues(t *testing.T, kind uint16) []countedQueue {
	all, err := queues(outIndex(t), kind)
	if err != nil {
		t.Error(err)
	}
	return all
}

// TestHere: an interface that is there without a network of our own.
func TestHere(t *testing.T) {
	t.Parallel()
	m := decoded(t, Gather(t.Context(), Request{Target: loopback}))
	way, _ := m["EGRESS_INFO"].(map[string]any)
	for _, private := range []string{"src", "nexthop", "target"} {
		if _, ok := way[private]; ok {
			t.Errorf("%s is told without being asked for", private)
		}
	}
	for _, private := range []string{"IP_ADDRS", "GATEWAYS", "WIFI_DATA"} {
		if _, ok := m[private]; ok {
			t.Errorf("%s is told without being asked for", private)
		}
	}
	if link, _ := way["link_params"].(map[string]any); way["iface"] != "lo" || link["qlen"] == "" || link["ether"] != nil {
		t.Errorf("the way out: %v", way)
	}
	if s, _ := m["SYSCTLS"].(map[string]any); s["net.ipv4.tcp_congestion_control"] == nil {
		t.Errorf("settings: %v", s)
	}
	Finish(m)
	if way["tc_stats_post"] == nil {
		t.Error("no statistics at the end")
	}
	extended := decoded(t, Gather(t.Context(), Request{Target: loopback, Extended: true}))
	if a, _ := extended["IP_ADDRS"].(map[string]any); a["lo"] == nil {
		t.Errorf("addresses: %v", a)
	}
}

// FuzzQueue: whatever the kernel says, nothing is read beyond it.
func FuzzQueue(f *testing.F) {
	if all, err := dump(unix.RTM_GETQDISC, &nl.TcMsg{}); err == nil {
		for _, m := range all {
			f.Add(m)
		}
	}
	for kind := range params {
		f.Add(append(make([]byte, nl.SizeofTcMsg), append([]byte{byte(5 + len(kind)), 0, 1, 0}, kind+"\x00"...)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= nl.SizeofTcMsg {
			readQueue("qdisc", b)
			readQueue("class", b)
		}
	})
}

var (
	netip4 = netip.MustParseAddr("198.51.100.7")
	netip6 = netip.MustParseAddr("2001:db8:1::1")
)

func outIndex(t *testing.T) int {
	link, err := net.InterfaceByName("out0")
	if err != nil {
		t.Error(err)
		return 0
	}
	return link.Index
}

// message returns what the kernel says of a discipline with such options.
func message(kind string, options []byte) []byte {
	attribute := func(b []byte, kind uint16, value []byte) []byte {
		b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
		b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
		return append(b, make([]byte, (4-len(value)%4)%4)...)
	}
	b := make([]byte, nl.SizeofTcMsg)
	binary.NativeEndian.PutUint32(b[8:], 0x8005<<16)
	binary.NativeEndian.PutUint32(b[12:], parentRoot)
	binary.NativeEndian.PutUint32(b[16:], 2)
	b = attribute(b, nl.TCA_KIND, []byte(kind+"\x00"))
	return attribute(b, nl.TCA_OPTIONS, options)
}

// nested returns attributes with a number each.
func nested(values ...uint32) []byte {
	var b []byte
	for i := 0; i < len(values); i += 2 {
		b = binary.NativeEndian.AppendUint16(b, 8)
		b = binary.NativeEndian.AppendUint16(b, uint16(values[i]))
		b = binary.NativeEndian.AppendUint32(b, values[i+1])
	}
	return b
}

func words(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

// TestOptions: options of disciplines that this kernel need not have, as tc writes
// them.
func TestOptions(t *testing.T) {
	for _, c := range []struct {
		kind    string
		options []byte
		want    string // behind "qdisc KIND 8005: root refcnt 2"
	}{
		{"fq_codel", nested(1, 4999, 2, 10240, 3, 99999, 4, 1, 5, 1024, 6, 1514, 7, 1<<31, 9, 32<<20, 8, 64),
			"limit 10240p flows 1024 quantum 1514 target 5ms interval 100ms memory_limit 32Mb ecn drop_batch 64"},
		{"codel", nested(1, 4999, 2, 1000, 3, 99999, 4, 0), "limit 1000p target 5ms interval 100ms"},
		{"pie", nested(1, 15000, 2, 1000, 3, 15000, 4, 2, 5, 20), "limit 1000p target 15ms tupdate 15ms alpha 2 beta 20"},
		{"netem", words(0, 333, 1<<32-1, 0, 0, 0), "limit 333 loss 100%"},
		{"bfifo", words(12345), "limit 12345b"},
		{"mq", nil, ""},
	} {
		q := readQueue("qdisc", message(c.kind, c.options))
		want := strings.TrimSpace("qdisc " + c.kind + " 8005: root refcnt 2 " + c.want)
		if got, _, _ := strings.Cut(q.statistics, "\n"); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
