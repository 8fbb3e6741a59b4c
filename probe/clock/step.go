package clock

import (
	"fmt"
	"math"
	"time"
)

// Steps says how often a clock was set, and by how much in all: forward is
// positive. A slewed clock was not set. A leap second sets the clock, and so
// does a host that wakes from its sleep.
type Steps struct {
	Count uint64
	Sum   time.Duration
}

// Since returns the steps that are in s and were not yet in before.
func (s Steps) Since(before Steps) Steps {
	return Steps{s.Count - before.Count, s.Sum - before.Sum}
}

// A setting is how the wall clock is set: by how much it is ahead of a clock that
// nobody sets, and how exactly that is known.
type setting struct {
	ahead, within time.Duration
}

// wallClock returns what reads the setting of the wall clock, compared with now.
func wallClock() func() setting {
	base := time.Now()
	wall := base.Round(0)
	return func() setting {
		best := setting{within: math.MaxInt64}
		earlier := time.Now()
		for range 8 {
			// The two clocks in now are read one after the other; both were
			// between earlier and now.
			now := time.Now()
			if within := now.Sub(earlier); within < best.within {
				best = setting{now.Round(0).Sub(wall) - now.Sub(base), within}
			}
			if best.within < time.Microsecond {
				break
			}
			earlier = now
		}
		return best
	}
}

// Steps returns how often the clock was set since it was made. It looks itself,
// so that nobody who asks after a step is told of the time before.
//
// On Linux slewing changes the wall clock and the monotonic one alike, so
// that what comes between them is a step, however small. Elsewhere only great
// steps are told from slewing.
func (c *Clock) Steps() Steps {
	c.stepping.Lock()
	defer c.stepping.Unlock()
	now := c.setting()
	step := now.ahead - c.before.ahead
	stepped := step.Abs() > leastStep+now.within+c.before.within
	if stepped || drifts || now.within <= c.before.within {
		c.before = now
	}
	if !stepped {
		return c.steps
	}
	c.steps.Count++
	c.steps.Sum += step
	if more, ok := c.stepped.again(time.Now(), 10*time.Second); ok {
		text := fmt.Sprintf("the clock stepped by %v", round(step))
		if more > 0 {
			text += fmt.Sprintf(", and %d times before that", more)
		}
		c.log.Warn(text + ": delays measured across it are off by as much, and sessions that run are marked")
	}
	return c.steps
}

// round returns d as people want to read it.
func round(d time.Duration) time.Duration {
	for unit := time.Microsecond; unit <= time.Millisecond; unit *= 1000 {
		if d.Abs() < 1000*unit {
			return d.Round(unit / 1000)
		}
	}
	return d.Round(time.Millisecond)
}

// A told bounds how often something is told.
type told struct {
	last   time.Time
	untold int
}

// again reports whether it may be told now, and how often it was not since it
// last was.
func (t *told) again(now time.Time, every time.Duration) (more int, ok bool) {
	if !t.last.IsZero() && now.Sub(t.last) < every {
		t.untold++
		return 0, false
	}
	more, t.untold, t.last = t.untold, 0, now
	return more, true
}
