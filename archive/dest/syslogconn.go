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

// freshness is how long the server's name is not looked up again, where no
// connection tells that it has gone.
const freshness = time.Minute

// A syslogConn is a connection to who takes messages. It is made when it is
// wanted, kept, and made anew when it has broken.
type syslogConn struct {
	path          string // of a local socket; empty: there is a server
	transport     string // udp, tcp or tls
	dial.Endpoint        // the server
	certs         certs.Files

	turn   chan struct{} // who has put something in may use what follows
	conn   net.Conn
	tcp    *net.TCPConn    // below conn; nil: it is none of TCP
	stream bool            // conn does not keep messages apart
	gone   <-chan struct{} // closed when a stream has been ended by the other side
	made   time.Time
}

// send sends all messages over one connection.
func (c *syslogConn) send(ctx context.Context, messages [][]byte) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	kept := c.conn != nil
	err := c.try(ctx, messages)
	if err != nil && kept && ctx.Err() == nil && !archive.IsFinal(err) {
		// The daemon was restarted, maybe. Some of it may be there already: that is
		// what the ID is for.
		err = c.try(ctx, messages)
	}
	return err
}

func (c *syslogConn) try(ctx context.Context, messages [][]byte) (err error) {
	defer func() {
		if err != nil {
			c.drop()
		}
	}()
	select {
	case <-c.gone:
		c.drop()
	default:
	}
	if c.transport == "udp" && time.Since(c.made) > freshness {
		c.drop() // the server may be elsewhere now, and would not tell
	}
	if c.conn == nil {
		if err := c.connect(ctx); err != nil {
			return err
		}
	}
	deadline := time.Now().Add(syslogTimeout)
	if err := c.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for _, m := range messages {
		if _, err := c.conn.Write(c.framed(m)); errors.Is(err, syscall.EMSGSIZE) {
			return archive.Final(err)
		} else if err != nil {
			return err
		}
	}
	return c.settle(ctx, deadline)
}

func (c *syslogConn) connect(ctx context.Context) error {
	conn, err := c.open(ctx)
	if err != nil {
		return err
	}
	c.conn, c.stream, c.made = conn, true, time.Now()
	c.tcp, _ = conn.(*net.TCPConn)
	switch conn := conn.(type) {
	case *net.UDPConn:
		c.stream = false
	case *net.UnixConn:
		c.stream = conn.RemoteAddr().Network() == "unix"
	}
	if c.transport == "tls" {
		config, err := c.certs.Config(c.Host)
		if err != nil {
			return err
		}
		secure := tls.Client(conn, config)
		c.conn = secure
		limited, cancel := context.WithTimeout(ctx, syslogTimeout)
		defer cancel()
		if err := secure.HandshakeContext(limited); err != nil {
			return err
		}
	}
	c.gone = nil
	if c.stream {
		gone, conn := make(chan struct{}), c.conn
		c.gone = gone
		go func() { // ends with the connection
			defer close(gone)
			_, _ = io.Copy(io.Discard, conn) // a server has nothing to say
		}()
	}
	return nil
}

// open connects to the server, or to the local daemon, whose socket is one of
// datagrams or, with some daemons, of a stream.
func (c *syslogConn) open(ctx context.Context) (net.Conn, error) {
	switch {
	case c.path == "" && c.transport == "udp":
		return c.Connect(ctx, "udp")
	case c.path == "":
		return c.Connect(ctx, "tcp")
	}
	d := net.Dialer{Timeout: syslogTimeout}
	conn, err := d.DialContext(ctx, "unixgram", c.path)
	if errors.Is(err, syscall.EPROTOTYPE) {
		conn, err = d.DialContext(ctx, "unix", c.path)
	}
	return conn, err
}

// framed returns a message as it is sent.
func (c *syslogConn) framed(m []byte) []byte {
	switch {
	case !c.stream:
		return m
	case c.path != "":
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
		select {
		case <-c.gone:
			return errEnded
		default:
		}
		if err != nil || all {
			return err
		}
		if time.Now().After(deadline) {
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

// drop ends the connection.
func (c *syslogConn) drop() {
	if c.conn != nil {
		c.conn.Close()
	}
	c.conn, c.tcp, c.gone = nil, nil, nil
}

// close ends the connection when nobody uses it any more.
func (c *syslogConn) close() error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.drop()
	return nil
}
