package sessions

import (
	"context"
	"errors"
	"fmt"

	"owl/owamp"
	"owl/probe"
	"owl/sessions/recorder"
)

// listen begins to receive.
func (s *session) listen() error {
	var err error
	if s.file, err = s.begin(); err != nil {
		return &failure{GapLocalOverload, err}
	}
	s.track = s.tally.Track()
	s.rec, err = recorder.New(recorder.Config{
		Spec:    &s.spec,
		File:    s.file,
		Now:     s.cfg.Clock.Now,
		Err:     func() owamp.ErrorEstimate { return s.cfg.Clock.Error(0) },
		Seen:    s.seen,
		Settled: s.track.Settled,
		Each:    s.cfg.Part,
		Part:    s.writePart,
	})
	if err != nil {
		return &failure{GapLocalOverload, err}
	}
	opener := s.client.Seal(s.spec.SID).Opener()
	s.receiving, err = s.lease.Port.Receive(probe.ReceiveSpec{
		Remote: s.spec.Sender,
		Opener: opener,
		Size:   opener.Size() + int(s.spec.Padding),
	}, s.rec.Batch)
	if err != nil {
		return &failure{GapLocalOverload, err}
	}
	s.track.Witness(s.spec.Receiver.Addr(), s.receiving.Incidents, s.rec.Dropped)
	return nil
}

// seen passes on what the recorder took.
func (s *session) seen(recs []owamp.Record) {
	s.track.Observe(recs)
	if s.cfg.Seen != nil {
		s.cfg.Seen(recs)
	}
}

// record records the session until it ends, whichever way, and writes its
// files. It returns the time up to which the files cover the schedule.
func (s *session) record(ctx context.Context) (owamp.Timestamp, error) {
	s.rec.Run(s.receiving)
	s.track.Receive(s.rec.Live)
	var lost error
	select {
	case <-s.rec.Done():
		s.linger(ctx, s.cfg.EndDelay)
	case lost = <-s.seat.stopped:
	case <-ctx.Done():
	}
	ended := ctx.Err() != nil && !s.isDone()
	if ended {
		s.rec.CutShort()
	}
	if errors.Is(context.Cause(ctx), errClockSet) {
		lost = errClockSet // what is said of now says nothing of the schedule
	}
	var reports []owamp.SendReport
	if lost == nil {
		reports, lost = s.stop(ctx, nil)
	}
	stopped := s.cfg.Clock.Now()
	s.seat.leave()

	var report recorder.Report
	var err error
	if lost == nil {
		sent := s.reportOf(reports)
		s.track.Reported(sent)
		report, err = s.rec.Finish(sent, stopped)
	} else {
		report, err = s.rec.FinishIncomplete(stopped)
	}
	s.track.Settle(report, s.receiving.Stats())
	until := s.start
	if err == nil {
		until, err = s.write(!ended)
		s.tellResults()
	}
	switch going := ctx.Err() == nil; {
	case err != nil:
		return until, &failure{GapLocalOverload, err}
	case going && lost != nil:
		return until, &failure{GapControlLost, fmt.Errorf("session %v: %w", s.spec.SID, lost)}
	case going && until != s.end:
		return until, &failure{GapControlLost, fmt.Errorf("session %v: the peer stopped it early", s.spec.SID)}
	}
	return until, nil
}

// isDone reports whether every packet is settled.
func (s *session) isDone() bool {
	select {
	case <-s.rec.Done():
		return true
	default:
		return false
	}
}

// reportOf returns what the peer reported of this session.
func (s *session) reportOf(reports []owamp.SendReport) *owamp.SendReport {
	for i := range reports {
		if reports[i].SID == s.spec.SID {
			return &reports[i]
		}
	}
	return nil
}
