package metrics

import (
	"maps"
	"time"

	"owl/sessions"
)

// A total is the sum of a group's streams at one moment.
type total struct {
	sessions.Snapshot
	group   *group
	inState map[sessions.State]int
}

// addCounters adds what only grows, of a stream that is there or has left.
func (t *total) addCounters(s *sessions.Snapshot) {
	t.Received += s.Received
	t.Lost += s.Lost
	t.LostBy.Add(&s.LostBy)
	t.NotSent += s.NotSent
	t.NotCovered += s.NotCovered
	t.Duplicates += s.Duplicates
	t.Reordered += s.Reordered
	t.Late += s.Late
	t.SocketDrops += s.SocketDrops
	t.ClockSteps += s.ClockSteps
	t.Measured += s.Measured
	t.Elapsed += s.Elapsed
	if s.LastPacket.After(t.LastPacket) {
		t.LastPacket, t.TTL = s.LastPacket, s.TTL
	}
	if len(s.Gaps) == 0 {
		return
	}
	gaps := make(map[sessions.GapReason]time.Duration, len(s.Gaps))
	maps.Copy(gaps, t.Gaps)
	for r, d := range s.Gaps {
		gaps[r] += d
	}
	t.Gaps = gaps
}

// addGauges adds what is true of a stream now. Of errors and delays the worst
// counts.
func (t *total) addGauges(s *sessions.Snapshot, first bool) {
	t.inState[s.State]++
	t.Unresolved += s.Unresolved
	t.Overdue += s.Overdue
	t.ClockError = max(t.ClockError, s.ClockError)
	t.ClockSynced = s.ClockSynced && (first || t.ClockSynced)
	t.SendSlip = max(t.SendSlip, s.SendSlip)
	t.TransmitGap = max(t.TransmitGap, s.TransmitGap)
}
