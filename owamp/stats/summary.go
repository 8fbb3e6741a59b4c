package stats

import (
	"errors"
	"fmt"
	"time"

	"owl/histogram"
	"owl/owamp"
	"owl/owamp/schedule"
)

// DefaultBucketWidth is the width of a summary's bins in seconds where nobody
// says otherwise.
const DefaultBucketWidth = 0.0001

// A Session is what a summary has to know of a session beside its records.
type Session struct {
	Spec     owamp.SessionSpec
	Finished bool   // it ended normally
	NextSeq  uint32 // the first sequence number that was not considered for sending
	Skips    []owamp.SkipRange

	// ClockSteps is how often the clock of the host that measured is known to
	// have been set meanwhile, and ClockStep by how much in all.
	ClockSteps uint64
	ClockStep  time.Duration
}

// Options say what to summarize. The zero Options summarize all of a session.
type Options struct {
	// BucketWidth is the width of the delay histogram's bins in seconds; 0 is
	// DefaultBucketWidth.
	BucketWidth float64
	// Only the packets with sequence numbers in [First, Last) count. A Last of
	// 0 is the end of the session.
	First, Last uint32
	// After, if not nil, is the summary of the same session's packets that end
	// where this one's begin. It saves computing the schedule again, and the
	// report's reordering refers, as the reference's does, to all packets since
	// the first of such a chain.
	After *Summary
	// Each, if not nil, is told each record that counts, one after the other.
	// Copies beyond a packet's first have owamp.FlagDuplicate.
	Each func(*owamp.Record)
	// Refused, if not nil, is told each record that cannot be, and the summary
	// goes on without it.
	Refused func(*RecordError)
}

// A Summary is what is known of a session, or of a run of its packets. Seconds
// are those of the reference's arithmetic.
type Summary struct {
	Session     Session
	First, Last uint32          // the packets [First, Last)
	Start, End  owamp.Timestamp // scheduled times of the first and the last of them
	// EndEstimated says that End is what the mean interval makes of the last
	// packets, because so many of them have no record; see [MaxUnrecorded].
	EndEstimated bool

	Sent       uint32 // packets with a record, but for those that were skipped
	Lost       uint32
	Duplicates uint32  // copies beyond the first
	Synced     bool    // no record says that a clock was not synchronized
	MaxError   float64 // the greatest sum of both stamps' errors, s
	// Min and Max are the least and greatest delay in seconds, duplicates
	// included; NaN where there is none below the time-out.
	Min, Max   float64
	Finite     Finite           // the delays of first copies, exactly
	Delays     *histogram.Fixed // of first copies
	TTL        [256]uint64      // first copies by TTL on arrival
	Reordering []uint32         // Reordering[n-1] packets are n-reordered, up to the greatest n of any
	// Next is the index, among the records given, of the first one that
	// belongs to a later packet, -1 without one: the next part's records begin
	// there.
	Next int64

	depth    int64              // n-reordering is not known beyond
	received int64              // including copies, since the first summary of a chain
	schedule schedule.Generator // stands after the first packet
	ahead    schedule.Generator // stands after the last one, unless that is the session's
}

// MaxUnrecorded is for how many packets without a record a schedule is computed:
// a second or two. What claims more is no receiver's file, or that of a
// session that was meant to last until somebody ends it.
const MaxUnrecorded = 1 << 26

// A RecordError is a record that contradicts the ones before it or the
// session's schedule. No receiver writes such a record.
type RecordError struct {
	Index int64 // among the records given, from 0
	Seq   uint32
	What  string
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("record %d, of sequence number %d, is damaged: %s", e.Index, e.Seq, e.What)
}

// walk advances the schedule to the summary's first packet and notes its time,
// and that of the last one if it is not the session's.
func (s *Summary) walk(after *Summary) error {
	skip := uint64(s.First)
	if after != nil {
		if after.Last != s.First || after.Last == after.First || after.Session.Spec.SID != s.Session.Spec.SID {
			return errors.New("the summary to go on from does not end where this one begins")
		}
		s.received = after.received
	}
	if after != nil && !after.whole() {
		s.schedule, s.Start = after.ahead, after.End
		skip = 0
	} else {
		g, err := schedule.New(s.Session.Spec.SID, s.Session.Spec.Slots)
		if err != nil {
			return err
		}
		s.schedule, s.Start = *g, s.Session.Spec.Start
	}
	s.Start = s.Start.Add(s.schedule.Advance(skip + 1))
	s.End = s.Start
	if s.whole() {
		return nil
	}
	s.ahead = s.schedule
	s.End = s.End.Add(s.ahead.Advance(uint64(s.Last - s.First - 1)))
	return nil
}

// whole reports whether the session's last packet is the summary's, too, so
// that no record can tell that its end is over. That packet's time is then
// computed when the records have shown how far the session went.
func (s *Summary) whole() bool { return s.Last == s.Session.Spec.Packets || s.Last == s.First }

// Percentile returns the delay in seconds that the share alpha, from 0 to 1, of
// all packets sent did not exceed, as the far border of a bin; ok is false where
// so many were lost that there is none.
func (s *Summary) Percentile(alpha float64) (delay float64, ok bool) {
	return percentile(s.Delays, alpha, uint64(s.Sent))
}

// Variation returns the delay variation that the reference calls PDV or
// jitter, the 95th percentile less the median, in seconds; ok is false where one
// of them does not exist.
func (s *Summary) Variation() (variation float64, ok bool) {
	return pdv(s.Delays, s.Sent)
}
