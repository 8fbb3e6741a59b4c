package probe

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/probe/stamp"
)

// receiveBuffer is the size of a socket's buffer, which the kernel doubles: with
// 768 octets of it for a small packet, room for 100 ms of 400,000 packets/s, in
// which a reader on a busy host gets its turn.
const receiveBuffer = 16 << 20

// A Port is a bound UDP socket that many sessions share. Its methods may be
// called by any goroutine.
type Port struct {
	engine   *Engine
	addr     netip.AddrPort
	ipv6     bool
	onDevice bool // bound to a network device, or to an address of one
	fd       int
	device   string     // that it is bound to; empty: none
	raw      *rawSocket // nil: packets are sent from fd
	taps     []*tap     // where packets come from with CaptureRaw; then fd gets none
	scope    uint32     // with CaptureRaw: of the address, if it has a zone
	reports  reporter
	card     *stamp.Card // of its interface; nil: none that is of use

	mu        sync.Mutex // guards all below, and all deliveries
	closed    bool
	watched   bool // the reader waits for it
	brought   bool // by a ring: some packet
	missed    bool // the log was told of packets that no ring brings
	receiving map[peer]*Receiving
	sending   map[*Sending]struct{}
	drained   owamp.Timestamp // what had arrived by then has been delivered
	looked    time.Time       // when the port was emptied last
	strangers uint64
	drops     dropMeter
	told      uint64 // of the drops, how many sessions have counted
}

// Listen opens a port. Of a range of ports it tries one at random and then the
// following ones.
func (e *Engine) Listen(cfg PortConfig) (*Port, error) {
	addr := cfg.Addr.Unmap()
	if !addr.IsValid() || addr.IsUnspecified() {
		return nil, fmt.Errorf("test port: address %q, want a certain one", cfg.Addr)
	}
	p := &Port{
		engine:    e,
		ipv6:      addr.Is6(),
		onDevice:  cfg.Device != "" || addr.Zone() != "",
		device:    cfg.Device,
		receiving: make(map[peer]*Receiving),
		sending:   make(map[*Sending]struct{}),
		drained:   e.clock.Now(),
		drops:     dropMeter{seen: e.clock.Now()},
	}
	domain := unix.AF_INET
	if p.ipv6 {
		domain = unix.AF_INET6
	}
	var err error
	p.fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("test port of %v: %w", addr, os.NewSyscallError("socket", err))
	}
	p.reports.fd = p.fd
	if err = errors.Join(p.setOptions(cfg.Device), p.deafen()); err == nil {
		if err = p.bind(addr, cfg.Ports); err == nil {
			p.useCard()
			err = p.openRaw()
		}
		if err == nil && e.rings != nil {
			err = e.rings.take(p)
		}
		if err == nil && e.dump != nil {
			err = e.dump.Add(p.addr, p.device)
		}
		if err == nil {
			err = e.add(p)
		}
	}
	if err != nil {
		_ = p.closeSockets()
		return nil, fmt.Errorf("test port of %v: %w", addr, err)
	}
	return p, nil
}

func (p *Port) setOptions(device string) error {
	type option struct {
		level, name, value int
		what               string
	}
	// IP_RECVERR brings the error of a full queue, which would otherwise be a
	// packet lost without a word.
	options := []option{
		{unix.IPPROTO_IP, unix.IP_TTL, 255, "IP_TTL"},
		{unix.IPPROTO_IP, unix.IP_RECVERR, 1, "IP_RECVERR"},
	}
	if p.ipv6 {
		options = []option{
			{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1, "IPV6_V6ONLY"},
			{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255, "IPV6_UNICAST_HOPS"},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1, "IPV6_RECVERR"},
		}
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(p.fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt "+o.what, err)
		}
	}
	if err := stamp.Enable(p.fd, p.ipv6); err != nil {
		return err
	}
	// Beyond the host's limit only a privileged process may go.
	if unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
			return os.NewSyscallError("setsockopt SO_RCVBUF", err)
		}
	}
	if device == "" {
		return nil
	}
	if err := unix.BindToDevice(p.fd, device); err != nil {
		return fmt.Errorf("device %q: %w", device, os.NewSyscallError("setsockopt SO_BINDTODEVICE", err))
	}
	return nil
}

