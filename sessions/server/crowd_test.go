package server_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
	"owl/sessions/server"
)

// A crowd is a listener with a connection for each time that it is asked.
type crowd struct {
	conns chan net.Conn
	quit  chan struct{}
}

func (c *crowd) Accept() (net.Conn, error) {
	select {
	case conn := <-c.conns:
		return conn, nil
	case <-c.quit:
		return nil, net.ErrClosed
	}
}

func (c *crowd) Close() error { close(c.quit); return nil }

func (c *crowd) Addr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(there, 861)) }

// addressed is a connection with addresses.
type addressed struct {
	net.Conn
	local, remote netip.AddrPort
}

func (a addressed) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(a.local) }

func (a addressed) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(a.remote) }

// dial returns the client's end of a new connection.
func (c *crowd) dial(from netip.Addr, port uint16) net.Conn {
	client, host := net.Pipe()
	local, remote := netip.AddrPortFrom(there, 861), netip.AddrPortFrom(from, port)
	c.conns <- addressed{host, local, remote}
	return addressed{client, remote, local}
}

// Ten thousand connections on which nothing happens cost little, take room
// from nobody else, and end.
func TestIdleCrowd(t *testing.T) {
	const many = 10000
	most := min(8000, server.OpenFiles()/2)
	bubble.Test(t, func(t *testing.T) {
		ln := &crowd{make(chan net.Conn), make(chan struct{})}
		w := serve(t, func(w *world, c *server.Config) {
			c.MaxConnections = most
			w.on = ln
		})
		before := memory()
		var conns []net.Conn
		open := 0
		for i := range many {
			conn := ln.dial(here, uint16(1024+i))
			conns = append(conns, conn)
			if _, err := io.ReadFull(conn, make([]byte, owamp.ServerGreetingSize)); err != nil {
				continue
			}
			open++
			if i%2 == 0 { // half of them go on to where requests can be made
				if _, err := conn.Write((&owamp.SetUpResponse{Mode: owamp.ModeOpen}).Append(nil)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(conn, make([]byte, owamp.ServerStartSize)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if want := most - most/8; open != want {
			t.Errorf("%d connections are open, want %d", open, want)
		}
		synctest.Wait()
		if each := (memory() - before) / uint64(open); each > 64<<10 {
			t.Errorf("a connection takes %d octets of memory", each)
		}
		// Others are served.
		for i := range most / 8 {
			from := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
			c, err := control.Connect(t.Context(), ln.dial(from, 50000), control.ClientConfig{})
			if err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
			defer c.Close()
			if i > 0 {
				continue
			}
			a, err := c.Request(t.Context(), []owamp.SessionSpec{toServer(10, netip.AddrPortFrom(from, 9000))})
			if err != nil || a[0].Accept != owamp.AcceptOK {
				t.Errorf("another client got %v, %v", a, err)
			}
		}
		// And in the end the crowd is gone.
		time.Sleep(31 * time.Minute)
		for i, conn := range conns {
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Fatalf("connection %d: %v", i, err)
			}
		}
		c, err := control.Connect(t.Context(), ln.dial(here, 50000), control.ClientConfig{})
		if err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
		w.stop()
	})
}
