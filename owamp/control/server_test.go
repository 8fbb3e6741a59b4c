package control_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"

	"github.com/google/go-cmp/cmp"
)

// setUp is a Set-Up-Response in open mode.
func setUp() []byte {
	r := owamp.SetUpResponse{Mode: owamp.ModeOpen}
	return r.Append(nil)
}

// requestOctets is a whole Request-Session.
func requestOctets(spec owamp.SessionSpec) []byte {
	return append(owamp.AppendSlots(spec.AppendRequest(nil), spec.Slots), make([]byte, owamp.BlockSize)...)
}

// changed returns spec after change.
func changed(spec owamp.SessionSpec, change func(*owamp.SessionSpec)) owamp.SessionSpec {
	change(&spec)
	return spec
}

// probe sends octets to a server that was set up and returns its answer of n
// octets, or fewer where the connection ended before, and why it ended.
func probe(t *testing.T, cfg control.ServerConfig, h control.Handler, octets []byte, n int) ([]byte, error) {
	conn, ended := serve(t.Context(), cfg, h)
	read(t, conn, owamp.ServerGreetingSize)
	write(conn, setUp(), 1000)
	read(t, conn, owamp.ServerStartSize)
	go write(conn, octets, len(octets))
	answer := make([]byte, n)
	got, _ := io.ReadFull(conn, answer)
	conn.Close()
	return answer[:got], <-ended
}

// The answers to requests made by hand are those of the reference; see also
// the differences in docs/compatibility.md.
func TestServerAnswers(t *testing.T) {
	slots := func(s ...owamp.Slot) func(*owamp.SessionSpec) {
		return func(spec *owamp.SessionSpec) { spec.Slots = s }
	}
	nonzeroHMAC := requestOctets(toServer(10))
	for i := range owamp.BlockSize {
		nonzeroHMAC[96+i], nonzeroHMAC[len(nonzeroHMAC)-1-i] = 0xff, 0xff
	}
	version5 := requestOctets(toServer(10))
	version5[1] = 5
	anyConf := requestOctets(toServer(10))
	anyConf[3] = 0x80
	twelve := make([]owamp.Slot, 12)
	for i := range twelve {
		twelve[i] = owamp.Slot{Type: owamp.SlotFixed, Parameter: 0x10000000}
	}

	const closed = 0xff
	tests := []struct {
		name   string
		octets []byte
		want   byte   // accept code
		err    string // where it is closed
	}{
		{"to the server", requestOctets(toServer(10)), 0, ""},
		{"from the server", requestOctets(fromServer(10, 1)), 0, ""},
		{"both ways", requestOctets(changed(toServer(10), func(s *owamp.SessionSpec) { s.ConfSender = true })), 3, ""},
		{"neither way", requestOctets(changed(toServer(10), func(s *owamp.SessionSpec) { s.ConfReceiver = false })), closed, "the server neither sends nor receives"},
		{"any octet but zero is yes", anyConf, 0, ""},
		{"IP version 5", version5, closed, "IP version 5, want 4 or 6"},
		{"to a third party", requestOctets(changed(fromServer(10, 1), func(s *owamp.SessionSpec) {
			s.Receiver = netip.MustParseAddrPort("10.98.0.9:9001")
		})), 1, ""},
		{"from the server, no DSCP", requestOctets(changed(fromServer(10, 1), func(s *owamp.SessionSpec) { s.TypeP = 0x40000000 })), 3, ""},
		{"to the server, no DSCP", requestOctets(changed(toServer(10), func(s *owamp.SessionSpec) { s.TypeP = 0x40000000 })), 0, ""},
		{"from the server, expedited forwarding", requestOctets(changed(fromServer(10, 1), func(s *owamp.SessionSpec) { s.TypeP = 0x2e000000 })), 0, ""},
		{"slot type 2", requestOctets(changed(toServer(10), slots(owamp.Slot{Type: 2, Parameter: 1}))), closed, "slot type 2, want 0 or 1"},
		{"no slots", requestOctets(changed(toServer(10), slots())), 2, ""},
		{"no packets", requestOctets(toServer(0)), 0, ""},
		{"twelve fixed slots", requestOctets(changed(toServer(10), slots(twelve...))), 0, ""},
		{"padding 70000", requestOctets(changed(toServer(10), func(s *owamp.SessionSpec) { s.Padding = 70000 })), 0, ""},
		{"HMAC blocks are not looked at", nonzeroHMAC, 0, ""},
		{"type 9", append([]byte{9}, make([]byte, 31)...), closed, "command 9, which is none or out of place"},
		{"Stop-Sessions outside a test", append([]byte{3}, make([]byte, 31)...), closed, "Stop-Sessions, which is none or out of place"},
		{"Start-Sessions without sessions", owamp.StartSessions{}.Append(nil), 0, ""},
		{"Fetch-Session", owamp.FetchSession{End: 1}.Append(nil), 3, ""},
	}
	for _, test := range tests {
		bubble.Test(t, func(t *testing.T) {
			h := newHandler()
			got, err := probe(t, openMode(), h, test.octets, owamp.StartAckSize)
			switch {
			case test.want == closed:
				if _, ok := errors.AsType[*control.ProtocolError](err); !ok || len(got) != 0 || !strings.HasSuffix(err.Error(), test.err) {
					t.Errorf("%s: answer %x, %v; want none and %s", test.name, got, err, test.err)
				}
			case len(got) == 0 || got[0] != test.want:
				t.Errorf("%s: answer %x, %v; want accept code %d", test.name, got, err, test.want)
			}
			if accepted := test.want == 0 && test.octets[0] == 1; accepted != (len(h.specs) == 1) {
				t.Errorf("%s: the handler was asked %d times, want it asked: %v", test.name, len(h.specs), accepted)
			}
		})
	}
}

