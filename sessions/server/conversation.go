package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/schedule"
	"owl/owamp/window"
	"owl/probe"
	"owl/sessions"
	"owl/sessions/policy"
	"owl/sessions/ports"
	"owl/sessions/recorder"
)

// A conversation is one control connection and the sessions that were asked
// for on it. It implements [control.Handler].
type conversation struct {
	*Server
	log     *slog.Logger
	peer    policy.Peer
	account *policy.Account
	client  *control.Peer // who the peer has shown to be

	sessions []*session // in the order of the requests
	round    *round     // nil while no test runs
}

// A round is what lies between Start-Sessions and Stop-Sessions.
type round struct {
	done chan struct{} // closed when all sessions have run to their end
	over chan struct{} // closed when nobody waits for that any more

	mu      sync.Mutex
	running int           // sessions that have not run to their end
	waits   []*time.Timer // of those that have sent all their packets
}

func newRound(sessions int) *round {
	r := &round{running: sessions, done: make(chan struct{}), over: make(chan struct{})}
	if sessions == 0 {
		close(r.done)
	}
	return r
}

// finished counts a session that has run to its end.
func (r *round) finished() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running--; r.running == 0 {
		close(r.done)
	}
}

// await counts each session that is recorded when it has run to its end.
func (r *round) await(recorders []*recorder.Recorder) {
	for _, rec := range recorders {
		select {
		case <-rec.Done():
			r.finished()
		case <-r.over:
			return
		}
	}
}

// finishAfter counts a session that will have run to its end when wait has
// passed, which may be a peer's idea and last for decades.
func (r *round) finishAfter(wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.over:
	default:
		r.waits = append(r.waits, time.AfterFunc(wait, r.finished))
	}
}

// end ends all waiting.
func (r *round) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.over)
	for _, t := range r.waits {
		t.Stop()
	}
}

// A session is one test of a conversation.
type session struct {
	spec  owamp.SessionSpec
	held  *policy.Reservation
	need  need // taken from the server's room
	lease *ports.Lease
	peer  *peer
	track *sessions.Track

	// This host sends.
	sending ports.Sending

	// This host receives.
	rec       *recorder.Recorder
	receiving ports.Receiving // nil: it was not started
	file      *File
}

// Admit takes note of who the client has shown to be: its class may be another
// one than that of its address.
func (c *conversation) Admit(p *control.Peer) owamp.Accept {
	c.client = p
	if p.User != "" {
		c.peer.User = p.User
		c.account = c.ledger.Account(c.peer)
		c.log = c.log.With("user", p.User)
	}
	c.log.Debug(fmt.Sprintf("Connection in mode %v: class %s", p.Mode, c.account.Class().Name()))
	return owamp.AcceptOK
}

// Request answers a Request-Session.
func (c *conversation) Request(_ context.Context, spec *owamp.SessionSpec) owamp.Accepted {
	s, err := c.prepare(spec)
	if err != nil {
		return owamp.Accepted{Accept: c.refused("Test", err)}
	}
	c.sessions = append(c.sessions, s)
	return owamp.Accepted{Port: s.lease.Port.Addr().Port(), SID: s.spec.SID}
}

// prepare does everything for a session that can be done before its start.
func (c *conversation) prepare(spec *owamp.SessionSpec) (*session, error) {
	err := c.admit(spec)
	if err != nil {
		return nil, err
	}
	s := &session{spec: *spec}
	if s.held, err = c.account.Reserve(c.demand(spec)); err != nil {
		return nil, err
	}
	if spec.ConfSender {
		err = c.borrow(s, spec.Sender.Addr(), spec.Receiver)
	} else {
		err = c.prepareReceiving(s)
	}
	if err != nil {
		c.release(s)
		return nil, err
	}
	return s, nil
}

