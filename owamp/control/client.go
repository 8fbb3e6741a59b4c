package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"owl/owamp"
	"owl/owamp/internal/seal"
)

// A ClientConfig says how [Connect] talks; its zero value is open mode.
type ClientConfig struct {
	// Modes are those that the client would use; zero is ModeOpen. The
	// strictest of them that the server offers is taken.
	Modes owamp.Mode
	// User is who the client is, in at most 80 octets, and Passphrase returns
	// the secret that shows it; it is called where a mode is taken that wants
	// it. Without a user there is only open mode.
	User       string
	Passphrase func() ([]byte, error)
	// MaxCount is how many iterations of the key derivation a server may ask
	// for; zero is 2^20, which take less than a second. Fewer than 1024 are
	// refused (RFC 4656 section 3.1).
	MaxCount uint32
	// Rand makes keys; nil is crypto/rand.
	Rand io.Reader
	// Now tells the time, by which round trips are measured; nil is a clock
	// that is never set.
	Now func() owamp.Timestamp
	// MaxSkips is how many skip ranges a Stop-Sessions, or a session that is
	// fetched, may have; zero is 2^20.
	MaxSkips int
	// MaxSlots is how many slots a session that is fetched may have; zero is
	// 65536.
	MaxSlots int
}

// A Client is the client's half of a control connection. Request, Start, Stop
// and Fetch are called one after the other; Await, Close and the methods that
// only tell something may be called beside them.
//
// After a [*ConnError] or a [*ProtocolError], and after an error of what Fetch
// hands its records to, the connection is closed and every call gives that
// error again.
type Client struct {
	s        *stream
	mode     owamp.Mode
	keys     seal.Keys // not in open mode
	start    owamp.Timestamp
	now      func() owamp.Timestamp
	maxSkips int
	maxSlots int

	closed  sync.Once
	reading sync.WaitGroup

	mu        sync.Mutex
	err       error // why the connection is of no use any more
	rtt       time.Duration
	requested []session // accepted and not yet started
	test      *test     // the last one started
}

// A test is what runs between Start-Sessions and Stop-Sessions.
type test struct {
	sessions []session
	sent     bool          // our Stop-Sessions
	stopped  chan struct{} // closed when peer and err are known
	peer     owamp.StopSessions
	err      error
}

