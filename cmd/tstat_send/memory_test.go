package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// grown makes the golden TCP log of a place as large as can be told by its size.
func (p *place) grown(t *testing.T, size int) {
	t.Helper()
	path := filepath.Join(p.dir, "w", long, "log_tcp_complete")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rows, _ := bytes.Cut(text, []byte{'\n'})
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows = bytes.Repeat(rows, 1+1<<20/len(rows))
	for ; size > 0; size -= len(rows) {
		if _, err := f.Write(rows); err != nil {
			t.Fatal(err)
		}
	}
}

// tellsPeak is what [asProgram] is for a process that says at its end how much
// memory it has taken: what the system tells of it afterwards has the memory of
// the test in it that it was forked from.
const tellsPeak = "peak"

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

func runTellingPeak() int {
	code := run(context.Background(), os.Args, os.LookupEnv, io.Discard, io.Discard)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return failure
	}
	fmt.Fprintln(os.Stderr, string(peak.Find(status)))
	return code
}

// memory returns how much the program takes for a log of some size, in octets.
func memory(t *testing.T, size int) int {
	t.Helper()
	p := newPlace(t, ini(), long)
	p.grown(t, size)
	process := p.start(t, "-d w -c c.ini -T 0 -N", asProgram+"="+tellsPeak)
	if code := process.ExitCode(t); code != ok {
		t.Fatalf("exit code %d", code)
	}
	told := peak.FindStringSubmatch(process.Stderr.String())
	if told == nil {
		t.Fatal("the process does not say what it has taken")
	}
	kilobytes, err := strconv.Atoi(told[1])
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// A log is not in memory, and neither is what is made of it, which is three
// times as much.
func TestMemory(t *testing.T) {
	t.Parallel()
	small, large := 2<<20, 10<<20
	if !testing.Short() {
		large = 200 << 20
	}
	before, after := memory(t, small), memory(t, large)
	t.Logf("%d MiB of a log: %d MiB; %d MiB: %d MiB", small>>20, before>>20, large>>20, after>>20)
	if after-before > 16<<20 {
		t.Errorf("%d octets of a log take %d more octets than %d", large, after-before, small)
	}
}
