package clock

import (
	"fmt"
	"slices"
	"time"
)

// judge makes one state of what all say, by the rule of the package.
func judge(k Kernel, sources []Source) *State {
	s := &State{Kernel: k, Sources: sources, Synchronized: k.Synchronized}
	if k.Synchronized {
		s.Error, s.MaxError = k.Error, k.MaxError
	}
	var bounds []time.Duration
	for i := range sources {
		src := &sources[i]
		switch {
		case !src.Synchronized:
		case src.Via == ViaChrony:
			s.Synchronized = true
			s.Error = max(s.Error, src.Offset.Abs()+src.Jitter)
			s.MaxError = max(s.MaxError, src.MaxError())
		default:
			bounds = append(bounds, src.MaxError())
		}
	}
	off, _, _ := contradiction(sources)
	s.Error = max(s.Error, off)
	s.MaxError = max(s.MaxError, middle(bounds), s.Error)
	return s
}

// contradiction returns by how much the clock is off if more than half of the NTP
// servers say so, else 0, and how many say so of how many. A server that says
// anything else than the others is outvoted; one alone is believed that there
// is something wrong.
func contradiction(sources []Source) (off time.Duration, by, of int) {
	var offs []time.Duration
	for i := range sources {
		src := &sources[i]
		if src.Via != ViaNTP || !src.Synchronized {
			continue
		}
		of++
		if src.Offset.Abs() > src.Delay/2+src.Dispersion+src.Jitter {
			by++
			offs = append(offs, src.Offset.Abs())
		} else {
			offs = append(offs, 0)
		}
	}
	return middle(offs), by, of
}

// middle returns the lower one of the middle values, 0 of none.
func middle(values []time.Duration) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// tellContradiction says that servers have begun to contradict the clock, or
// have ended to. Where they do so again within a minute it is told later, if
// they still do. c.sampling is held.
func (c *Clock) tellContradiction(s *State) {
	off, by, of := contradiction(s.Sources)
	switch {
	case (off > 0) == c.contradicting:
		return
	case off == 0:
		c.log.Info("NTP servers do not contradict the clock any more")
	default:
		if _, ok := c.contradicted.again(time.Now(), time.Minute); !ok {
			return
		}
		c.log.Warn(fmt.Sprintf("%d of %d NTP servers say that the clock is off by %v: error estimates say so, too", by, of, round(off)))
	}
	c.contradicting = off > 0
}