// Connect sets up a control connection over conn, which it owns from then on
// and closes on an error: an ErrNoCommonMode, a [*DeniedError] of a server that
// does not let this client in, a [*ProtocolError] or a [*ConnError].
func Connect(ctx context.Context, conn net.Conn, cfg ClientConfig) (*Client, error) {
	if cfg.Modes == 0 {
		cfg.Modes = owamp.ModeOpen
	}
	if cfg.User == "" {
		cfg.Modes &= owamp.ModeOpen
	}
	if cfg.MaxCount == 0 {
		cfg.MaxCount = defaultMaxCount
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Now == nil {
		begin := time.Now()
		cfg.Now = func() owamp.Timestamp { return owamp.Timestamp(owamp.IntervalOf(time.Since(begin))) }
	}
	if cfg.MaxSkips == 0 {
		cfg.MaxSkips = defaultMaxSkips
	}
	if cfg.MaxSlots == 0 {
		cfg.MaxSlots = defaultMaxSlots
	}
	c := &Client{s: newStream(conn), now: cfg.Now, maxSkips: cfg.MaxSkips, maxSlots: cfg.MaxSlots}
	if err := c.during(ctx, "reading Server-Greeting", func() error { return c.setUp(&cfg) }); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// setUp goes from the greeting to Server-Start.
func (c *Client) setUp(cfg *ClientConfig) error {
	var octets [owamp.ServerGreetingSize]byte
	if err := c.s.read("Server-Greeting", octets[:]); err != nil {
		return err
	}
	g := owamp.ParseServerGreeting(&octets)
	if g.Modes == 0 {
		return fmt.Errorf("reading Server-Greeting: %w: the server offers none: it does not want to talk", ErrNoCommonMode)
	}
	if c.mode = strictest(g.Modes & cfg.Modes); c.mode == 0 {
		return fmt.Errorf("reading Server-Greeting: %w: the server offers %v, this client %s", ErrNoCommonMode, g.Modes, cfg.can())
	}
	response, err := c.respond(&g, cfg)
	if err != nil {
		return err
	}

	begin := c.now()
	c.s.put(response.Append(nil))
	if err := c.s.flush("Set-Up-Response"); err != nil {
		return err
	}
	if c.mode != owamp.ModeOpen {
		c.s.sealing = seal.NewSealing(&c.keys, response.IV)
	}
	var b [owamp.ServerStartSize]byte
	if err := c.s.read("Server-Start", b[:2*owamp.BlockSize]); err != nil {
		return err
	}
	start, err := owamp.ParseServerStart(&b)
	if err != nil {
		return garbage("Server-Start", err)
	}
	if start.Accept != owamp.AcceptOK {
		return &DeniedError{Step: "Server-Start", Accept: start.Accept}
	}
	// The third block is the first that the server encrypts.
	if c.mode != owamp.ModeOpen {
		c.s.opening = seal.NewOpening(&c.keys, start.IV)
	}
	if err := c.s.readRest("Server-Start", b[2*owamp.BlockSize:]); err != nil {
		return err
	}
	c.rtt = c.now().Sub(begin)
	start, _ = owamp.ParseServerStart(&b)
	c.start = start.Start
	return nil
}

// can says which modes a client can.
func (cfg *ClientConfig) can() string {
	if cfg.Modes == 0 {
		return "can none without a user and a pass-phrase"
	}
	return fmt.Sprintf("can %v", cfg.Modes)
}

// Mode returns the mode of the connection.
func (c *Client) Mode() owamp.Mode { return c.mode }

// ServerStart returns when the server says that it began.
func (c *Client) ServerStart() owamp.Timestamp { return c.start }

// RTT returns the shortest time that the server took to answer: to a
// Set-Up-Response, the first of some Request-Sessions or a Start-Sessions. Its
// own work is in it.
func (c *Client) RTT() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rtt
}

// tookSince notes a round trip that began at begin.
func (c *Client) tookSince(begin owamp.Timestamp) {
	took := c.now().Sub(begin)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rtt = min(c.rtt, took)
}

// Request asks for sessions, all before the first answer has come, and returns
// the answers in their order; a refusal is an answer. On an error it returns
// those that had come.
//
// Each spec has one of ConfSender and ConfReceiver, a slot at least, and
// addresses of one family. With ConfSender the SID is the caller's and is in
// the answer too; with ConfReceiver the server makes it, and what spec says of
// it and of the receiver's port is not sent.
func (c *Client) Request(ctx context.Context, specs []owamp.SessionSpec) ([]owamp.Accepted, error) {
	if err := c.usable(); err != nil {
		return nil, err
	}
	if c.running() {
		return nil, errors.New("requesting sessions: those before have not been stopped")
	}
	specs = slices.Clone(specs)
	for i := range specs {
		if err := prepare(&specs[i]); err != nil {
			return nil, fmt.Errorf("requesting session %d: %w", i, err)
		}
	}
	if len(specs) == 0 {
		return nil, nil
	}
	var answers []owamp.Accepted
	err := c.during(ctx, "writing Request-Session", func() error {
		begin := c.now()
		for i := range specs {
			c.s.putMessage(specs[i].AppendRequest(nil))
			c.s.putMessage(append(owamp.AppendSlots(nil, specs[i].Slots), make([]byte, owamp.BlockSize)...))
		}
		// Beside the reading, lest both sides wait for the other to read.
		written := make(chan error, 1)
		go func() { written <- c.s.flush("Request-Session") }()
		var err error
		if answers, err = c.answers(specs, begin); err != nil {
			_ = c.s.conn.Close() // ends the writing
		}
		if wrote := <-written; err == nil {
			err = wrote
		}
		return err
	})
	return answers, err
}

// answers reads the answers to the requests for specs, sent at begin, and on an
// error returns those that came before it.
func (c *Client) answers(specs []owamp.SessionSpec, begin owamp.Timestamp) ([]owamp.Accepted, error) {
	var answers []owamp.Accepted
	for i := range specs {
		a, err := c.answer(&specs[i])
		if err != nil {
			return answers, err
		}
		if i == 0 {
			c.tookSince(begin)
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// prepare checks what the caller asks for and clears what it may not say.
func prepare(spec *owamp.SessionSpec) error {
	switch {
	case spec.ConfSender == spec.ConfReceiver:
		return errors.New("want the server to either send or receive")
	case len(spec.Slots) == 0:
		return errors.New("schedule has no slot")
	case !spec.Sender.IsValid() || !spec.Receiver.IsValid(),
		spec.Sender.Addr().Unmap().Is4() != spec.Receiver.Addr().Unmap().Is4():
		return fmt.Errorf("addresses %v and %v: want two of one family", spec.Sender, spec.Receiver)
	}
	if spec.ConfReceiver {
		spec.SID = owamp.SID{}
		spec.Receiver = netip.AddrPortFrom(spec.Receiver.Addr(), 0)
	}
	return nil
}

// answer reads the answer to the request for spec.
func (c *Client) answer(spec *owamp.SessionSpec) (owamp.Accepted, error) {
	const message = "Accept-Session"
	var b [owamp.AcceptSessionSize]byte
	if err := c.s.readMessage(message, b[:]); err != nil {
		return owamp.Accepted{}, err
	}
	a, err := owamp.ParseAcceptSession(&b)
	if err != nil || a.Accept != owamp.AcceptOK {
		return a, garbage(message, err)
	}
	if spec.ConfSender {
		a.SID = spec.SID
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if hasSID(c.requested, a.SID) {
		return a, garbage(message, fmt.Errorf("session %v: it exists already", a.SID))
	}
	c.requested = append(c.requested, session{a.SID, spec.Packets, spec.ConfReceiver})
	return a, nil
}

// Start starts the sessions that were accepted. A [*DeniedError] says that the
// server did not; those sessions are no more, the connection can be used.
func (c *Client) Start(ctx context.Context) error {
	const message = "Start-Ack"
	if err := c.usable(); err != nil {
		return err
	}
	if c.running() {
		return errors.New("starting sessions: those before have not been stopped")
	}
	return c.during(ctx, "writing Start-Sessions", func() error {
		begin := c.now()
		if err := c.s.send("Start-Sessions", owamp.StartSessions{}.Append(nil)); err != nil {
			return err
		}
		var b [owamp.StartAckSize]byte
		if err := c.s.readMessage(message, b[:]); err != nil {
			return err
		}
		c.tookSince(begin)
		ack, err := owamp.ParseStartAck(&b)
		if err != nil {
			return garbage(message, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		t := &test{sessions: c.requested, stopped: make(chan struct{})}
		c.requested = nil
		if ack.Accept != owamp.AcceptOK {
			return &DeniedError{Step: message, Accept: ack.Accept}
		}
		c.test = t
		c.reading.Go(func() { c.readStop(t) })
		return nil
	})
}

// readStop waits for the Stop-Sessions of the peer, the one message that it
// may send in a test.
func (c *Client) readStop(t *test) {
	defer close(t.stopped)
	const message = "Stop-Sessions"
	var head [owamp.BlockSize]byte
	err := c.s.readBlocks(message, head[:])
	if err == nil {
		t.peer, err = c.s.readStop(&head, t.sessions, c.maxSkips)
	}
	switch {
	case err != nil:
		t.err = c.fail(err)
	case t.peer.Accept != owamp.AcceptOK:
		t.err = &DeniedError{Step: message, Accept: t.peer.Accept}
	}
}

// Await waits until the peer's Stop-Sessions has come, or the connection is
// lost, and returns what it says of the sessions that the peer sent; one that
// it does not mention is missing. A [*DeniedError], beside the reports, says
// that the peer's end of the test failed. An end of ctx leaves the connection
// as it is.
func (c *Client) Await(ctx context.Context) ([]owamp.SendReport, error) {
	c.mu.Lock()
	t := c.test
	c.mu.Unlock()
	if t == nil {
		if err := c.usable(); err != nil {
			return nil, err
		}
		return nil, errors.New("awaiting Stop-Sessions: nothing was started")
	}
	select {
	case <-t.stopped:
		return t.peer.Reports, t.err
	default:
	}
	select {
	case <-t.stopped:
		return t.peer.Reports, t.err
	case <-ctx.Done():
		return nil, &ConnError{"awaiting Stop-Sessions", context.Cause(ctx)}
	}
}

// Stop sends our Stop-Sessions, with a report on each session that this side
// sent, and then does as [Client.Await]. The sessions are over, and others can
// be requested, when it returns with reports, or none, and no *ConnError or
// *ProtocolError. When ctx ends in the waiting, Await or Stop may be called
// again; ours is sent once.
func (c *Client) Stop(ctx context.Context, sent []owamp.SendReport) ([]owamp.SendReport, error) {
	c.mu.Lock()
	t := c.test
	c.mu.Unlock()
	if t == nil {
		if err := c.usable(); err != nil {
			return nil, err
		}
		return nil, errors.New("stopping sessions: nothing was started")
	}
	if t.sent {
		return c.Await(ctx)
	}
	reports, err := inOrder(t.sessions, sent)
	if err != nil {
		return nil, fmt.Errorf("stopping sessions: %w", err)
	}
	if err := c.usable(); err != nil {
		<-t.stopped
		return t.peer.Reports, err
	}
	if ctx.Err() != nil {
		return nil, &ConnError{"writing Stop-Sessions", context.Cause(ctx)}
	}
	t.sent = true
	err = during(ctx, c.s.conn.SetWriteDeadline, func() error {
		return c.s.send("Stop-Sessions", owamp.StopSessions{Reports: reports}.Append(nil))
	})
	if err != nil {
		err = c.fail(err)
		<-t.stopped
		return t.peer.Reports, err
	}
	return c.Await(ctx)
}

// running reports whether a test has begun and not ended on both sides.
func (c *Client) running() bool {
	c.mu.Lock()
	t := c.test
	c.mu.Unlock()
	if t == nil {
		return false
	}
	select {
	case <-t.stopped:
		return !t.sent
	default:
		return true
	}
}

// usable returns why the connection is of no use any more.
func (c *Client) usable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fail closes the connection for err, and returns the first error for which it
// was closed.
func (c *Client) fail(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.closed.Do(func() { _ = c.s.conn.Close() })
	return c.err
}

// during runs one exchange of messages, which ends with ctx. A refusal leaves
// the connection as it is, any other error closes it.
func (c *Client) during(ctx context.Context, step string, exchange func() error) error {
	if ctx.Err() != nil {
		return &ConnError{step, context.Cause(ctx)}
	}
	err := during(ctx, c.s.conn.SetDeadline, exchange)
	if _, denied := errors.AsType[*DeniedError](err); err == nil || denied {
		return err
	}
	return c.fail(err)
}

// Close closes the connection, whatever it is doing, and waits until nothing
// reads from it. A second call does nothing.
func (c *Client) Close() error {
	_ = c.fail(&ConnError{"control connection", net.ErrClosed})
	c.reading.Wait()
	return nil
}
