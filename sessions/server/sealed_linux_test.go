package server_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
	"owl/owamp/control"
	"owl/probe"
	"owl/probe/clock"
	"owl/sessions/policy"
	"owl/sessions/ports"
	"owl/sessions/server"
)

// sealedServer is a server on loopback, with real test ports; it returns a
// connection as alice.
func sealedServer(t *testing.T, mode owamp.Mode) *control.Client {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	c := clock.New(clock.Config{})
	engine, err := probe.New(probe.Config{Clock: c, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	store, err := server.OpenStore(t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	p := new(policy.Passphrases)
	if err := p.Set("alice", []byte(phraseOfAlice)); err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Config{
		Modes: owamp.ModeAuthenticated | owamp.ModeEncrypted, Clock: c, Prober: ports.Engine(engine), Random: rand.Reader, Log: log, Store: store,
		Settings: server.Settings{Passphrases: p},
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client, err := control.Connect(t.Context(), conn, control.ClientConfig{
		Modes: mode, User: "alice", Passphrase: func() ([]byte, error) { return []byte(phraseOfAlice), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// Of the packets that come to a session's port from the right place, only those
// count that its sender has sealed: each once, and those that are sent again,
// by whomever, as duplicates. In authenticated mode the stamp is not sealed.
func TestForgedPackets(t *testing.T) {
	for _, mode := range []owamp.Mode{owamp.ModeAuthenticated, owamp.ModeEncrypted} {
		t.Run(mode.String(), func(t *testing.T) {
			c := sealedServer(t, mode)
			socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			local := socket.LocalAddr().(*net.UDPAddr).AddrPort()
			const n, timeout = 12, 2 * time.Second
			start := owamp.FromTime(time.Now())
			spec := owamp.SessionSpec{
				ConfReceiver: true,
				Slots:        []owamp.Slot{{Type: owamp.SlotFixed, Parameter: owamp.IntervalOf(time.Millisecond)}},
				Packets:      n,
				Sender:       local,
				Receiver:     netip.AddrPortFrom(local.Addr(), 0),
				Start:        start,
				Timeout:      owamp.IntervalOf(timeout),
			}
			answers, err := c.Request(t.Context(), []owamp.SessionSpec{spec})
			if err != nil || answers[0].Accept != owamp.AcceptOK {
				t.Fatalf("%v, %v", answers, err)
			}
			sid := answers[0].SID
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			to := netip.AddrPortFrom(local.Addr(), answers[0].Port)
			send := func(b []byte) {
				t.Helper()
				if _, err := socket.WriteToUDPAddrPort(b, to); err != nil {
					t.Fatal(err)
				}
			}
			const estimate owamp.ErrorEstimate = 0x8a80
			packet := func(seal owamp.Seal, seq uint32) []byte {
				b := make([]byte, owamp.SealedPacketSize)
				s := seal.Sealer()
				s.Prepare(b[:s.Size()], seq)
				s.Finish(b, start+owamp.Timestamp(seq), estimate)
				return b
			}
			seal := c.Seal(sid)
			send(packet(seal, 0))
			send(packet(owamp.Seal{}, 1))                // of open mode
			send(packet(c.Seal(owamp.SID{1}), 2))        // of another session of the connection
			send(packet(seal, 3)[:47])                   // too short
			for _, octet := range []int{0, 15, 32, 47} { // the number and the HMAC
				b := packet(seal, 4)
				b[octet] ^= 1
				send(b)
			}
			send(make([]byte, owamp.SealedPacketSize))
			stamped := packet(seal, 5)
			stamped[23] ^= 0x40
			send(stamped)
			send(packet(seal, 6))
			send(packet(seal, 6)) // again
			send(packet(seal, n)) // beyond the session
			stranger, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
			if err != nil {
				t.Fatal(err)
			}
			defer stranger.Close()
			if _, err := stranger.Write(packet(seal, 7)); err != nil {
				t.Fatal(err)
			}
			send(packet(seal, 8))

			// Only what has had its time until the stop is kept.
			if _, err := c.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Stop(t.Context(), []owamp.SendReport{{SID: sid, NextSeq: n}}); err != nil {
				t.Fatal(err)
			}
			_, recs, err := all(t, c, sid)
			if err != nil {
				t.Fatal(err)
			}
			type arrival struct {
				Seq  uint32
				Sent owamp.Timestamp
			}
			var got []arrival
			for _, r := range recs {
				if !r.Lost() {
					got = append(got, arrival{r.Seq, r.Sent})
				}
			}
			want := []arrival{{0, start}, {5, (start + 5) ^ 0x40}, {6, start + 6}, {6, start + 6}, {8, start + 8}}
			if mode == owamp.ModeEncrypted {
				want = slices.Delete(want, 1, 2)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("recorded (-want +got):\n%s", d)
			}
		})
	}
}

// Nobody finds out by the time that it takes whether there is a user: the work
// is the same.
func TestUnknownUserCostsAsMuch(t *testing.T) {
	p := new(policy.Passphrases)
	if err := p.Set("alice", []byte(phraseOfAlice)); err != nil {
		t.Fatal(err)
	}
	// So many iterations that nothing else matters.
	cost := make(map[string]time.Duration)
	for _, user := range []string{"alice", "mallory"} {
		ours, theirs := net.Pipe()
		ended := make(chan error, 1)
		before := work(t)
		go func() {
			ended <- control.Serve(t.Context(), theirs, control.ServerConfig{Modes: owamp.ModeEncrypted, Passphrase: p.Get, Count: 1 << 18}, nil)
		}()
		if _, err := control.Connect(t.Context(), ours, control.ClientConfig{
			Modes: owamp.ModeEncrypted, User: user,
			Passphrase: func() ([]byte, error) { return []byte("x"), nil },
		}); err == nil {
			t.Fatalf("%s is let in", user)
		}
		<-ended
		cost[user] = work(t) - before
	}
	// Both ends derive: without the server's part it would be half.
	if ratio := cost["mallory"].Seconds() / cost["alice"].Seconds(); ratio < 0.75 {
		t.Errorf("to refuse an unknown user takes %v of the processor, a known one %v", cost["mallory"], cost["alice"])
	}
}

// work returns the processor time that this process has taken so far, which
// does not depend on how busy the host is.
func work(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
