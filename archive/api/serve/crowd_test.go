package serve

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"owl/internal/testprog"
)

// listening serves by s at an address of this host until the test ends.
func listening(t *testing.T, s *Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	ctx := t.Context() // which ends before what the test cleans up
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// from returns a client whose connections come from an address of this host.
func from(address string) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: d.DialContext}, Timeout: testprog.Patience}
}

// TestThousandConnections: a host that opens a thousand connections, says nothing
// on some and a word at a time on others, gets in nobody's way.
func TestThousandConnections(t *testing.T) {
	const most, crowding = 1000, 1100
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	}, Options{Connections: most})
	addr := listening(t, s)
	good := from("127.0.0.2")
	ask := func() {
		t.Helper()
		resp, err := good.Post("http://"+addr+"/esmond/perfsonar/archive/", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "2 <nil>" {
			t.Errorf("%s, %v", body, err)
		}
	}
	ask()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range crowding {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer conn.Close()
		switch i % 3 {
		case 1:
			fmt.Fprint(conn, "GET / HTT")
		case 2:
			fmt.Fprint(conn, "PUT /esmond/perfsonar/archive/KEY/ HTTP/1.1\r\nHost: a\r\nContent-Length: 16000000\r\n\r\n{")
		}
		if i%100 == 0 {
			ask()
		}
	}
	ask()
	good.CloseIdleConnections() // a new one finds its place, too
	ask()
	testprog.Until(t, "the last connections to be taken in", func() error {
		if now, evicted := s.connections(); now > most || now < most-10 || evicted < crowding-most {
			return fmt.Errorf("%d connections, %d gone; want %d", now, evicted, most)
		}
		return nil
	})
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse); grown > 64<<20 {
		t.Errorf("they take %d MB", grown>>20)
	}
}

// TestCrowd: who goes when there are too many.
func TestCrowd(t *testing.T) {
	begun := time.Unix(0, 0)
	type one struct {
		from  string
		since int // s
		busy  int
	}
	for _, c := range []struct {
		name string
		all  []one // the last of them is the one that comes
		gone int
	}{
		{"room", []one{{"192.0.2.1", 1, 0}, {"192.0.2.1", 2, 0}}, -1},
		{"the oldest", []one{{"192.0.2.1", 2, 0}, {"192.0.2.1", 1, 0}, {"192.0.2.1", 3, 0}, {"192.0.2.1", 4, 0}}, 1},
		{"of whom there are most", []one{{"192.0.2.1", 1, 0}, {"192.0.2.2", 2, 0}, {"192.0.2.2", 3, 0}, {"192.0.2.1", 4, 1}, {"192.0.2.2", 5, 0}}, 1},
		{"not who is busy", []one{{"192.0.2.2", 1, 1}, {"192.0.2.2", 2, 2}, {"192.0.2.1", 3, 0}, {"192.0.2.2", 4, 0}}, 2},
		{"nobody else", []one{{"192.0.2.1", 1, 1}, {"192.0.2.1", 2, 1}, {"192.0.2.1", 3, 1}, {"192.0.2.2", 4, 0}}, 3},
		{"neighbours are one", []one{{"2001:db8::1", 3, 0}, {"2001:db8::2", 4, 0}, {"192.0.2.1", 1, 0}, {"2001:db8:0:1::1", 5, 0}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			crowd := newCrowd(nil, 3)
			if len(c.all) > 3 {
				crowd.most = len(c.all) - 1
			}
			var gone *guest
			guests := make([]*guest, len(c.all))
			for i, o := range c.all {
				guests[i] = &guest{crowd: crowd, from: site(netip.MustParseAddr(o.from)), busy: o.busy, since: begun.Add(time.Duration(o.since) * time.Second)}
				gone = crowd.admit(guests[i])
			}
			switch {
			case c.gone < 0 && gone != nil:
				t.Error("somebody goes, want nobody")
			case c.gone >= 0 && gone != guests[c.gone]:
				t.Errorf("%+v goes, want number %d", gone, c.gone)
			}
		})
	}
}

// short is a listener of a process that has no descriptors left unless it closes
// one.
type short struct {
	left  int
	conns []net.Conn // that were accepted
}

func (s *short) Accept() (net.Conn, error) {
	if s.left == 0 {
		return nil, os.NewSyscallError("accept4", syscall.EMFILE)
	}
	s.left--
	near, _ := net.Pipe()
	c := &closing{Conn: near, of: s}
	s.conns = append(s.conns, c)
	return c, nil
}

func (*short) Close() error   { return nil }
func (*short) Addr() net.Addr { return &net.TCPAddr{} }

// closing is a connection with one of the descriptors.
type closing struct {
	net.Conn
	of     *short
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	c.of.left++
	return c.Conn.Close()
}

// TestDescriptors: where there are fewer descriptors than connections might be,
// somebody who waits for nothing makes room.
func TestDescriptors(t *testing.T) {
	l := &short{left: 2}
	crowd := newCrowd(l, 100)
	for i := range 4 {
		if _, err := crowd.Accept(); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	for i, c := range l.conns {
		if closed := c.(*closing).closed; closed != (i < 2) {
			t.Errorf("connection %d is closed: %v", i, closed)
		}
	}
	for g := range crowd.all {
		g.busy = 1
	}
	if _, err := crowd.Accept(); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("with all of them busy: %v", err)
	}
	if now, evicted := crowd.count(); now != 2 || evicted != 2 {
		t.Errorf("%d connections, %d had to go, want 2 and 2", now, evicted)
	}
}
