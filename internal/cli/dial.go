package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// A Dialer opens control connections to a server, by the options that all
// client programs share.
type Dialer struct {
	Resolver Resolver
	Server   string // host of the control server
	Port     string
	Test     string // host of the test address; empty: the server's
	Family   Family
	Source   string // -S: host, address or interface; empty: the system's choice
	Device   string // -B; empty: none
}

// A Connection is an open control connection with the addresses of the test.
type Connection struct {
	net.Conn
	Local netip.Addr // this host's test address: the connection's own
	Peer  netip.Addr // the other host's
}

// Dial connects to the first of the server's addresses that answers, IPv6
// before IPv4; ctx bounds how long they are tried. Names are looked up anew, so
// that a server that moved is found.
func (d *Dialer) Dial(ctx context.Context) (*Connection, error) {
	servers, err := Resolve(ctx, d.Resolver, d.Server, d.Family)
	if err != nil {
		return nil, err
	}
	var tests, sources []netip.Addr
	if d.Test != "" && d.Test != d.Server {
		if tests, err = Resolve(ctx, d.Resolver, d.Test, d.Family); err != nil {
			return nil, err
		}
	}
	if d.Source != "" {
		if sources, err = Source(ctx, d.Resolver, d.Source, d.Family); err != nil {
			return nil, fmt.Errorf("source %q: %w", d.Source, err)
		}
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", d.Port)
	if err != nil {
		return nil, fmt.Errorf("port %q: want a number from 1 to 65535 or the name of a service", d.Port)
	}
	for i, server := range servers {
		var c *Connection
		c, err = d.connect(ctx, netip.AddrPortFrom(server, uint16(port)), len(servers)-i, tests, sources)
		if err == nil {
			return c, nil
		}
	}
	return nil, err // the last one alone, as the C programs tell it
}

// connect tries one address of the server, for no more than its share of the
// time that ctx leaves for it and the others behind it: an address that does
// not answer must not keep the next one from being tried. Without tests the
// test goes to the server itself, without sources the system chooses one.
func (d *Dialer) connect(ctx context.Context, server netip.AddrPort, left int, tests, sources []netip.Addr) (*Connection, error) {
	peer := server.Addr()
	if tests != nil {
		var ok bool
		if peer, ok = Pick(tests, server.Addr()); !ok {
			return nil, fmt.Errorf("host %q: no address of the IP version of %v", d.Test, server.Addr())
		}
	}
	dialer := net.Dialer{Control: d.control}
	from := ""
	if sources != nil {
		source, ok := Pick(sources, server.Addr())
		if !ok {
			return nil, fmt.Errorf("source %q: no address that can talk to %v", d.Source, server.Addr())
		}
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		from = fmt.Sprintf(" from %v", source)
	}
	if deadline, ok := ctx.Deadline(); ok {
		dialer.Timeout = time.Until(deadline) / time.Duration(left)
	}
	conn, err := dialer.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return nil, fmt.Errorf("Couldn't open 'control' connection to server %v%s: %w", server, from, dialCause(err)) //nolint:staticcheck // the C suite's words
	}
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &Connection{Conn: conn, Local: local.Addr().Unmap(), Peer: peer}, nil
}

// dialCause returns why dialling failed, without the addresses that the error
// of the net package repeats.
func dialCause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := err.(*os.SyscallError); ok { //nolint:errorlint // what wraps it says more
		err = call.Err
	}
	return err
}

// control binds the control connection to the device too.
func (d *Dialer) control(_, _ string, raw syscall.RawConn) error {
	if d.Device == "" {
		return nil
	}
	return bindToDevice(raw, d.Device)
}
