package probe

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// meterBits: each doubling of a time is cut into 2^meterBits bins, so that a bin
// is at most an eighth as wide as what it counts.
const (
	meterBits = 3
	meterSub  = 1 << meterBits
	meterBins = meterSub * (1 + 63 - meterBits)
)

// A meter counts times of one kind, such as slips: how long after their
// scheduled times packets are sent. One goroutine at a time observes, any may
// read meanwhile.
type meter struct {
	sum  atomic.Int64
	bins [meterBins]atomic.Uint64
}

// observe counts one packet; what is negative counts as 0. It does not allocate.
func (m *meter) observe(d time.Duration) {
	n := uint64(max(d, 0))
	i := int(n)
	if n >= meterSub {
		e := bits.Len64(n) - 1 - meterBits
		i = meterSub*(e+1) + int(n>>e)&(meterSub-1)
	}
	m.bins[i].Store(m.bins[i].Load() + 1) // there is one writer
	m.sum.Store(m.sum.Load() + int64(n))
}

// greatest returns the greatest time that bin i counts.
func greatest(i int) time.Duration {
	if i < meterSub {
		return time.Duration(i)
	}
	e := i/meterSub - 1
	return time.Duration(uint64(meterSub+i%meterSub+1)<<e - 1)
}

// distribution returns what has been counted.
func (m *meter) distribution() *Distribution {
	d := &Distribution{Sum: time.Duration(m.sum.Load())}
	for i := range m.bins {
		d.bins[i] = m.bins[i].Load()
		d.Packets += d.bins[i]
	}
	return d
}

// A Distribution is how times of one kind, of which each packet has one, are
// spread: all since the start of an [Engine].
type Distribution struct {
	Packets uint64        // that were counted
	Sum     time.Duration // of their times
	bins    [meterBins]uint64
}

// Quantile returns the time that the given part of the packets, from 0 to 1,
// does not exceed: by up to an eighth more than the true one, never less. It is
// 0 if there were no packets.
func (d *Distribution) Quantile(q float64) time.Duration {
	rank := uint64(q * float64(d.Packets))
	rank = min(rank, max(d.Packets, 1)-1)
	seen := uint64(0)
	for i, n := range d.bins {
		if seen += n; seen > rank {
			return greatest(i)
		}
	}
	return 0
}
