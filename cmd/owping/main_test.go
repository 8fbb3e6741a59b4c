package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/report"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/stats"
	"owl/sessions/ping/pingtest"
)

// asProgram makes the test binary be owping, for tests of signals.
const asProgram = "OWPING_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	time.Local = time.UTC
	os.Exit(m.Run())
}

func getenv(name string) string {
	if name == "OWL_NUMERIC" {
		return "1"
	}
	return ""
}

// owping runs the program with numeric names.
func owping(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), nil, append([]string{"owping"}, args...), getenv, &out, &errs)
	return code, out.String(), errs.String()
}

// complaints are the lines of a run's stderr but for the one on the clock, which
// depends on the host.
func complaints(stderr string) string {
	return regexp.MustCompile(`(?m)^owping: NTP: .*\n`).ReplaceAllString(stderr, "")
}

// short are the options of a test of 20 packets that takes 2.5 s.
var short = strings.Fields("-c 20 -i 0.005 -L 1 -E 0 -P 0")

func with(more string, args ...string) []string {
	return append(append(append([]string(nil), short...), strings.Fields(more)...), args...)
}

// reported returns what package report says of a file.
func reported(t *testing.T, path string, options string) string {
	t.Helper()
	o, err := parse(append(strings.Fields(options), "h"))
	if err != nil {
		t.Fatal(err)
	}
	o.report.Settle()
	var out bytes.Buffer
	r := report.New(t.Context(), "test", &o.report, &out)
	err = r.File(path, func(sender, receiver netip.Addr) stats.Names {
		return stats.Names{From: sender.String(), To: receiver.String()}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// checkFile checks that a session's file is whole, and says that no packet was
// lost.
func checkFile(t *testing.T, path string, packets int) *owp.Header {
	t.Helper()
	r, err := owp.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for rec, err := range r.Records() {
		if err != nil || rec.Lost() {
			t.Errorf("%s: %+v, %v", path, rec, err)
		}
		n++
	}
	h := r.Header()
	if h.Finished != owp.Normal || h.Spec.Packets != uint32(packets) || n != packets {
		t.Errorf("%s: %v, %d of %d packets; want %d", path, h.Finished, n, h.Spec.Packets, packets)
	}
	return h
}

var approximately = regexp.MustCompile(`^Approximately \d+\.\d seconds until results available\n`)

// Every output is that of the session to the peer, then that of the one from
// it, as owstats would print them.
func TestOutput(t *testing.T) {
	peer := pingtest.New(t, pingtest.Config{})
	for _, tt := range []struct {
		args  string
		quiet bool // nothing but records
	}{
		{"", false},
		{"-M", false},
		{"-M -U -b 0.001 -N 7", false},
		{"-v -n u -a 50,99", false},
		{"-v5", false},
		{"--json -v -N 7 -a 95", true},
		{"-R", true},
		{"-R -Q", true},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			to, from := filepath.Join(dir, "to.owp"), filepath.Join(dir, "from.owp")
			code, stdout, stderr := owping(t, with(tt.args, "-T", to, "-F", from, peer.Addr)...)
			if code != 0 || complaints(stderr) != "" && tt.args != "-R -Q" {
				t.Errorf("exit code %d, %s", code, stderr)
			}
			checkFile(t, to, 20)
			checkFile(t, from, 20)
			head := approximately.FindString(stdout)
			if (head == "") != tt.quiet {
				t.Errorf("begins with %.60q", stdout)
			}
			if strings.Contains(tt.args, "--json") {
				want := []any{described(t, reported(t, to, tt.args), "to"), described(t, reported(t, from, tt.args), "from")}
				var got document
				if err := json.Unmarshal([]byte(stdout), &got); err != nil {
					t.Fatalf("%v\n%s", err, stdout)
				}
				if d := cmp.Diff(document{report.Schema, "owping", want}, got); d != "" {
					t.Errorf("(-owstats +owping)\n%s", d)
				}
				return
			}
			if d := cmp.Diff(reported(t, to, tt.args)+reported(t, from, tt.args), stdout[len(head):]); d != "" {
				t.Errorf("(-owstats +owping)\n%s", d)
			}
		})
	}
}

// A document is what --json prints.
type document struct {
	Schema   string `json:"schema"`
	Program  string `json:"program"`
	Sessions []any  `json:"sessions"`
}

// described returns the session of a document that owstats would print as owping
// knows it, with its direction.
func described(t *testing.T, text, direction string) any {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(text), &d); err != nil || len(d.Sessions) != 1 {
		t.Fatalf("%v\n%s", err, text)
	}
	session := d.Sessions[0].(map[string]any)
	session["direction"] = direction
	return session
}

