package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
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
// before IPv4. Names are looked up anew, so that a server that moved is found.
func (d *Dialer) Dial(ctx context.Context) (*Connection, error) {
	servers, err := Resolve(ctx, d.Resolver, d.Server, d.Family)
	if err != nil {
		return nil, err
	}
	tests := servers
	if d.Test != "" && d.Test != d.Server {
		if tests, err = Resolve(ctx, d.Resolver, d.Test, d.Family); err != nil {
			return nil, err
		}
	}
	var sources []netip.Addr
	if d.Source != "" {
		if sources, err = Source(ctx, d.Resolver, d.Source, d.Family); err != nil {
			return nil, err
		}
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", d.Port)
	if err != nil {
		return nil, fmt.Errorf("port %q: want a number from 1 to 65535 or the name of a service", d.Port)
	}
	var failures []error
	for _, server := range servers {
		c, err := d.connect(ctx, netip.AddrPortFrom(server, uint16(port)), tests, sources)
		if err == nil {
			return c, nil
		}
		failures = append(failures, err)
	}
	// The last failure is the one the C programs tell; others would repeat it.
	return nil, failures[len(failures)-1]
}

func (d *Dialer) connect(ctx context.Context, server netip.AddrPort, tests, sources []netip.Addr) (*Connection, error) {
	peer := server.Addr()
	if d.Test != "" && d.Test != d.Server {
		var ok bool
		if peer, ok = Pick(tests, server.Addr()); !ok {
			return nil, fmt.Errorf("host %q: no address of the IP version of %v", d.Test, server.Addr())
		}
	}
	dialer := net.Dialer{Control: d.control}
	if sources != nil {
		source, ok := Pick(sources, server.Addr())
		if !ok {
			return nil, fmt.Errorf("source %q: no address that can talk to %v", d.Source, server.Addr())
		}
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	conn, err := dialer.DialContext(ctx, "tcp", server.String())
	if err != nil {
		if cause, ok := errors.AsType[*net.OpError](err); ok {
			err = cause.Err
		}
		if cause, ok := errors.AsType[syscall.Errno](err); ok {
			err = cause
		}
		return nil, fmt.Errorf("Couldn't open 'control' connection to server %v: %w", server, err) //nolint:staticcheck // the C suite's words
	}
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &Connection{Conn: conn, Local: local.Addr().Unmap(), Peer: peer}, nil
}

// control binds the control connection to the device too.
func (d *Dialer) control(_, _ string, raw syscall.RawConn) error {
	if d.Device == "" {
		return nil
	}
	return bindToDevice(raw, d.Device)
}