func (c *conversation) prepareReceiving(s *session) error {
	local := s.spec.Receiver.Addr()
	if err := c.borrow(s, local, s.spec.Sender); err != nil {
		return err
	}
	var err error
	if s.spec.SID, err = owamp.NewSID(local, c.cfg.Clock.Now(), c.cfg.Random); err != nil {
		return err
	}
	s.spec.Receiver = s.lease.Port.Addr()
	n, err := needOf(&s.spec)
	if err != nil {
		return err
	}
	if err := c.room.take(policy.HostOf(c.peer.Addr), n); err != nil {
		return err
	}
	s.need = n
	if s.file, err = c.cfg.Store.Create(s.spec.SID, s.held, c.peer); err != nil {
		return err
	}
	s.rec, err = recorder.New(recorder.Config{
		Spec: &s.spec,
		File: s.file,
		Now:  c.cfg.Clock.Now,
		Err:  func() owamp.ErrorEstimate { return c.cfg.Clock.Error(0) },
		Seen: func(recs []owamp.Record) {
			s.track.Observe(recs)
			s.peer.observe(recs)
		},
		Settled: func(below uint32) { s.track.Settled(below) },
		Failed:  func(err error) { c.log.Error(err.Error()) },
	})
	if errors.Is(err, window.ErrTooLarge) {
		return refuse(owamp.AcceptPermanentLimit, "%v", err)
	}
	return err
}

// borrow gets s a test port.
func (c *conversation) borrow(s *session, local netip.Addr, remote netip.AddrPort) error {
	var err error
	s.lease, err = c.pool.Lease(local, remote)
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return refuse(owamp.AcceptReject, "%v is not an address of this host", local)
	}
	return err
}

// Start begins all sessions that were requested.
func (c *conversation) Start(context.Context) owamp.Accept {
	if err := c.beginAll(); err != nil {
		c.Abort(err)
		return c.refused("Test", err)
	}
	return owamp.AcceptOK
}

func (c *conversation) beginAll() error {
	c.round = newRound(len(c.sessions))
	for _, s := range c.sessions {
		err := c.checkLate(&s.spec)
		if err == nil {
			err = c.begin(s)
		}
		if err != nil {
			return fmt.Errorf("session %v: %w", s.spec.SID, err)
		}
	}
	if recorders := c.recorders(); len(recorders) > 0 {
		go c.round.await(recorders)
	}
	return nil
}

// recorders returns those of the sessions that this host receives.
func (c *conversation) recorders() (all []*recorder.Recorder) {
	for _, s := range c.sessions {
		if s.rec != nil {
			all = append(all, s.rec)
		}
	}
	return all
}

func (c *conversation) begin(s *session) error {
	s.peer = c.peers.get(Peer{Sender: s.spec.Sender.Addr(), Receiver: s.spec.Receiver.Addr(), Receiving: s.rec != nil})
	s.track = s.peer.tally.Track()
	if s.rec != nil {
		return c.beginReceiving(s)
	}
	return c.beginSending(s, c.round)
}

// beginReceiving lets packets in: before, the peer may not send any, and what is
// not recorded yet takes memory.
func (c *conversation) beginReceiving(s *session) error {
	opener := c.client.Seal(s.spec.SID).Opener()
	receiving, err := s.lease.Port.Receive(probe.ReceiveSpec{
		Remote: s.spec.Sender,
		Opener: opener,
		Size:   opener.Size() + int(s.spec.Padding),
	}, s.rec.Batch)
	if err != nil {
		return err
	}
	s.receiving = receiving
	s.track.Witness(s.spec.Receiver.Addr(), receiving.Incidents, s.rec.Dropped)
	s.rec.Run(receiving)
	s.track.Receive(s.rec.Live)
	return nil
}