// A document has the sessions that there are.
func TestDocumentOfOneSession(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{Fetch: owamp.AcceptReject})
	code, stdout, stderr := owping(t, with("--json", peer.Addr)...)
	var got document
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	if code != 1 || !strings.HasPrefix(complaints(stderr), "owping: Unable to fetch data for sid(") || len(got.Sessions) != 1 || got.Sessions[0].(map[string]any)["direction"] != "from" {
		t.Errorf("exit code %d, %s\n%s", code, stderr, stdout)
	}
}

func TestDirections(t *testing.T) {
	for args, want := range map[string][]string{
		"-t": {"to"}, "-f": {"from"}, "-f -t": {"to", "from"}, "-T": {"to"}, "-F": {"from"},
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			peer := pingtest.New(t, pingtest.Config{})
			full := with(args)
			path := filepath.Join(t.TempDir(), "a.owp")
			saves := args == "-T" || args == "-F"
			if saves {
				full = append(full, path)
			}
			code, stdout, stderr := owping(t, append(full, peer.Addr)...)
			if code != 0 || complaints(stderr) != "" {
				t.Errorf("exit code %d, %s", code, stderr)
			}
			var asked []string
			for _, a := range peer.Asked() {
				direction := "from"
				if a.ConfReceiver {
					direction = "to"
				}
				asked = append(asked, direction)
			}
			if d := cmp.Diff(want, asked); d != "" {
				t.Errorf("asked for (-want +got)\n%s", d)
			}
			if n := strings.Count(stdout, "--- owping statistics from [127.0.0.1]:"); n != len(want) {
				t.Errorf("%d reports, want %d\n%s", n, len(want), stdout)
			}
			if saves {
				checkFile(t, path, 20)
			}
		})
	}
}

// What is asked for is what the options say.
func TestRequest(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{})
	code, _, stderr := owping(t, strings.Fields("-c 7 -i 0.001,0.003f -L 0.125 -E 0 -s 321 -D AF11 -P 23000-23100 -Q "+peer.Addr)...)
	if code != 0 {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	for _, a := range peer.Asked() {
		local := a.Receiver
		if a.ConfReceiver {
			local = a.Sender
		}
		if a.Packets != 7 || a.Timeout != 1<<29 || a.Padding != 321 || a.TypeP != 10<<24 ||
			local.Port() < 23000 || local.Port() > 23100 {
			t.Errorf("asked for %+v", a)
		}
		want := []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalSeconds(0.001)}, {Type: owamp.SlotFixed, Parameter: owamp.IntervalSeconds(0.003)}}
		if d := cmp.Diff(want, a.Slots); d != "" {
			t.Errorf("slots (-want +got)\n%s", d)
		}
	}
}

// Without -L packets are lost after two seconds and a round trip.
func TestDefaultTimeout(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{Accept: func(int, *owamp.SessionSpec) owamp.Accept { return owamp.AcceptReject }})
	owping(t, peer.Addr)
	if asked := peer.Asked(); len(asked) != 1 || asked[0].Timeout.Duration() < 2*time.Second || asked[0].Timeout.Duration() > 3*time.Second {
		t.Errorf("asked for %+v", asked)
	}
	if code, _, stderr := owping(t, "-b", "10", peer.Addr); code != 1 || !strings.Contains(stderr, "'-L' < BucketWidth (10.000000) '-b'\n") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// The test goes to one address, the control connection to another.
func TestTwoAddresses(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{})
	code, stdout, stderr := owping(t, with("-t", "127.0.0.2", peer.Addr)...)
	if code != 0 || !strings.Contains(stdout, " to [127.0.0.2]:") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if asked := peer.Asked(); len(asked) != 1 || asked[0].Receiver.Addr() != netip.MustParseAddr("127.0.0.2") {
		t.Errorf("asked for %+v", asked)
	}
}

