package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"owl/internal/testprog"
	"owl/owamp/owp"
)

// TestStream runs powstreams against an owampd that does nothing wrong.
func TestStream(t *testing.T) {
	owampd := testprog.Build(t, "owl/cmd/owampd")
	server := serve(t, owampd, "127.0.0.1:0")
	for name, test := range map[string]func(t *testing.T, addr string){
		"Printed": testPrinted,
		"Parts":   testParts,
		"Hangup":  testHangup,
		"Silent":  testSilent,
		"Metrics": testMetrics,
		"Options": testOptions,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server.addr)
		})
	}
	t.Run("TimeOffset", func(t *testing.T) {
		t.Parallel()
		testTimeOffset(t, serve(t, owampd, "127.0.0.1:0", "OWAMP_DEBUG_TIMEOFFSET=-0.0055").addr)
	})
	t.Run("IPv6", func(t *testing.T) {
		t.Parallel()
		testPrinted(t, serve(t, owampd, "[::1]:0").addr)
	})
}

// testPrinted: each name is printed once, in a write of its own, when the file
// is whole; and nothing else is said while all is well.
func testPrinted(t *testing.T, addr string) {
	cmd, dir := newCommand(t, append(short, "-L", "2", addr)...) // a busy host keeps its packets, too
	// A socket that keeps writes apart from each other.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(pair[0]), "stdout"), os.NewFile(uintptr(pair[1]), "stdout")
	defer ours.Close()
	cmd.Stdout = theirs
	p := testprog.Start(t, cmd)
	theirs.Close()

	var printed []string
	buf := make([]byte, 4096)
	for {
		n, err := ours.Read(buf)
		if n == 0 && (err == nil || err == io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutSuffix(string(buf[:n]), "\n")
		if !ok || strings.Contains(name, "\n") {
			t.Fatalf("printed in one write: %q, want one line", buf[:n])
		}
		checkFile(t, name)
		if printed = append(printed, name); len(printed) == 6 {
			p.Signal(syscall.SIGTERM)
		}
	}
	if code := p.ExitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	all := checkPrinted(t, dir, printed)
	if len(all) < 3 {
		t.Fatalf("%d sessions, want 3 or more", len(all))
	}
	for _, r := range all[:3] {
		if r.Finished != owp.Normal || len(r.records) != 100 {
			t.Errorf("a session %v with %d records, want a whole one with 100", r.Finished, len(r.records))
		}
	}
	if d := cmp.Diff([]string{exiting}, said(p)); d != "" {
		t.Errorf("stderr (-want +got):\n%s", d)
	}
}

// testParts: the summaries of parts are printed as they come, before their
// session's files, and their names chain.
func testParts(t *testing.T, addr string) {
	p, dir := powstream(t, short, "-N", "50", addr)
	p.AwaitText(t, p.Stdout, ".owp\n", 1)
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	checkPrinted(t, dir, p.Stdout.Lines())
	lines := p.Stdout.Lines()
	i := slices.IndexFunc(lines, func(s string) bool { return strings.HasSuffix(s, ".owp") })
	start, end, _ := strings.Cut(strings.TrimSuffix(filepath.Base(lines[i]), ".owp"), "_")
	var got []string
	for _, l := range lines {
		name := filepath.Base(l)
		if strings.HasPrefix(name, start+"_") || strings.HasSuffix(name, "_"+end+".sum") {
			got = append(got, name)
		}
	}
	if len(got) != 4 {
		t.Fatalf("names of the first session and its parts: %q, want 4", got)
	}
	_, cut, _ := strings.Cut(strings.TrimSuffix(got[0], ".sum"), "_")
	want := []string{
		fmt.Sprintf("%s_%s.sum", start, cut),
		fmt.Sprintf("%s_%s.sum", cut, end),
		fmt.Sprintf("%s_%s.owp", start, end),
		fmt.Sprintf("%s_%s.sum", start, end),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
}

// testHangup: at SIGHUP what there is is written, and it goes on anew.
func testHangup(t *testing.T, addr string) {
	p, dir := powstream(t, endless, addr)
	awaitRecords(t, dir)
	p.Signal(syscall.SIGHUP)
	p.AwaitText(t, p.Stdout, ".sum\n", 1)
	awaitRecords(t, dir)
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if all := checkPrinted(t, dir, p.Stdout.Lines()); len(all) != 2 {
		t.Errorf("%d sessions, want one before SIGHUP and one after", len(all))
	}
	lines := said(p)
	if len(lines) != 3 || lines[0] != "SIGHUP: Re-opening connections." || !strings.HasSuffix(lines[1], ": restarted") || lines[2] != exiting {
		t.Errorf("stderr: %q", lines)
	}
}

// testSilent: with -R, and with -g none, nothing is said, also of what fails.
func testSilent(t *testing.T, addr string) {
	var all []*testprog.Process
	for _, option := range [][]string{{"-R"}, {"-g", "none"}, {"-vv", "-g", "none"}} {
		p, _ := powstream(t, short, append(option, addr)...)
		all = append(all, p)
	}
	for _, p := range all {
		p.AwaitText(t, p.Stdout, ".sum\n", 1)
		p.Terminate(t)
		if s := p.Stderr.String(); s != "" {
			t.Errorf("stderr of %v: %q", p.Cmd, s)
		}
	}
}

// testOptions: options of the test reach the peer and the files.
func testOptions(t *testing.T, addr string) {
	p, dir := powstream(t, short, "-s", "100", "-P", "31000-31009", "-E", "0.2", "-z", "1", "-b", "0.001", "-U", "-S", "lo", "-D", "EF", "-4", "-I", "1", "-vv", "127.0.0.1", addr)
	p.AwaitText(t, p.Stdout, ".sum\n", 1)
	p.Terminate(t)
	r := checkPrinted(t, dir, p.Stdout.Lines())[0]
	if s := r.Spec; s.Padding != 100 || s.Receiver.Port() < 31000 || s.Receiver.Port() > 31009 {
		t.Errorf("session %+v: want 100 octets of padding and a port from 31000 to 31009", s)
	}
	if dscp, ok := r.Spec.DSCP(); !ok || dscp != 46 {
		t.Errorf("DSCP %d, %t: want 46", dscp, ok)
	}
	text, err := os.ReadFile(files(t, dir)[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nBUCKET_WIDTH\t0.001\n", "\nUNIX_START_TIME\t"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("summary without %q:\n%s", want, text)
		}
	}
	if s := p.Stderr.String(); !regexp.MustCompile(`(?m) FILE=\w+\.go LINE=\d+$`).MatchString(s) {
		t.Errorf("stderr with -vv:\n%s", s)
	}
}

// testTimeOffset: a peer whose clock is behind by 5.5 ms seems as far away.
func testTimeOffset(t *testing.T, addr string) {
	p, dir := powstream(t, short, addr)
	p.AwaitText(t, p.Stdout, ".sum\n", 1)
	p.Terminate(t)
	const offset = 5500 * time.Microsecond
	least := time.Hour
	for _, r := range checkPrinted(t, dir, p.Stdout.Lines())[0].records {
		if d := r.Recv.Sub(r.Sent); d < offset-time.Microsecond {
			t.Errorf("packet %d: delay %v, want at least %v", r.Seq, d, offset)
		} else {
			least = min(least, d)
		}
	}
	if least > offset+100*time.Millisecond {
		t.Errorf("least delay %v, want little more than %v", least, offset)
	}
}

// testMetrics: what a scraper sees while the first session still runs.
func testMetrics(t *testing.T, addr string) {
	p, _ := powstream(t, endless, "--metrics", "127.0.0.1:0", addr)
	text := p.Await(t, p.Stderr, "the address of the metrics", func(s string) bool { return strings.Contains(s, "/metrics\n") })
	url := regexp.MustCompile(`metrics are at (\S+)\n`).FindStringSubmatch(text)[1]
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	labels := fmt.Sprintf(`destination=%q,direction="to",source="127.0.0.1",stream=%q`, host, addr)
	var body string
	testprog.Until(t, "the delay of a packet among the metrics", func() error {
		body = testprog.Scrape(t, url)
		received := "owamp_one_way_delay_seconds_count{" + labels + "} "
		if !strings.Contains(body, received) || strings.Contains(body, received+"0\n") {
			return fmt.Errorf("no %s above 0 in\n%s", received, body)
		}
		return nil
	})
	if s := p.Stdout.String(); s != "" {
		t.Errorf("files before the session's end: %q", s)
	}
	series := regexp.MustCompile(`(?m)^(owamp_\w+)\{(.*)\} `)
	got := make(map[string]bool)
	for _, m := range series.FindAllStringSubmatch(body, -1) {
		name, found := m[1], m[2]
		for l := range strings.SplitSeq(labels, ",") {
			if !strings.Contains(found, l) {
				t.Errorf("%s{%s} without %s", name, found, l)
			}
		}
		got[name] = true
	}
	want := make(map[string]bool)
	for _, name := range []string{
		"one_way_delay_seconds_bucket", "one_way_delay_seconds_count", "one_way_delay_seconds_sum", "packets_total", "packets_lost_by_cause_total",
		"packets_unresolved", "packets_overdue", "packets_duplicated_total", "packets_reordered_total", "packets_late_total",
		"socket_drops_total", "hops", "clock_error_seconds", "clock_synchronized", "clock_steps_total", "session_state",
		"last_packet_timestamp_seconds", "completeness_ratio", "gap_seconds_total",
	} {
		want["owamp_"+name] = true
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("metrics (-want +got):\n%s", d)
	}
	in := func(state string) string { return strings.Replace(labels, ",stream", `,state="`+state+`",stream`, 1) }
	for _, want := range []string{
		"owamp_hops{" + labels + "} 0\n",
		"owamp_session_state{" + in("running") + "} 1\n",
		"owamp_packets_total{" + in("not_covered") + "} 0\n",
		"process_open_fds ",
		`owl_build_info{goversion="go`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	t.Run("Promtool", func(t *testing.T) { testprog.Promtool(t, body) })
}
