package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"owl/owamp"
	"owl/owamp/internal/seal"
)

// A ServerConfig says how [Serve] talks. The zero value of a field is what its
// comment says; Modes has none.
type ServerConfig struct {
	// Modes are those that are offered. None says to the client that this
	// server does not want to talk.
	Modes owamp.Mode
	// Start is when this server began, as Server-Start tells.
	Start owamp.Timestamp
	// Rand makes challenge and salt; nil is crypto/rand.
	Rand io.Reader
	// Now tells the time; nil is the system's clock.
	Now func() owamp.Timestamp
	// Passphrase returns the pass-phrase of a user, and whether there is that
	// user; nil knows nobody.
	Passphrase func(user string) ([]byte, bool)
	// Count is the iterations of the key derivation, 1024 or more; zero is 2048.
	Count uint32
	// Derivations bounds the key derivations that run at a time, in all
	// connections that share it, to its capacity; nil is no bound. They are work
	// that whoever connects can bring about. One that has no turn within
	// HandshakeTimeout is given up, and the connection with it.
	Derivations chan struct{}
	// Peer is the one address to which an open-mode test may be sent; the zero
	// Addr is the remote one of the connection.
	Peer netip.Addr
	// ThirdParty leaves it to the handler to which addresses tests may be sent.
	ThirdParty bool

	// HandshakeTimeout bounds the time from the connection to Server-Start, and
	// that in which Stop-Sessions, and each 16 KB of a session that is fetched,
	// must be taken; zero is 60 s.
	HandshakeTimeout time.Duration
	// IdleTimeout bounds the wait for each message and its answer; zero is
	// 1800 s. There is none while sessions run.
	IdleTimeout time.Duration

	MaxSlots    int // of one session, beyond it Accept 4 and the end; zero is 65536
	MaxSessions int // on the connection at one time, beyond it Accept 5; zero is 1024
	MaxSkips    int // in all of a Stop-Sessions; zero is 2^20
}

