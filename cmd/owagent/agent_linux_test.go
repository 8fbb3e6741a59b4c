package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"owl/internal/testprog"
)

// An owagent is an agent that runs, with a file that the test writes.
type owagent struct {
	*testprog.Process
	config, socket string
	server         string // where its server half listens
	metrics        string // where its metrics are
}

// start starts an agent whose file is text, and waits until it measures.
func start(t *testing.T, text string) *owagent {
	t.Helper()
	dir := t.TempDir()
	a := &owagent{config: filepath.Join(dir, "owagent.yaml"), socket: filepath.Join(dir, "run", "agent.sock")}
	a.write(t, text)
	a.Process = a.again(t)
	log := a.Await(t, a.Stderr, "the agent to measure", func(text string) bool {
		return strings.Contains(text, "owagent status asks at")
	})
	if m := regexp.MustCompile(`server: listening on (\S+)`).FindStringSubmatch(log); m != nil {
		a.server = m[1]
	}
	if m := regexp.MustCompile(`metrics are at (\S+)`).FindStringSubmatch(log); m != nil {
		a.metrics = m[1]
	}
	return a
}

// again starts an agent with the file and the socket of a.
func (a *owagent) again(t *testing.T) *testprog.Process {
	t.Helper()
	cmd := exec.Command("owagent", "run", "--config", a.config, "--socket", a.socket)
	cmd.Dir = filepath.Dir(a.config)
	cmd.Env = append(os.Environ(), "OWL_NUMERIC=1")
	return testprog.Start(t, cmd)
}

