package sessions

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/schedule"
	"owl/probe/clock"
	"owl/sessions/ports"
	"owl/sessions/recorder"
	"owl/sessions/result"
)

// A session is one OWAMP session of a stream.
type session struct {
	*Stream
	start owamp.Timestamp // fixed: the start; else the earliest that will do
	fixed bool            // start was planned before, and so were spec and end if this host receives
	spec  owamp.SessionSpec
	end   owamp.Timestamp // the scheduled time of the last packet

	seat   *seat
	client *control.Client // of the seat's connection
	lease  *ports.Lease
	rtt    time.Duration
	unfit  []*ports.Lease // of ports that would not do; held while others are tried
	file   File
	track  *Track
	steps  clock.Steps // of the clock, when it was asked for
	parted clock.Steps // when the last part was written

	// Of its results.
	reported uint32           // below it all packets are in those of parts
	made     []*result.Result // to be told when it is known who lost what

	// This host receives.
	receiving ports.Receiving
	rec       *recorder.Recorder

	// This host sends.
	sent *sent

	// The planner's notes.
	joined   bool // in the chain
	up, over bool
	until    owamp.Timestamp
	reason   GapReason
	why      string
	retry    time.Duration // the planner's wait before s was up
}

// newSession returns a session that is not set up.
func (s *Stream) newSession(start owamp.Timestamp, fixed bool) *session {
	n := &session{Stream: s, start: start, fixed: fixed, steps: s.cfg.Clock.Steps()}
	n.parted = n.steps
	if s.cfg.Send {
		n.sent = &sent{ended: make(chan struct{})}
		n.track = s.tally.Track()
	}
	return n
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
//
// The setting up takes a deep stack, the long wait behind it a small one, and
// thousands wait: so that is on a goroutine of its own.
func (s *session) run(ctx context.Context, events chan<- event) {
	if err := s.open(ctx, events); err != nil {
		s.depart(events, s.start, err)
		return
	}
	go s.live(ctx, events)
}

// live is run from when the session is up.
func (s *session) live(ctx context.Context, events chan<- event) {
	events <- event{s: s, up: true}
	measure := s.record
	if s.cfg.Send {
		measure = s.send
	}
	until, err := measure(ctx)
	s.depart(events, until, err)
}

// depart closes what the session has opened, and tells of its end.
func (s *session) depart(events chan<- event, until owamp.Timestamp, err error) {
	s.close()
	if s.sent != nil {
		close(s.sent.ended)
	}
	events <- failed(s, err, until)
}

// failed is the event of the end of s, with a reason if err has one.
func failed(s *session, err error, until owamp.Timestamp) event {
	e := event{s: s, until: until, err: err}
	if err != nil {
		e.reason = reasonOf(err)
	}
	return e
}

// reasonOf returns why err leaves a gap: what is no [failure] of the peer is
// one of this host.
func reasonOf(err error) GapReason {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	return GapLocalOverload
}

func (s *session) close() {
	if s.receiving != nil {
		s.receiving.Close()
	}
	if s.seat != nil {
		s.seat.leave()
	}
	if s.lease != nil {
		// Until the connection is closed the peer may go on sending.
		s.seat.afterwards(func() { s.lease.Release(s.cfg.Timeout.Duration()) })
	}
	if s.file != nil {
		s.discard()
	}
}

// open sets the session up. It tells when a session that this host is to send
// is granted: only then is it known where the next one begins.
func (s *session) open(ctx context.Context, events chan<- event) error {
	if s.fixed {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.start.Sub(s.cfg.Clock.Now()))
		defer cancel()
	}
	defer s.forgetUnfit()
	s.seat = s.broker.board(s.due())
	for {
		err := s.negotiate(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, errAnew) {
			return err
		}
		if s.lease != nil {
			s.lease.Release(0)
			s.lease = nil
		}
	}
	s.rtt = s.client.RTT()
	if s.cfg.Send {
		events <- event{s: s, granted: true}
	} else if err := s.listen(); err != nil {
		return err
	}
	return s.seat.start(ctx)
}

