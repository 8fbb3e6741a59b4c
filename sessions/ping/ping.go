// Package ping makes one test of one-way delay, as owping does: a session in
// one direction or one in each, requested, started and stopped together on one
// control connection.
package ping

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/schedule"
	"owl/probe"
	"owl/sessions"
	"owl/sessions/ports"
	"owl/sessions/recorder"
)

const (
	// lead is how long before its start a test is requested, beside a round
	// trip for each message that comes before.
	lead = time.Second
	// attempts is how many test ports are tried where the peer has no room for
	// one more session with the port before.
	attempts = 3
	// stopTimeout bounds the exchange of Stop-Sessions.
	stopTimeout = 30 * time.Second
)

// Config describes a test. At least one of To and From is set, and all of the
// rest is needed unless it says otherwise.
type Config struct {
	Clock  sessions.Clock
	Prober ports.Prober
	Ports  probe.PortRange // for the test packets; zero: any
	Device string          // bind test sockets to this device, if not empty
	Random io.Reader

	Local, Peer netip.Addr // between which the test packets go
	To          bool       // a session from Local to Peer
	// From is the file of a session from Peer to Local: empty, open for
	// reading and writing. Nil: no such session.
	From *os.File

	Packets  uint32 // in each direction
	Slots    []owamp.Slot
	Timeout  owamp.Interval // after it a packet is lost
	Padding  uint32         // octets
	DSCP     uint8
	Delay    time.Duration // the test starts no earlier than this from now; 0: soon
	EndDelay time.Duration // between the last time-out and Stop-Sessions
}

// A Test is a test that runs. It is used by one goroutine.
type Test struct {
	cfg    Config
	client *control.Client
	start  owamp.Timestamp
	ports  []ports.Port

	to      *owamp.SessionSpec // nil: not in this direction
	toPort  ports.Port
	sending ports.Sending
	sent    chan struct{} // closed when every packet is sent or skipped

	from      *owamp.SessionSpec
	rec       *recorder.Recorder
	receiving ports.Receiving
}

// Begin requests the sessions of a test on the connection of client, which has
// none running, the one to the peer first, and starts them. The caller closes
// the test, and the connection, on which after an error the sessions that the
// peer has granted may still wait for their start.
func Begin(ctx context.Context, client *control.Client, cfg Config) (*Test, error) {
	if !cfg.To && cfg.From == nil {
		return nil, errors.New("a test needs a session in one direction at least")
	}
	t := &Test{cfg: cfg, client: client, sent: make(chan struct{})}
	if err := t.begin(ctx); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Test) begin(ctx context.Context) error {
	messages := 1 // Start-Sessions
	if t.cfg.To {
		messages++
	}
	if t.cfg.From != nil {
		messages++
	}
	soon := lead + time.Duration(messages)*t.client.RTT()
	t.start = t.cfg.Clock.Now().AddDuration(max(t.cfg.Delay, soon))
	if t.cfg.To {
		if err := t.requestTo(ctx); err != nil {
			return err
		}
	}
	if t.cfg.From != nil {
		if err := t.requestFrom(ctx); err != nil {
			return err
		}
	}
	if err := t.client.Start(ctx); err != nil {
		return err
	}
	if t.from != nil {
		t.rec.Run(t.receiving)
	}
	if t.to != nil {
		return t.send()
	}
	return nil
}

// spec returns what the sessions of both directions have in common.
func (t *Test) spec() owamp.SessionSpec {
	return owamp.SessionSpec{
		Slots:   t.cfg.Slots,
		Packets: t.cfg.Packets,
		Padding: t.cfg.Padding,
		Start:   t.start,
		Timeout: t.cfg.Timeout,
		TypeP:   owamp.TypePOf(t.cfg.DSCP),
	}
}

// requestTo asks for the session to the peer.
func (t *Test) requestTo(ctx context.Context) error {
	spec := t.spec()
	spec.ConfReceiver = true
	spec.Receiver = netip.AddrPortFrom(t.cfg.Peer, 0)
	port, answer, err := t.request(ctx, &spec, &spec.Sender)
	if err != nil {
		return err
	}
	spec.SID = answer.SID
	spec.Receiver = netip.AddrPortFrom(t.cfg.Peer, answer.Port)
	t.to, t.toPort = &spec, port
	return nil
}

// requestFrom asks for the session from the peer, and is ready to receive it.
func (t *Test) requestFrom(ctx context.Context) error {
	spec := t.spec()
	spec.ConfSender = true
	spec.Sender = netip.AddrPortFrom(t.cfg.Peer, 0)
	var err error
	if spec.SID, err = owamp.NewSID(t.cfg.Local, t.cfg.Clock.Now(), t.cfg.Random); err != nil {
		return err
	}
	port, answer, err := t.request(ctx, &spec, &spec.Receiver)
	if err != nil {
		return err
	}
	spec.Sender = netip.AddrPortFrom(t.cfg.Peer, answer.Port)
	t.from = &spec
	return t.receive(port)
}

// request asks for the session that spec describes, whose local end is at
// local. A peer that has no room for one more session with the port there is
// asked again from others. Each session has a port of its own, for a peer with
// few ports tells sessions apart by ours, unless there is only one.
func (t *Test) request(ctx context.Context, spec *owamp.SessionSpec, local *netip.AddrPort) (ports.Port, owamp.Accepted, error) {
	for attempt := 1; ; attempt++ {
		port, err := t.listen()
		if err != nil {
			return nil, owamp.Accepted{}, err
		}
		*local = port.Addr()
		answers, err := t.client.Request(ctx, []owamp.SessionSpec{*spec})
		if err != nil {
			return nil, owamp.Accepted{}, err
		}
		a := answers[0]
		if a.Accept == owamp.AcceptOK {
			return port, a, nil
		}
		if a.Accept != owamp.AcceptTemporaryLimit || attempt == attempts {
			//nolint:staticcheck // the C suite's words
			return nil, a, fmt.Errorf("Server denied test: %v: %w", t.cfg.Peer, &control.DeniedError{Step: "Accept-Session", Accept: a.Accept})
		}
	}
}

