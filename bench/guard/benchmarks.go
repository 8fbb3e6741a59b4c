package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// A name is that of a benchmark, and of the package that has it.
type name struct{ pkg, benchmark string }

func (n name) String() string { return n.pkg + " " + n.benchmark }

// A result is what the runs of a benchmark have shown.
type result struct {
	seconds []float64 // per operation
	allocs  float64   // per operation, the most of any run; -1: none was counted
}

type results map[name]*result

// binaries are the built benchmarks of one revision.
type binaries struct {
	tree     string
	packages []string          // in the order of the list
	files    map[string]string // by package; of those that the revision has
	patterns map[string]string // for -test.bench, by package
}

// build builds the benchmarks of the list that the tree has.
func build(ctx context.Context, tree, to string, list []entry) (*binaries, error) {
	b := &binaries{tree: tree, files: make(map[string]string), patterns: make(map[string]string)}
	tops := make(map[string][]string)
	for _, e := range list {
		if !slices.Contains(b.packages, e.pkg) {
			b.packages = append(b.packages, e.pkg)
		}
		if top, _, _ := strings.Cut(e.name, "/"); !slices.Contains(tops[e.pkg], regexp.QuoteMeta(top)) {
			tops[e.pkg] = append(tops[e.pkg], regexp.QuoteMeta(top))
		}
	}
	if err := os.MkdirAll(to, 0o777); err != nil {
		return nil, err
	}
	for i, pkg := range b.packages {
		if _, err := os.Stat(filepath.Join(tree, pkg)); err != nil {
			continue // a revision that has no such package has nothing to compare
		}
		file := filepath.Join(to, fmt.Sprintf("%d.test", i))
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", file, pkg)
		cmd.Dir = tree
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building %s in %s: %w\n%s", pkg, tree, err, out)
		}
		b.files[pkg] = file
		b.patterns[pkg] = "^(" + strings.Join(tops[pkg], "|") + ")$"
	}
	return b, nil
}

// run runs each benchmark once, and adds what it shows to all.
func (b *binaries) run(ctx context.Context, all results, benchtime string) error {
	for _, pkg := range b.packages {
		if b.files[pkg] == "" {
			continue
		}
		cmd := exec.CommandContext(ctx, b.files[pkg], "-test.run", "^$", "-test.benchmem", "-test.bench", b.patterns[pkg], "-test.benchtime", benchtime)
		cmd.Dir = filepath.Join(b.tree, pkg)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("benchmarks of %s: %w\n%s%s", pkg, err, out, &stderr)
		}
		if err := all.read(pkg, bytes.NewReader(out)); err != nil {
			return err
		}
	}
	return nil
}

// read adds what the benchmarks of a package have printed.
func (all results) read(pkg string, from io.Reader) error {
	r := benchfmt.NewReader(from, pkg)
	for r.Scan() {
		line, ok := r.Result().(*benchfmt.Result)
		if !ok {
			continue // what tests print besides
		}
		base, parts := line.Name.Parts()
		if n := len(parts); n > 0 && parts[n-1][0] == '-' {
			parts = parts[:n-1] // the number of processors
		}
		n := name{pkg, "Benchmark" + string(base) + string(bytes.Join(parts, nil))}
		res := all[n]
		if res == nil {
			res = &result{allocs: -1}
			all[n] = res
		}
		if s, ok := line.Value("sec/op"); ok && s > 0 {
			res.seconds = append(res.seconds, s)
		}
		if a, ok := line.Value("allocs/op"); ok {
			res.allocs = max(res.allocs, a)
		}
	}
	return r.Err()
}

// checkAllocations returns what of the list allocates, or is not there.
func checkAllocations(list []entry, all results) (wrong []string) {
	for _, e := range list {
		found := false
		for _, n := range sorted(all) {
			if n.pkg != e.pkg || !e.has(n.benchmark) {
				continue
			}
			found = true
			switch a := all[n].allocs; {
			case a > 0:
				wrong = append(wrong, fmt.Sprintf("%v: %v allocations an operation: want none", n, a))
			case a < 0:
				wrong = append(wrong, fmt.Sprintf("%v: its allocations were not counted", n))
			}
		}
		if !found {
			wrong = append(wrong, fmt.Sprintf("%v: there is no such benchmark: want those of hotpath.txt", e))
		}
	}
	return wrong
}

// sorted returns the names of all in their order.
func sorted(all results) []name {
	var names []name
	for n := range all {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b name) int { return strings.Compare(a.String(), b.String()) })
	return names
}
