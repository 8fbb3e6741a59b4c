package interop

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"owl/internal/netlab"
	"owl/internal/testprog"
	"owl/owamp/owp"
)

// families are the IP versions.
var families = []struct {
	name string
	addr func(*netlab.Host) netip.Addr
}{
	{"IPv4", func(h *netlab.Host) netip.Addr { return h.Addr4 }},
	{"IPv6", func(h *netlab.Host) netip.Addr { return h.Addr6 }},
}

// A measurement is Owl's powstream on one host that measures from Owl's owampd
// on another.
type measurement struct {
	*testprog.Process
	server *server
	dir    string
	here   *netlab.Host // where powstream runs
}

// measure starts a measurement from b, whose address is at, to a.
func measure(t *testing.T, own suite, a, b *netlab.Host, at netip.Addr, args ...string) *measurement {
	t.Helper()
	m := &measurement{dir: t.TempDir(), here: a}
	m.server = own.serveIn(t, b, netip.AddrPortFrom(at, 861).String())
	m.server.Await(t, m.server.Stderr, "listening", func(text string) bool { return strings.Contains(text, "listening on") })
	args = append([]string{"-p", "-d", m.dir, "--metrics", "127.0.0.1:0"}, args...)
	m.Process = testprog.StartIn(t, a, own.command("powstream", append(args, at.String())...))
	return m
}

// metricsURL is where powstream says that its metrics are.
var metricsURL = regexp.MustCompile(`metrics are at (http://(\S+)/metrics)`)

// metrics scrapes powstream.
func (m *measurement) metrics(t *testing.T) samples {
	t.Helper()
	var at []string
	m.Await(t, m.Stderr, "address of metrics", func(text string) bool {
		at = metricsURL.FindStringSubmatch(text)
		return at != nil
	})
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			if e := m.here.Do(func() { c, err = new(net.Dialer).DialContext(ctx, network, addr) }); e != nil {
				return nil, e
			}
			return c, err
		},
	}}
	resp, err := client.Get(at[1])
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return parseSamples(t, resp)
}

// samples are the values of a scrape by name and those labels that are not of
// the stream: `owamp_packets_total{state="lost"}`.
type samples map[string]float64

var (
	sampleLine = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? (\S+)$`)
	ownLabel   = regexp.MustCompile(`\b(?:le|reason|state)="[^"]*"`)
)

func parseSamples(t *testing.T, resp *http.Response) samples {
	t.Helper()
	var text strings.Builder
	if err := resp.Write(&text); err != nil {
		t.Fatal(err)
	}
	s := samples{}
	for line := range strings.Lines(text.String()) {
		f := sampleLine.FindStringSubmatch(strings.TrimSpace(line))
		if f == nil {
			continue
		}
		v, err := strconv.ParseFloat(f[3], 64)
		if err != nil {
			continue
		}
		name := f[1]
		if l := ownLabel.FindString(f[2]); l != "" {
			name += "{" + l + "}"
		}
		s[name] = v
	}
	return s
}

// want checks a value.
func (s samples) want(t *testing.T, name string, want float64) {
	t.Helper()
	if got, ok := s[name]; !ok || got != want {
		t.Errorf("metric %s: %v, want %v", name, got, want)
	}
}

// summary reads a .sum; see parseSummary.
func summary(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parseSummary(string(text))
}

// parseSummary reads those lines of a summary that have one value, and how many
// packets were n-reordered as "n-REORDERED".
func parseSummary(text string) map[string]string {
	lines := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok && key != "" {
			lines[key] = value
		}
	}
	if _, block, ok := strings.Cut(text, "<NREORDERING>\n"); ok {
		block, _, _ = strings.Cut(block, "</NREORDERING>")
		for line := range strings.Lines(block) {
			if f := strings.Fields(line); len(f) == 2 {
				lines[f[0]+"-REORDERED"] = f[1]
			}
		}
	}
	return lines
}