// Only a test is stopped and only by a Stop-Sessions.
func TestServerOutOfPlace(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newHandler()
		octets := append(requestOctets(toServer(10)), owamp.StartSessions{}.Append(nil)...)
		octets = append(octets, owamp.FetchSession{}.Append(nil)...)
		_, err := probe(t, openMode(), h, octets, 1000)
		if _, ok := errors.AsType[*control.ProtocolError](err); !ok || !errors.Is(h.aborted, err) {
			t.Errorf("Fetch-Session in a test: %v, aborted with %v, want a protocol error", err, h.aborted)
		}
	})
}

// The handler is told what the client may say, no more.
func TestServerClearsRequest(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newHandler()
		to := changed(toServer(10), func(s *owamp.SessionSpec) {
			s.Receiver = netip.AddrPortFrom(serverAddr, 1234)
			s.SID = owamp.SID{1, 2, 3}
		})
		from := changed(fromServer(10, 1), func(s *owamp.SessionSpec) { s.Sender = netip.AddrPortFrom(serverAddr, 1234) })
		got, _ := probe(t, openMode(), h, append(requestOctets(to), requestOctets(from)...), 2*owamp.AcceptSessionSize)
		if diff := cmp.Diff([]owamp.SessionSpec{toServer(10), fromServer(10, 1)}, h.specs, equateAddr); diff != "" {
			t.Errorf("the handler was asked for (-want +got):\n%s", diff)
		}
		// With ConfSender the SID that counts is the client's.
		answer, err := owamp.ParseAcceptSession((*[owamp.AcceptSessionSize]byte)(got[owamp.AcceptSessionSize:]))
		if want := (owamp.Accepted{Port: 9002, SID: from.SID}); err != nil || answer != want {
			t.Errorf("answer %v, %v; want %v", answer, err, want)
		}
	})
}

