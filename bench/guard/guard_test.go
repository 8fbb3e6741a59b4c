package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// output is what benchmarks print whose times are those given, in ns, and that
// allocate so often.
func output(name string, allocs int, times ...float64) string {
	s := "goos: linux\ngoarch: amd64\npkg: owl/owamp\n"
	for _, ns := range times {
		s += fmt.Sprintf("Benchmark%s-2\t 1000\t %v ns/op\t 0 B/op\t %d allocs/op\n", name, ns, allocs)
	}
	return s + "PASS\n"
}

func readAll(t *testing.T, texts ...string) results {
	t.Helper()
	all := make(results)
	for _, text := range texts {
		if err := all.read("./owamp", strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestAllocations(t *testing.T) {
	list := []entry{{"./owamp", "BenchmarkOpen"}, {"./owamp", "BenchmarkSealer"}, {"./probe", "BenchmarkOpen"}}
	all := readAll(t, output("Open", 0, 10), output("Sealer/encrypted", 2, 10), output("Sealer/open", 0, 10), output("Opener", 7, 10))
	want := []string{
		"./owamp BenchmarkSealer/encrypted: 2 allocations an operation: want none",
		"./probe BenchmarkOpen: there is no such benchmark: want those of hotpath.txt",
	}
	if d := cmp.Diff(want, checkAllocations(list, all)); d != "" {
		t.Error(d)
	}
	bare := readAll(t, "BenchmarkOpen-2\t1000\t10 ns/op\n")
	want = []string{"./owamp BenchmarkOpen: its allocations were not counted"}
	if d := cmp.Diff(want, checkAllocations(list[:1], bare)); d != "" {
		t.Error(d)
	}
}

// Only what is slower by more than may be, and surely, is told of.
func TestSlower(t *testing.T) {
	before := readAll(t,
		output("Much", 0, 100, 101, 99, 100, 102, 98),
		output("Little", 0, 100, 101, 99, 100, 102, 98),
		output("Noisy", 0, 100, 300, 90, 250, 80, 310),
		output("Faster", 0, 100, 101, 99, 100, 102, 98),
		output("Gone", 0, 100))
	now := readAll(t,
		output("Much", 0, 120, 121, 119, 120, 122, 118),
		output("Little", 0, 105, 106, 104, 105.5, 107, 104.5),
		output("Noisy", 0, 120, 310, 95, 260, 310, 240),
		output("Faster", 0, 50, 51, 49, 50, 52, 48),
		output("New", 0, 100))
	all := compare(before, now)
	if d := cmp.Diff([]string{"./owamp BenchmarkMuch: +20 %: want at most +10 %"}, slower(all)); d != "" {
		t.Error(d)
	}
	var table bytes.Buffer
	if err := writeTable(&table, all); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]string{"Much": "+20.0 %", "Little": "+5.2 %", "Noisy": "~", "Faster": "-50.0 %"} {
		found := false
		for line := range strings.Lines(table.String()) {
			found = found || strings.Contains(line, name) && strings.Contains(line, change)
		}
		if !found {
			t.Errorf("no line with %s and %s:\n%s", name, change, &table)
		}
	}
	for _, name := range []string{"Gone", "New"} {
		if strings.Contains(table.String(), name) {
			t.Errorf("%s is compared with nothing:\n%s", name, &table)
		}
	}
}

func TestParseList(t *testing.T) {
	list, err := parseList("# a comment\n\n./owamp BenchmarkOpen # why\n./probe\tBenchmarkSend/open\n")
	if want := []entry{{"./owamp", "BenchmarkOpen"}, {"./probe", "BenchmarkSend/open"}}; err != nil || !cmp.Equal(want, list, cmp.AllowUnexported(entry{})) {
		t.Errorf("%v, %v, want %v", list, err, want)
	}
	for _, text := range []string{"", "./owamp", "owamp BenchmarkOpen", "./owamp TestOpen", "./owamp BenchmarkOpen 3"} {
		if list, err := parseList(text); err == nil {
			t.Errorf("%q: %v, want an error", text, list)
		}
	}
	if _, err := parseList(hotpath); err != nil {
		t.Error(err)
	}
	e := entry{"./owamp", "BenchmarkOpen"}
	for name, want := range map[string]bool{"BenchmarkOpen": true, "BenchmarkOpen/sealed": true, "BenchmarkOpener": false} {
		if e.has(name) != want {
			t.Errorf("%v has %s: %v, want %v", e, name, !want, want)
		}
	}
}
