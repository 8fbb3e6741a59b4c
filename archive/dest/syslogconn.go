package dest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"

	"owl/archive"
	"owl/archive/dest/dial"
	"owl/archive/dest/internal/certs"
)

// A syslogServer is who takes messages, and how it is reached.
type syslogServer struct {
	path          string // of a local socket; empty: there is a host
	transport     string // udp, tcp or tls
	dial.Endpoint        // the host
	certs         certs.Files
}

// A syslogConn is a connection to who takes messages.
type syslogConn struct {
	net.Conn
	tcp    *net.TCPConn    // below it; nil: it is none of TCP
	local  bool            // to the daemon of this host
	stream bool            // it does not keep messages apart
	used   bool            // before
	gone   <-chan struct{} // closed when a stream has been ended by the other side
}

func (s *syslogServer) connect(ctx context.Context) (*syslogConn, error) {
	conn, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	c := &syslogConn{Conn: conn, local: s.path != "", stream: true}
	c.tcp, _ = conn.(*net.TCPConn)
	switch conn := conn.(type) {
	case *net.UDPConn:
		c.stream = false
	case *net.UnixConn:
		c.stream = conn.RemoteAddr().Network() == "unix"
	}
	if s.transport == "tls" {
		if c.Conn, err = s.secure(ctx, conn); err != nil {
			conn.Close()
			return nil, err
		}
	}
	if c.stream {
		gone := make(chan struct{})
		c.gone = gone
		go func() { // ends with the connection
			defer close(gone)
			_, _ = io.Copy(io.Discard, c.Conn) // a server has nothing to say
		}()
	}
	return c, nil
}

// open connects to the server, or to the local daemon, whose socket is one of
// datagrams or, with some daemons, of a stream.
func (s *syslogServer) open(ctx context.Context) (net.Conn, error) {
	switch {
	case s.path == "" && s.transport == "udp":
		return s.Connect(ctx, "udp")
	case s.path == "":
		return s.Connect(ctx, "tcp")
	}
	d := net.Dialer{Timeout: syslogTimeout}
	conn, err := d.DialContext(ctx, "unixgram", s.path)
	if errors.Is(err, syscall.EPROTOTYPE) {
		conn, err = d.DialContext(ctx, "unix", s.path)
	}
	return conn, err
}

// secure begins TLS on a connection.
func (s *syslogServer) secure(ctx context.Context, conn net.Conn) (net.Conn, error) {
	config, err := s.certs.Config(s.Host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, syslogTimeout)
	defer cancel()
	c := tls.Client(conn, config)
	return c, c.HandshakeContext(ctx)
}

// alive reports whether the other side has not ended the connection.
func (c *syslogConn) alive() bool {
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}

// send sends all messages, and waits until the other host has them where it tells.
func (c *syslogConn) send(ctx context.Context, messages [][]byte) error {
	c.used = true
	deadline := time.Now().Add(syslogTimeout)
	if err := c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	for _, m := range messages {
		if _, err := c.Write(c.framed(m)); errors.Is(err, syscall.EMSGSIZE) {
			return archive.Final(err)
		} else if err != nil {
			return err
		}
	}
	return c.settle(ctx, deadline)
}

// framed returns a message as it is sent.
func (c *syslogConn) framed(m []byte) []byte {
	switch {
	case !c.stream:
		return m
	case c.local:
		return append(m, 0) // as syslog(3) does
	}
	return append(append(strconv.AppendInt(nil, int64(len(m)), 10), ' '), m...)
}

var errEnded = errors.New("the server has ended the connection")

// settle waits until the server's host has acknowledged everything.
func (c *syslogConn) settle(ctx context.Context, deadline time.Time) error {
	if c.tcp == nil {
		return nil
	}
	wait := 100 * time.Microsecond
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		all, err := acknowledged(c.tcp)
		switch {
		case !c.alive():
			return errEnded
		case err != nil || all:
			return err
		case time.Now().After(deadline):
			return errors.New("the server has not acknowledged all of the result in time")
		}
		select {
		case <-c.gone:
			return errEnded
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			wait = min(2*wait, 50*time.Millisecond)
			timer.Reset(wait)
		}
	}
}
