package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"golang.org/x/perf/benchmath"
	"golang.org/x/perf/benchunit"
)

// tolerance is how much slower a benchmark may be.
const tolerance = 0.10

// A comparison is of one benchmark in two revisions, as benchstat makes it.
type comparison struct {
	name
	old, recent benchmath.Summary // s per operation
	test        benchmath.Comparison
}

// compare compares the benchmarks that both have.
func compare(old, recent results) []comparison {
	var all []comparison
	for _, n := range sorted(recent) {
		if old[n] == nil || len(old[n].seconds) == 0 || len(recent[n].seconds) == 0 {
			continue
		}
		a := benchmath.NewSample(old[n].seconds, &benchmath.DefaultThresholds)
		b := benchmath.NewSample(recent[n].seconds, &benchmath.DefaultThresholds)
		const confidence = 0.95
		all = append(all, comparison{
			name:   n,
			old:    benchmath.AssumeNothing.Summary(a, confidence),
			recent: benchmath.AssumeNothing.Summary(b, confidence),
			test:   benchmath.AssumeNothing.Compare(a, b),
		})
	}
	return all
}

// change returns by which part of the old time the recent one is longer.
func (c *comparison) change() float64 { return c.recent.Center/c.old.Center - 1 }

// proved reports whether the two differ, and not by chance.
func (c *comparison) proved() bool { return c.test.P <= c.test.Alpha }

// slower returns which have got slower than they may.
func slower(all []comparison) (wrong []string) {
	for i := range all {
		if c := &all[i]; c.proved() && c.change() > tolerance {
			wrong = append(wrong, fmt.Sprintf("%v: %+.0f %%: want at most %+.0f %%", c.name, 100*c.change(), 100*tolerance))
		}
	}
	return wrong
}

func writeTable(w io.Writer, all []comparison) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tbefore\tnow\tchange\t")
	for i := range all {
		c := &all[i]
		change := "~"
		if c.proved() {
			change = fmt.Sprintf("%+.1f %%", 100*c.change())
		}
		fmt.Fprintf(t, "%v\t%s\t%s\t%s\t(p=%.3f n=%d+%d)\n", c.name, seconds(c.old), seconds(c.recent), change, c.test.P, c.test.N1, c.test.N2)
	}
	return t.Flush()
}

// seconds returns the middle of a summary and how far it is certain.
func seconds(s benchmath.Summary) string {
	return benchunit.Scale(s.Center, benchunit.Decimal) + "s ± " + s.PctRangeString()
}
