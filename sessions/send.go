package sessions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"owl/owamp"
	"owl/owamp/schedule"
	"owl/probe"
	"owl/probe/clock"
	"owl/sessions/ports"
	"owl/sessions/recorder"
)

// A sent is what is known of a session in which this host sends, beside the
// session itself.
type sent struct {
	ended chan struct{} // closed when the sending is over, in whatever way

	// How it ended; not read before.
	report  owamp.SendReport
	until   owamp.Timestamp // the scheduled time of the last packet that was sent
	at      time.Time       // when
	whole   bool            // all time-outs were over
	stopped bool            // the peer was told, has said so, and did not want it itself
	steps   clock.Steps     // of the clock
	reason  GapReason       // why the peer has recorded less than was sent, if so

	// The fetcher's notes.
	parts          *recorder.Parts
	part           recorder.Part // the next one without a summary
	more           bool          // there is such a part
	received, lost uint32        // packets, in all that was fetched
	observed       bool          // all records were counted:
	last           uint32        // the greatest sequence number of any
}

// known returns from where on nothing of the session is known, as long as it was
// not fetched as a whole.
func (s *session) known() owamp.Timestamp {
	if s.sent.more {
		return s.sent.part.Start
	}
	return s.start
}

// isOver reports whether the sending has ended.
func (s *sent) isOver() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// send sends the session until it ends, whichever way. It returns the time up to
// which what was sent covers the schedule.
func (s *session) send(ctx context.Context) (owamp.Timestamp, error) {
	over := make(chan struct{})
	sending, err := s.beginSending(func() { close(over) })
	if err != nil {
		return s.start, &failure{GapLocalOverload, err}
	}
	s.track.SendAndFetch(sending.Progress)
	s.track.Witness(s.spec.Sender.Addr(), sending.Incidents, nil)
	began, beganMono := s.cfg.Clock.Now(), time.Now()

	var lost error
	complete := false
	select {
	case <-over:
		complete = true
		// A receiver drops what was sent less than a time-out before it is told
		// to stop, and it may know by itself when that is over.
		lost = s.outlast(ctx, s.cfg.Timeout.Duration()+s.cfg.EndDelay)
		s.sent.whole = ctx.Err() == nil && lost == nil
	case lost = <-s.seat.stopped:
	case <-ctx.Done():
	}
	report := sending.Stop()
	if lost == nil {
		_, lost = s.stop(ctx, &report)
	}
	s.seat.leave()

	going := ctx.Err() == nil
	s.sent.report, s.sent.at, s.sent.steps = report, time.Now(), s.cfg.Clock.Steps()
	s.sent.stopped = lost == nil && (!going || complete || report.NextSeq == s.spec.Packets)
	s.sent.until, err = s.sentUntil(report.NextSeq)
	s.track.Sent(report, s.spec.Packets)
	switch {
	case errors.Is(context.Cause(ctx), errClockSet):
		s.sent.reason = GapClockInvalid
		// What was skipped by the new time is not over by that of the schedule.
		if now := began.AddDuration(time.Since(beganMono)); now.Before(s.sent.until) {
			s.sent.until = now
		}
	case going:
		s.sent.reason = GapControlLost
	default:
		s.sent.reason = GapRestarted
	}
	switch {
	case err != nil:
		return s.start, &failure{GapLocalOverload, err}
	case going && lost != nil:
		return s.sent.until, &failure{GapControlLost, fmt.Errorf("session %v: %w", s.spec.SID, lost)}
	case going && complete && s.sent.until != s.end:
		return s.sent.until, &failure{GapLocalOverload, fmt.Errorf("session %v: so many packets were skipped that it ended early, at packet %d", s.spec.SID, report.NextSeq)}
	case going && s.sent.until != s.end:
		return s.sent.until, &failure{GapControlLost, fmt.Errorf("session %v: the peer stopped it early", s.spec.SID)}
	}
	return s.sent.until, nil
}

// beginSending begins to send; done is called when all is sent, or will never be.
func (s *session) beginSending(done func()) (ports.Sending, error) {
	gen, err := schedule.New(s.spec.SID, s.spec.Slots)
	if err != nil {
		return nil, err
	}
	return s.lease.Port.Send(probe.SendSpec{
		Remote:    s.spec.Receiver,
		Start:     s.spec.Start,
		Schedule:  gen,
		Packets:   s.spec.Packets,
		Timeout:   s.spec.Timeout,
		Sealer:    s.client.Seal(s.spec.SID).Sealer(),
		SID:       s.spec.SID,
		Padding:   s.spec.Padding,
		PadSource: s.cfg.Random,
		DSCP:      s.cfg.DSCP,
		Done:      done,
	})
}

// outlast waits for d, until ctx is done, or until the peer stops the session or
// is lost, of which it returns the error.
func (s *session) outlast(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case err := <-s.seat.stopped:
		return err
	}
	return nil
}

// sentUntil returns the scheduled time of packet next-1, the start if next is 0.
func (s *session) sentUntil(next uint32) (owamp.Timestamp, error) {
	switch {
	case next >= s.spec.Packets:
		return s.end, nil
	case next == 0:
		return s.start, nil
	}
	until := s.spec
	until.Packets = next
	return schedule.End(&until)
}
