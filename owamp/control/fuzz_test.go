package control_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"owl/owamp"
	"owl/owamp/control"
)

// A script is a connection whose peer has said all that it will, and takes
// whatever it is told.
type script struct {
	io.Reader
	written int
}

func scriptOf(b []byte) *script { return &script{Reader: bytes.NewReader(b)} }

func (s *script) Write(b []byte) (int, error)      { s.written += len(b); return len(b), nil }
func (*script) Close() error                       { return nil }
func (*script) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (*script) RemoteAddr() net.Addr               { return &net.TCPAddr{IP: net.IPv4(10, 98, 0, 1)} }
func (*script) SetDeadline(time.Time) error        { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// seed adds what one side of the recorded conversations says.
func seed(f *testing.F, server bool) {
	for _, name := range []string{"open-clean", "ipv6-mixed"} {
		var octets []byte
		for _, m := range conversation(f, name) {
			if m.fromServer == server {
				octets = append(octets, m.octets...)
			}
		}
		f.Add(octets)
	}
}

// wantKnownError checks that err is one of those that a peer can bring about.
func wantKnownError(t *testing.T, err error) {
	_, isDenied := errors.AsType[*control.DeniedError](err)
	_, isGarbage := errors.AsType[*control.ProtocolError](err)
	_, isLost := errors.AsType[*control.ConnError](err)
	if err != nil && !isDenied && !isGarbage && !isLost && !errors.Is(err, control.ErrNoCommonMode) {
		t.Errorf("error %v (%T), want one that the package names", err, err)
	}
}

// Any client: the server ends, each session that the handler accepted with it,
// and no answer is longer than the question.
func FuzzServe(f *testing.F) {
	seed(f, false)
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newHandler()
		pending, accepted := 0, 0
		h.answer = func(*owamp.SessionSpec) owamp.Accepted {
			accepted++
			return owamp.Accepted{Port: 9000, SID: owamp.SID{14: byte(accepted >> 8), 15: byte(accepted)}}
		}
		conn := scriptOf(b)
		wantKnownError(t, control.Serve(t.Context(), conn, openMode(), h))
		for _, call := range h.calls {
			switch call {
			case "Request":
				pending++
			case "Stop", "Abort":
				pending = 0
			}
		}
		if pending != 0 {
			t.Errorf("calls %v leave %d sessions behind", h.calls, pending)
		}
		if limit := owamp.ServerGreetingSize + 2*len(b) + owamp.ServerStartSize; conn.written > limit {
			t.Errorf("%d octets were answered with %d", len(b), conn.written)
		}
	})
}

// Any server: the client gets through or fails, and says how.
func FuzzClient(f *testing.F) {
	seed(f, true)
	specs := recordedSpecs(f, "open-clean")
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := control.Connect(t.Context(), scriptOf(b), control.ClientConfig{})
		if err != nil {
			wantKnownError(t, err)
			return
		}
		defer c.Close()
		for range 2 {
			answers, err := c.Request(t.Context(), specs)
			if err != nil {
				wantKnownError(t, err)
				return
			}
			if err := c.Start(t.Context()); err != nil {
				wantKnownError(t, err)
				continue
			}
			var sent []owamp.SendReport
			for i, a := range answers {
				if a.Accept == owamp.AcceptOK && specs[i].ConfReceiver {
					sent = append(sent, owamp.SendReport{SID: a.SID, NextSeq: specs[i].Packets})
				}
			}
			peer, err := c.Stop(t.Context(), sent)
			wantKnownError(t, err)
			for _, r := range peer {
				if r.SID != specs[1].SID || r.NextSeq > specs[1].Packets {
					t.Errorf("report %v on a session of %d packets", r, specs[1].Packets)
				}
			}
		}
	})
}
