package dest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"owl/archive"
	"owl/archive/member"
	"owl/archive/retry"
)

const (
	// socketTimeout bounds connecting and writing.
	socketTimeout = 30 * time.Second
	// datagramSize is how long a datagram may be unless its destination says
	// otherwise, in octets: one that any host can receive (RFC 791).
	datagramSize = 508
	// longestDatagram fits into any UDP packet.
	longestDatagram = 65507
)

// A socket sends each result over a TCP connection of its own, or as a UDP
// datagram: JSON, and a line end only if it is wanted.
type socket struct {
	network string // tcp or udp
	host    string
	port    uint16
	bind    string
	version int64 // of IP; 0: either, IPv6 first
	newline bool
	longest int // octets of a datagram
	resolve func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

func openTCP(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	return openSocket(o, "tcp")
}

func openUDP(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	return openSocket(o, "udp")
}

func openSocket(o *member.Object, network string) (archive.Opened, error) {
	o.Need("host", "port")
	s := &socket{
		network: network,
		host:    o.Text("host"),
		port:    uint16(o.Int("port", 0, 65535, 0)),
		bind:    bindAddress(o, "bind"),
		newline: o.Bool("newline", false),
		resolve: net.DefaultResolver.LookupNetIP,
	}
	if o.Has("ip-version") {
		if s.version = o.Int("ip-version", 4, 6, 4); s.version == 5 {
			o.Fail("ip-version", "5: want 4 or 6")
		}
	}
	if network == "udp" {
		s.longest = int(o.Int("payload-size", 1, longestDatagram, datagramSize))
	}
	return archive.Opened{Destination: s, Retry: retry.Read(o, false), Parallel: 1}, nil
}

// addresses returns where to send to, in the order in which that is tried.
func (s *socket) addresses(ctx context.Context) ([]netip.Addr, error) {
	families := []string{"ip6", "ip4"}
	if s.version != 0 {
		families = []string{fmt.Sprintf("ip%d", s.version)}
	}
	var all []netip.Addr
	var errs []error
	for _, family := range families {
		found, err := s.resolve(ctx, family, s.host)
		errs = append(errs, err)
		for _, a := range found {
			all = append(all, a.Unmap())
		}
	}
	if len(all) == 0 {
		err := fmt.Errorf("unable to resolve host %s: %w", s.host, errors.Join(errs...))
		if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
			return nil, archive.Final(err)
		}
		return nil, err
	}
	return all, nil
}

func (s *socket) Deliver(ctx context.Context, item *archive.Item) error {
	payload := item.Payload
	if s.newline {
		payload = append(payload[:len(payload):len(payload)], '\n')
	}
	if s.network == "udp" && len(payload) > s.longest {
		return archive.Final(fmt.Errorf("payload of %d bytes is too big (maximum %d)", len(payload), s.longest))
	}
	all, err := s.addresses(ctx)
	if err != nil {
		return err
	}
	if s.bind != "" {
		local, err := resolveBind(ctx, s.bind)
		if err != nil {
			return err
		}
		var same []netip.Addr
		for _, a := range all {
			if a.Is4() == local.Is4() {
				same = append(same, a)
			}
		}
		if all = same; len(all) == 0 {
			return archive.Final(errors.New("host and bind have mismatched socket families"))
		}
	}
	var errs []error
	for _, a := range all {
		conn, err := dial(ctx, s.network, s.bind, net.JoinHostPort(a.String(), strconv.Itoa(int(s.port))), socketTimeout)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		return send(ctx, conn, payload)
	}
	return errors.Join(errs...)
}

// send writes all of payload, and waits until the other side has it, as far as
// that can be seen: it closes the connection after we have.
func send(ctx context.Context, conn net.Conn, payload []byte) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(socketTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(payload); err != nil {
		return err
	}
	return conn.Close()
}

func (*socket) Close() error { return nil }
