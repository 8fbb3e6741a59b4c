package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/agentfile"
	"owl/internal/testprog"
	"owl/owamp"
)

// The streams of TestInteropCohorts: so many names, each in both directions, in
// sessions of 5 s.
const (
	pairs      = 20
	perSession = 100
	interval   = 50 * time.Millisecond
)

// TestInteropCohorts: an agent measures with the C suite's owampd in 40 streams
// over fewer connections, without a hole, and writes what the C suite's owstats
// reads; streams that are taken away harm no others; when the server is killed
// and started again all are back, and say what there was.
func TestInteropCohorts(t *testing.T) {
	reference := os.Getenv("OWAMP_REFERENCE_DIR")
	if reference == "" {
		t.Skip("SKIPPED: owagent measures with no owampd of the C suite: OWAMP_REFERENCE_DIR is not set")
	}
	const gone = "poisson7"
	server, data := freeAddr(t), t.TempDir()
	owampd := startReference(t, reference, server, data)
	a := &client{owagent: start(t, crowdOf(server, "")), server: server}

	st := a.awaitEach(t, 2*pairs, received(2*perSession))
	wantUnharmed(t, st)
	begin := make(map[string]time.Time)
	for i := range st.Streams {
		dir := a.dir(&st.Streams[i])
		wantFiles(t, dir, 2)
		begin[dir] = firstStart(t, dir)
	}
	testprog.Until(t, "all that was due to have come", func() error { return a.punctual(t, st, begin) })

	a.most = 0 // of what begins at once, not all find company
	a.write(t, crowdOf(server, gone))
	code, stdout, stderr := a.ask(t, "reload")
	if code != 0 || stdout != fmt.Sprintf("streams: 0 added, 0 changed, 2 removed, %d go on\n", 2*pairs-2) || stderr != "" {
		t.Errorf("reload: code %d\n%s%s", code, stdout, stderr)
	}
	// By then the sessions are over that had a connection in common with the two.
	st = a.awaitEach(t, 2*pairs-2, received(6*perSession))
	wantUnharmed(t, st)
	if strings.Contains(a.Stderr.String(), "no data for") {
		t.Error("there was a gap")
	}
	t.Logf("%d streams had %d connections at most", 2*pairs, a.most)
	if a.most == 0 || a.most >= 2*pairs {
		t.Errorf("%d connections for %d streams", a.most, 2*pairs)
	}

	before := make(map[string]uint64)
	for i := range st.Streams {
		before[a.dir(&st.Streams[i])] = st.Streams[i].Received
	}
	owampd.SignalGroup(syscall.SIGKILL)
	owampd.ExitCode(t)
	startReference(t, reference, server, data)
	st = a.awaitEach(t, 2*pairs-2, func(s *streamStatus, at time.Time) error {
		if s.State != "running" || s.Gaps["control_lost"] == 0 {
			return errors.New("not back")
		}
		return received(before[a.dir(s)]+2*perSession)(s, at)
	})
	for i := range st.Streams {
		a.wantOneGap(t, &st.Streams[i])
	}
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{"periodic0", "poisson3", gone} {
		for _, direction := range []agentfile.Direction{agentfile.Receive, agentfile.Send} {
			least := 6
			if name == gone {
				least = 2
			}
			wantReadable(t, reference, a.dir(&streamStatus{Name: name, Direction: direction}), least)
		}
	}
}

// crowdOf returns the file of the streams with the server at an address, without
// those of one name.
func crowdOf(server, without string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "host: here\nmetrics: 127.0.0.1:0\ndefaults: {packets: %d, interval: %v, timeout: 2s, direction: both, dir: files}\nstreams:\n", perSession, interval)
	for i := range pairs {
		schedule := "periodic"
		if i%4 == 3 {
			schedule = "poisson"
		}
		if name := fmt.Sprint(schedule, i); name != without {
			fmt.Fprintf(&b, "  - {name: %s, peer: %q, schedule: %s}\n", name, server, schedule)
		}
	}
	return b.String()
}

// A client is an agent all of whose streams have the same server.
type client struct {
	*owagent
	server string
	most   int // connections with it that were seen at once
}

// received says that a stream has so many packets.
func received(least uint64) func(*streamStatus, time.Time) error {
	return func(s *streamStatus, _ time.Time) error {
		if s.Received < least {
			return fmt.Errorf("%d packets received, want %d", s.Received, least)
		}
		return nil
	}
}

// awaitEach waits until each of n streams of the agent is ok at the time that it
// is told, and counts connections meanwhile.
func (a *client) awaitEach(t *testing.T, n int, ok func(s *streamStatus, at time.Time) error) (st *status) {
	t.Helper()
	testprog.Until(t, fmt.Sprintf("%d streams", n), func() error {
		a.most = max(a.most, connections(t, a.server))
		at := time.Now()
		st = a.status(t)
		if len(st.Streams) != n {
			return fmt.Errorf("there are %d", len(st.Streams))
		}
		for i := range st.Streams {
			s := &st.Streams[i]
			if err := ok(s, at); err != nil {
				return fmt.Errorf("stream %s %s, %s: %w", s.Name, s.Direction, s.State, err)
			}
		}
		return nil
	})
	return st
}

// dir returns where the files of a stream are.
func (a *client) dir(s *streamStatus) string {
	return filepath.Join(filepath.Dir(a.config), "files", s.Name, string(s.Direction))
}

// wantUnharmed says that all streams have measured all the time, and that all
// packets came.
func wantUnharmed(t *testing.T, st *status) {
	t.Helper()
	for _, s := range st.Streams {
		if len(s.Gaps) != 0 || s.Completeness == nil || *s.Completeness != 1 || s.Lost+s.NotSent+s.NotCovered+s.Duplicates != 0 {
			t.Errorf("stream %s %s: %+v, want no gap and no loss", s.Name, s.Direction, s)
		}
	}
}

