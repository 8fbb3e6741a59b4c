package probe

import "time"

const (
	// gapsKept is how many gaps the estimate of their high quantile is made of:
	// one of them may exceed it.
	gapsKept = 128
	// enoughGaps is how few of them still say something.
	enoughGaps = 16
)

// recentGaps are the last of the gaps between the stamps of packets and their
// departures.
type recentGaps struct {
	gaps [gapsKept]time.Duration
	n    int // of all that were observed
}

func (r *recentGaps) observe(d time.Duration) {
	r.gaps[r.n%gapsKept] = d
	r.n++
}

// high returns what about one gap of a hundred exceeds, at least 1 ns: the
// greatest but one, or the greatest as long as there are fewer than gapsKept. It
// is 0 as long as there are fewer than enoughGaps.
func (r *recentGaps) high() time.Duration {
	if r.n < enoughGaps {
		return 0
	}
	var first, second time.Duration
	for _, d := range r.gaps[:min(r.n, gapsKept)] {
		if d > first {
			first, second = d, first
		} else {
			second = max(second, d)
		}
	}
	if r.n < gapsKept {
		second = first
	}
	return max(second, 1)
}

// TransmitStats say what the kernel has told an [Engine] about the departure of
// packets, all since its start.
type TransmitStats struct {
	// Gap is how long after their stamps packets have left, of those packets
	// about which the kernel has told.
	Gap *Distribution
	// Asked counts the packets about which the kernel was asked, Missing those
	// of them about which it told nothing, or nothing that can be true.
	Asked, Missing uint64
	// High is what few gaps of the recent past exceed, which is a part of the
	// error estimate of packets. It is 0 while too little is known: then the time
	// that the kernel needs to take a packet stands in for it.
	High time.Duration
}