// -Q reports nothing and fetches nothing that is not to be saved.
func TestQuiet(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{Fetch: owamp.AcceptReject})
	if code, stdout, stderr := owping(t, with("-Q", peer.Addr)...); code != 0 || stdout != "" || complaints(stderr) != "" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

// A session that the peer does not give costs the exit code, not the report on
// the other one.
func TestFetchRefused(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{Fetch: owamp.AcceptReject})
	dir := t.TempDir()
	from := filepath.Join(dir, "from.owp")
	code, stdout, stderr := owping(t, with("", "-T", filepath.Join(dir, "to.owp"), "-F", from, peer.Addr)...)
	got := complaints(stderr)
	if code != 1 || !strings.HasPrefix(got, "owping: Unable to fetch data for sid(") || !strings.HasSuffix(got, "): Server denied request for session data: Fetch-Ack: refused\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("exit code %d, %q", code, got)
	}
	checkFile(t, from, 20)
	if d := cmp.Diff(reported(t, from, ""), approximately.ReplaceAllString(stdout, "")); d != "" {
		t.Errorf("(-owstats +owping)\n%s", d)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v: want from.owp alone", entries, err)
	}
}

func TestDenied(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{Accept: func(int, *owamp.SessionSpec) owamp.Accept { return owamp.AcceptReject }})
	dir := t.TempDir()
	code, stdout, stderr := owping(t, with("", "-F", filepath.Join(dir, "f.owp"), peer.Addr)...)
	if want := "owping: Session Failed! Server denied test: 127.0.0.1: Accept-Session: refused\n"; code != 1 || stdout != "" || complaints(stderr) != want {
		t.Errorf("exit code %d, %q, %q; want 1, %q", code, stdout, complaints(stderr), want)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// The loss of the connection leaves what had come until then.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{})
	dir := t.TempDir()
	from := filepath.Join(dir, "from.owp")
	go func() {
		awaitRecords(dir)
		peer.Cut()
	}()
	code, stdout, stderr := owping(t, "-P", "0", "-c", "100000", "-i", "0.01", "-L", "1", "-t", "-F", from, peer.Addr)
	got := complaints(stderr)
	if code != 1 || !strings.HasPrefix(got, "owping: Test session(s) Failed: ") || strings.Count(got, "\n") != 1 {
		t.Errorf("exit code %d, %q", code, got)
	}
	r, err := owp.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Header().Finished != owp.Incomplete || r.Len() == 0 {
		t.Errorf("%v, %d records: want some of a session that has not ended", r.Header().Finished, r.Len())
	}
	if d := cmp.Diff(reported(t, from, ""), approximately.ReplaceAllString(stdout, "")); d != "" {
		t.Errorf("(-owstats +owping)\n%s", d)
	}
}

