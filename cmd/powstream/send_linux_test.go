package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testprog"
	"owl/owamp/owp"
)

// TestSend runs powstreams that send to an owampd.
func TestSend(t *testing.T) {
	owampd := testprog.Build(t, "owl/cmd/owampd")
	server := serve(t, owampd, "127.0.0.1:0")
	for name, test := range map[string]func(t *testing.T, addr string){
		"Printed": testSendPrinted,
		"Hangup":  testSendHangup,
		"Metrics": testSendMetrics,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server.addr)
		})
	}
	t.Run("IPv6", func(t *testing.T) {
		t.Parallel()
		testSendPrinted(t, serve(t, owampd, "[::1]:0").addr)
	})
	t.Run("Terminated", func(t *testing.T) {
		t.Parallel()
		testSendTerminated(t, owampd)
	})
	t.Run("MutePeer", func(t *testing.T) {
		t.Parallel()
		testSendMutePeer(t, owampd)
	})
	t.Run("PeerReturn", func(t *testing.T) {
		t.Parallel()
		testSendPeerReturn(t, owampd)
	})
}

// testSendPrinted: sessions follow one another without a hole, the names of
// their parts and files are printed in order, and the packets go out from here.
func testSendPrinted(t *testing.T, addr string) {
	p, dir := powstream(t, short, "-t", "-L", "2", "-N", "50", "-s", "100", "-D", "EF", addr)
	p.AwaitText(t, p.Stdout, ".owp\n", 3)
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	printed := p.Stdout.Lines()
	all := checkPrinted(t, dir, printed)
	if len(all) < 3 {
		t.Fatalf("%d sessions, want 3 or more", len(all))
	}
	for i, r := range all[:3] {
		if r.Finished != owp.Normal || len(r.records) != 100 || !r.Spec.ConfReceiver || r.Spec.Padding != 100 {
			t.Errorf("session %d: %v with %d records, %+v", i, r.Finished, len(r.records), r.Spec)
		}
		if dscp, ok := r.Spec.DSCP(); !ok || dscp != 46 {
			t.Errorf("session %d: DSCP %d, %t: want 46", i, dscp, ok)
		}
	}
	// Two parts, their session, its summary; where one ends the next begins.
	var kinds []string
	name := regexp.MustCompile(`/(\d{20})_(\d{20})(\.\w+)$`)
	end := ""
	for i, line := range printed[:12] {
		m := name.FindStringSubmatch(line)
		kinds = append(kinds, m[3])
		if i%4 < 2 {
			if end != "" && m[1] != end {
				t.Errorf("name %d: %s, want one that begins at %s", i, line, end)
			}
			end = m[2]
		} else if m[2] != end {
			t.Errorf("name %d: %s, want one that ends at %s", i, line, end)
		}
	}
	if d := cmp.Diff(strings.Fields(strings.Repeat(".sum .sum .owp .sum ", 3)), kinds); d != "" {
		t.Errorf("printed (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{exiting}, said(p)); d != "" {
		t.Errorf("stderr (-want +got):\n%s", d)
	}
}

// testSendTerminated: what the peer has recorded of a session that SIGTERM cuts
// short is fetched in the time that there is.
func testSendTerminated(t *testing.T, owampd string) {
	server := serve(t, owampd, "127.0.0.1:0")
	p, dir := powstream(t, endless, "-t", server.addr)
	server.awaitStored(t)
	begin := time.Now()
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Logf("ended %v after SIGTERM", time.Since(begin).Round(time.Millisecond))
	all := checkPrinted(t, dir, p.Stdout.Lines())
	if len(all) != 1 || all[0].Finished != owp.Normal || len(all[0].records) < 100 {
		t.Errorf("%d sessions, want one that was stopped", len(all))
	}
	if d := cmp.Diff([]string{exiting}, said(p)); d != "" {
		t.Errorf("stderr (-want +got):\n%s", d)
	}
}

// testSendHangup: at SIGHUP what there is is fetched, while it goes on anew.
func testSendHangup(t *testing.T, addr string) {
	p, dir := powstream(t, []string{"-c", "300", "-i", "0.01", "-L", "0.5", "-t", "--metrics", "127.0.0.1:0"}, addr)
	received := metricOf(t, p, "owamp_packets_unresolved")
	testprog.Until(t, "packets that are under way", func() error {
		if n := received(); n < 100 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
	p.Signal(syscall.SIGHUP)
	p.AwaitText(t, p.Stdout, ".owp\n", 2)
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	all := checkPrinted(t, dir, p.Stdout.Lines())
	if all[0].NextSeq == 300 || all[0].Finished != owp.Normal || all[1].NextSeq != 300 {
		t.Errorf("sessions that ended before packets %d and %d, want one that was cut short and a whole one", all[0].NextSeq, all[1].NextSeq)
	}
	if lines := said(p); lines[1] != "SIGHUP: Re-opening connections." || !strings.HasSuffix(lines[2], ": restarted") {
		t.Errorf("stderr: %q", lines)
	}
}

// metricOf returns what reads a metric of p, 0 if it is not there.
func metricOf(t *testing.T, p *testprog.Process, name string) func() float64 {
	t.Helper()
	text := p.Await(t, p.Stderr, "the address of the metrics", func(s string) bool { return strings.Contains(s, "/metrics\n") })
	url := regexp.MustCompile(`metrics are at (\S+)\n`).FindStringSubmatch(text)[1]
	return func() (v float64) {
		if m := regexp.MustCompile(`(?m)^` + name + `\{.*\} (\S+)$`).FindStringSubmatch(testprog.Scrape(t, url)); m != nil {
			if _, err := fmt.Sscan(m[1], &v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		return v
	}
}

// testSendMutePeer: a peer that does not answer any more does not keep powstream
// from ending, which says in one line what it has not got.
func testSendMutePeer(t *testing.T, owampd string) {
	server := serve(t, owampd, "127.0.0.1:0")
	p, dir := powstream(t, endless, "-t", server.addr)
	server.awaitStored(t)
	server.Signal(syscall.SIGSTOP)
	begin := time.Now()
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	took := time.Since(begin)
	t.Logf("ended %v after SIGTERM", took.Round(time.Millisecond))
	if took > 10*time.Second { // 0.4 s, were it not for what else this machine does
		t.Errorf("ended %v after SIGTERM: it has waited for the peer", took)
	}
	if got := files(t, dir); len(got) > 0 {
		t.Errorf("files %q", got)
	}
	lines := said(p)
	if len(lines) != 2 || !regexp.MustCompile(`^ended before what the peer has recorded of \d+ packets since \S+ was fetched: `).MatchString(lines[0]) {
		t.Errorf("stderr: %q", lines)
	}
}

// testSendPeerReturn: what a peer that was killed had recorded is fetched from
// the one that takes its place, and the stream goes on.
func testSendPeerReturn(t *testing.T, owampd string) {
	server := serve(t, owampd, "127.0.0.1:0")
	p, dir := powstream(t, []string{"-c", "1000", "-i", "0.01", "-L", "0.5"}, "-t", server.addr)
	path := server.awaitStored(t)
	server.Signal(syscall.SIGKILL)
	p.AwaitText(t, p.Stderr, "connection refused; trying again in ", 1)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	again := serveIn(t, server.data, owampd, server.addr)
	p.AwaitText(t, p.Stdout, ".sum\n", 2)
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	all := checkPrinted(t, dir, p.Stdout.Lines())
	if len(all) < 2 || all[0].Finished != owp.Incomplete || all[1].Finished != owp.Normal {
		t.Fatalf("%d sessions, want one without an end, and another", len(all))
	}
	// A header of at most 200 octets precedes records of 25.
	if want := int(info.Size()-200) / 25; len(all[0].records) < want-1 {
		t.Errorf("%d records of the session whose peer was killed, want %d", len(all[0].records), want)
	}
	if len(all[1].records) != 1000 {
		t.Errorf("%d records of the next one, want 1000", len(all[1].records))
	}
	for _, l := range said(p) {
		if strings.HasPrefix(l, "no data for ") && !strings.HasSuffix(l, ": control_lost") {
			t.Errorf("told of %q, want control_lost", l)
		}
	}
	again.Signal(syscall.SIGTERM)
}

// testSendMetrics: what a scraper sees of packets that go out: nothing before
// they are fetched, but how many are under way.
func testSendMetrics(t *testing.T, addr string) {
	p, _ := powstream(t, short, "-t", "--metrics", "127.0.0.1:0", addr)
	p.AwaitText(t, p.Stdout, ".owp\n", 2)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	url := regexp.MustCompile(`metrics are at (\S+)\n`).FindStringSubmatch(p.Stderr.String())[1]
	body := testprog.Scrape(t, url)
	labels := fmt.Sprintf(`destination="127.0.0.1",direction="from",source=%q,stream=%q`, host, addr)
	for _, name := range []string{"owamp_one_way_delay_seconds_count", "owamp_send_slip_seconds", "owamp_packets_unresolved"} {
		if !strings.Contains(body, name+"{"+labels+"}") {
			t.Errorf("no %s{%s} in\n%s", name, labels, body)
		}
	}
	if delays := metricOf(t, p, "owamp_one_way_delay_seconds_count")(); delays < 200 || int(delays)%100 != 0 {
		t.Errorf("%v delays, want those of whole sessions of 100", delays)
	}
	p.Terminate(t)
}
