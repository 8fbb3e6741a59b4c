package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"owl/cmd/internal/archiving/archivingtest"
	"owl/internal/testprog"
	"owl/owamp/owp"
)

// TestMain lets the test binary be owagent.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"owagent": main})
}

// TestScripts runs testdata/script: what owagent says when it does nothing.
func TestScripts(t *testing.T) {
	testscript.Run(t, testprog.Scripts("testdata/script"))
}

// startDemo starts a demo whose files go away with the test.
func startDemo(t *testing.T, env ...string) (p *testprog.Process, tmp string) {
	t.Helper()
	cmd := exec.Command("owagent", "demo")
	tmp = t.TempDir()
	cmd.Env = slices.Concat(os.Environ(), []string{"TMPDIR=" + tmp}, env)
	return testprog.Start(t, cmd), tmp
}

// A line of the table: time, stream, three delays, packets, …
var row = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\s.*127\.0\.0\.1`)

// TestDemo: the demo shows real packets, serves metrics while it runs, ends by
// itself, and leaves files that can be read.
func TestDemo(t *testing.T) {
	p, tmp := startDemo(t, "DEMO_SECONDS=4")
	text := p.Await(t, p.Stdout, "a line of the table", row.MatchString)
	url := regexp.MustCompile(`metrics +(http://\S+/metrics)\n`).FindStringSubmatch(text)[1]
	dir := regexp.MustCompile(`files +(\S+) `).FindStringSubmatch(text)[1]
	if filepath.Dir(dir) != tmp {
		t.Errorf("files in %s, want them below %s", dir, tmp)
	}
	labels := `destination="127.0.0.1",direction="to",source="127.0.0.2",stream="there-here"`
	testprog.Until(t, "the delay of a packet among the metrics", func() error {
		received := "owamp_one_way_delay_seconds_count{" + labels + "} "
		if body := testprog.Scrape(t, url); !strings.Contains(body, received) || strings.Contains(body, received+"0\n") {
			return fmt.Errorf("no %s above 0 in\n%s", received, body)
		}
		return nil
	})
	if code := p.ExitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if s := p.Stderr.String(); s != "" {
		t.Errorf("stderr: %q", s)
	}
	text = p.Stdout.String()
	if n := len(row.FindAllString(text, -1)); n < 2 {
		t.Errorf("%d lines of the table in 4 s:\n%s", n, text)
	}
	checkFarewell(t, text, dir)
}

// checkFarewell checks that the file that the demo names last can be read.
func checkFarewell(t *testing.T, text, dir string) {
	t.Helper()
	m := regexp.MustCompile(`\n(\d+) files are in (\S+)\. Look into one with\n\n  bin/owstats (\S+\.owp)\n$`).FindStringSubmatch(text)
	if m == nil || m[2] != dir {
		t.Fatalf("the demo ends with\n%s", text)
	}
	var all []string
	for _, pattern := range []string{"*/receive/*.owp", "*/receive/*.sum"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, names...)
	}
	if m[1] != fmt.Sprint(len(all)) {
		t.Errorf("%s files, but there are %q", m[1], all)
	}
	f, err := owp.Open(m[3])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for rec, err := range f.Records() {
		if err != nil || rec.Lost() {
			t.Errorf("record %d: %+v, %v", n, rec, err)
		}
		n++
	}
	if n == 0 {
		t.Errorf("%s: no records", m[3])
	}
}

