package probe

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// slipBits: each doubling of a slip is cut into 2^slipBits bins, so that a bin
// is at most an eighth as wide as what it counts.
const (
	slipBits = 3
	slipSub  = 1 << slipBits
	slipBins = slipSub * (1 + 63 - slipBits)
)

// A slipMeter counts slips: how long after their scheduled times packets are
// sent. One goroutine at a time observes, any may read meanwhile.
type slipMeter struct {
	sum  atomic.Int64
	bins [slipBins]atomic.Uint64
}

// observe counts one packet. It does not allocate.
func (m *slipMeter) observe(d time.Duration) {
	n := uint64(max(d, 0))
	i := int(n)
	if n >= slipSub {
		e := bits.Len64(n) - 1 - slipBits
		i = slipSub*(e+1) + int(n>>e)&(slipSub-1)
	}
	m.bins[i].Store(m.bins[i].Load() + 1) // there is one writer
	m.sum.Store(m.sum.Load() + int64(n))
}

// greatest returns the greatest slip that bin i counts.
func greatest(i int) time.Duration {
	if i < slipSub {
		return time.Duration(i)
	}
	e := i/slipSub - 1
	return time.Duration(uint64(slipSub+i%slipSub+1)<<e - 1)
}

// SlipStats say how long after their scheduled times an [Engine] has sent its
// packets, all since its start.
type SlipStats struct {
	Packets uint64        // that were sent
	Sum     time.Duration // of their slips
	bins    [slipBins]uint64
}

// stats returns what has been counted.
func (m *slipMeter) stats() *SlipStats {
	s := &SlipStats{Sum: time.Duration(m.sum.Load())}
	for i := range m.bins {
		s.bins[i] = m.bins[i].Load()
		s.Packets += s.bins[i]
	}
	return s
}

// Quantile returns the slip that the given part of the packets, from 0 to 1,
// does not exceed: by up to an eighth more than the true one, never less. It is
// 0 if there were no packets.
func (s *SlipStats) Quantile(q float64) time.Duration {
	rank := uint64(q * float64(s.Packets))
	rank = min(rank, max(s.Packets, 1)-1)
	seen := uint64(0)
	for i, n := range s.bins {
		if seen += n; seen > rank {
			return greatest(i)
		}
	}
	return 0
}
