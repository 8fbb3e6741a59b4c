package control_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
)

// connectTo is what a client says to a greeting and a Server-Start.
func connectTo(t *testing.T, modes owamp.Mode, accept owamp.Accept, cfg control.ClientConfig) (*control.Client, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		write(far, owamp.ServerGreeting{Modes: modes}.Append(nil), 1000)
		if _, err := far.Read(make([]byte, owamp.SetUpResponseSize)); err != nil {
			return // the client did not like the greeting
		}
		write(far, owamp.ServerStart{Accept: accept, Start: 7}.Append(nil), 32)
	}()
	return control.Connect(t.Context(), near, cfg)
}

func TestConnectRefused(t *testing.T) {
	tests := []struct {
		modes  owamp.Mode // offered
		accept owamp.Accept
		wants  owamp.Mode
		err    string
	}{
		{0, 0, 0, "reading Server-Greeting: no common mode: the server offers none: it does not want to talk"},
		{owamp.ModeAuthenticated | owamp.ModeEncrypted, 0, 0, "reading Server-Greeting: no common mode: the server offers AE, this client can O"},
		{owamp.ModeOpen, owamp.AcceptReject, 0, "Server-Start: refused"},
		{owamp.ModeOpen, owamp.AcceptTemporaryLimit, owamp.ModeOpen | owamp.ModeEncrypted, "Server-Start: temporary resource limit"},
		{owamp.ModeOpen, 6, 0, "reading Server-Start: accept code 6, want 0 to 5"},
	}
	for _, test := range tests {
		bubble.Test(t, func(t *testing.T) {
			_, err := connectTo(t, test.modes, test.accept, control.ClientConfig{Modes: test.wants})
			if err == nil || err.Error() != test.err {
				t.Errorf("offered %v, accept code %d: %v, want %s", test.modes, test.accept, err, test.err)
			}
			denied, ok := errors.AsType[*control.DeniedError](err)
			if wants := test.modes == owamp.ModeOpen && test.accept.Valid(); ok != wants || ok && denied.Accept != test.accept {
				t.Errorf("offered %v, accept code %d: denied %v, want %v", test.modes, test.accept, ok, wants)
			}
			if noMode := test.modes&owamp.ModeOpen == 0; noMode != errors.Is(err, control.ErrNoCommonMode) {
				t.Errorf("offered %v: %v is ErrNoCommonMode: %v, want %v", test.modes, err, !noMode, noMode)
			}
		})
	}
	// A mode that this package cannot is not chosen.
	bubble.Test(t, func(t *testing.T) {
		_, err := connectTo(t, 7, 0, control.ClientConfig{Modes: owamp.ModeEncrypted})
		if !errors.Is(err, control.ErrNoCommonMode) {
			t.Errorf("encrypted mode only: %v, want %v", err, control.ErrNoCommonMode)
		}
	})
}

// A client that can do more takes open mode where it has to, and measures with
// the clock that it was given.
func TestConnect(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		now := owamp.Timestamp(0)
		c, err := connectTo(t, 7, 0, control.ClientConfig{
			Modes: owamp.ModeOpen | owamp.ModeEncrypted,
			Now:   func() owamp.Timestamp { now += 3 << 32; return now },
		})
		if err != nil {
			t.Fatal(err)
		}
		if c.Mode() != owamp.ModeOpen || c.ServerStart() != 7 || c.RTT().Seconds() != 3 {
			t.Errorf("mode %v, server start %d, round trip %v: want O, 7, 3s", c.Mode(), c.ServerStart(), c.RTT())
		}
		_ = c.Close()
		_ = c.Close()
	})
}

