package stats

import (
	"fmt"

	"owl/owamp"
	"owl/owamp/schedule"
)

// maxSpan bounds how far a sequence number may be ahead of one that can still
// come, and so what a file can make a summary cost: a minute at a million
// packets a second.
const maxSpan = 1 << 26

// A fate is what is known of one sequence number.
type fate uint8

const (
	unknown fate = iota
	received
	lost
)

// settling remembers the fates of the sequence numbers of which another record
// may come. A record is written when its packet arrives or is declared lost; so
// by its time all packets are settled whose time-out is over. A loss is declared
// in the order of sequence numbers and settles what is before it. An arrival may
// stand behind one with a later stamp, of another queue or before a step of the
// clock; so it settles only what was due two time-outs before.
type settling struct {
	schedule schedule.Generator // stands after base
	timeout  owamp.Interval
	last     uint32          // base ends here
	base     uint32          // all below are settled
	due      owamp.Timestamp // scheduled time of base
	fates    []fate          // a ring: the fate of seq is at seq modulo its length, a power of 2
	seen     uint32          // all from here on are unknown
}

// settleBefore settles all packets below seq.
func (s *settling) settleBefore(seq uint32) {
	for s.base < seq {
		s.settle()
	}
}

// settleUntil settles what an arrival at now leaves no doubt about.
func (s *settling) settleUntil(now owamp.Timestamp) {
	for limit := now - 2*owamp.Timestamp(s.timeout); s.base < s.last && s.due.Before(limit); {
		s.settle()
	}
}

func (s *settling) settle() {
	if s.base < s.seen {
		s.fates[s.base&uint32(len(s.fates)-1)] = unknown
	}
	s.base++
	s.due = s.due.Add(s.schedule.Next())
}

// fate returns where the fate of seq is kept, which must not be settled.
func (s *settling) fate(seq uint32) (*fate, error) {
	if ahead := seq - s.base; int64(ahead) >= int64(len(s.fates)) {
		if ahead >= maxSpan {
			return nil, fmt.Errorf("%d ahead of %d, which has no record yet and is not overdue: want less than %d", ahead, s.base, maxSpan)
		}
		s.grow(ahead)
	}
	s.seen = max(s.seen, seq+1)
	return &s.fates[seq&uint32(len(s.fates)-1)], nil
}

// grow makes room for a fate that is so far ahead.
func (s *settling) grow(ahead uint32) {
	size := max(64, uint32(len(s.fates)))
	for size <= ahead {
		size *= 2
	}
	fates := make([]fate, size)
	for seq := s.base; seq < s.seen; seq++ {
		fates[seq&(size-1)] = s.fates[seq&uint32(len(s.fates)-1)]
	}
	s.fates = fates
}
