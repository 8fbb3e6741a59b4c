package ping_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"
	"owl/probe"
	"owl/probe/clock"
	"owl/sessions/fetch"
	"owl/sessions/ping"
	"owl/sessions/ping/pingtest"
	"owl/sessions/ports"
)

// A fixture is a client of a peer with all that a test needs.
type fixture struct {
	client *control.Client
	cfg    ping.Config
}

// newFixture connects to peer, for tests of 20 packets within 0.2 s.
func newFixture(t *testing.T, peer *pingtest.Peer) *fixture {
	t.Helper()
	conn, err := net.Dial("tcp", peer.Addr)
	if err != nil {
		t.Fatal(err)
	}
	client, err := control.Connect(t.Context(), conn, control.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	c := clock.New(clock.Config{})
	engine, err := probe.New(probe.Config{Clock: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Create(filepath.Join(t.TempDir(), "from.owp"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		engine.Close()
		from.Close()
	})
	return &fixture{client, ping.Config{
		Clock:   c,
		Prober:  ports.Engine(engine),
		Random:  rand.Reader,
		Local:   pingtest.Loopback,
		Peer:    pingtest.Loopback,
		To:      true,
		From:    from,
		Packets: 20,
		Slots:   []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalSeconds(0.01)}},
		Timeout: owamp.IntervalSeconds(2),
	}}
}

var addresses = cmpopts.EquateComparable(netip.AddrPort{})

// begin begins the test of the fixture.
func (f *fixture) begin(t *testing.T) *ping.Test {
	t.Helper()
	test, err := ping.Begin(t.Context(), f.client, f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(test.Close)
	return test
}

// read reads a session's file.
func read(t *testing.T, path string) (h *owp.Header, received []uint32, lost int) {
	t.Helper()
	r, err := owp.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for rec, err := range r.Records() {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Lost() {
			lost++
		} else {
			received = append(received, rec.Seq)
		}
	}
	slices.Sort(received)
	return r.Header(), received, lost
}

// checkAll checks that the file tells of a whole session without loss.
func (f *fixture) checkAll(t *testing.T, path string) *owp.Header {
	t.Helper()
	h, received, lost := read(t, path)
	want := make([]uint32, f.cfg.Packets)
	for i := range want {
		want[i] = uint32(i)
	}
	if d := cmp.Diff(want, received); d != "" || lost != 0 || h.Finished != owp.Normal || h.NextSeq != f.cfg.Packets {
		t.Errorf("%s: %v, next %d, %d lost, received (-want +got)\n%s", path, h.Finished, h.NextSeq, lost, d)
	}
	return h
}

func TestBothDirections(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{})
	f := newFixture(t, peer)
	f.cfg.Padding = 100
	f.cfg.DSCP = 0x2e
	f.cfg.Slots = append(f.cfg.Slots, owamp.Slot{Type: owamp.SlotFixed, Parameter: owamp.IntervalSeconds(0.005)})
	before := f.cfg.Clock.Now()
	test := f.begin(t)
	if err := test.Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}

	asked := peer.Asked()
	if len(asked) != 2 || !asked[0].ConfReceiver || !asked[1].ConfSender {
		t.Fatalf("asked for %+v: want a session to the peer, then one from it", asked)
	}
	if asked[0].Start != asked[1].Start || asked[0].Start.Sub(before) < time.Second {
		t.Errorf("starts %v and %v after the request, want the same one, a second ahead", asked[0].Start.Sub(before), asked[1].Start.Sub(before))
	}
	if asked[0].Sender.Port() == asked[1].Receiver.Port() {
		t.Errorf("both sessions use port %d", asked[0].Sender.Port())
	}
	for _, a := range asked {
		if a.Packets != 20 || a.Padding != 100 || a.TypeP != owamp.TypePOf(0x2e) || a.Timeout != f.cfg.Timeout {
			t.Errorf("asked for %+v", a)
		}
		if d := cmp.Diff(f.cfg.Slots, a.Slots); d != "" {
			t.Errorf("slots (-want +got)\n%s", d)
		}
	}

	from := f.checkAll(t, f.cfg.From.Name())
	if d := cmp.Diff(*test.From(), from.Spec, addresses); d != "" {
		t.Errorf("session from the peer (-test +file)\n%s", d)
	}
	to := filepath.Join(t.TempDir(), "to.owp")
	file, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := fetch.Whole(t.Context(), f.client, test.To().SID, file); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*test.To(), f.checkAll(t, to).Spec, addresses); d != "" {
		t.Errorf("session to the peer (-test +file)\n%s", d)
	}
}

func TestOneDirection(t *testing.T) {
	t.Parallel()
	for _, to := range []bool{true, false} {
		peer := pingtest.New(t, pingtest.Config{})
		f := newFixture(t, peer)
		path := f.cfg.From.Name()
		if f.cfg.To = to; to {
			f.cfg.From = nil
		}
		test := f.begin(t)
		if (test.To() != nil) != to || (test.From() == nil) != to {
			t.Errorf("sessions to %v, from %v", test.To(), test.From())
		}
		if err := test.Run(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if to {
			path = peer.Received(test.To().SID)
		}
		f.checkAll(t, path)
	}
	f := newFixture(t, pingtest.New(t, pingtest.Config{}))
	f.cfg.To, f.cfg.From = false, nil
	if _, err := ping.Begin(t.Context(), f.client, f.cfg); err == nil {
		t.Error("a test in no direction began")
	}
}

// The connection serves one test after the other.
func TestAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t, pingtest.New(t, pingtest.Config{}))
	for range 2 {
		if err := f.cfg.From.Truncate(0); err != nil {
			t.Fatal(err)
		}
		test := f.begin(t)
		if err := test.Run(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		f.checkAll(t, f.cfg.From.Name())
		test.Close()
	}
}

