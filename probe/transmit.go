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

// StampStats count the packets of an [Engine] by who has stamped them, all since
// its start, and say what is known of the clocks of network cards.
type StampStats struct {
	// Packets that have arrived, stamped by a network card, by the kernel, or by
	// the program when it read them.
	ReceivedCard, ReceivedKernel, ReceivedUser uint64
	// Packets that have left, of those about which the kernel was asked, by who
	// has told when.
	SentCard, SentKernel uint64
	Cards                []CardStats // in the order of their interfaces' names
}

// CardStats are what is known of the clock of a network card.
type CardStats struct {
	Interface string
	// Offset is what is to be added to the card's clock to get the wall clock.
	Offset time.Duration
	// Error is by how much times may be off that the card's stamps are turned
	// into, beside the error of the wall clock.
	Error time.Duration
	Steps uint64 // how often one of the two clocks was seen to have been set
	Err   error  // why the card's stamps are of no use now; nil: they are
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