// awaitRecords waits until the file of a session in dir has some records.
func awaitRecords(dir string) {
	for {
		files, _ := filepath.Glob(filepath.Join(dir, ".owping-*.i"))
		for _, f := range files {
			if info, err := os.Stat(f); err == nil && info.Size() > 1000 {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestNoServer(t *testing.T) {
	for args, want := range map[string]string{
		"127.0.0.1:1":               "Unable to open control connection to 127.0.0.1:1: Couldn't open 'control' connection to server 127.0.0.1:1: connection refused",
		"h.invalid 127.0.0.1:1":     `host "h.invalid": no such host`,
		"-6 127.0.0.1:1":            `host "127.0.0.1": no IPv6 address`,
		":80":                       `address ":80": want a host`,
		"-F /dev/null 127.0.0.1:1":  "/dev/null: not a regular file, want one or none",
		"-F /nowhere/f 127.0.0.1:1": "open /nowhere/",
		"-S 192.0.2.77 127.0.0.1:1": "cannot assign requested address",
		"-B nosuchdevice 127.0.0.1": "nosuchdevice",
	} {
		if strings.Contains(want, "no such host") && testing.Short() {
			continue // asks the resolver
		}
		code, stdout, stderr := owping(t, strings.Fields(args)...)
		if got := complaints(stderr); code != 1 || stdout != "" || !strings.Contains(got, want) || strings.Count(got, "\n") != 1 {
			t.Errorf("owping %s: exit code %d, %q, %q; want a line with %q", args, code, stdout, got, want)
		}
	}
}

// A server that closes at whatever octet costs one line.
func TestServerCloses(t *testing.T) {
	for _, octets := range []int{0, 1, 63, 64, 80, 111, 112} {
		code, stdout, stderr := owping(t, pingtest.Mute(t, octets, true))
		if got := complaints(stderr); code != 1 || stdout != "" || strings.Count(got, "\n") != 1 {
			t.Errorf("after %d octets: exit code %d, %q, %q", octets, code, stdout, got)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"-h", "--help"} {
		if code, stdout, stderr := owping(t, args); code != 0 || stdout != program.Usage || stderr != "" {
			t.Errorf("owping %s: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	if code, stdout, stderr := owping(t, "--version"); code != 0 || !strings.HasPrefix(stdout, "owping (Owl) ") || stderr != "" {
		t.Errorf("owping --version: exit code %d, %q, %q", code, stdout, stderr)
	}
}

// The first signal ends the test, which reports what it has.
func TestSignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			peer := pingtest.New(t, pingtest.Config{})
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-P", "0", "-c", "100000", "-z", "3600", peer.Addr)
			cmd.Env = append(os.Environ(), asProgram+"=1", "OWL_NUMERIC=1")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			pipe, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stdout := bufio.NewReader(pipe)
			line, err := stdout.ReadString('\n')
			if !strings.HasPrefix(line, "Approximately ") {
				t.Errorf("%q, %v", line, err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(stdout)
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v, %s", err, stderr.String())
			}
			if n := strings.Count(string(rest), "\n0 sent, 0 lost (0.000%), 0 duplicates\n"); n != 2 {
				t.Errorf("%d reports, want 2\n%s", n, rest)
			}
		})
	}
}

// Before there is anything to report a signal ends the program.
func TestSignalInSetUp(t *testing.T) {
	t.Parallel()
	ctx, early := t.Context(), make(chan struct{})
	var out, errs bytes.Buffer
	code := make(chan int, 1)
	addr := pingtest.Mute(t, 64, false)
	go func() { code <- run(ctx, early, []string{"owping", addr}, getenv, &out, &errs) }()
	close(early)
	if got := <-code; got != interrupted || out.Len() != 0 || complaints(errs.String()) != "owping: interrupted\n" {
		t.Errorf("exit code %d, %q, %q; want %d", got, out.String(), errs.String(), interrupted)
	}
}

// The second signal does not wait for a peer that is mute.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mute := make(chan struct{})
	peer := pingtest.New(t, pingtest.Config{Stopped: func() {
		cancel()
		<-mute
	}})
	t.Cleanup(func() { close(mute) })
	dir := t.TempDir()
	begun, stdout := io.Pipe()
	early := make(chan struct{})
	go func() {
		begun.Read(make([]byte, 100))
		close(early)
	}()
	var errs bytes.Buffer
	code := run(ctx, early, []string{"owping", "-P", "0", "-z", "3600", "-F", filepath.Join(dir, "f.owp"), peer.Addr}, getenv, stdout, &errs)
	if code != interrupted || complaints(errs.String()) != "owping: interrupted\n" {
		t.Errorf("exit code %d, %q; want %d", code, errs.String(), interrupted)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// A shift of the clock shows in both directions.
func TestTimeShift(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{})
	var out, errs bytes.Buffer
	shifted := func(name string) string {
		if name == "OWAMP_DEBUG_TIMEOFFSET" {
			return "0.05"
		}
		return getenv(name)
	}
	args := append([]string{"owping"}, with("-n m", peer.Addr)...)
	if code := run(t.Context(), nil, args, shifted, &out, &errs); code != 0 {
		t.Fatalf("exit code %d, %s", code, errs.String())
	}
	var least []float64
	for line := range strings.Lines(out.String()) {
		var v float64
		if _, err := fmt.Sscanf(line, "one-way delay min/median/max = %g/", &v); err == nil {
			least = append(least, v)
		}
	}
	if len(least) != 2 || least[0] > -40 || least[1] < 40 {
		t.Errorf("least delays %v ms, want -50 to the peer and 50 from it", least)
	}
	bad := func(string) string { return "x" }
	errs.Reset()
	if code := run(t.Context(), nil, args, bad, &out, &errs); code != 1 || errs.String() != "owping: OWAMP_DEBUG_TIMEOFFSET=\"x\": want seconds, as 0.0055 or -2\n" {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
}