// first returns the first session and its summary.
func (m *measurement) first(t *testing.T) (*measured, map[string]string) {
	t.Helper()
	s := sessionsIn(t, m.dir)[0]
	return s, summary(t, strings.TrimSuffix(s.path, "owp")+"sum")
}

// TestNetworkHarm holds what powstream says of a path against what the path has
// done: loss, an outage of everything, duplication, reordering, hops, delay.
func TestNetworkHarm(t *testing.T) {
	t.Parallel()
	own := owl(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			const (
				packets = 2000
				delay   = 3 * time.Millisecond
				hops    = 7
			)
			clean := netlab.Path{Delay: delay, Jitter: netlab.Uniform(time.Millisecond), Hops: hops}
			harmful, down := clean, clean
			harmful.Loss, harmful.Duplicate, harmful.Reorder = 0.05, 0.05, 0.05
			down.Down = true
			a, b, w := netlab.NewWire(t, 1, clean)
			m := measure(t, own, a, b, f.addr(b), "-c", strconv.Itoa(packets), "-i", "0.0025", "-L", "2")
			// Only the middle of the first session is harmed, so that its end
			// and the second session add nothing to the counts.
			for _, phase := range []struct {
				until int
				path  netlab.Path
			}{{100, harmful}, {1000, down}, {1500, harmful}, {1800, clean}} {
				w.BA.AwaitPackets(t, phase.until, patience)
				w.Set(phase.path)
			}
			awaitFiles(t, m.Process, 1, ".sum")
			did := w.BA.Counts()
			scraped := m.metrics(t)
			if code := m.Terminate(t); code != 0 {
				t.Errorf("exit code %d", code)
			}

			s, sum := m.first(t)
			got := s.count(packets)
			if want := (census{received: packets - did.Lost, lost: did.Lost, duplicates: did.Duplicated, reordered: did.Reordered}); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("counted %+v, want %+v", got, want)
			}
			if did.Lost < 500 || did.Duplicated == 0 || did.Reordered == 0 {
				t.Errorf("the wire has done %+v: want some of each harm", did)
			}
			s.checkStamps(t, 255-hops)
			least := math.Inf(1)
			for _, r := range s.records {
				if !r.Lost() {
					least = min(least, r.Recv.Sub(r.Sent).Seconds())
				}
			}
			if least < delay.Seconds() {
				t.Errorf("least delay %v s over a path of %v", least, delay)
			}
			for key, want := range map[string]int{
				"SENT": packets, "LOST": did.Lost, "DUPS": did.Duplicated, "1-REORDERED": did.Reordered,
				"MINTTL": 255 - hops, "MAXTTL": 255 - hops, "SESSION_FINISHED": 1,
			} {
				if sum[key] != strconv.Itoa(want) {
					t.Errorf("summary: %s %q, want %d", key, sum[key], want)
				}
			}
			if v, err := strconv.ParseFloat(sum["MIN"], 64); err != nil || v < delay.Seconds()-1e-6 {
				t.Errorf("summary: MIN %q over a path of %v", sum["MIN"], delay)
			}
			received := float64(packets - did.Lost)
			scraped.want(t, `owamp_packets_total{state="received"}`, received)
			scraped.want(t, `owamp_packets_total{state="lost"}`, float64(did.Lost))
			scraped.want(t, `owamp_packets_total{state="not_sent"}`, 0)
			scraped.want(t, `owamp_packets_total{state="not_covered"}`, 0)
			scraped.want(t, "owamp_packets_duplicated_total", float64(did.Duplicated))
			scraped.want(t, "owamp_packets_reordered_total", float64(did.Reordered))
			scraped.want(t, "owamp_packets_late_total", 0)
			scraped.want(t, "owamp_socket_drops_total", 0)
			scraped.want(t, "owamp_hops", hops)
			scraped.want(t, "owamp_completeness_ratio", 1)
			// The second session runs: its delays count as they come.
			if n := scraped["owamp_one_way_delay_seconds_count"]; n < received {
				t.Errorf("metrics have %v delays, want %v or more", n, received)
			}
			if n := scraped[`owamp_one_way_delay_seconds_bucket{le="0.002"}`]; n != 0 {
				t.Errorf("metrics have %v delays of less than 2 ms over a path of %v", n, delay)
			}
		})
	}
}

