package sessions

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/probe"
	"owl/sessions/ports"
	"owl/sessions/recorder"
)

// A session is one OWAMP session of a stream: the peer sends, this host
// receives.
type session struct {
	*Stream
	start owamp.Timestamp // fixed: the start; else the earliest that will do
	fixed bool            // start, spec and end were planned before
	spec  owamp.SessionSpec
	end   owamp.Timestamp // the scheduled time of the last packet

	client    *control.Client
	lease     *ports.Lease
	rtt       time.Duration
	unfit     []*ports.Lease // of ports that would not do; held while others are tried
	receiving ports.Receiving
	rec       *recorder.Recorder
	file      *os.File
	track     *Track

	// The planner's notes.
	up, over bool
	until    owamp.Timestamp
	reason   GapReason
	retry    time.Duration // the planner's wait before s was up
}

// errClockSet is why sessions end when the clock was set: their time stamps do
// not fit their schedules any more.
var errClockSet = errors.New("the clock was set")

// A failure is why there is no session, or none any more.
type failure struct {
	reason GapReason
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// run lives the session's life and tells of it. What it opened is closed when
// it tells of the end.
func (s *session) run(ctx context.Context, events chan<- event) {
	err := s.open(ctx)
	until := s.start
	if err == nil {
		events <- event{s: s, up: true}
		until, err = s.measure(ctx)
	}
	s.close()
	events <- failed(s, err, until)
}

// failed is the event of the end of s, with a reason if err has one.
func failed(s *session, err error, until owamp.Timestamp) event {
	e := event{s: s, until: until, err: err}
	if f, ok := errors.AsType[*failure](err); ok {
		e.reason = f.reason
	} else if err != nil {
		e.reason = GapLocalOverload
	}
	return e
}

func (s *session) close() {
	s.hangUp()
	if s.receiving != nil {
		s.receiving.Close()
	}
	if s.lease != nil {
		s.lease.Release(s.cfg.Timeout.Duration())
	}
	for _, l := range s.unfit {
		l.Release(0)
	}
	if s.file != nil {
		s.discard()
	}
}

func (s *session) hangUp() {
	if s.client != nil {
		s.client.Close()
	}
	s.client = nil
}

// open sets the session up: afterwards the peer will send.
func (s *session) open(ctx context.Context) error {
	limit := setupTimeout
	if s.fixed {
		limit = min(limit, s.start.Sub(s.cfg.Clock.Now()))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		again, err := s.try(ctx)
		if err != nil {
			return err
		}
		if !again {
			break
		}
		s.hangUp()
		s.unfit, s.lease = append(s.unfit, s.lease), nil
		if len(s.unfit) == maxUnfit {
			return &failure{GapLocalOverload, fmt.Errorf("the peer's test ports collide with those of other sessions from %d ports: %w", maxUnfit, ports.ErrNoPort)}
		}
	}
	if err := s.client.Start(ctx); err != nil {
		return s.refusal(err, "Start-Sessions")
	}
	s.rtt = s.client.RTT()
	return nil
}

// try asks the peer for the session. It reports whether it is to be asked
// again, from another test port.
func (s *session) try(ctx context.Context) (again bool, err error) {
	path, err := s.cfg.Dial(ctx)
	if err != nil {
		return false, &failure{GapPeerUnreachable, err}
	}
	s.client, err = control.Connect(ctx, path.Conn, control.ClientConfig{Modes: s.cfg.Modes, Now: s.cfg.Clock.Now})
	if err != nil {
		return false, s.refusal(err, path.Conn.RemoteAddr().String())
	}
	var unfit []ports.Port
	for _, l := range s.unfit {
		unfit = append(unfit, l.Port)
	}
	if s.lease, err = s.pool.Lease(path.Local, netip.AddrPortFrom(path.Peer, 0), unfit...); err != nil {
		return false, &failure{GapLocalOverload, err}
	}
	if !s.fixed {
		soon := s.cfg.Clock.Now().AddDuration(shortLead + leadTrips*s.client.RTT())
		if s.start == 0 || s.start.Before(soon) {
			s.start = soon
		}
		if s.spec, s.end, err = s.Stream.spec(s.start, path.Local); err != nil {
			return false, &failure{GapLocalOverload, err}
		}
	}
	s.spec.Sender = netip.AddrPortFrom(path.Peer, 0)
	s.spec.Receiver = s.lease.Port.Addr()
	answers, err := s.client.Request(ctx, []owamp.SessionSpec{s.spec})
	if err != nil {
		return false, s.refusal(err, "Request-Session")
	}
	switch a := answers[0]; {
	case a.Accept == owamp.AcceptTemporaryLimit && len(s.unfit) == 0:
		return true, nil // perhaps it has no port left to pair with this one
	case a.Accept != owamp.AcceptOK:
		return false, &failure{GapRefused, fmt.Errorf("Server denied test: %v: %v", path.Peer, a.Accept)} //nolint:staticcheck // the reference's words
	}
	s.spec.Sender = netip.AddrPortFrom(path.Peer, answers[0].Port)
	if !s.lease.Fix(answers[0].Port) {
		return true, nil // the two ports are another session's already
	}
	return false, s.listen()
}

// listen begins to receive.
func (s *session) listen() error {
	opener, err := owamp.NewOpener(s.client.Mode())
	if err != nil {
		return &failure{GapHandshakeFailed, err}
	}
	if s.file, err = s.cfg.Directory.Begin(s.spec.SID); err != nil {
		return &failure{GapLocalOverload, err}
	}
	s.track = s.tally.Track()
	s.rec, err = recorder.New(recorder.Config{
		Spec: &s.spec,
		File: s.file,
		Now:  s.cfg.Clock.Now,
		Err:  func() owamp.ErrorEstimate { return s.cfg.Clock.Error(0) },
		Seen: s.seen,
		Each: s.cfg.Part,
		Part: s.writePart,
	})
	if err != nil {
		return &failure{GapLocalOverload, err}
	}
	s.receiving, err = s.lease.Port.Receive(probe.ReceiveSpec{
		Remote: s.spec.Sender,
		Opener: opener,
		Size:   owamp.PacketSize(s.client.Mode()) + int(s.spec.Padding),
	}, s.rec.Batch)
	if err != nil {
		return &failure{GapLocalOverload, err}
	}
	return nil
}

// refusal tells a peer that says no from one that does not keep to the
// protocol or went away in the middle of it.
func (s *session) refusal(err error, step string) error {
	if _, denied := errors.AsType[*control.DeniedError](err); denied {
		return &failure{GapRefused, err}
	}
	return &failure{GapHandshakeFailed, fmt.Errorf("%s: %w", step, err)}
}

// seen passes on what the recorder took.
func (s *session) seen(recs []owamp.Record) {
	s.track.Observe(recs)
	if s.cfg.Seen != nil {
		s.cfg.Seen(recs)
	}
}

// measure records the session until it ends, whichever way, and writes its
// files. It returns the time up to which the files cover the schedule.
func (s *session) measure(ctx context.Context) (owamp.Timestamp, error) {
	s.rec.Run(s.receiving)
	s.track.Receive(s.rec.Live)
	client := s.client
	peer := make(chan error, 1)
	go func() {
		_, err := client.Await(context.WithoutCancel(ctx))
		peer <- err
	}()

	var lost error
	select {
	case <-s.rec.Done():
		s.linger(ctx, s.cfg.EndDelay)
	case lost = <-peer:
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
		reports, lost = s.stop(ctx)
	}
	stopped := s.cfg.Clock.Now()
	s.hangUp() // ends the Await

	var report recorder.Report
	var err error
	if lost == nil {
		report, err = s.rec.Finish(s.sent(reports), stopped)
	} else {
		report, err = s.rec.FinishIncomplete(stopped)
	}
	s.track.Settle(report, s.receiving.Stats())
	until := s.start
	if err == nil {
		until, err = s.write(!ended)
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

// linger waits for d, or until ctx is done.
func (s *session) linger(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// stop exchanges Stop-Sessions. The peer has as long for it as for a set-up,
// but when ctx is done only as long as a farewell may take.
func (s *session) stop(ctx context.Context) ([]owamp.SendReport, error) {
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), setupTimeout)
	defer cancel()
	hurry := context.AfterFunc(ctx, func() {
		s.linger(patient, farewell)
		cancel()
	})
	defer hurry()
	return s.client.Stop(patient, nil)
}

// sent returns what the peer reported of this session.
func (s *session) sent(reports []owamp.SendReport) *owamp.SendReport {
	for i := range reports {
		if reports[i].SID == s.spec.SID {
			return &reports[i]
		}
	}
	return nil
}
