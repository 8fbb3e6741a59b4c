// Package pingtest is a peer for tests of programs that ask for tests: an OWAMP
// server on loopback, in the process of the test, which does as the test wants
// it to.
package pingtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"
	"owl/owamp/schedule"
	"owl/probe"
	"owl/probe/clock"
	"owl/sessions/ports"
	"owl/sessions/recorder"
)

// A Config says how a peer behaves; the zero Config is a peer that grants all.
// Its functions are called by several goroutines.
type Config struct {
	// Accept says what to answer to a request for the session, 0 being the
	// first that any client asks for.
	Accept func(n int, spec *owamp.SessionSpec) owamp.Accept
	// Passphrases are those of users; with any, the peer has all modes and not
	// only the open one.
	Passphrases map[string]string
	// Fetch is what to answer to each Fetch-Session.
	Fetch owamp.Accept
	// Over ends each test early, by closing it.
	Over <-chan struct{}
	// Stopped is called when a client's Stop-Sessions has arrived; while it runs
	// the peer is mute.
	Stopped func()
}

// A Peer is a server that runs until its test ends.
type Peer struct {
	// Addr is where it listens, as a command line has it: 127.0.0.1:port.
	Addr string
	// Start is since when it is up.
	Start owamp.Timestamp

	t      testing.TB
	cfg    Config
	clock  *clock.Clock
	engine *probe.Engine
	dir    string

	mu       sync.Mutex
	asked    []owamp.SessionSpec
	admitted []control.Peer
	conns    []net.Conn
	received map[owamp.SID]chan struct{} // closed when the session has ended
}

// New starts a peer. Only Linux has what it needs; elsewhere the test is
// skipped.
func New(t testing.TB, cfg Config) *Peer {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: only Linux sends and receives test packets")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Peer{Addr: ln.Addr().String(), t: t, cfg: cfg, clock: clock.New(clock.Config{}), dir: t.TempDir(), received: make(map[owamp.SID]chan struct{})}
	p.Start = p.clock.Now()
	if p.engine, err = probe.New(probe.Config{Clock: p.clock, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, conn)
			p.mu.Unlock()
			serving.Go(func() { p.serve(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		ln.Close()
		p.Cut()
		serving.Wait()
		p.engine.Close()
	})
	return p
}

// Cut closes all connections.
func (p *Peer) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

// Asked returns what was asked for so far.
func (p *Peer) Asked() []owamp.SessionSpec {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]owamp.SessionSpec(nil), p.asked...)
}

// Connections returns how many connections clients have made so far.
func (p *Peer) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Admitted returns which clients were let in so far.
func (p *Peer) Admitted() []control.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]control.Peer(nil), p.admitted...)
}

// Received waits until a session that the peer receives has ended, and returns
// the path of its file.
func (p *Peer) Received(sid owamp.SID) string {
	p.t.Helper()
	p.mu.Lock()
	ended, ok := p.received[sid]
	p.mu.Unlock()
	if !ok {
		p.t.Fatalf("the peer has no session %v", sid)
	}
	<-ended
	return p.path(sid)
}

func (p *Peer) path(sid owamp.SID) string { return filepath.Join(p.dir, sid.String()+".owp") }

