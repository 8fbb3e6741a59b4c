package serve

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
)

// A pipes is a listener whose connections are in memory, so that a test can be in
// a bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A far is the server's end of a connection from an address.
type far struct {
	net.Conn
	from netip.AddrPort
}

func (f far) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(f.from) }

// dial returns the near end of a connection from an address.
func (p *pipes) dial(t *testing.T, from string) net.Conn {
	t.Helper()
	near, other := net.Pipe()
	select {
	case p.conns <- far{other, netip.AddrPortFrom(netip.MustParseAddr(from), 40000)}:
	case <-p.done:
		t.Fatal("the listener is closed")
	}
	t.Cleanup(func() { near.Close() })
	return near
}

// get asks for a path on a connection.
func get(t *testing.T, conn net.Conn, path string) *http.Response {
	t.Helper()
	if _, err := conn.Write([]byte("GET " + path + " HTTP/1.1\r\nHost: archive\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// running serves by s in memory until the test ends, or end is called, which
// waits for what Serve returns.
func running(t *testing.T, s *Server) (p *pipes, end func() error) {
	t.Helper()
	p = newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = s.Serve(ctx, p)
	}()
	end = func() error {
		cancel()
		<-ended
		return err
	}
	t.Cleanup(func() { _ = end() })
	return p, end
}

// server returns a server whose REST interface is rest.
func server(t *testing.T, rest http.HandlerFunc, o Options) *Server {
	t.Helper()
	page := func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("page")) }
	s, err := newServer(rest, http.HandlerFunc(page), func(context.Context) error { return nil }, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
