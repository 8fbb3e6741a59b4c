package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testprog"
)

// A toolResult is what pScheduler's tool powstream makes of a session. Packets
// that came twice count twice.
type toolResult struct {
	Schema     int            `json:"schema"`
	Succeeded  bool           `json:"succeeded"`
	Sent       int            `json:"packets-sent"`
	Received   int            `json:"packets-received"`
	Duplicated int            `json:"packets-duplicated"`
	Reordered  int            `json:"packets-reordered"`
	Latency    map[string]int `json:"histogram-latency"`
	TTL        map[string]int `json:"histogram-ttl"`
	MaxError   *float64       `json:"max-clock-error,omitempty"` // ms
	Lost       int            `json:"packets-lost"`
}

// toolLine is what the tool takes for a line of owstats -R; it passes over all
// others: sequence number; time, synchronized and error of sender and receiver;
// TTL.
var toolLine = regexp.MustCompile(`^(\d+) (\d+) (\d) ([-.0-9e+]*) (\d+) (\d) ([-.0-9e+]*) (\d+)$`)

// parseTool reads what owstats -R prints as the tool does.
func parseTool(text string, width float64) (toolResult, error) {
	r := toolResult{Schema: 1, Succeeded: true, Latency: map[string]int{}, TTL: map[string]int{}}
	last := uint64(0)
	for line := range strings.Lines(text) {
		f := toolLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if f == nil {
			continue
		}
		r.Sent++
		var n [3]uint64
		for i, s := range []string{f[1], f[2], f[5]} {
			var err error
			if n[i], err = strconv.ParseUint(s, 10, 64); err != nil {
				return r, err
			}
		}
		seq, sent, recv := n[0], n[1], n[2]
		if recv == 0 {
			r.Lost++
			continue
		}
		r.Received++
		if seq < last {
			r.Reordered++
		}
		last = seq
		delay := float64(recv)/(1<<32) - float64(sent)/(1<<32)
		r.Latency[strings.Replace(fmt.Sprintf("%.2f", delay/width), "-0.00", "0.00", 1)]++
		r.TTL[f[8]]++
		if f[4] != "" && f[7] != "" {
			a, err := strconv.ParseFloat(f[4], 64)
			if err != nil {
				return r, err
			}
			b, err := strconv.ParseFloat(f[7], 64)
			if err != nil {
				return r, err
			}
			ms, _ := strconv.ParseFloat(fmt.Sprintf("%.2f", (a+b)*1000), 64)
			if r.MaxError == nil || ms > *r.MaxError {
				r.MaxError = &ms
			}
		}
	}
	return r, nil
}

// readJSON reads a file in testdata/pscheduler. They are what the real tool was
// given, has run and has answered.
func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "pscheduler", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

// TestPSchedulerParse holds parseTool against the real tool.
func TestPSchedulerParse(t *testing.T) {
	var cases []struct {
		Case, Input string
		Result      toolResult
	}
	readJSON(t, "owstats-parse.json", &cases)
	for _, c := range cases {
		width := 0.001
		if s, ok := strings.CutPrefix(c.Case, "bucket-width "); ok {
			var err error
			if width, err = strconv.ParseFloat(s, 64); err != nil {
				t.Fatal(err)
			}
		}
		got, err := parseTool(c.Input, width)
		if err != nil {
			t.Errorf("%s: %v", c.Case, err)
		}
		if d := cmp.Diff(c.Result, got); d != "" {
			t.Errorf("%s (-tool +this):\n%s", c.Case, d)
		}
	}
}

// A tool runs a powstream as pScheduler's does: it takes each line of the
// standard output for a path, has owstats read an .owp at once, and deletes what
// it was told of.
type tool struct {
	*testprog.Process
	name    string   // of the command line
	args    []string // of powstream
	ipv6    bool
	dir     string
	owstats suite

	done    sync.WaitGroup
	mu      sync.Mutex
	changed *sync.Cond
	lines   []string
	results []toolResult
	errs    []error
}

