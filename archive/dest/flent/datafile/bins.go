package datafile

import (
	"math/bits"
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

// A bin is what is known of the packets that were sent in one step of a path.
type bin struct {
	delay     int64 // sum, in nanoseconds
	variation int64 // sum; with jitter of absolute values
	received  uint32
	pairs     uint32
	lost      uint32
}

// mean returns sum/n, rounded to the nearest, where n is not 0.
func mean(sum int64, n uint32) int64 {
	neg := sum < 0
	abs := uint64(sum)
	if neg {
		abs = -abs
	}
	q, r := bits.Div64(0, abs, uint64(n))
	if r >= (uint64(n)+1)/2 {
		q++
	}
	if neg {
		return -int64(q)
	}
	return int64(q)
}