// firstStart returns when the first session begins that there are files of.
func firstStart(t *testing.T, dir string) time.Time {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.owp"))
	if err != nil || len(names) == 0 {
		t.Fatalf("files in %s: %v, %v", dir, names, err)
	}
	var start uint64
	if _, err := fmt.Sscanf(filepath.Base(names[0]), "%d_", &start); err != nil {
		t.Fatal(err)
	}
	return owamp.Timestamp(start).Time()
}

// punctual says that all that was due a second ago has been received, of streams
// whose first sessions begin then. What the peer has received is fetched when its
// session is over, with the time-out and the sessions of the same connection.
// When packets are due is known without the session ID if they are periodic.
func (a *client) punctual(t *testing.T, st *status, begin map[string]time.Time) error {
	t.Helper()
	now := time.Now()
	body := testprog.Scrape(t, a.metrics)
	for i := range st.Streams {
		s := &st.Streams[i]
		if !strings.HasPrefix(s.Name, "periodic") {
			continue
		}
		late, labels := time.Second, `destination="here",direction="to",source="127.0.0.1"`
		if s.Direction == agentfile.Send {
			late += perSession*interval + 5*time.Second
			labels = `destination="127.0.0.1",direction="from",source="here"`
		}
		_, count, _ := strings.Cut(body, fmt.Sprintf("owamp_one_way_delay_seconds_count{%s,stream=%q} ", labels, s.Name))
		count, _, _ = strings.Cut(count, "\n")
		received, err := strconv.ParseUint(count, 10, 32)
		if err != nil {
			return fmt.Errorf("stream %s %s among the metrics: %w", s.Name, s.Direction, err)
		}
		if due := (now.Sub(begin[a.dir(s)]) - late) / interval; time.Duration(received) < due {
			return fmt.Errorf("stream %s %s: %d packets received, %d were due %v ago", s.Name, s.Direction, received, due, late)
		}
	}
	return nil
}

// wantOneGap says that a stream has told of the loss of its server, and that it
// has lost nothing beside.
func (a *client) wantOneGap(t *testing.T, s *streamStatus) {
	t.Helper()
	if len(s.Gaps) != 1 || s.Gaps["control_lost"] > 30 || s.Lost+s.NotSent != 0 {
		t.Errorf("%s %s: gaps %v, lost %d, not sent %d, want one gap, of control_lost", s.Name, s.Direction, s.Gaps, s.Lost, s.NotSent)
	}
	told := fmt.Sprintf(`(?m)no data for [0-9.]+ s from \S+: control_lost.* stream=%s direction=%s$`, s.Name, s.Direction)
	if !regexp.MustCompile(told).MatchString(a.Stderr.String()) {
		t.Errorf("%s %s: its gap is not in the log", s.Name, s.Direction)
	}
}

// nameless takes out of a summary what depends on who resolves names of hosts.
func nameless(text []byte) string {
	return regexp.MustCompile(`(?m)^(FROM_HOST|TO_HOST)\t.*$`).ReplaceAllString(string(text), "$1")
}

// wantReadable says that the sessions in dir are to the C suite's owstats what
// their summaries say, and that all packets came: least of them are whole, and
// the others what the server's end, a reload and the agent's end have left.
func wantReadable(t *testing.T, reference, dir string, least int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.owp"))
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for _, name := range names {
		cmd := exec.CommandContext(t.Context(), filepath.Join(reference, "owstats"), "-M", "-b", "0.0001", name)
		want, err := cmd.Output()
		if err != nil {
			t.Errorf("%v: %v", cmd, err)
			continue
		}
		got, err := os.ReadFile(strings.TrimSuffix(name, "owp") + "sum")
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(nameless(want), nameless(got)); d != "" {
			t.Errorf("summary of %s (-owstats +owagent):\n%s", name, d)
		}
		if !strings.Contains(string(want), "\nLOST\t0\n") || !strings.Contains(string(want), "\nDUPS\t0\n") {
			t.Errorf("%s: want no packet lost and none twice:\n%s", name, want)
		}
		if strings.Contains(string(want), fmt.Sprintf("\nSENT\t%d\n", perSession)) {
			whole++
		}
	}
	if whole < least || whole < len(names)-3 {
		t.Errorf("%s: %d of %d sessions have all packets, want %d or more, and at most 3 others", dir, whole, len(names), least)
	}
}

// startReference starts the C suite's owampd, and waits until it answers.
func startReference(t *testing.T, reference, at, data string) *testprog.Process {
	t.Helper()
	conf := t.TempDir()
	for _, name := range []string{"owamp-server.conf", "owamp-server.pfs"} {
		if err := os.WriteFile(filepath.Join(conf, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := testprog.Start(t, exec.Command(filepath.Join(reference, "owampd"), "-Z", "-f", "-a", "O", "-c", conf, "-d", data, "-R", conf, "-S", at))
	testprog.Until(t, "owampd's greeting", func() error {
		select {
		case <-p.Ended():
			t.Fatalf("%v: %s", p.Cmd, p.Stderr)
		default:
		}
		c, err := net.DialTimeout("tcp", at, time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(testprog.Patience)); err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, owamp.ServerGreetingSize))
		return err
	})
	return p
}

// freeAddr returns an address of this host that nobody listens at.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// connections returns how many connections to a server this host has.
func connections(t *testing.T, server string) int {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const established = "01"
	n := 0
	port := fmt.Sprintf(":%04X", netip.MustParseAddrPort(server).Port())
	for line := range strings.Lines(string(table)) {
		// sl local_address rem_address st …
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[2], port) && f[3] == established {
			n++
		}
	}
	return n
}