// TestNetworkLate gives packets less time than their path takes: they come, and
// are lost all the same.
func TestNetworkLate(t *testing.T) {
	t.Parallel()
	own := owl(t)
	const packets = 100
	a, b, _ := netlab.NewWire(t, 1, netlab.Path{Delay: 300 * time.Millisecond})
	m := measure(t, own, a, b, b.Addr4, "-c", strconv.Itoa(packets), "-i", "0.02", "-L", "0.15")
	awaitFiles(t, m.Process, 1, ".sum")
	scraped := m.metrics(t)
	m.Terminate(t)
	s, sum := m.first(t)
	if got := s.count(packets); got.lost != packets {
		t.Errorf("counted %+v, want %d lost", got, packets)
	}
	for key, want := range map[string]string{"SENT": "100", "LOST": "100", "DUPS": "0", "MIN": "", "MINTTL": "255", "MAXTTL": "0"} {
		if sum[key] != want {
			t.Errorf("summary: %s %q, want %q", key, sum[key], want)
		}
	}
	scraped.want(t, `owamp_packets_total{state="received"}`, 0)
	scraped.want(t, `owamp_packets_total{state="lost"}`, packets)
	// Those of the session's end may come after the end of its recording.
	if late := scraped["owamp_packets_late_total"]; late < packets/2 {
		t.Errorf("%v packets late, want most of %d", late, packets)
	}
}

// TestNetworkPackets looks at the packets on their way: their number, their
// class, and that large ones are whole again when they arrive.
func TestNetworkPackets(t *testing.T) {
	t.Parallel()
	own := owl(t)
	for _, f := range families {
		for _, c := range []struct {
			padding, fragments int
			dscp               string
			class              byte
		}{{1400, 1, "ef", 46 << 2}, {3000, 3, "af41", 34 << 2}} {
			t.Run(fmt.Sprintf("%s padding %d", f.name, c.padding), func(t *testing.T) {
				t.Parallel()
				const packets = 100
				a, b, w := netlab.NewWire(t, 1, netlab.Path{Hops: 1})
				seen := classes(t, a, f.addr(b))
				m := measure(t, own, a, b, f.addr(b), "-c", strconv.Itoa(packets), "-i", "0.01", "-L", "1", "-D", c.dscp, "-s", strconv.Itoa(c.padding))
				awaitFiles(t, m.Process, 1, ".sum")
				m.Terminate(t)
				s, sum := m.first(t)
				if got := s.count(packets); got.received != packets || got.duplicates+got.reordered > 0 {
					t.Errorf("counted %+v, want %d received", got, packets)
				}
				s.checkStamps(t, 254)
				if want := fmt.Sprintf("0x%2.2x", c.class>>2); sum["DSCP"] != want || sum["PACKET_PADDING"] != strconv.Itoa(c.padding) {
					t.Errorf("summary: DSCP %s, PACKET_PADDING %s, want %s and %d", sum["DSCP"], sum["PACKET_PADDING"], want, c.padding)
				}
				if ba := w.BA.Counts(); ba.Packets < packets*c.fragments {
					t.Errorf("%d packets on the wire, want %d for each of %d", ba.Packets, c.fragments, packets)
				}
				got := seen()
				if n := got[c.class]; len(got) != 1 || n < packets*c.fragments {
					t.Errorf("packets by class: %v, want %d and more of %d alone", got, packets*c.fragments, c.class)
				}
			})
		}
	}
}

