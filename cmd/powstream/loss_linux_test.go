package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"owl/internal/netlab"
	"owl/internal/testprog"
	"owl/owamp/owp"
)

// On a path that loses packets, the log tells of each lost packet that the files
// have, in either direction, and that this host dropped none.
func TestLossesAreTold(t *testing.T) {
	owampd := testprog.Build(t, "owl/cmd/owampd")
	for name, option := range map[string]string{"from the server": "", "to the server": "-t"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := netlab.Path{Delay: 2 * time.Millisecond, Bursts: netlab.Bursts{Begin: 0.03, Mean: 3}}
			here, there, _ := netlab.NewWire(t, 11, path)
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "owamp-server.conf"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			server := testprog.StartIn(t, there, exec.Command(owampd, "-Z", "-f", "-c", dir, "-d", dir, "-R", dir, "-S", there.Addr4.String()+":8610"))
			server.AwaitText(t, server.Stderr, "listening", 1)

			args := short
			if option != "" {
				args = append([]string{option}, args...)
			}
			cmd, files := newCommand(t, append(args, there.Addr4.String()+":8610")...)
			p := testprog.StartIn(t, here, cmd)
			p.Await(t, p.Stdout, "three sessions", func(text string) bool { return strings.Count(text, ".owp\n") >= 3 })
			p.AwaitText(t, p.Stderr, "lost ", 1)
			if code := p.Terminate(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if told, lost := toldLost(t, p.Stderr.String()), filedLost(t, files); told != lost || lost == 0 {
				t.Errorf("told of %d lost packets, files have %d:\n%s", told, lost, p.Stderr)
			}
		})
	}
}

// A lossLine is what powstream says of losses, here where nothing but a busy host
// can stand beside the network.
var lossLine = regexp.MustCompile(`^powstream\[\d+\]: lost (\d+) packets? (?:\(seq \d+(?:-\d+)?\) at \S+Z|in \d+ bursts from \S+Z to \S+Z): (?:\d+ perhaps in this host, \d+ in the network|perhaps in this host|in the network)(?:; [^;]+)*$`)

// toldLost returns of how many lost packets a log tells.
func toldLost(t *testing.T, log string) (told int) {
	t.Helper()
	for line := range strings.Lines(log) {
		if !strings.Contains(line, ": lost ") {
			continue
		}
		m := lossLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Errorf("%q, want it to match %v", line, lossLine)
			continue
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		told += n
	}
	return told
}

// filedLost returns how many packets the files in a directory have as lost.
func filedLost(t *testing.T, dir string) (lost int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.owp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		r, err := owp.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for rec, err := range r.Records() {
			if err != nil {
				t.Fatal(err)
			}
			if rec.Lost() {
				lost++
			}
		}
	}
	return lost
}