func TestDenied(t *testing.T) {
	t.Parallel()
	for _, accept := range []owamp.Accept{owamp.AcceptReject, owamp.AcceptPermanentLimit, owamp.AcceptTemporaryLimit} {
		for _, nth := range []int{0, 1} {
			peer := pingtest.New(t, pingtest.Config{Accept: func(n int, _ *owamp.SessionSpec) owamp.Accept {
				if n < nth {
					return owamp.AcceptOK
				}
				return accept
			}})
			f := newFixture(t, peer)
			_, err := ping.Begin(t.Context(), f.client, f.cfg)
			denied, ok := errors.AsType[*control.DeniedError](err)
			if !ok || denied.Accept != accept {
				t.Errorf("answer %v to request %d: %v", accept, nth, err)
			}
			want := nth + 1
			if accept == owamp.AcceptTemporaryLimit {
				want += 2
			}
			if asked := peer.Asked(); len(asked) != want {
				t.Errorf("answer %v to request %d: %d requests, want %d", accept, nth, len(asked), want)
			}
		}
	}
}

// Where the peer has no room for one more session with a port of ours, there
// are others.
func TestOtherPorts(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{Accept: func(n int, _ *owamp.SessionSpec) owamp.Accept {
		if n%2 == 0 {
			return owamp.AcceptTemporaryLimit
		}
		return owamp.AcceptOK
	}})
	f := newFixture(t, peer)
	test := f.begin(t)
	if err := test.Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	f.checkAll(t, f.cfg.From.Name())
	f.checkAll(t, peer.Received(test.To().SID))
	local := make(map[uint16]bool)
	for _, a := range peer.Asked() {
		if a.ConfSender {
			local[a.Receiver.Port()] = true
		} else {
			local[a.Sender.Port()] = true
		}
	}
	if len(local) != 4 {
		t.Errorf("ports %v, want 4", local)
	}
}

// One port is enough for both directions.
func TestOnePort(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{})
	f := newFixture(t, peer)
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(free.LocalAddr().(*net.UDPAddr).Port)
	free.Close()
	f.cfg.Ports = probe.PortRange{Low: port, High: port}
	test := f.begin(t)
	if err := test.Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	f.checkAll(t, f.cfg.From.Name())
	f.checkAll(t, peer.Received(test.To().SID))
	if test.To().Sender.Port() != port || test.From().Receiver.Port() != port {
		t.Errorf("ports %v and %v, want %d", test.To().Sender, test.From().Receiver, port)
	}
}

// A test that is stopped before its first packet is one without packets.
func TestStoppedAtOnce(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{})
	f := newFixture(t, peer)
	f.cfg.Delay = time.Hour
	test := f.begin(t)
	if d := test.Remaining(); d < 59*time.Minute || d > 61*time.Minute {
		t.Errorf("%v remain, want an hour", d)
	}
	stop := make(chan struct{})
	close(stop)
	if err := test.Run(t.Context(), stop); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{f.cfg.From.Name(), peer.Received(test.To().SID)} {
		h, received, lost := read(t, path)
		if h.Finished != owp.Normal || h.NextSeq != 0 || len(received) != 0 || lost != 0 {
			t.Errorf("%s: %v, next %d, received %d, lost %d: want a finished session of nothing", path, h.Finished, h.NextSeq, len(received), lost)
		}
	}
}

// recorded waits until the file of a session that runs has some records.
func recorded(t *testing.T, f *os.File) {
	t.Helper()
	for {
		info, err := f.Stat()
		if err != nil {
			t.Error(err)
			return
		}
		if info.Size() > 6000 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// long makes the fixture's test last for an hour.
func (f *fixture) long() {
	f.cfg.Packets = 360_000
	f.cfg.Timeout = owamp.IntervalSeconds(1)
}

// checkPart checks that the file tells of the begin of a session, none of whose
// packets were lost.
func checkPart(t *testing.T, path string, want owp.Finished) {
	t.Helper()
	h, received, lost := read(t, path)
	if h.Finished != want || lost != 0 || len(received) == 0 || int(received[len(received)-1]) != len(received)-1 {
		t.Errorf("%s: %v, received %d, lost %d: want the first packets of a session that is %v", path, h.Finished, len(received), lost, want)
	}
}

func TestStoppedEarly(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"client", "peer"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			stop := make(chan struct{})
			cfg := pingtest.Config{Over: stop}
			ours := (<-chan struct{})(nil)
			if who == "client" {
				cfg.Over, ours = make(chan struct{}), stop
			}
			peer := pingtest.New(t, cfg)
			f := newFixture(t, peer)
			f.long()
			test := f.begin(t)
			go func() {
				recorded(t, f.cfg.From)
				close(stop)
			}()
			if err := test.Run(t.Context(), ours); err != nil {
				t.Fatal(err)
			}
			checkPart(t, f.cfg.From.Name(), owp.Normal)
			checkPart(t, peer.Received(test.To().SID), owp.Normal)
		})
	}
}

// What was received before the connection was lost, or the test given up, is
// kept.
func TestBroken(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"connection lost", "given up"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			peer := pingtest.New(t, pingtest.Config{})
			f := newFixture(t, peer)
			f.long()
			test := f.begin(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				recorded(t, f.cfg.From)
				if how == "given up" {
					cancel()
				} else {
					peer.Cut()
				}
			}()
			err := test.Run(ctx, nil)
			if _, ok := errors.AsType[*control.ConnError](err); !ok {
				t.Errorf("%v, want a ConnError", err)
			}
			checkPart(t, f.cfg.From.Name(), owp.Incomplete)
		})
	}
}