// classes counts the UDP packets and fragments of UDP packets that arrive at h
// from another host by their traffic class, until it is asked for the counts.
func classes(t *testing.T, h *netlab.Host, from netip.Addr) func() map[byte]int {
	t.Helper()
	fd := -1
	var failed error
	err := h.Do(func() {
		// ETH_P_ALL in network byte order.
		protocol := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
		fd, failed = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(protocol))
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	f := os.NewFile(uintptr(fd), "packets")
	counts := map[byte]int{}
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 2048)
		for {
			n, err := f.Read(b)
			if err != nil {
				return
			}
			if class, ok := classOf(b[:n], from); ok {
				counts[class]++
			}
		}
	})
	return func() map[byte]int {
		f.Close()
		reading.Wait()
		return counts
	}
}

// classOf returns the traffic class of an IP packet, if it is UDP from a host.
func classOf(p []byte, from netip.Addr) (class byte, ok bool) {
	const udp, fragment = 17, 44
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return p[1], p[9] == udp && netip.AddrFrom4([4]byte(p[12:16])) == from
	case len(p) > 40 && p[0]>>4 == 6:
		isUDP := p[6] == udp || p[6] == fragment && p[40] == udp
		return p[0]<<4 | p[1]>>4, isUDP && netip.AddrFrom16([16]byte(p[8:24])) == from
	}
	return 0, false
}

// TestNetworkRefused has a firewall of the sending host refuse packets for a
// while: they are not sent, and so not lost.
func TestNetworkRefused(t *testing.T) {
	t.Parallel()
	own := owl(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			const packets = 300
			a, b, w := netlab.NewWire(t, 1, netlab.Path{})
			m := measure(t, own, a, b, f.addr(b), "-c", strconv.Itoa(packets), "-i", "0.01", "-L", "1")
			w.BA.AwaitPackets(t, 50, patience)
			rule := func(do string) {
				t.Helper()
				args := []string{"rule", do, "ipproto", "udp", "pref", "1000", "prohibit"}
				if f.addr(b).Is6() {
					args = append([]string{"-6"}, args...)
				}
				if _, err := b.Output(exec.Command("ip", args...)); err != nil {
					t.Skipf("SKIPPED: this kernel has no rules for protocols: %v", err)
				}
			}
			rule("add")
			time.Sleep(time.Second) // of packets that are refused
			rule("del")
			awaitFiles(t, m.Process, 1, ".sum")
			scraped := m.metrics(t)
			m.Terminate(t)

			s, sum := m.first(t)
			got := s.count(packets)
			if got.skipped < 20 || got.received < 50 || got.received+got.skipped != packets {
				t.Errorf("counted %+v, skips %v: want %d packets received or skipped, both many", got, s.skips, packets)
			}
			if s.Finished != owp.Normal || s.NextSeq != packets || len(s.skips) != 1 {
				t.Errorf("%v, next %d, skips %v: want one range", s.Finished, s.NextSeq, s.skips)
			}
			for key, want := range map[string]int{"SENT": got.received, "LOST": 0} {
				if sum[key] != strconv.Itoa(want) {
					t.Errorf("summary: %s %q, want %d", key, sum[key], want)
				}
			}
			scraped.want(t, `owamp_packets_total{state="received"}`, float64(got.received))
			scraped.want(t, `owamp_packets_total{state="not_sent"}`, float64(got.skipped))
			scraped.want(t, `owamp_packets_total{state="lost"}`, 0)
		})
	}
}

// TestNetworkLong lets sessions of a second, with a time-out of two, follow one
// another for two minutes, over either IP version.
func TestNetworkLong(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes two minutes")
	}
	t.Parallel()
	own := owl(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			a, b := netlab.NewVeth(t)
			m := measure(t, own, a, b, f.addr(b), longArgs...)
			checkLong(t, m.Process, m.dir, 0)
		})
	}
}
