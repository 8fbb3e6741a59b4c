// Guard watches the hot path: what is done for each packet between the kernel
// and the histograms. The benchmarks of it are in hotpath.txt. It fails
//
//   - if one of them allocates, or does not exist any longer; and
//   - with -base, if one is slower than in that revision by more than 10 %, and
//     not by chance.
//
// To compare, it builds the benchmarks of both revisions and runs them in turns,
// so that a machine whose speed changes changes both:
//
//	go run ./bench/guard -base main~10 -count 10
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"owl/bench/internal/tool"
)

//go:embed hotpath.txt
var hotpath string

func main() { tool.Main("guard", run) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("guard", flag.ContinueOnError)
	fs.SetOutput(stderr)
	base := fs.String("base", "", "compare with `revision`; empty: only look for allocations")
	count := fs.Int("count", 10, "how often each side is run; fewer than 4 prove nothing")
	if err := fs.Parse(args); err != nil {
		return flag.ErrHelp // which it has told of
	}
	if fs.NArg() > 0 || *count < 1 {
		return fmt.Errorf("want options only, and -count at least 1")
	}
	list, err := parseList(hotpath)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "guard-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	now, err := build(ctx, ".", filepath.Join(scratch, "now"), list)
	if err != nil {
		return err
	}
	// So often that what is allocated once does not count.
	many := make(results)
	if err := now.run(ctx, many, "1000x"); err != nil {
		return err
	}
	wrong := checkAllocations(list, many)
	if *base == "" {
		return verdict(stdout, wrong)
	}
	tree := filepath.Join(scratch, "base")
	if out, err := exec.CommandContext(ctx, "git", "worktree", "add", "--detach", tree, *base).CombinedOutput(); err != nil {
		return fmt.Errorf("-base %s: %w\n%s", *base, err, out)
	}
	defer func() {
		// Not with ctx, which may be why this ends.
		_ = exec.Command("git", "worktree", "remove", "--force", tree).Run()
	}()
	before, err := build(ctx, tree, filepath.Join(scratch, "before"), list)
	if err != nil {
		return err
	}
	old, recent := make(results), make(results)
	for i := range *count {
		fmt.Fprintf(stderr, "%d of %d\n", i+1, *count)
		if err := before.run(ctx, old, "100ms"); err != nil {
			return err
		}
		if err := now.run(ctx, recent, "100ms"); err != nil {
			return err
		}
	}
	comparisons := compare(old, recent)
	if err := writeTable(stdout, comparisons); err != nil {
		return err
	}
	return verdict(stdout, append(wrong, slower(comparisons)...))
}

// verdict says what is wrong, and fails if anything is.
func verdict(w io.Writer, wrong []string) error {
	for _, line := range wrong {
		fmt.Fprintln(w, line)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("the hot path has got worse in %d places", len(wrong))
	}
	fmt.Fprintln(w, "the hot path is as it should be")
	return nil
}

// An entry is a benchmark of the list, with all below it.
type entry struct{ pkg, name string }

func (e entry) String() string { return e.pkg + " " + e.name }

// has reports whether a benchmark is the entry's.
func (e entry) has(name string) bool {
	return name == e.name || strings.HasPrefix(name, e.name+"/")
}

// parseList reads a list: a line has a package's directory and the name of a
// benchmark. What begins with # is a comment.
func parseList(text string) ([]entry, error) {
	var list []entry
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case len(f) != 2 || !strings.HasPrefix(f[0], "./") || !strings.HasPrefix(f[1], "Benchmark"):
			return nil, fmt.Errorf("hotpath.txt:%d: %q: want ./directory BenchmarkName", i+1, line)
		default:
			list = append(list, entry{f[0], f[1]})
		}
	}
	if len(list) == 0 {
		return nil, errors.New("hotpath.txt has no benchmark")
	}
	return list, nil
}
