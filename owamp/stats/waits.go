package stats

import (
	"owl/owamp"
	"owl/owamp/schedule"
)

const (
	// waitsAtOnce is how many waiting times are computed at a time.
	waitsAtOnce = 1 << 13
	// waitsAhead is how many packets a summary has at least for its schedule to
	// be computed ahead, on a goroutine of its own.
	waitsAhead = 4 * waitsAtOnce
)

// waits are the waiting times of a schedule, one after the other.
type waits struct {
	next      []owamp.Interval
	generator *schedule.Generator // stands after next; nil if full and empty are not
	chunk     []owamp.Interval

	// Of what is computed ahead; full is closed once nobody computes any more.
	full, empty chan []owamp.Interval
}

// newWaits returns the waiting times of a schedule from where g stands. About n
// of them are going to be needed.
func newWaits(g *schedule.Generator, n uint32) *waits {
	from := *g
	if n < waitsAhead || g.Fixed() {
		return &waits{generator: &from, chunk: make([]owamp.Interval, min(n, waitsAtOnce)+1)}
	}
	const chunks = 3 // in use, computed, and being computed
	w := &waits{full: make(chan []owamp.Interval, chunks), empty: make(chan []owamp.Interval, chunks)}
	for range chunks {
		w.empty <- make([]owamp.Interval, waitsAtOnce)
	}
	go func() {
		defer close(w.full)
		for chunk := range w.empty {
			from.Fill(chunk)
			w.full <- chunk // there is room for all
		}
	}()
	return w
}

// more gets the next waiting times.
func (w *waits) more() {
	if w.generator != nil {
		w.generator.Fill(w.chunk)
		w.next = w.chunk
		return
	}
	if w.chunk != nil {
		w.empty <- w.chunk
	}
	w.chunk = <-w.full
	w.next = w.chunk
}

// sum returns the sum of the next n waiting times.
func (w *waits) sum(n uint64) (sum owamp.Interval) {
	for n > 0 {
		if len(w.next) == 0 {
			if w.generator != nil {
				return sum + w.generator.Advance(n)
			}
			w.more()
		}
		some := w.next[:min(n, uint64(len(w.next)))]
		for _, wait := range some {
			sum += wait
		}
		w.next = w.next[len(some):]
		n -= uint64(len(some))
	}
	return sum
}

// close ends the computing ahead.
func (w *waits) close() {
	if w.empty == nil {
		return
	}
	close(w.empty)
	for range w.full {
	}
}
