package owamp

import "fmt"

// ValidateSkips reports whether a sender may say of a session of that many
// packets that it stopped before packet nextSeq and never sent skips (RFC 4656
// section 3.8): nextSeq is at most packets, and the ranges are ascending, apart
// from each other and below nextSeq.
func ValidateSkips(skips []SkipRange, nextSeq, packets uint32) error {
	if nextSeq > packets {
		return fmt.Errorf("next sequence number %d: want at most %d, the packets of the session", nextSeq, packets)
	}
	for i, s := range skips {
		switch {
		case s.First > s.Last:
			return fmt.Errorf("skip range %d to %d: want its end not before its begin", s.First, s.Last)
		case s.Last >= nextSeq:
			return fmt.Errorf("skip range %d to %d: want its end below %d, the next sequence number", s.First, s.Last, nextSeq)
		case i > 0 && s.First <= skips[i-1].Last:
			return fmt.Errorf("skip range %d to %d: want its begin above %d, the end of the range before", s.First, s.Last, skips[i-1].Last)
		}
	}
	return nil
}