// listen opens another test port.
func (t *Test) listen() (ports.Port, error) {
	if r := t.cfg.Ports; r.Low != 0 && r.Low == r.High && len(t.ports) > 0 {
		return t.ports[0], nil
	}
	port, err := t.cfg.Prober.Listen(probe.PortConfig{Addr: t.cfg.Local, Ports: t.cfg.Ports, Device: t.cfg.Device})
	if err == nil {
		t.ports = append(t.ports, port)
	}
	return port, err
}

// receive takes in what the peer sends.
func (t *Test) receive(port ports.Port) error {
	opener := t.client.Seal(t.from.SID).Opener()
	var err error
	t.rec, err = recorder.New(recorder.Config{
		Spec: t.from,
		File: t.cfg.From,
		Now:  t.cfg.Clock.Now,
		Err:  func() owamp.ErrorEstimate { return t.cfg.Clock.Error(0) },
	})
	if err != nil {
		return err
	}
	t.receiving, err = port.Receive(probe.ReceiveSpec{
		Remote: t.from.Sender,
		Opener: opener,
		Size:   opener.Size() + int(t.cfg.Padding),
	}, t.rec.Batch)
	return err
}

// send begins to send to the peer.
func (t *Test) send() error {
	gen, err := schedule.New(t.to.SID, t.to.Slots)
	if err != nil {
		return err
	}
	t.sending, err = t.toPort.Send(probe.SendSpec{
		Remote:    t.to.Receiver,
		Start:     t.start,
		Schedule:  gen,
		Packets:   t.cfg.Packets,
		Timeout:   t.cfg.Timeout,
		Sealer:    t.client.Seal(t.to.SID).Sealer(),
		SID:       t.to.SID,
		Padding:   t.cfg.Padding,
		PadSource: t.cfg.Random,
		DSCP:      t.cfg.DSCP,
		Done:      func() { close(t.sent) },
	})
	return err
}

// To returns the session to the peer, nil without one.
func (t *Test) To() *owamp.SessionSpec { return t.to }

// From returns the session from the peer, nil without one.
func (t *Test) From() *owamp.SessionSpec { return t.from }

// Remaining returns about how long the test will take from now on, with random
// intervals as long as they are in the mean.
func (t *Test) Remaining() time.Duration {
	spec := t.spec()
	last := time.Duration(t.cfg.Packets) * spec.MeanInterval().Duration()
	return t.start.Sub(t.cfg.Clock.Now()) + last + t.cfg.Timeout.Duration() + t.client.RTT()
}

// Run waits for the end of the test: until both sessions have run to theirs,
// the peer stops them, or stop is closed, which ends them early. Then
// Stop-Sessions are exchanged, and the session from the peer is settled in its
// file. An end of ctx cuts all of that short.
//
// After an error the file holds what was recorded until then, as that of a
// session that was not finished.
func (t *Test) Run(ctx context.Context, stop <-chan struct{}) error {
	t.wait(ctx, stop)
	var sent []owamp.SendReport
	if t.sending != nil {
		sent = append(sent, t.sending.Stop())
	}
	parting, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	reports, err := t.client.Stop(parting, sent)
	return cmp.Or(err, t.settle(reports, err == nil))
}

// wait waits until it is time for Stop-Sessions.
func (t *Test) wait(ctx context.Context, stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{}, 2) // of those below
	go func() {
		_, _ = t.client.Await(ctx) // Stop tells what it says
		over <- struct{}{}
	}()
	go func() {
		t.outlast(ctx)
		over <- struct{}{}
	}()
	left := 2
	select {
	case <-over:
		left--
	case <-stop:
	}
	cancel()
	for range left {
		<-over
	}
}

// outlast waits until both sessions have run to their end.
func (t *Test) outlast(ctx context.Context) {
	if t.sending != nil {
		await(ctx, t.sent)
		pause(ctx, t.cfg.Timeout.Duration())
	}
	if t.rec != nil {
		await(ctx, t.rec.Done())
	}
	pause(ctx, t.cfg.EndDelay)
}

func await(ctx context.Context, done <-chan struct{}) {
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// settle completes the file of the session from the peer, of which reports
// tell, if the test has ended as it should.
func (t *Test) settle(reports []owamp.SendReport, ended bool) error {
	if t.rec == nil {
		return nil
	}
	now := t.cfg.Clock.Now()
	var err error
	if ended {
		_, err = t.rec.Finish(reportOn(t.from.SID, reports), now)
	} else {
		_, err = t.rec.FinishIncomplete(now)
	}
	t.rec = nil
	return err
}

// reportOn returns the report on a session, nil without one.
func reportOn(sid owamp.SID, reports []owamp.SendReport) *owamp.SendReport {
	for i := range reports {
		if reports[i].SID == sid {
			return &reports[i]
		}
	}
	return nil
}

// Close gives back what the test holds, but neither the connection nor the
// file.
func (t *Test) Close() {
	if t.sending != nil {
		t.sending.Stop()
	}
	_ = t.settle(nil, false) // a test that was run is settled
	for _, p := range t.ports {
		p.Close()
	}
}