// Without a Peer in its configuration the server takes the address of the
// connection for the only one that it may send to.
func TestServerPeerOfConnection(t *testing.T) {
	near, far := tcp(t)
	cfg := openMode()
	cfg.Peer = netip.Addr{}
	ended := serveOn(t.Context(), far, cfg, newHandler())
	c := connect(t, near)
	loopback := changed(fromServer(10, 1), func(s *owamp.SessionSpec) { s.Receiver = netip.MustParseAddrPort("127.0.0.1:9000") })
	mapped := changed(fromServer(10, 2), func(s *owamp.SessionSpec) { s.Receiver = netip.MustParseAddrPort("[::ffff:127.0.0.1]:9000") })
	other := changed(fromServer(10, 3), func(s *owamp.SessionSpec) { s.Receiver = netip.MustParseAddrPort("127.0.0.2:9000") })
	answers, err := c.Request(t.Context(), []owamp.SessionSpec{loopback, mapped, other})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []owamp.Accept{owamp.AcceptOK, owamp.AcceptOK, owamp.AcceptReject} {
		if answers[i].Accept != want {
			t.Errorf("session %d: %v, want %v", i, answers[i].Accept, want)
		}
	}
	_ = c.Close()
	<-ended

	// A connection without addresses has no peer to send to.
	bubble.Test(t, func(t *testing.T) {
		got, _ := probe(t, cfg, newHandler(), requestOctets(fromServer(10, 1)), owamp.AcceptSessionSize)
		if got[0] != byte(owamp.AcceptReject) {
			t.Errorf("peer unknown: accept code %d, want 1", got[0])
		}
	})
}

func TestServerLimits(t *testing.T) {
	cfg := openMode()
	cfg.MaxSlots, cfg.MaxSessions = 3, 2

	bubble.Test(t, func(t *testing.T) {
		three := changed(toServer(1), func(s *owamp.SessionSpec) { s.Slots = make([]owamp.Slot, 3) })
		var octets []byte
		for range 3 {
			octets = append(octets, requestOctets(three)...)
		}
		got, _ := probe(t, cfg, newHandler(), octets, 3*owamp.AcceptSessionSize)
		if codes := []byte{got[0], got[48], got[96]}; !cmp.Equal(codes, []byte{0, 0, 5}) {
			t.Errorf("accept codes %v, want the third session refused with 5", codes)
		}
	})
	bubble.Test(t, func(t *testing.T) {
		octets := append(requestOctets(fromServer(1, 1)), requestOctets(fromServer(1, 1))...)
		got, _ := probe(t, cfg, newHandler(), octets, 2*owamp.AcceptSessionSize)
		if codes := []byte{got[0], got[48]}; !cmp.Equal(codes, []byte{0, 1}) {
			t.Errorf("accept codes %v, want the second session of one SID refused", codes)
		}
	})
	// However many slots there are to be, the answer does not wait for them.
	for _, slots := range []string{"\x00\x00\x00\x04", "\xff\xff\xff\xff"} {
		bubble.Test(t, func(t *testing.T) {
			octets := requestOctets(toServer(1))[:owamp.RequestSize]
			copy(octets[4:], slots)
			got, err := probe(t, cfg, newHandler(), octets, 1000)
			if _, ok := errors.AsType[*control.ProtocolError](err); !ok || len(got) != owamp.AcceptSessionSize || got[0] != 4 {
				t.Errorf("%x slots: answer %x, %v; want accept code 4 and the end", slots, got, err)
			}
		})
	}
}

func TestServerModes(t *testing.T) {
	tests := []struct {
		mode byte
		want string // octet 15 of Server-Start, or nothing
		err  string
	}{
		{0, "", "reading Set-Up-Response: mode 0, want one of 1, 2 and 4"},
		{1, "\x00", ""},
		{2, "\x01", "Server-Start: refused: mode A was not offered"},
		{4, "\x01", "Server-Start: refused: mode E was not offered"},
		{5, "", "reading Set-Up-Response: mode 5, want one of 1, 2 and 4"},
		{8, "", "reading Set-Up-Response: mode 8, want one of 1, 2 and 4"},
	}
	for _, test := range tests {
		bubble.Test(t, func(t *testing.T) {
			conn, ended := serve(t.Context(), openMode(), newHandler())
			read(t, conn, owamp.ServerGreetingSize)
			octets := setUp()
			octets[3] = test.mode
			write(conn, octets, 1000)
			got, want := make([]byte, 48), ""
			if n, _ := io.ReadFull(conn, got); n == 48 {
				want = string(got[15:16])
				if want != "\x00" && string(got[32:]) != strings.Repeat("\x00", 16) {
					t.Errorf("mode %d: refused with third block %x, want zeros", test.mode, got[32:])
				}
			}
			conn.Close()
			err := <-ended
			if want != test.want || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
				t.Errorf("mode %d: answer %q, %v; want %q, %s", test.mode, want, err, test.want, test.err)
			}
		})
	}
}