// due returns when the session is to be asked for, and about when it is over.
func (s *session) due() (time.Time, owamp.Timestamp) {
	now, begin, wait := s.cfg.Clock.Now(), s.start, brief
	if s.fixed {
		wait = s.start.Sub(now) - lead - setupTrips*s.rtt
	} else if begin = now.AddDuration(shortLead); s.start.After(begin) {
		begin = s.start
	}
	end := begin.AddDuration(s.length())
	if s.end != 0 {
		end = s.end
	}
	return time.Now().Add(wait), end.Add(s.cfg.Timeout).AddDuration(s.cfg.EndDelay)
}

// negotiate asks the peer for the session, over a new connection. It returns
// errAnew when it is to be done once more.
func (s *session) negotiate(ctx context.Context) error {
	path, client, err := s.seat.connect(ctx)
	if err != nil {
		return err
	}
	s.client = client
	for again := false; ; again = true {
		err := s.ask(ctx, path, again)
		switch {
		case err == nil:
			return s.seat.agree(ctx)
		case !errors.Is(err, errUnfit) && !errors.Is(err, errTaken):
			return err
		}
		s.unfit, s.lease = append(s.unfit, s.lease), nil
		if len(s.unfit) == maxUnfit {
			return &failure{GapLocalOverload, fmt.Errorf("the peer's test ports collide with those of other sessions from %d ports: %w", maxUnfit, ports.ErrNoPort)}
		}
		if errors.Is(err, errTaken) {
			return errAnew // on another connection, so that the peer drops the session
		}
	}
}

// forgetUnfit gives the ports back that would not do.
func (s *session) forgetUnfit() {
	for _, l := range s.unfit {
		l.Release(0)
	}
	s.unfit = nil
}

var (
	// errUnfit says that the peer may grant the session from another test port.
	errUnfit = errors.New("to be asked for from another test port")
	// errTaken says that the peer has granted the session with the two ports of
	// another one.
	errTaken = errors.New("granted with the test ports of another session")
)

// ask asks the peer for the session, again after a refusal on this connection.
// It returns errUnfit or errTaken when it is to be asked once more, from another
// test port.
func (s *session) ask(ctx context.Context, path Path, again bool) error {
	var unfit []ports.Port
	for _, l := range s.unfit {
		unfit = append(unfit, l.Port)
	}
	var err error
	if s.lease, err = s.pool.Lease(path.Local, netip.AddrPortFrom(path.Peer, 0), unfit...); err != nil {
		return &failure{GapLocalOverload, err}
	}
	if !s.fixed {
		soon := s.cfg.Clock.Now().AddDuration(shortLead + leadTrips*s.client.RTT())
		if s.start == 0 || s.start.Before(soon) {
			s.start = soon
		}
	}
	if !s.fixed || s.cfg.Send {
		if s.spec, s.end, err = s.Stream.spec(s.start, path.Local); err != nil {
			return &failure{GapLocalOverload, err}
		}
	}
	ours, theirs := &s.spec.Receiver, &s.spec.Sender
	if s.cfg.Send {
		ours, theirs = theirs, ours
	}
	*ours, *theirs = s.lease.Port.Addr(), netip.AddrPortFrom(path.Peer, 0)
	a, err := s.seat.request(ctx, s.spec)
	switch {
	case err != nil:
		return err
	case a.Accept == owamp.AcceptTemporaryLimit && !again:
		return errUnfit // perhaps it has no port left to pair with this one
	case a.Accept != owamp.AcceptOK:
		return &failure{GapRefused, fmt.Errorf("Server denied test: %v: %v", path.Peer, a.Accept)} //nolint:staticcheck // the reference's words
	}
	*theirs = netip.AddrPortFrom(path.Peer, a.Port)
	if !s.lease.Fix(a.Port) {
		return errTaken
	}
	if s.cfg.Send {
		s.spec.SID = a.SID
		if s.end, err = schedule.End(&s.spec); err != nil {
			return &failure{GapLocalOverload, err}
		}
	}
	return nil
}

// linger waits for d, or until ctx is done.
func (s *session) linger(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// stop stops the session, with the others of its connection, and returns what
// the peer reports. Once ctx is done there is only as long for it as a farewell
// may take.
func (s *session) stop(ctx context.Context, sent *owamp.SendReport) ([]owamp.SendReport, error) {
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	hurry := context.AfterFunc(ctx, func() {
		s.linger(patient, farewell)
		cancel()
	})
	defer hurry()
	return s.seat.stop(patient, sent)
}