// TestDemoPage: the page is where the demo says, has both directions with what was
// measured, and shows them live; nothing of the archive is left.
func TestDemoPage(t *testing.T) {
	t.Parallel()
	p, tmp := startDemo(t)
	text := p.Await(t, p.Stdout, "a line of the table", row.MatchString)
	page := regexp.MustCompile(`page +(http://\S+/)\n`).FindStringSubmatch(text)[1]
	if body := testprog.Scrape(t, page); !strings.Contains(body, "<!doctype html>") {
		t.Errorf("the page is\n%s", body)
	}
	begun := time.Now()
	// The page keeps a grid for some seconds, so it is asked when there is one.
	for _, source := range []string{"127.0.0.1", "127.0.0.2"} {
		archivingtest.Archive{URL: strings.TrimSuffix(page, "/")}.Await(t, "source="+source, nil)
	}
	type host struct{ ID string }
	var grid struct {
		Hosts []host
		Cells []struct {
			Source, Destination int
			Sent                *uint64
			Median              *float64
		}
	}
	testprog.Until(t, "both directions in the grid", func() error {
		body := testprog.Scrape(t, page+"api/grid")
		if err := json.Unmarshal([]byte(body), &grid); err != nil {
			return err
		}
		if len(grid.Cells) != 2 {
			return fmt.Errorf("%d cells", len(grid.Cells))
		}
		for _, c := range grid.Cells {
			if c.Sent == nil || *c.Sent == 0 || c.Median == nil || *c.Median <= 0 {
				return errors.New(body)
			}
		}
		return nil
	})
	t.Logf("the grid has latencies %v after the first line of the table", time.Since(begun).Round(time.Millisecond))
	if diff := cmp.Diff([]host{{"127.0.0.1"}, {"127.0.0.2"}}, grid.Hosts); diff != "" || grid.Cells[0].Source == grid.Cells[1].Source {
		t.Errorf("%+v: %s", grid, diff)
	}
	awaitLive(t, page, "127.0.0.1", "127.0.0.2")
	p.Signal(syscall.SIGINT)
	if code := p.ExitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left, err := filepath.Glob(filepath.Join(tmp, "*", "archive*")); err != nil || len(left) > 0 {
		t.Errorf("%q are left, %v", left, err)
	}
	if s := p.Stderr.String(); s != "" {
		t.Errorf("stderr: %q", s)
	}
}

// awaitLive waits until the page has had a second with packets between two hosts,
// either way.
func awaitLive(t *testing.T, page, a, b string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testprog.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page+"api/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	seen := make(map[string]bool)
	lines := bufio.NewScanner(resp.Body)
	for (!seen[a+b] || !seen[b+a]) && lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var second struct {
			Streams []struct {
				Source, Destination string
				Received            uint64
				Median, P95, Max    *float64
			}
		}
		if err := json.Unmarshal([]byte(data), &second); err != nil {
			t.Fatal(err)
		}
		for _, s := range second.Streams {
			if s.Received > 0 && s.Median != nil && *s.Median <= *s.P95 && *s.P95 <= *s.Max {
				seen[s.Source+s.Destination] = true
			}
		}
	}
	if !seen[a+b] || !seen[b+a] {
		t.Errorf("live were only %v, %v", seen, lines.Err())
	}
}

// TestDemoInterrupted: Ctrl-C ends a demo well, also before there is anything.
func TestDemoInterrupted(t *testing.T) {
	for _, early := range []bool{true, false} {
		p, _ := startDemo(t)
		if early {
			p.AwaitText(t, p.Stdout, "Ctrl-C ends it.", 1)
		} else {
			p.Await(t, p.Stdout, "a line of the table", row.MatchString)
		}
		p.Signal(syscall.SIGINT)
		if code := p.ExitCode(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if s := p.Stderr.String(); s != "" {
			t.Errorf("stderr: %q", s)
		}
	}
}

// TestDemoNoReader: a demo that nobody looks at any more ends.
func TestDemoNoReader(t *testing.T) {
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("owagent", "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	cmd.Stdout = theirs
	p := testprog.Start(t, cmd)
	theirs.Close()
	if _, err := ours.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	if code := p.ExitCode(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if lines := p.Stderr.Lines(); len(lines) != 1 || !strings.HasSuffix(lines[0], "broken pipe") {
		t.Errorf("stderr: %q", lines)
	}
}

// TestDemoTwice: a second demo finds ports of its own.
func TestDemoTwice(t *testing.T) {
	urls := make(map[string]bool)
	for range 2 {
		p, _ := startDemo(t)
		text := p.Await(t, p.Stdout, "the address of the metrics", func(s string) bool { return strings.Contains(s, "/metrics\n") })
		url := regexp.MustCompile(`http://\S+/metrics`).FindString(text)
		testprog.Scrape(t, url)
		urls[url] = true
	}
	if len(urls) != 2 {
		t.Errorf("two demos serve metrics at %v", urls)
	}
}