func (a *owagent) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(a.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// ask runs a command that asks the agent.
func (a *owagent) ask(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := testprog.Start(t, exec.Command("owagent", append(args, "--socket", a.socket)...))
	code = p.ExitCode(t)
	return code, p.Stdout.String(), p.Stderr.String()
}

// status asks the agent what it does.
func (a *owagent) status(t *testing.T) *status {
	t.Helper()
	var text bytes.Buffer
	if err := askStatus(t.Context(), a.socket, "", true, &text); err != nil {
		t.Fatal(err)
	}
	st := new(status)
	if err := json.Unmarshal(text.Bytes(), st); err != nil {
		t.Fatalf("%v\n%s", err, &text)
	}
	return st
}

// awaitReceived waits until all n streams of the agent have received so many
// packets.
func (a *owagent) awaitReceived(t *testing.T, n int, packets uint64) (st *status) {
	t.Helper()
	testprog.Until(t, fmt.Sprintf("%d streams with %d packets each", n, packets), func() error {
		st = a.status(t)
		if len(st.Streams) != n {
			return fmt.Errorf("%d streams", len(st.Streams))
		}
		for _, s := range st.Streams {
			if s.Received < packets {
				return fmt.Errorf("stream %s %s has %d, is %s", s.Name, s.Direction, s.Received, s.State)
			}
		}
		return nil
	})
	return st
}

// awaitFiles waits until at least so many files match pattern, and returns them.
// A session counts before it has its files.
func awaitFiles(t *testing.T, pattern string, least int) (names []string) {
	t.Helper()
	testprog.Until(t, fmt.Sprintf("%d files %s", least, pattern), func() (err error) {
		if names, err = filepath.Glob(pattern); len(names) < least {
			err = cmp.Or(err, fmt.Errorf("there are %d", len(names)))
		}
		return err
	})
	return names
}

// wantFiles waits until the first n files of sessions are in dir, each of which
// begins where the one before it ends. One may be there before those of the
// session before it, and an end of the agent may cut some short, so it comes
// after this.
func wantFiles(t *testing.T, dir string, n int) {
	t.Helper()
	testprog.Until(t, fmt.Sprintf("%d sessions in %s", n, dir), func() error {
		end := ""
		for _, name := range awaitFiles(t, filepath.Join(dir, "*.owp"), n)[:n] {
			from, to, _ := strings.Cut(strings.TrimSuffix(filepath.Base(name), ".owp"), "_")
			if end != "" && from != end {
				return fmt.Errorf("%s begins at %s, want %s, where the session before ends", name, from, end)
			}
			end = to
		}
		return nil
	})
}

// The server half of an agent, and streams of a second or so.
const (
	serverHalf = `
host: here
metrics: 127.0.0.1:0
server: {listen: "127.0.0.1:0", data: received}
`
	short = `
defaults: {packets: 20, interval: 50ms, timeout: 500ms}
`
)

// TestTwenty: twenty streams of one file, in both directions, one owampd; each
// measures, is among the metrics, with its labels, and has its files if it wants
// any; the streams share their ports.
func TestTwenty(t *testing.T) {
	peer := start(t, serverHalf)
	var file strings.Builder
	file.WriteString("host: here\nmetrics: 127.0.0.1:0\n" + short + "streams:\n")
	for i := range 10 {
		fmt.Fprintf(&file, "  - {name: s%d, peer: %q, direction: both, labels: {index: \"%d\"}", i, peer.server, i)
		if i == 0 {
			file.WriteString(", dir: files, part: 10")
		}
		file.WriteString("}\n")
	}
	a := start(t, file.String())
	st := a.awaitReceived(t, 20, 60)
	for _, s := range st.Streams {
		if s.Lost+s.NotCovered != 0 || s.DelayMedian == nil || *s.DelayMin > *s.DelayMedian || *s.DelayMedian > *s.DelayP95 || len(s.Gaps) != 0 {
			t.Errorf("%+v, want nothing lost, and delays", s)
		}
	}
	if st.Host != "here" || st.Rate != 400 || st.Budget != 10_000 || st.PID != a.Cmd.Process.Pid {
		t.Errorf("status of %s, process %d: %v packets/s of %d", st.Host, st.PID, st.Rate, st.Budget)
	}
	code, text, stderr := a.ask(t, "status")
	if lines := strings.Count(text, "\n"); code != 0 || lines != 25 || stderr != "" {
		t.Errorf("status: code %d, %d lines, want a line for each stream and 5 before them\n%s%s", code, lines, text, stderr)
	}
	if info, err := os.Stat(a.socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v; want it for this user alone", info.Mode(), err)
	}
	for _, direction := range []string{"receive", "send"} {
		wantFiles(t, filepath.Join(filepath.Dir(a.config), "files/s0", direction), 3)
	}
	awaitFiles(t, filepath.Join(filepath.Dir(a.config), "files/s0/receive/*.sum"), 9) // those of parts, too
	body := testprog.Scrape(t, a.metrics)
	for i := range 10 {
		labels := `destination="here",direction="to",source="127.0.0.1",stream="s%[1]d"`
		for _, want := range []string{
			`owamp_one_way_delay_seconds_count{` + labels + `} `,
			`owamp_stream_info{destination="here",direction="to",index="%[1]d",source="127.0.0.1",stream="s%[1]d"} 1`,
		} {
			if want = fmt.Sprintf(want, i); !strings.Contains(body, want) {
				t.Errorf("no %s among the metrics", want)
			}
		}
	}
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(a.socket); err == nil {
		t.Error("the socket is left")
	}
	if code := peer.Terminate(t); code != 0 {
		t.Errorf("exit code of the server %d", code)
	}
	testprog.Promtool(t, body)
}

// TestReload: a stream that a new file has, too, goes on without a gap; others
// end, begin and begin anew.
func TestReload(t *testing.T) {
	peer := start(t, serverHalf)
	const file = short + `
streams:
  - {name: stays, peer: %[1]q, dir: files}
  - {name: sends, peer: %[1]q, dir: files, direction: send}
`
	a := start(t, fmt.Sprintf(file+`
  - {name: changes, peer: %[1]q, dir: files}
  - {name: goes, peer: %[1]q}
`, peer.server))
	before := a.awaitReceived(t, 4, 40)

	a.write(t, fmt.Sprintf(file+`
  - {name: changes, peer: %[1]q, dir: files, interval: 60ms}
  - {name: comes, peer: %[1]q}
  - {name: comes back, peer: %[1]q}
`, peer.server))
	code, stdout, stderr := a.ask(t, "reload")
	if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "owagent: not reloaded, what was in force stays\nowagent: "+a.config+":10: name: ") {
		t.Errorf("a file with an error: code %d\n%s%s", code, stdout, stderr)
	}

	a.write(t, fmt.Sprintf("engine: {pacing: economy}\n"+file+`
  - {name: changes, peer: %[1]q, dir: files, interval: 60ms}
  - {name: comes, peer: %[1]q}
`, peer.server))
	code, stdout, stderr = a.ask(t, "reload")
	if code != 0 || stdout != "streams: 1 added, 1 changed, 1 removed, 2 go on\nengine: restart owagent for its changes to take effect\n" || stderr != "" {
		t.Errorf("reload: code %d\n%s%s", code, stdout, stderr)
	}
	after := a.status(t)
	for i, name := range []string{"stays", "sends"} {
		if s := after.Streams[i]; s.Name != name || s.Received < before.Streams[i].Received {
			t.Errorf("stream %d: %s with %d packets, want %s with %d or more", i, s.Name, s.Received, name, before.Streams[i].Received)
		}
	}
	a.awaitReceived(t, 4, 100)

	a.Signal(syscall.SIGHUP)
	a.AwaitText(t, a.Stderr, "streams: 0 added, 0 changed, 0 removed, 4 go on", 1)
	for _, dir := range []string{"stays/receive", "sends/send"} {
		wantFiles(t, filepath.Join(filepath.Dir(a.config), "files", dir), 8) // from before to behind both reloads
	}
	// A stream that ends may have one: its sessions stop one after the other.
	if gap := regexp.MustCompile(`no data for .* stream=(stays|sends|comes) .*`).FindString(a.Stderr.String()); gap != "" {
		t.Error(gap)
	}
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestSealed: pass-phrases are read from files, and the server half's and the
// streams' are changed together without a restart; what is secret is shown
// nowhere.
func TestSealed(t *testing.T) {
	dir := t.TempDir()
	pfs := filepath.Join(dir, "keys.pfs")
	const secret, other = "736563726574", "6f74686572"
	write := func(key string) {
		if err := os.WriteFile(pfs, []byte("me "+key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secret)
	peer := start(t, fmt.Sprintf(`
server: {listen: "127.0.0.1:0", data: received, modes: AE, passphrases: %q}
`, pfs))
	a := start(t, fmt.Sprintf(short+`
metrics: 127.0.0.1:0
streams:
  - {name: authenticated, peer: %[1]q, user: me, key_file: %[2]q, modes: A}
  - {name: encrypted, peer: %[1]q, user: me, key_file: %[2]q, direction: send}
  - {name: open, peer: %[1]q}
`, peer.server, pfs))
	a.Await(t, a.Stderr, "the open stream to be refused", func(text string) bool {
		return strings.Contains(text, "stream=open")
	})
	testprog.Until(t, "packets of the others", func() error {
		st := a.status(t)
		if st.Streams[0].Received < 20 || st.Streams[1].Received < 20 || st.Streams[2].Received != 0 {
			return fmt.Errorf("%+v", st.Streams)
		}
		return nil
	})
	shown := a.rotate(t, peer, func() { write(other) })
	for _, s := range []string{secret, other, "secret"} {
		if strings.Contains(shown, s) {
			t.Errorf("%q is shown", s)
		}
	}
	if resp, err := http.Get(strings.TrimSuffix(a.metrics, "metrics") + "status"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("the socket's answers over TCP: %v, %v", resp, err)
	}
}

// rotate has a and its peer read other pass-phrases, which write has written,
// awaits sessions with them, and returns all that is to be seen of both. Sessions
// are set up some ten seconds ahead, so that is not waited for in short.
func (a *owagent) rotate(t *testing.T, peer *owagent, write func()) (shown string) {
	t.Helper()
	write()
	for _, p := range []*owagent{peer, a} {
		if code, stdout, stderr := p.ask(t, "reload"); code != 0 {
			t.Errorf("reload: code %d\n%s%s", code, stdout, stderr)
		}
	}
	had := a.status(t).Streams[0].Received
	if !testing.Short() {
		testprog.Until(t, "packets of sessions with the other pass-phrase", func() error {
			if now := a.status(t).Streams[0].Received; now < had+300 {
				return fmt.Errorf("%d received, %d before", now, had)
			}
			return nil
		})
	}
	_, shown, _ = a.ask(t, "status", "--json")
	return shown + testprog.Scrape(t, a.metrics) + a.Stderr.String() + peer.Stderr.String()
}

// TestSecondAgent: a socket is one agent's; one that a killed agent has left
// makes room for the next.
func TestSecondAgent(t *testing.T) {
	a := start(t, serverHalf)
	second := a.again(t)
	if code := second.ExitCode(t); code != 1 || !strings.Contains(second.Stderr.String(), "another owagent answers there") {
		t.Errorf("a second agent: code %d\n%s", code, second.Stderr)
	}
	a.Signal(syscall.SIGKILL)
	a.ExitCode(t)
	third := a.again(t)
	third.AwaitText(t, third.Stderr, "owagent status asks at", 1)
	if code := third.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
