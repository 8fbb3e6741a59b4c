package control_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"owl/owamp"
	"owl/owamp/control"

	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	clientAddr = netip.MustParseAddr("10.98.0.1")
	serverAddr = netip.MustParseAddr("10.98.0.2")
	equateAddr = cmpopts.EquateComparable(netip.AddrPort{})
)

// toServer asks the server to receive.
func toServer(packets uint32) owamp.SessionSpec {
	return owamp.SessionSpec{
		ConfReceiver: true,
		Slots:        []owamp.Slot{{Type: owamp.SlotExponential, Parameter: 0x0ccccccc}},
		Packets:      packets,
		Sender:       netip.AddrPortFrom(clientAddr, 9906),
		Receiver:     netip.AddrPortFrom(serverAddr, 0),
		Start:        0xeeaba5f0877fe088,
		Timeout:      2 << 32,
	}
}

// fromServer asks the server to send.
func fromServer(packets uint32, sid byte) owamp.SessionSpec {
	return owamp.SessionSpec{
		ConfSender: true,
		Slots:      []owamp.Slot{{Type: owamp.SlotFixed, Parameter: 1 << 30}, {Type: owamp.SlotExponential, Parameter: 1 << 31}},
		Packets:    packets,
		Sender:     netip.AddrPortFrom(serverAddr, 0),
		Receiver:   netip.AddrPortFrom(clientAddr, 9488),
		SID:        owamp.SID{0: 0xc1, 15: sid},
		Padding:    100,
		Start:      0xeeaba5f0877fe088,
		Timeout:    2 << 32,
		TypeP:      owamp.TypePOf(46),
	}
}

// A stopCall is what Handler.Stop was told.
type stopCall struct {
	Peer   []owamp.SendReport
	Accept owamp.Accept
	At     owamp.Timestamp
}

// A fakeHandler accepts what it is asked, with the n-th session on port 9000+n
// and, if it receives, SID n, and notes what it was told.
type fakeHandler struct {
	answer  func(spec *owamp.SessionSpec) owamp.Accepted // instead
	accept  owamp.Accept                                 // of Start
	reports []owamp.SendReport
	done    chan struct{}

	specs   []owamp.SessionSpec
	calls   []string // the names of the methods
	stops   []stopCall
	aborted error
}

func newHandler() *fakeHandler { return &fakeHandler{done: make(chan struct{}, 1)} }

func (h *fakeHandler) Request(_ context.Context, spec *owamp.SessionSpec) owamp.Accepted {
	h.calls = append(h.calls, "Request")
	h.specs = append(h.specs, *spec)
	if h.answer != nil {
		return h.answer(spec)
	}
	n := len(h.specs)
	return owamp.Accepted{Port: uint16(9000 + n), SID: owamp.SID{15: byte(n)}}
}

func (h *fakeHandler) Start(context.Context) owamp.Accept {
	h.calls = append(h.calls, "Start")
	return h.accept
}

func (h *fakeHandler) Done() <-chan struct{} { return h.done }

func (h *fakeHandler) Report() []owamp.SendReport {
	h.calls = append(h.calls, "Report")
	return h.reports
}

func (h *fakeHandler) Stop(_ context.Context, peer []owamp.SendReport, accept owamp.Accept, at owamp.Timestamp) {
	h.calls = append(h.calls, "Stop")
	h.stops = append(h.stops, stopCall{peer, accept, at})
}

func (h *fakeHandler) Abort(err error) {
	h.calls = append(h.calls, "Abort")
	h.aborted = err
}

// openMode is what the servers of these tests are.
func openMode() control.ServerConfig {
	return control.ServerConfig{
		Modes: owamp.ModeOpen,
		Peer:  clientAddr,
		Start: 0xeeaba5aa7e934aca,
		Now:   func() owamp.Timestamp { return 0xeeaba5f5_00000000 },
	}
}

// serve runs the server's half on the other end of a pipe; what Serve returns
// comes through the channel.
func serve(ctx context.Context, cfg control.ServerConfig, h control.Handler) (net.Conn, <-chan error) {
	near, far := net.Pipe()
	return near, serveOn(ctx, far, cfg, h)
}

func serveOn(ctx context.Context, conn net.Conn, cfg control.ServerConfig, h control.Handler) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- control.Serve(ctx, conn, cfg, h) }()
	return ended
}

// connect is the client's half, set up.
func connect(t *testing.T, conn net.Conn) *control.Client {
	t.Helper()
	c, err := control.Connect(t.Context(), conn, control.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tcp returns the two ends of a TCP connection.
func tcp(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// A tap notes what is written through it.
type tap struct {
	net.Conn
	written []byte
}

func (t *tap) Write(b []byte) (int, error) {
	t.written = append(t.written, b...)
	return t.Conn.Write(b)
}