// Keep lets clients fetch the session in the .owp file octets.
func (p *Peer) Keep(sid owamp.SID, octets []byte) {
	p.t.Helper()
	if err := os.WriteFile(p.path(sid), octets, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *Peer) serve(ctx context.Context, conn net.Conn) {
	h := &handler{Peer: p}
	cfg := control.ServerConfig{
		Modes: owamp.ModeOpen,
		Start: p.Start,
		Now:   p.clock.Now,
		Passphrase: func(user string) ([]byte, bool) {
			passphrase, ok := p.cfg.Passphrases[user]
			return []byte(passphrase), ok
		},
	}
	if len(p.cfg.Passphrases) > 0 {
		cfg.Modes |= owamp.ModeAuthenticated | owamp.ModeEncrypted
	}
	_ = control.Serve(ctx, conn, cfg, h) // the test sees what comes of an error
	h.close()
}

// A handler has the sessions of one connection.
type handler struct {
	*Peer
	client *control.Peer
	tests  []*test
	ports  []ports.Port
}

// Admit implements [control.Admitter].
func (h *handler) Admit(p *control.Peer) owamp.Accept {
	h.client = p
	h.mu.Lock()
	defer h.mu.Unlock()
	h.admitted = append(h.admitted, *p)
	return owamp.AcceptOK
}

// A test is one session.
type test struct {
	spec      owamp.SessionSpec
	port      ports.Port
	rec       *recorder.Recorder // this peer receives
	receiving ports.Receiving
	file      *os.File
	sending   ports.Sending
	sent      chan struct{}
	ended     chan struct{}
}

func (h *handler) Request(_ context.Context, spec *owamp.SessionSpec) owamp.Accepted {
	h.mu.Lock()
	n := len(h.asked)
	h.asked = append(h.asked, *spec)
	h.mu.Unlock()
	if h.cfg.Accept != nil {
		if a := h.cfg.Accept(n, spec); a != owamp.AcceptOK {
			return owamp.Accepted{Accept: a}
		}
	}
	t, err := h.prepare(*spec)
	if err != nil {
		h.t.Errorf("peer: %v", err)
		return owamp.Accepted{Accept: owamp.AcceptInternalError}
	}
	h.tests = append(h.tests, t)
	return owamp.Accepted{Port: t.port.Addr().Port(), SID: t.spec.SID}
}

func (h *handler) prepare(spec owamp.SessionSpec) (*test, error) {
	local := &spec.Receiver
	if spec.ConfSender {
		local = &spec.Sender
	}
	port, err := ports.Engine(h.engine).Listen(probe.PortConfig{Addr: local.Addr()})
	if err != nil {
		return nil, err
	}
	h.ports = append(h.ports, port)
	*local = port.Addr()
	t := &test{spec: spec, port: port, sent: make(chan struct{}), ended: make(chan struct{})}
	if spec.ConfSender {
		return t, nil
	}
	return t, h.receive(t)
}

func (h *handler) receive(t *test) (err error) {
	if t.spec.SID, err = owamp.NewSID(t.spec.Receiver.Addr(), h.clock.Now(), rand.Reader); err != nil {
		return err
	}
	if t.file, err = os.Create(h.path(t.spec.SID)); err != nil {
		return err
	}
	t.rec, err = recorder.New(recorder.Config{
		Spec: &t.spec,
		File: t.file,
		Now:  h.clock.Now,
		Err:  func() owamp.ErrorEstimate { return h.clock.Error(0) },
	})
	if err != nil {
		return err
	}
	opener := h.client.Seal(t.spec.SID).Opener()
	h.mu.Lock()
	h.received[t.spec.SID] = t.ended
	h.mu.Unlock()
	t.receiving, err = t.port.Receive(probe.ReceiveSpec{
		Remote: t.spec.Sender,
		Opener: opener,
		Size:   opener.Size() + int(t.spec.Padding),
	}, t.rec.Batch)
	return err
}

func (h *handler) Start(context.Context) owamp.Accept {
	for _, t := range h.tests {
		if t.rec != nil {
			t.rec.Run(t.receiving)
		} else if err := h.send(t); err != nil {
			h.t.Errorf("peer: %v", err)
			return owamp.AcceptInternalError
		}
	}
	return owamp.AcceptOK
}

func (h *handler) send(t *test) error {
	gen, err := schedule.New(t.spec.SID, t.spec.Slots)
	if err != nil {
		return err
	}
	dscp, _ := t.spec.DSCP()
	t.sending, err = t.port.Send(probe.SendSpec{
		Remote:   t.spec.Receiver,
		Start:    t.spec.Start,
		Schedule: gen,
		Packets:  t.spec.Packets,
		Timeout:  t.spec.Timeout,
		Sealer:   h.client.Seal(t.spec.SID).Sealer(),
		SID:      t.spec.SID,
		Padding:  t.spec.Padding,
		DSCP:     dscp,
		Done:     func() { time.AfterFunc(t.spec.Timeout.Duration()+time.Second, func() { close(t.sent) }) },
	})
	return err
}

func (h *handler) Done() <-chan struct{} {
	if h.cfg.Over != nil {
		return h.cfg.Over
	}
	done := make(chan struct{})
	tests := h.tests
	go func() {
		defer close(done)
		for _, t := range tests {
			over := (<-chan struct{})(t.sent)
			if t.rec != nil {
				over = t.rec.Done()
			}
			select {
			case <-over:
			case <-h.t.Context().Done():
			}
		}
	}()
	return done
}

func (h *handler) Report() (reports []owamp.SendReport) {
	for _, t := range h.tests {
		if t.sending != nil {
			reports = append(reports, t.sending.Stop())
		}
	}
	return reports
}

func (h *handler) Stop(_ context.Context, sent []owamp.SendReport, _ owamp.Accept, at owamp.Timestamp) {
	for _, t := range h.tests {
		for i := range sent {
			if t.rec != nil && sent[i].SID == t.spec.SID {
				if _, err := t.rec.Finish(&sent[i], at); err != nil {
					h.t.Errorf("peer: %v", err)
				}
			}
		}
	}
	h.close()
	if h.cfg.Stopped != nil {
		h.cfg.Stopped()
	}
}

func (h *handler) Abort(error) {
	for _, t := range h.tests {
		switch {
		case t.sending != nil:
			t.sending.Stop()
		case t.rec != nil:
			_, _ = t.rec.FinishIncomplete(h.clock.Now())
		}
	}
	h.close()
}

// close gives back what the sessions hold, and forgets them.
func (h *handler) close() {
	for _, p := range h.ports {
		p.Close()
	}
	for _, t := range h.tests {
		if t.file != nil {
			t.file.Close()
		}
		close(t.ended)
	}
	h.tests, h.ports = nil, nil
}

// Fetch answers for every session that any client has had.
func (h *handler) Fetch(_ context.Context, sid owamp.SID, begin, end uint32) control.FetchAnswer {
	a := control.FetchAnswer{Accept: h.cfg.Fetch}
	if a.Accept != owamp.AcceptOK {
		return a
	}
	r, err := owp.Open(h.path(sid))
	if err != nil || begin != 0 || end != math.MaxUint32 {
		a.Accept = owamp.AcceptReject
		return a
	}
	head := r.Header()
	a.Fetched = control.Fetched{
		Spec:     head.Spec,
		Finished: uint8(head.Finished),
		NextSeq:  head.NextSeq,
		Skips:    r.Skips(),
		Records:  uint32(r.Len()),
	}
	a.Each = r.Records()
	a.Done = func(error) { r.Close() }
	return a
}

// Mute returns the address of a server that takes connections, says the first
// n octets of what a server says and nothing more; then it waits, or closes
// the connection.
func Mute(t testing.TB, n int, closes bool) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	greeting := owamp.ServerGreeting{Modes: owamp.ModeOpen, Count: 2048}.Append(nil)
	start := owamp.ServerStart{}.Append(nil)
	said := append(greeting, start...)
	if n > len(said) {
		t.Fatalf("%d octets, want at most %d", n, len(said))
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				stop := context.AfterFunc(t.Context(), func() { conn.Close() })
				defer stop()
				fmt.Fprintf(conn, "%s", said[:n])
				if !closes {
					_, _ = io.Copy(io.Discard, conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		serving.Wait()
	})
	return ln.Addr().String()
}

// Loopback is the address of both ends.
var Loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