// What no server is asked.
func TestRequestRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*owamp.SessionSpec)
		want   string
	}{
		{"both ways", func(s *owamp.SessionSpec) { s.ConfSender = true }, "want the server to either send or receive"},
		{"neither way", func(s *owamp.SessionSpec) { s.ConfReceiver = false }, "want the server to either send or receive"},
		{"no slot", func(s *owamp.SessionSpec) { s.Slots = nil }, "schedule has no slot"},
		{"no address", func(s *owamp.SessionSpec) { s.Sender = netip.AddrPort{} }, "want two of one family"},
		{"two families", func(s *owamp.SessionSpec) { s.Sender = netip.MustParseAddrPort("[fd98::1]:9") }, "want two of one family"},
	}
	bubble.Test(t, func(t *testing.T) {
		h := newHandler()
		conn, ended := serve(t.Context(), openMode(), h)
		c := connect(t, conn)
		for _, test := range tests {
			_, err := c.Request(t.Context(), []owamp.SessionSpec{toServer(1), changed(toServer(1), test.change)})
			if err == nil || !strings.HasPrefix(err.Error(), "requesting session 1: ") || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("%s: %v, want %s", test.name, err, test.want)
			}
		}
		if len(h.specs) != 0 {
			t.Errorf("the server was asked for %v", h.specs)
		}
		_ = c.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A call that is out of place does no harm.
func TestClientOutOfPlace(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newHandler()
		conn, ended := serve(t.Context(), openMode(), h)
		c := connect(t, conn)
		refused := func(what string, err error) {
			t.Helper()
			if err == nil {
				t.Errorf("%s: want an error", what)
			}
		}
		_, err := c.Await(t.Context())
		refused("Await before Start", err)
		_, err = c.Stop(t.Context(), nil)
		refused("Stop before Start", err)
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.Request(canceled, []owamp.SessionSpec{toServer(9)})
		refused("Request with a context that has ended", err)

		if _, err := c.Request(t.Context(), []owamp.SessionSpec{toServer(9)}); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err = c.Request(t.Context(), nil)
		refused("Request in a test", err)
		refused("Start in a test", c.Start(t.Context()))
		for _, sent := range [][]owamp.SendReport{
			nil,
			{{SID: owamp.SID{9}}},
			{{SID: owamp.SID{15: 1}, NextSeq: 10}},
			{{SID: owamp.SID{15: 1}}, {SID: owamp.SID{15: 1}}},
			{{SID: owamp.SID{15: 1}, NextSeq: 5, Skips: []owamp.SkipRange{{First: 5, Last: 5}}}},
		} {
			_, err = c.Stop(t.Context(), sent)
			refused("Stop with a wrong report", err)
		}
		_, err = c.Stop(canceled, []owamp.SendReport{{SID: owamp.SID{15: 1}, NextSeq: 9}})
		refused("Stop with a context that has ended", err)

		if _, err = c.Stop(t.Context(), []owamp.SendReport{{SID: owamp.SID{15: 1}, NextSeq: 9}}); err != nil {
			t.Error(err)
		}
		_ = c.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_, err = c.Request(t.Context(), nil)
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Request after Close: %v, want that it is closed", err)
		}
	})
}

// A server that gives two sessions one name, in a cohort or later.
func TestServerRepeatsSID(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newHandler()
		h.answer = func(*owamp.SessionSpec) owamp.Accepted { return owamp.Accepted{Port: 9, SID: owamp.SID{1}} }
		conn, ended := serve(t.Context(), openMode(), h)
		c := connect(t, conn)
		answers, err := c.Request(t.Context(), []owamp.SessionSpec{toServer(1), toServer(1), toServer(1)})
		if _, ok := errors.AsType[*control.ProtocolError](err); !ok || len(answers) != 1 {
			t.Errorf("Request: %v, %v; want one answer and a protocol error", answers, err)
		}
		_ = c.Close()
		<-ended
	})
}

// With ConfSender the SID is the client's, whatever the server echoes.
func TestServerEchoesOtherSID(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go io.Copy(io.Discard, far)
		go func() {
			for _, m := range conversation(t, "open-clean") {
				if m.name == "Accept-Session" {
					m.octets[19] = 0x99
				}
				if m.fromServer {
					write(far, m.octets, 1000)
				}
			}
		}()
		c := connect(t, near)
		answers, err := c.Request(t.Context(), recordedSpecs(t, "open-clean"))
		if err != nil {
			t.Fatal(err)
		}
		if answers[0].SID[15] != 0x99 || answers[1].SID != recordedFrom {
			t.Errorf("SIDs %v and %v, want the server's and the client's", answers[0].SID, answers[1].SID)
		}
		_ = c.Close()
		far.Close()
	})
}

// RTT is the shortest of all round trips.
func TestRTT(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		at := []owamp.Timestamp{0, 5 << 32, 10 << 32, 12 << 32, 20 << 32, 29 << 32}
		conn, ended := serve(t.Context(), openMode(), newHandler())
		c, err := control.Connect(t.Context(), conn, control.ClientConfig{
			Now: func() owamp.Timestamp { now := at[0]; at = at[1:]; return now },
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []float64
		got = append(got, c.RTT().Seconds())
		if _, err := c.Request(t.Context(), []owamp.SessionSpec{fromServer(1, 1)}); err != nil {
			t.Fatal(err)
		}
		got = append(got, c.RTT().Seconds())
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		got = append(got, c.RTT().Seconds())
		if want := []float64{5, 2, 2}; !slices.Equal(got, want) {
			t.Errorf("round trips %v s, want %v", got, want)
		}
		_ = c.Close()
		<-ended
	})
}

// A cancelling connection ends a context as soon as something was read.
type cancelling struct {
	net.Conn
	cancel func()
}

func (c *cancelling) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.cancel()
	return n, err
}

// A context that ends when all is done has no say any more.
func TestContextEndsLate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		near, ended := serve(t.Context(), openMode(), newHandler())
		conn := &cancelling{near, func() {}}
		c := connect(t, conn)
		for i := range byte(3) {
			ctx, cancel := context.WithCancel(t.Context())
			conn.cancel = cancel
			if _, err := c.Request(ctx, []owamp.SessionSpec{toServer(uint32(i))}); err != nil || ctx.Err() == nil {
				t.Fatalf("Request: %v, context %v", err, ctx.Err())
			}
		}
		_ = c.Close()
		<-ended
	})
}
