package control

import (
	"errors"
	"fmt"
	"slices"

	"owl/owamp"
)

// defaultMaxSkips bounds the skip ranges of one Stop-Sessions: 8 MiB of them.
const defaultMaxSkips = 1 << 20

// A session is what a connection has to remember of one that was accepted.
type session struct {
	sid     owamp.SID
	packets uint32
	ours    bool // this side sends
}

// hasSID reports whether one of the sessions has the SID.
func hasSID(sessions []session, sid owamp.SID) bool {
	return slices.ContainsFunc(sessions, func(s session) bool { return s.sid == sid })
}

// inOrder returns the reports on the sessions that this side sends, each once,
// in the order that the reference wants: that of the requests, reversed.
func inOrder(sessions []session, reports []owamp.SendReport) ([]owamp.SendReport, error) {
	bySID := make(map[owamp.SID]owamp.SendReport, len(reports))
	for _, r := range reports {
		bySID[r.SID] = r
	}
	var out []owamp.SendReport
	for _, s := range slices.Backward(sessions) {
		if !s.ours {
			continue
		}
		r, ok := bySID[s.sid]
		if !ok {
			return nil, fmt.Errorf("no report on session %v, which this side sends", s.sid)
		}
		if err := owamp.ValidateSkips(r.Skips, r.NextSeq, s.packets); err != nil {
			return nil, fmt.Errorf("report on session %v: %w", s.sid, err)
		}
		out = append(out, r)
	}
	if len(out) != len(reports) {
		return nil, errors.New("a report on a session that this side does not send, or two on one")
	}
	return out, nil
}

// readStop reads a Stop-Sessions whose first block is head.
func (s *stream) readStop(head *[owamp.BlockSize]byte, sessions []session, maxSkips int) (owamp.StopSessions, error) {
	const message = "Stop-Sessions"
	theirs := make(map[owamp.SID]uint32)
	for _, t := range sessions {
		if !t.ours {
			theirs[t.sid] = t.packets
		}
	}
	stop, err := owamp.ReadStopSessions(head, rest{s, message}, theirs, maxSkips)
	if err != nil {
		return stop, garbage(message, err)
	}
	return stop, s.readHMAC(message)
}
