package stats

import (
	"fmt"

	"owl/owamp"
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
	waits   *waits // stand after base
	timeout owamp.Interval
	base    uint32          // all below are settled
	due     owamp.Timestamp // scheduled time of base
	wait    owamp.Interval  // how long it is after the one before, if that was settled here
	fates   []fate          // a ring: the fate of seq is at seq modulo its length, a power of 2
	seen    uint32          // all from here on are unknown
	budget  int64           // how many packets may still be settled; each record adds one
}

// settleBefore settles all packets below that of r, which is lost.
func (s *settling) settleBefore(r *owamp.Record) error {
	s.budget++
	for s.base < r.Seq {
		if err := s.settle(); err != nil {
			return err
		}
	}
	return nil
}

// inOrder takes the arrivals that recs begins with and that raise no question:
// of one sequence number after the other, from the first unseen one on, below
// last. It does with them what [settling.settleUntil] and [settling.fate] would,
// for nearly all records are such, and returns how many they are.
func (s *settling) inOrder(recs []owamp.Record, last uint32) (n int) {
	base, due, seen, budget := s.base, s.due, s.seen, s.budget
	waits, fates := s.waits.next, s.fates
	margin := 2 * owamp.Timestamp(s.timeout)
arrivals:
	for n < len(recs) {
		r := &recs[n]
		if r.Seq != seen || seen >= last || r.Lost() || int(seen-base) >= len(fates) || budget <= 0 {
			break
		}
		for limit := r.Recv - margin; due.Before(limit); {
			if base == seen || len(waits) == 0 || budget <= 0 {
				break arrivals // settleUntil knows
			}
			fates[int(base)&(len(fates)-1)] = unknown
			base++
			budget--
			s.wait = waits[0]
			due = due.Add(waits[0])
			waits = waits[1:]
		}
		budget++
		fates[int(seen)&(len(fates)-1)] = received
		seen++
		n++
	}
	s.base, s.due, s.seen, s.budget, s.waits.next = base, due, seen, budget, waits
	return n
}

// settleUntil settles what the arrival r leaves no doubt about, which is not to
// be more than packets below its own.
func (s *settling) settleUntil(r *owamp.Record) error {
	s.budget++
	for limit := r.Recv - 2*owamp.Timestamp(s.timeout); s.base <= r.Seq && s.due.Before(limit); {
		if err := s.settle(); err != nil {
			return err
		}
	}
	return nil
}

func (s *settling) settle() error {
	if s.budget <= 0 {
		return fmt.Errorf("more than %d packets before it have no record", MaxUnrecorded)
	}
	s.budget--
	if s.base < s.seen {
		s.fates[s.base&uint32(len(s.fates)-1)] = unknown
	}
	s.base++
	if len(s.waits.next) == 0 {
		s.waits.more()
	}
	s.wait = s.waits.next[0]
	s.waits.next = s.waits.next[1:]
	s.due = s.due.Add(s.wait)
	return nil
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