func (p *Port) bind(addr netip.Addr, ports PortRange) error {
	n := ports.ports()
	first := 0
	if n > 0 {
		first = rand.IntN(n)
	}
	for i := range max(n, 1) {
		port := ports.Low
		if n > 0 {
			port += uint16((first + i) % n)
		}
		s, err := sockaddrOf(netip.AddrPortFrom(addr, port), p.ipv6)
		if err != nil {
			return err
		}
		_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(p.fd), uintptr(unsafe.Pointer(&s.raw)), uintptr(s.len))
		if errno == unix.EADDRINUSE && n > 0 {
			continue
		}
		if errno != 0 {
			return os.NewSyscallError("bind", errno)
		}
		s.len = unix.SizeofSockaddrInet6
		if _, _, errno := unix.Syscall(unix.SYS_GETSOCKNAME, uintptr(p.fd), uintptr(unsafe.Pointer(&s.raw)), uintptr(unsafe.Pointer(&s.len))); errno != 0 {
			return os.NewSyscallError("getsockname", errno)
		}
		p.addr = netip.AddrPortFrom(addr, s.addrPort().Port())
		return nil
	}
	return fmt.Errorf("ports %v: all are in use: %w", ports, unix.EADDRINUSE)
}

// Addr returns the address and port that the port is bound to.
func (p *Port) Addr() netip.AddrPort { return p.addr }

// Stats returns what the port has counted so far.
func (p *Port) Stats() PortStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PortStats{Strangers: p.strangers, Drops: p.countDrops()}
}

// countDrops returns how many packets the socket has dropped. p.mu is held.
func (p *Port) countDrops() uint64 {
	if p.watched { // else it has dropped none, and rings tell by themselves
		if count, ok := p.askDrops(); ok {
			p.drops.observe(count, p.engine.clock.Now())
		}
	}
	return p.drops.timeline.total
}

// askDrops asks the socket for its counter of dropped packets, those that its
// filter has refused among them. p.mu is held.
func (p *Port) askDrops() (count uint32, ok bool) {
	// linux/sock_diag.h: SO_MEMINFO fills in an array of 32-bit numbers, of
	// which this one counts the drops.
	const drops = 8
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(p.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return info[drops], errno == 0
}

// incidents returns what this host did between two times, both inclusive, to
// the packets that came to the port.
func (p *Port) incidents(from, to owamp.Timestamp) Incidents {
	in := p.engine.lane.incidents.between(from, to)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.countDrops()
	in.Drops, _ = p.drops.timeline.between(from, to)
	return in
}

// Close stops the sessions that the port sends, closes those that it receives,
// and closes the socket. It may be called more than once.
func (p *Port) Close() error {
	p.engine.remove(p)
	return p.close()
}

func (p *Port) close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.countDrops()
	p.closed, p.watched = true, false
	p.countSessions(-len(p.receiving))
	clear(p.receiving)
	sending := slices.Collect(maps.Keys(p.sending))
	p.mu.Unlock()
	for _, s := range sending {
		s.Stop()
	}
	// Nobody uses the descriptor any longer: the reader and Drain look at
	// closed, and the lane has let go of the sessions.
	return p.closeSockets()
}

// useCard makes the network card stamp what arrives, if it can.
func (p *Port) useCard() {
	if card := p.engine.cards.of(p); card != nil && stamp.EnableReports(p.fd, true) == nil {
		p.card = card
	}
}

// openRaw takes the socket that the packets are sent from if that is raw.
func (p *Port) openRaw() (err error) {
	if p.engine.raw != nil {
		p.raw, err = p.engine.raw.take(p.addr.Addr(), p.device)
	}
	return err
}

func (p *Port) closeSockets() error {
	if p.engine.dump != nil {
		p.engine.dump.Remove(p.addr)
	}
	p.engine.lane.left.forget(&p.reports)
	err := os.NewSyscallError("close", unix.Close(p.fd))
	if p.raw != nil {
		p.engine.lane.left.forget(&p.raw.reports)
		err = errors.Join(err, p.engine.raw.release(p.addr.Addr(), p.device))
	}
	if p.engine.rings != nil {
		err = errors.Join(err, p.engine.rings.release(p))
	}
	return err
}

// checkOpen is called with p.mu held.
func (p *Port) checkOpen() error {
	if p.closed {
		return fmt.Errorf("test port %v: %w", p.addr, net.ErrClosed)
	}
	return nil
}
