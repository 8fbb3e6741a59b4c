package probe

import "owl/owamp"

// maxSkips bounds the skip ranges of one session, 128 kB of them. A session that
// needs more ends, so that what it reports of itself stays true.
const maxSkips = 1 << 14

// skips are the packets of a session that were not sent.
type skips struct {
	ranges []owamp.SkipRange // ascending, apart from each other
	max    int
}

// add notes that packet seq was skipped, seq being greater than those before,
// and reports whether there was room to note it.
func (s *skips) add(seq uint32) bool {
	if n := len(s.ranges); n > 0 && s.ranges[n-1].Last+1 == seq {
		s.ranges[n-1].Last = seq
		return true
	}
	if len(s.ranges) == s.max {
		return false
	}
	s.ranges = append(s.ranges, owamp.SkipRange{First: seq, Last: seq})
	return true
}
