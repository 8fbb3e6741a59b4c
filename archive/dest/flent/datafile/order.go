package datafile

import (
	"cmp"
	"iter"
	"slices"
)

// A Sample is what became of one packet.
type Sample struct {
	Sent    int64  // when, in nanoseconds since 1970; of a lost packet when it was due
	Delay   int64  // in nanoseconds; of a lost packet nothing
	Session uint32 // which of the sessions of a path it belongs to
	Seq     uint32 // its number there
	Lost    bool
}

// horizon is by how many places samples may be away from the order in which they
// were sent. Receivers write down a lost packet a time-out late.
const horizon = 1 << 17

// inOrder yields samples in the order in which they were sent, and of each packet
// the copy that came first. Those that are too far from their place come late.
func inOrder(samples iter.Seq2[Sample, error]) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		var held []Sample
		var last Sample
		any := false
		release := func(n int) bool {
			slices.SortFunc(held, func(a, b Sample) int {
				return cmp.Or(cmp.Compare(a.Sent, b.Sent), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Delay, b.Delay))
			})
			for _, s := range held[:n] {
				if any && s.Session == last.Session && s.Seq == last.Seq && s.Sent == last.Sent {
					continue
				}
				last, any = s, true
				if !yield(s, nil) {
					return false
				}
			}
			held = held[:copy(held, held[n:])]
			return true
		}
		for s, err := range samples {
			if err != nil {
				yield(s, err)
				return
			}
			if held = append(held, s); len(held) == 2*horizon && !release(horizon) {
				return
			}
		}
		release(len(held))
	}
}

// A packet is a sample among others.
type packet struct {
	Sample
	variation int64 // delay less that of the packet sent before (RFC 5481 section 4.1)
	paired    bool  // there is one: neither was lost
}

// packets yields samples in the order in which they were sent, and how each varies
// from the one before.
func packets(samples iter.Seq2[Sample, error]) iter.Seq2[packet, error] {
	return func(yield func(packet, error) bool) {
		last := make(map[uint32]Sample) // of each session: they may run at once
		for s, err := range inOrder(samples) {
			p := packet{Sample: s}
			if before, ok := last[s.Session]; ok && before.Seq+1 == s.Seq && !before.Lost && !s.Lost {
				p.variation, p.paired = s.Delay-before.Delay, true
			}
			last[s.Session] = s
			if !yield(p, err) {
				return
			}
		}
	}
}