// A server that offers nothing says so and goes.
func TestServerUnwilling(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		cfg := openMode()
		cfg.Modes = 0
		conn, ended := serve(t.Context(), cfg, newHandler())
		_, err := control.Connect(t.Context(), conn, control.ClientConfig{})
		if !errors.Is(err, control.ErrNoCommonMode) {
			t.Errorf("Connect: %v, want %v", err, control.ErrNoCommonMode)
		}
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestServerConfigRefused(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		cfg := openMode()
		cfg.Modes |= 8
		conn, ended := serve(t.Context(), cfg, newHandler())
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "mode (0x8): want A, E and O") {
			t.Errorf("Serve: %v, want that it cannot do mode 8", err)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the connection says %v, want that it was closed", err)
		}
	})
	bubble.Test(t, func(t *testing.T) {
		cfg := openMode()
		cfg.Rand = strings.NewReader("seventeen octets.")
		_, ended := serve(t.Context(), cfg, newHandler())
		if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Serve: %v, want that randomness ran out", err)
		}
	})
}

// The handler does not start: the client is told, and may ask again.
func TestServerStartRefused(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newHandler()
		h.accept = owamp.AcceptTemporaryLimit
		conn, ended := serve(t.Context(), openMode(), h)
		c := connect(t, conn)
		for range 2 {
			if _, err := c.Request(t.Context(), []owamp.SessionSpec{fromServer(10, 1)}); err != nil {
				t.Fatal(err)
			}
			err := c.Start(t.Context())
			if denied, ok := errors.AsType[*control.DeniedError](err); !ok || denied.Accept != owamp.AcceptTemporaryLimit {
				t.Errorf("Start: %v, want a temporary resource limit", err)
			}
			wantOneLine(t, err)
		}
		_ = c.Close()
		if err := <-ended; err != nil || h.aborted != nil {
			t.Errorf("Serve: %v, aborted with %v; want an orderly end", err, h.aborted)
		}
	})
}

// A handler that owes a report is told so, and no wrong one is sent.
func TestServerReportMissing(t *testing.T) {
	for _, reports := range [][]owamp.SendReport{
		nil,
		{{SID: owamp.SID{9}, NextSeq: 1}},
		{{SID: fromServer(10, 1).SID, NextSeq: 11}},
		{{SID: fromServer(10, 1).SID}, {SID: owamp.SID{9}}},
	} {
		bubble.Test(t, func(t *testing.T) {
			h := newHandler()
			h.reports = reports
			conn, ended := serve(t.Context(), openMode(), h)
			c := connect(t, conn)
			if _, err := c.Request(t.Context(), []owamp.SessionSpec{fromServer(10, 1)}); err != nil {
				t.Fatal(err)
			}
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.done <- struct{}{}
			if _, err := c.Await(t.Context()); !errors.Is(err, io.EOF) {
				t.Errorf("reports %v: the client is told %v, want that the connection is lost", reports, err)
			}
			_ = c.Close()
			if err := <-ended; err == nil || !strings.HasPrefix(err.Error(), "stopping sessions: ") || !errors.Is(h.aborted, err) {
				t.Errorf("reports %v: Serve: %v, aborted with %v; want what is wrong with them", reports, err, h.aborted)
			}
		})
	}
}

// Given times are used.
func TestServerTimeouts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		cfg := openMode()
		cfg.HandshakeTimeout, cfg.IdleTimeout = 3*time.Second, 7*time.Second
		begin := time.Now()
		conn, ended := serve(t.Context(), cfg, newHandler())
		read(t, conn, owamp.ServerGreetingSize)
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Errorf("no Set-Up-Response: %v after %v, want a time-out after 3s", err, time.Since(begin))
		}

		near, far := net.Pipe()
		ended = serveOn(t.Context(), far, cfg, newHandler())
		c := connect(t, near)
		begin = time.Now()
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 7*time.Second {
			t.Errorf("no command: %v after %v, want a time-out after 7s", err, time.Since(begin))
		}
		_ = c.Close()
		conn.Close()
	})
}
