package datafile

import (
	"math"
	"time"
)

// maxCells bounds the table of a file: its paths by its steps.
const maxCells = 1 << 21

// A grid is the time of a file in steps.
type grid struct {
	t0    int64 // nanoseconds since 1970
	step  int64 // nanoseconds
	steps int
}

// newGrid returns the grid from start, which is rounded down to what the format
// can say, to end. Where the table would get too large for so many paths, a step
// is as many times as long as it takes.
func newGrid(start, end time.Time, step time.Duration, paths int) grid {
	g := grid{t0: start.Truncate(time.Microsecond).UnixNano(), step: int64(step)}
	span := max(end.UnixNano()-g.t0, 0)
	most := int64(maxCells / max(paths, 1))
	if n := span/g.step + 1; n > most {
		g.step *= (n + most - 1) / max(most, 1)
	}
	g.steps = int(span/g.step) + 1
	return g
}

// bin returns the step that a time belongs to. What lies outside, for a clock was
// set, belongs to the first or the last.
func (g *grid) bin(t int64) int {
	return int(min(max((t-g.t0)/g.step, 0), int64(g.steps)-1))
}

// A bin is what is known of the packets that were sent in one step of a path. All
// sums are of nanoseconds: exact up to 2^53 of them, more than a hundred days, and
// no sum is too large, as some of integers would be where a clock is of 1970.
type bin struct {
	delay, variation, jitter float64
	received, pairs, lost    uint32
}

func (b *bin) add(p *packet) {
	if p.Lost {
		b.lost++
		return
	}
	b.received++
	b.delay += float64(p.Delay)
	if p.paired {
		b.pairs++
		b.variation += float64(p.variation)
		b.jitter += math.Abs(float64(p.variation))
	}
}

// What the table has of a step; ok is false where there is nothing.
func (b *bin) meanDelay() (ns int64, ok bool)     { return mean(b.delay, b.received) }
func (b *bin) meanVariation() (ns int64, ok bool) { return mean(b.variation, b.pairs) }
func (b *bin) meanJitter() (ns int64, ok bool)    { return mean(b.jitter, b.pairs) }
func (b *bin) losses() (n int64, ok bool)         { return int64(b.lost), b.lost+b.received > 0 }

// Totals are the same of all packets of a path.
type totals struct {
	delay, jitter         float64
	received, pairs, lost int64
}

func (t *totals) add(p *packet) {
	if p.Lost {
		t.lost++
		return
	}
	t.received++
	t.delay += float64(p.Delay)
	if p.paired {
		t.pairs++
		t.jitter += math.Abs(float64(p.variation))
	}
}

// mean returns sum/n, rounded to the nearest; ok is false if n is 0.
func mean(sum float64, n uint32) (m int64, ok bool) {
	if n == 0 {
		return 0, false
	}
	return int64(math.Round(sum / float64(n))), true
}