func (c *conversation) beginSending(s *session, r *round) error {
	gen, err := schedule.New(s.spec.SID, s.spec.Slots)
	if err != nil {
		return err
	}
	dscp, _ := s.spec.DSCP()
	wait := s.spec.Timeout.Duration() + c.inForce().EndDelay
	s.sending, err = s.lease.Port.Send(probe.SendSpec{
		Remote:    s.spec.Receiver,
		Start:     s.spec.Start,
		Schedule:  gen,
		Packets:   s.spec.Packets,
		Timeout:   s.spec.Timeout,
		Sealer:    c.client.Seal(s.spec.SID).Sealer(),
		SID:       s.spec.SID,
		Padding:   s.spec.Padding,
		PadSource: c.cfg.Random,
		DSCP:      dscp,
		Done:      func() { r.finishAfter(wait) },
	})
	if err != nil {
		return err
	}
	s.track.Send(s.sending.Progress)
	return nil
}

// Done is closed when all sessions that were started have run to their end.
func (c *conversation) Done() <-chan struct{} { return c.round.done }

// Report stops the sessions in which this host sends and tells what they sent.
func (c *conversation) Report() []owamp.SendReport {
	var reports []owamp.SendReport
	for _, s := range slices.Backward(c.sessions) {
		if s.sending != nil {
			reports = append(reports, s.sending.Stop())
		}
	}
	return reports
}

// Stop settles the sessions in which this host receives with what the peer
// reported, and forgets all sessions.
func (c *conversation) Stop(_ context.Context, sent []owamp.SendReport, accept owamp.Accept, at owamp.Timestamp) {
	c.end(func(s *session) (recorder.Report, error) {
		if accept != owamp.AcceptOK {
			return s.rec.FinishIncomplete(at)
		}
		for i := range sent {
			if sent[i].SID == s.spec.SID {
				s.track.Reported(&sent[i])
				return s.rec.Finish(&sent[i], at)
			}
		}
		return s.rec.Finish(nil, at)
	})
}

// Abort ends all sessions, keeping what they recorded, when the connection is
// gone.
func (c *conversation) Abort(err error) {
	at := c.cfg.Clock.Now()
	c.end(func(s *session) (recorder.Report, error) { return s.rec.FinishIncomplete(at) })
}

// end ends all sessions; settle settles those that were recorded.
func (c *conversation) end(settle func(*session) (recorder.Report, error)) {
	if c.round != nil {
		c.round.end()
	}
	all := c.sessions
	c.sessions, c.round = nil, nil
	for _, s := range all {
		if s.sending != nil {
			s.track.SettleSending(s.sending.Stop(), s.spec.Packets)
		}
		if s.receiving != nil {
			s.file.Settle()
			report, failed := settle(s)
			s.track.Settle(report, s.receiving.Stats())
			if err := c.keep(s, failed == nil); err != nil {
				c.log.Error(err.Error())
			}
			s.file = nil
		}
		c.release(s)
	}
}

// keep keeps the file of s, or discards it if nothing was recorded in it or it
// takes too much. One that is not complete, because the disk was full for
// instance, is made the file of an incomplete session first.
func (c *conversation) keep(s *session, complete bool) error {
	measure := s.file.size
	if !complete {
		measure = s.file.salvage
	}
	size, err := measure()
	if err == nil {
		if err = s.held.AdjustDisk(uint64(size), c.inForce().DiskFudge); err == nil {
			return s.file.Keep(s.held.Keep())
		}
		err = fmt.Errorf("%s Too large! Deleting... (See diskfudge): %w", s.file.Name(), err)
	}
	if errors.Is(err, errWorthless) {
		err = nil
	}
	if gone := s.file.Discard(); err == nil {
		err = gone
	}
	return err
}

// release gives back what s holds.
func (c *conversation) release(s *session) {
	if s.peer != nil {
		s.track.Leave()
		s.peer.put()
	}
	if s.receiving != nil {
		s.receiving.Close()
	}
	if s.lease != nil {
		var linger time.Duration // of a session that was not begun no packet is under way
		if s.sending != nil || s.receiving != nil {
			linger = s.spec.Timeout.Duration()
		}
		s.lease.Release(linger)
	}
	if s.file != nil {
		_ = s.file.Discard() // at worst an empty file stays
	}
	c.room.give(policy.HostOf(c.peer.Addr), s.need)
	if s.held != nil {
		s.held.Release()
	}
}