// runTool starts powstream with a command line of the real tool, against v, on
// either IP version of loopback.
func runTool(t *testing.T, powstream, owstats suite, name string, v *server, ipv6 bool) *tool {
	t.Helper()
	x := &tool{name: name, ipv6: ipv6, dir: t.TempDir(), owstats: owstats}
	x.changed = sync.NewCond(&x.mu)
	var argv []string
	readJSON(t, name+".json", &argv)
	for _, a := range argv[1:] {
		host := regexp.MustCompile(`^\[(.*)\]:861$`).FindStringSubmatch(a)
		switch {
		case a == "SCRATCH":
			a = x.dir
		case host != nil && ipv6:
			a = fmt.Sprintf("[::1]:%d", v.port)
		case host != nil:
			a = fmt.Sprintf("[%s]:%d", host[1], v.port)
		}
		x.args = append(x.args, a)
	}
	if ipv6 {
		x.args = slices.DeleteFunc(x.args, func(a string) bool { return a == "-4" })
		if i := slices.Index(x.args, "-S"); i >= 0 {
			x.args[i+1] = "::1"
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := powstream.command("powstream", x.args...)
	cmd.Stdout = w
	x.Process = testprog.Start(t, cmd)
	w.Close()
	x.done.Go(func() {
		defer r.Close()
		for s := bufio.NewScanner(r); s.Scan(); {
			x.take(s.Text())
		}
	})
	t.Cleanup(x.done.Wait)
	return x
}

func (x *tool) String() string {
	if x.ipv6 {
		return x.name + " IPv6"
	}
	return x.name + " IPv4"
}

// take deals with one line.
func (x *tool) take(line string) {
	var result toolResult
	var err error
	isSession := strings.HasSuffix(line, ".owp")
	if isSession {
		var text []byte
		if text, err = x.owstats.command("owstats", "-R", line).Output(); err == nil {
			result, err = parseTool(string(text), 0.001)
		}
	}
	if gone := os.Remove(line); err == nil {
		err = gone
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lines = append(x.lines, line)
	if err != nil {
		x.errs = append(x.errs, fmt.Errorf("line %q: %w", line, err))
	} else if isSession {
		x.results = append(x.results, result)
	}
	x.changed.Broadcast()
}

// await waits for n results.
func (x *tool) await(t *testing.T, n int) {
	t.Helper()
	late := time.AfterFunc(patience, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.errs = append(x.errs, fmt.Errorf("%d results after %v, want %d", len(x.results), patience, n))
		x.changed.Broadcast()
	})
	defer late.Stop()
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.results) < n && len(x.errs) == 0 {
		x.changed.Wait()
	}
}

// check checks what the tool has got when powstream has ended.
func (x *tool) check(t *testing.T, whole, packets int) {
	if code := x.ExitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	x.done.Wait()
	for _, err := range x.errs {
		t.Error(err)
	}
	if len(x.results) < max(whole, 1) {
		t.Fatalf("%d results, want %d at least", len(x.results), max(whole, 1))
	}
	for i, r := range x.results {
		if r.Sent == 0 || i < whole && r.Sent != packets {
			t.Errorf("result %d: %d packets sent", i, r.Sent)
		}
		if r.Received != r.Sent || r.Lost != 0 || r.Reordered != 0 || r.MaxError == nil || r.TTL["255"] != r.Received {
			t.Errorf("result %d: %+v, want each packet that was sent over loopback", i, r)
		}
		n := 0
		for _, count := range r.Latency {
			n += count
		}
		if n != r.Received {
			t.Errorf("result %d: %d delays of %d packets", i, n, r.Received)
		}
	}
	for i := 0; i < len(x.lines); i += 2 {
		owp := x.lines[i]
		if !strings.HasSuffix(owp, ".owp") || i+1 == len(x.lines) || x.lines[i+1] != strings.TrimSuffix(owp, "owp")+"sum" {
			t.Errorf("lines %q: want an .owp each, and then its .sum", x.lines)
			break
		}
	}
	left, err := os.ReadDir(x.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != ".powlock" {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// runTools runs every command line of the tool against v, as a task of
// pScheduler does: until a whole session was told of, and then to its end by
// SIGTERM, half a second before SIGKILL.
func runTools(t *testing.T, powstream, owstats suite, v *server) {
	var all []*tool
	for _, ipv6 := range []bool{false, true} {
		for _, name := range []string{"forward", "flip-raw", "one-write"} {
			all = append(all, runTool(t, powstream, owstats, name, v, ipv6))
		}
	}
	// Of these a session lasts 10 s, of the others a minute.
	for _, x := range all {
		if x.name == "flip-raw" {
			x.await(t, 1)
		}
	}
	for _, x := range all {
		begin := time.Now()
		x.Signal(syscall.SIGTERM)
		x.ExitCode(t)
		t.Logf("%v: ended %v after SIGTERM", x, time.Since(begin).Round(time.Millisecond))
	}
	for _, x := range all {
		t.Run(x.String(), func(t *testing.T) {
			whole := 0
			if x.name == "flip-raw" {
				whole = 1
			}
			x.check(t, whole, 10)
		})
	}
}

// TestPScheduler runs powstream and owstats as pScheduler does, in both directions.
func TestPScheduler(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes half a minute")
	}
	t.Parallel()
	own := owl(t)
	runTools(t, own, own, own.serve(t, 0))
}

// TestInteropPScheduler does so against the reference's owampd.
func TestInteropPScheduler(t *testing.T) {
	t.Parallel()
	c, own := reference(t), owl(t)
	runTools(t, own, own, c.serve(t, 0))
}