// complete fills in what the zero values mean.
func (c *ServerConfig) complete(conn net.Conn) error {
	if other := c.Modes &^ (owamp.ModeOpen | secured); other != 0 {
		return fmt.Errorf("serving control connections: mode %v: want A, E and O", other)
	}
	if c.Count == 0 {
		c.Count = defaultCount
	}
	if c.Count < minCount {
		return fmt.Errorf("serving control connections: key derivation in %d iterations, want %d or more", c.Count, minCount)
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Now == nil {
		c.Now = func() owamp.Timestamp { return owamp.FromTime(time.Now()) }
	}
	if !c.Peer.IsValid() {
		// Not an address at all, as a pipe's, leaves one that equals no other.
		remote, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
		c.Peer = remote.Addr()
	}
	c.Peer = c.Peer.Unmap().WithZone("")
	for _, d := range []struct {
		v    *time.Duration
		zero time.Duration
	}{{&c.HandshakeTimeout, 60 * time.Second}, {&c.IdleTimeout, 1800 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.zero
		}
	}
	for _, n := range []struct {
		v    *int
		zero int
	}{{&c.MaxSlots, defaultMaxSlots}, {&c.MaxSessions, 1 << 10}, {&c.MaxSkips, defaultMaxSkips}} {
		if *n.v == 0 {
			*n.v = n.zero
		}
	}
	return nil
}

// A Handler has the sessions of one connection. Its methods are called one
// after the other, and their contexts end with that of [Serve].
//
// Each session that Request accepted ends in one of three ways: a Start that
// refuses, Stop, or Abort.
type Handler interface {
	// Request prepares a session and says what to answer. One of ConfSender and
	// ConfReceiver is set, there is a slot at least, and the port of this side
	// is 0; so is the SID with ConfReceiver, for then this side makes it. With
	// ConfSender the receiver is the control peer, unless the configuration has
	// ThirdParty, Type-P is a DSCP, and the SID of the answer is the client's
	// whatever Request says of it.
	Request(ctx context.Context, spec *owamp.SessionSpec) owamp.Accepted
	// Start starts all that was requested since the last Start. Where it
	// refuses it has released them all.
	Start(ctx context.Context) owamp.Accept
	// Done, asked once after each Start, is closed or readable when all that
	// this side has to do is done: Stop-Sessions is sent then.
	Done() <-chan struct{}
	// Report stops the sessions that this side sends and returns what there is
	// to say of each of them. It is called once, before Stop.
	Report() []owamp.SendReport
	// Stop ends all sessions: the peer's Stop-Sessions has arrived, at the time
	// at, and says this of those that the peer sent; one that it does not
	// mention is missing. Where the peer was first our Stop-Sessions is sent
	// when Stop has returned, for the peer may fetch the results then.
	Stop(ctx context.Context, peer []owamp.SendReport, accept owamp.Accept, at owamp.Timestamp)
	// Abort ends all sessions without a Stop-Sessions from the peer: the
	// connection was lost, the peer broke the protocol or was silent for too
	// long, or the context has ended. It is the last call.
	Abort(err error)
}

// An Admitter is a [Handler] that is told who the client is.
type Admitter interface {
	// Admit is called once, before all else, when the client has shown who it
	// is, and says whether it is let in.
	Admit(p *Peer) owamp.Accept
}

// A server is the server's half of a control connection.
type server struct {
	cfg ServerConfig
	s   *stream
	h   Handler

	sessions []session // accepted and not ended
	testing  atomic.Bool
	reading  sync.WaitGroup
}

// farewell is how long a peer has for its Stop-Sessions when the context has
// ended while sessions ran.
const farewell = 300 * time.Millisecond

// Serve is the server's half of a control connection over conn, which it owns
// and closes. It returns nil when the client has closed the connection between
// two messages and no session was left over, and at once where cfg offers no
// mode. Otherwise it returns why the connection ended: a [*ProtocolError], a
// [*ConnError], a [*DeniedError] when the client was not let in, why a session
// could not be read to be fetched, or the cause for which ctx has ended. When
// that happens while sessions run, they are
// stopped as the protocol has it, if the peer answers at once.
func Serve(ctx context.Context, conn net.Conn, cfg ServerConfig, h Handler) error {
	defer conn.Close()
	if err := cfg.complete(conn); err != nil {
		return err
	}
	s := &server{cfg: cfg, s: newStream(conn), h: h}
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		if s.testing.Load() {
			select {
			case <-time.After(farewell):
			case <-over:
			}
		}
		_ = conn.Close()
	})
	err := s.converse(ctx)
	close(over)
	if stop(); ctx.Err() != nil {
		err = fmt.Errorf("control connection: %w", context.Cause(ctx))
	}
	_ = conn.Close()
	s.reading.Wait()
	if len(s.sessions) > 0 {
		h.Abort(err)
	}
	return err
}

// arm sets the time that the peer has from now on; zero is for ever.
func (s *server) arm(d time.Duration) {
	var t time.Time
	if d > 0 {
		t = time.Now().Add(d)
	}
	_ = s.s.conn.SetDeadline(t) // fails only on a connection that is closed anyway
}

