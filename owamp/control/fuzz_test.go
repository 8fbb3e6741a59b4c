package control_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"slices"
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
		h.answer = func(spec *owamp.SessionSpec) owamp.Accepted {
			accepted++
			if spec.ConfSender {
				h.reports = append(h.reports, owamp.SendReport{SID: spec.SID})
			}
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

// Any client that fetches: each answer ends, and the handler hears of it.
func FuzzServeFetch(f *testing.F) {
	k := randomKept(1, 2, 3, 50)
	setUp := setUp()
	for _, r := range []owamp.FetchSession{{End: math.MaxUint32}, {Begin: 3, End: 9}, {Begin: 9, End: 3}} {
		r.SID = k.head.Spec.SID
		f.Add(r.Append(nil))
		f.Add(append(requestOctets(toServer(5)), append(r.Append(nil), r.Append(nil)...)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newFetcher(k.answer)
		wantKnownError(t, control.Serve(t.Context(), scriptOf(append(slices.Clip(setUp), b...)), openMode(), h))
		if len(h.asked) != len(h.done) {
			t.Errorf("asked for %d fetches, done with %d", len(h.asked), len(h.done))
		}
		for _, r := range h.asked {
			if r.Begin > r.End {
				t.Errorf("asked for packets %d to %d", r.Begin, r.End)
			}
		}
	})
}

// Any server that is fetched from: the client gets what it was told that there
// is, of what it asked for, or fails, and says how.
func FuzzFetch(f *testing.F) {
	octets, ends := fetchedFrom(f)
	setUp, answer := octets[:ends["Server-Start"]], octets[ends["Server-Start"]:]
	f.Add(answer)
	f.Add(append(owamp.FetchAck{Accept: owamp.AcceptReject}.Append(nil), answer...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := control.Connect(t.Context(), scriptOf(append(slices.Clip(setUp), b...)), control.ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		const begin, end = 0, 1000
		for {
			got, err := fetch(t.Context(), c, recordedTo, begin, end)
			if _, isDenied := errors.AsType[*control.DeniedError](err); isDenied {
				continue
			}
			if err != nil {
				wantKnownError(t, err)
				return
			}
			if got.head.Spec.SID != recordedTo || uint32(len(got.recs)) != got.head.Records || got.head.Finished > 2 || got.head.NextSeq > got.head.Spec.Packets {
				t.Errorf("%d records of %+v", len(got.recs), got.head)
			}
			for _, r := range got.recs {
				if r.Seq > end || r.Seq >= got.head.Spec.Packets || !r.SentErr.Valid() || !r.RecvErr.Valid() {
					t.Errorf("record %+v of %+v", r, got.head)
				}
			}
		}
	})
}
