package dest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"owl/archive"
	"owl/archive/dest/dial"
	"owl/archive/member"
	"owl/archive/retry"
)

const (
	// socketTimeout bounds connecting to an address, and then sending.
	socketTimeout = 30 * time.Second
	// grace is how long the other side of a TCP connection is given to close it
	// before its acknowledgements are enough.
	grace = time.Second
	// refusal is how long a host is given to say that nobody takes a datagram.
	refusal = 50 * time.Millisecond
	// datagramSize is how long a datagram may be unless its destination says
	// otherwise, in octets: one that any host can receive (RFC 791).
	datagramSize = 508
	// longestDatagram fits into any UDP packet.
	longestDatagram = 65507
)

// A socket sends each result over a TCP connection of its own, or as a UDP
// datagram: JSON as it is, and a line end only with newline. Its ID is sent only
// within it.
//
// Over TCP a result is delivered when the other side has closed the connection
// after us, or keeps it open and its host has acknowledged everything; a reset is
// a failure. Over UDP it is delivered when it is sent, unless the host says at once
// that nobody listens there (ICMP); nothing else is told.
type socket struct {
	dial.Endpoint
	network string // tcp or udp
	newline bool
	longest int // octets of a datagram
	timeout time.Duration
}

func openTCP(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	return openSocket(o, "tcp", 4)
}

func openUDP(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	return openSocket(o, "udp", 8)
}

func openSocket(o *member.Object, network string, parallel int) (archive.Opened, error) {
	o.Schema(1)
	o.Need("host", "port")
	s := &socket{
		Endpoint: dial.Endpoint{
			Host:    o.Text("host"),
			Port:    uint16(o.Int("port", 0, 65535, 0)),
			Bind:    o.String("bind"),
			Version: ipVersion(o),
			Timeout: socketTimeout,
		},
		network: network,
		newline: o.Bool("newline", false),
		timeout: socketTimeout,
	}
	if network == "udp" {
		s.longest = min(int(o.Int("payload-size", 1, 1<<31-1, datagramSize)), longestDatagram)
	}
	return archive.Opened{Destination: s, Retry: retry.Read(o, false), Parallel: parallel}, nil
}

// ipVersion reads the version of IP; 0: either.
func ipVersion(o *member.Object) int {
	if !o.Has("ip-version") {
		return 0
	}
	v := o.Int("ip-version", 4, 6, 4)
	if v == 5 {
		o.Fail("ip-version", "5: want 4 or 6")
	}
	return int(v)
}

func (s *socket) Deliver(ctx context.Context, item *archive.Item) error {
	payload := item.Payload
	if s.newline {
		payload = append(slices.Clip(payload), '\n')
	}
	if s.network == "udp" && len(payload) > s.longest {
		return archive.Final(fmt.Errorf("payload of %d bytes is too big (maximum %d)", len(payload), s.longest))
	}
	conn, err := s.Connect(ctx, s.network)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	deadline := time.Now().Add(s.timeout)
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write(payload); err != nil {
		return err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		return arrived(ctx, tcp, deadline)
	}
	return refused(conn)
}

// refused returns what the other host says to a datagram, if it is that nobody
// takes it.
func refused(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(refusal)); err != nil {
		return err
	}
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return nil
}

// arrived ends what is sent over conn, and returns nil when the other side has
// all of it, as far as TCP can tell.
func arrived(ctx context.Context, conn *net.TCPConn, deadline time.Time) error {
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	for {
		until := time.Now().Add(grace)
		if until.After(deadline) {
			until = deadline
		}
		if err := conn.SetReadDeadline(until); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, conn) // what it says is not asked for
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("the other side may not have all of the result: %w", err)
		}
		if all, err := acknowledged(conn); err != nil || all {
			return err
		}
		if !until.Before(deadline) {
			return errors.New("the other side has not acknowledged all of the result in time")
		}
	}
}

func (*socket) Close() error { return nil }