// converse goes from the greeting to the end of the connection.
func (s *server) converse(ctx context.Context) error {
	if err := s.setUp(ctx); err != nil || s.cfg.Modes == 0 {
		return err
	}
	for ctx.Err() == nil {
		var head [owamp.BlockSize]byte
		s.arm(s.cfg.IdleTimeout)
		if err := s.s.readBlocks("a command", head[:]); err != nil {
			if len(s.sessions) == 0 && errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var err error
		switch command := owamp.Command(head[0]); command {
		case owamp.CommandRequestSession:
			err = s.request(ctx, &head)
		case owamp.CommandStartSessions:
			err = s.start(ctx)
		case owamp.CommandFetchSession:
			err = s.fetch(ctx, &head)
		default:
			err = garbage("a command", fmt.Errorf("%v, which is none or out of place", command))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setUp goes from the greeting to Server-Start.
func (s *server) setUp(ctx context.Context) error {
	s.arm(s.cfg.HandshakeTimeout)
	ctx, cancel := context.WithTimeout(ctx, s.cfg.HandshakeTimeout)
	defer cancel()
	g := owamp.ServerGreeting{Modes: s.cfg.Modes, Count: s.cfg.Count}
	if err := draw(s.cfg.Rand, g.Challenge[:], g.Salt[:]); err != nil {
		return err
	}
	s.s.put(g.Append(nil))
	if err := s.s.flush("Server-Greeting"); err != nil || g.Modes == 0 {
		return err
	}

	var b [owamp.SetUpResponseSize]byte
	if err := s.s.read("Set-Up-Response", b[:]); err != nil {
		return err
	}
	r := owamp.ParseSetUpResponse(&b)
	switch r.Mode {
	case owamp.ModeOpen, owamp.ModeAuthenticated, owamp.ModeEncrypted:
	default:
		return garbage("Set-Up-Response", fmt.Errorf("mode %d, want one of 1, 2 and 4", uint32(r.Mode)))
	}
	if r.Mode&s.cfg.Modes == 0 {
		return s.deny(owamp.AcceptReject, fmt.Sprintf("mode %v was not offered", r.Mode))
	}
	p, why, err := s.authenticate(ctx, &r, &g)
	switch {
	case err != nil:
		return err
	case p == nil:
		return s.deny(owamp.AcceptReject, why)
	}
	if admitter, ok := s.h.(Admitter); ok {
		if accept := admitter.Admit(p); accept != owamp.AcceptOK {
			return s.deny(accept, "")
		}
	}
	return s.welcome(p, r.IV)
}

// deny ends the set-up with a refusal.
func (s *server) deny(a owamp.Accept, why string) error {
	s.s.put(owamp.ServerStart{Accept: a}.Append(nil))
	if err := s.s.flush("Server-Start"); err != nil {
		return err
	}
	return &DeniedError{Step: "Server-Start", Accept: a, Why: why}
}

// welcome ends the set-up. In a mode with keys everything from the third block
// of Server-Start on is sealed; what the peer seals begins with iv.
func (s *server) welcome(p *Peer, iv [16]byte) error {
	start := owamp.ServerStart{Start: s.cfg.Start}
	if p.Mode != owamp.ModeOpen {
		if err := draw(s.cfg.Rand, start.IV[:]); err != nil {
			return err
		}
	}
	const clear = 2 * owamp.BlockSize
	b := start.Append(nil)
	s.s.put(b[:clear])
	if p.Mode != owamp.ModeOpen {
		s.s.opening = seal.NewOpening(&p.keys, iv)
		s.s.sealing = seal.NewSealing(&p.keys, start.IV)
	}
	s.s.putBlocks(b[clear:])
	return s.s.flush("Server-Start")
}

// request answers a Request-Session, or ends the connection where the message
// itself is wrong.
func (s *server) request(ctx context.Context, head *[owamp.BlockSize]byte) error {
	const message = "Request-Session"
	var b [owamp.RequestSize]byte
	n := copy(b[:], head[:])
	if err := within(s.s.readMessage(message, b[n:])); err != nil {
		return err
	}
	spec, slots, err := owamp.ParseRequest(&b)
	if err != nil {
		return garbage(message, err)
	}
	if uint64(slots) > uint64(s.cfg.MaxSlots) {
		// They may be 64 GiB: the answer comes in their place, and the end.
		if err := s.answer(owamp.Accepted{Accept: owamp.AcceptPermanentLimit}); err != nil {
			return err
		}
		return garbage(message, fmt.Errorf("schedule of %d slots, want at most %d", slots, s.cfg.MaxSlots))
	}
	if spec.Slots, err = s.s.readSlots(message, slots); err != nil {
		return err
	}

	answer := s.refusal(&spec)
	if answer == owamp.AcceptOK {
		return s.prepare(ctx, &spec)
	}
	return s.answer(owamp.Accepted{Accept: answer})
}

// refusal says why the protocol itself, whatever the handler thinks, refuses
// the session that spec asks for; AcceptOK if it does not.
func (s *server) refusal(spec *owamp.SessionSpec) owamp.Accept {
	_, isDSCP := spec.DSCP()
	switch {
	case len(spec.Slots) == 0:
		return owamp.AcceptInternalError
	case spec.ConfSender && spec.ConfReceiver:
		return owamp.AcceptNotSupported
	case spec.ConfSender && !s.cfg.ThirdParty && spec.Receiver.Addr().Unmap() != s.cfg.Peer:
		// Else whoever asks could have anyone else flooded.
		return owamp.AcceptReject
	case spec.ConfSender && !isDSCP:
		return owamp.AcceptNotSupported
	case spec.ConfSender && hasSID(s.sessions, spec.SID):
		return owamp.AcceptReject
	case len(s.sessions) >= s.cfg.MaxSessions:
		return owamp.AcceptTemporaryLimit
	}
	return owamp.AcceptOK
}

// prepare has the handler prepare a session and answers what it says.
func (s *server) prepare(ctx context.Context, spec *owamp.SessionSpec) error {
	if spec.ConfReceiver {
		spec.Receiver = netip.AddrPortFrom(spec.Receiver.Addr(), 0)
		spec.SID = owamp.SID{}
	} else {
		spec.Sender = netip.AddrPortFrom(spec.Sender.Addr(), 0)
	}
	a := s.h.Request(ctx, spec)
	if a.Accept == owamp.AcceptOK {
		if spec.ConfSender {
			a.SID = spec.SID
		}
		s.sessions = append(s.sessions, session{a.SID, spec.Packets, spec.ConfSender})
	}
	return s.answer(a)
}

// answer sends an Accept-Session.
func (s *server) answer(a owamp.Accepted) error {
	return s.s.send("Accept-Session", a.Append(nil))
}

// A stopped is the peer's Stop-Sessions, or why there was none.
type stopped struct {
	owamp.StopSessions
	err error
}

// start goes from Start-Sessions to the Stop-Sessions of both sides.
func (s *server) start(ctx context.Context) error {
	if err := s.s.readHMAC("Start-Sessions"); err != nil {
		return err
	}
	accept := s.h.Start(ctx)
	if accept != owamp.AcceptOK {
		s.sessions = nil
	}
	if err := s.s.send("Start-Ack", owamp.StartAck{Accept: accept}.Append(nil)); err != nil || accept != owamp.AcceptOK {
		return err
	}
	s.arm(0)
	s.testing.Store(true)
	defer s.testing.Store(false)
	peer := make(chan stopped, 1)
	s.reading.Go(func() { peer <- s.awaitStop() })

	select {
	case p := <-peer:
		if p.err != nil {
			return p.err
		}
		at := s.cfg.Now()
		ours, err := inOrder(s.sessions, s.h.Report())
		s.h.Stop(ctx, p.Reports, p.Accept, at)
		s.sessions = nil
		if err != nil {
			return fmt.Errorf("stopping sessions: %w", err)
		}
		return s.stop(ours)
	case <-s.h.Done():
	case <-ctx.Done():
	}
	ours, err := inOrder(s.sessions, s.h.Report())
	if err != nil {
		return fmt.Errorf("stopping sessions: %w", err)
	}
	if err := s.stop(ours); err != nil {
		return err
	}
	_ = s.s.conn.SetReadDeadline(time.Now().Add(s.cfg.IdleTimeout))
	p := <-peer
	if p.err != nil {
		return p.err
	}
	s.h.Stop(ctx, p.Reports, p.Accept, s.cfg.Now())
	s.sessions = nil
	return nil
}

// awaitStop waits for the peer's Stop-Sessions, the one message that it may
// send in a test.
func (s *server) awaitStop() stopped {
	var head [owamp.BlockSize]byte
	if err := s.s.readBlocks("Stop-Sessions", head[:]); err != nil {
		return stopped{err: err}
	}
	// Begun, it is a message like others.
	_ = s.s.conn.SetReadDeadline(time.Now().Add(s.cfg.IdleTimeout))
	m, err := s.s.readStop(&head, s.sessions, s.cfg.MaxSkips)
	return stopped{m, err}
}

// stop sends our Stop-Sessions.
func (s *server) stop(ours []owamp.SendReport) error {
	_ = s.s.conn.SetWriteDeadline(time.Now().Add(s.cfg.HandshakeTimeout))
	return s.s.send("Stop-Sessions", owamp.StopSessions{Reports: ours}.Append(nil))
}
