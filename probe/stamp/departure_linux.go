package stamp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"owl/owamp"
)

// A packet that carries a request makes the kernel queue a report when the
// packet leaves: when it is handed to the device's driver, which is after all
// queues of the host, or when the card says that it has sent it. The report waits
// in the socket's error queue, between the errors that routers have sent.

// optRxFilter is SOF_TIMESTAMPING_OPT_RX_FILTER (Linux 6.12), without which every
// packet that arrives brings what only reports are wanted to bring.
const optRxFilter = 0x20000

// EnableReports makes the socket fd ready for [Request]: without one it reports
// nothing. With hardware, cards report as well, both the packets that leave and,
// by [Arrival.Card], those that arrive.
func EnableReports(fd int, hardware bool) error {
	flags := unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_OPT_ID | unix.SOF_TIMESTAMPING_OPT_TSONLY
	if hardware {
		flags |= unix.SOF_TIMESTAMPING_RAW_HARDWARE | unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_OPT_PKTINFO
	}
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags|optRxFilter)
	if err == unix.EINVAL {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags)
	}
	return os.NewSyscallError("setsockopt SO_TIMESTAMPING", err)
}

// RestartIDs makes the kernel number the reports of the socket fd from 0 on,
// where it numbers them itself.
func RestartIDs(fd int, hardware bool) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_SOFTWARE); err != nil {
		return os.NewSyscallError("setsockopt SO_TIMESTAMPING", err)
	}
	return EnableReports(fd, hardware)
}

// requestSize is the length of the control messages of a [Request].
var requestSize = 2 * unix.CmsgSpace(4)

// A Request is the control messages that ask for the report of one packet. The
// zero Request asks for nothing.
type Request struct {
	own    bool
	octets []byte // what gives the report its number, what asks for it, what others want
}

// NewRequest returns a request with room for other control messages of up to
// extra octets. With own, the reports have the numbers that the requests give
// them, which takes Linux 6.13; otherwise the kernel counts the requests of each
// socket, from 0 on.
func NewRequest(own bool, extra int) *Request {
	r := &Request{own: own, octets: make([]byte, requestSize, requestSize+extra)}
	put(r.octets, unix.SCM_TS_OPT_ID, 0)
	return r
}

// put writes a control message of the socket's level.
func put(at []byte, kind int32, value uint32) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&at[0]))
	h.Level, h.Type = unix.SOL_SOCKET, kind
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(at[unix.CmsgLen(0):], value)
}

// Control returns the control messages that ask for a report with the given
// number, from the card if hardware says so and the card can, followed by others.
// They are valid until the next call. It does not allocate.
func (r *Request) Control(id uint32, hardware bool, others []byte) []byte {
	record := uint32(unix.SOF_TIMESTAMPING_TX_SOFTWARE)
	if hardware {
		record |= unix.SOF_TIMESTAMPING_TX_HARDWARE
	}
	half := requestSize / 2
	put(r.octets, unix.SCM_TS_OPT_ID, id)
	put(r.octets[half:], unix.SO_TIMESTAMPING, record)
	b := append(r.octets[:requestSize], others...)
	if !r.own {
		b = b[half:]
	}
	return b
}

// ReportSize is how many octets of control messages a report has at most.
const ReportSize = 256

// A Report says when a packet has left.
type Report struct {
	ID   uint32
	Time owamp.Timestamp // by the kernel's wall clock; 0: unknown
	Card int64           // in nanoseconds by the clock of the card that sent it; 0: unknown
}

// ParseReport reads the control messages of what was read from an error queue.
// It reports false if that is something else than a [Report]. It does not
// allocate.
func ParseReport(oob []byte) (r Report, ok bool) {
	for {
		m, rest := next(oob)
		if m.data == nil {
			return r, ok
		}
		oob = rest
		switch {
		case m.level == unix.SOL_SOCKET && m.kind == unix.SO_TIMESTAMPING:
			r.Time, r.Card = times(m.data)
		case m.level == unix.IPPROTO_IP && m.kind == unix.IP_RECVERR,
			m.level == unix.IPPROTO_IPV6 && m.kind == unix.IPV6_RECVERR:
			// struct sock_extended_err: errno, origin, type, code, padding,
			// info, data.
			if len(m.data) < int(unsafe.Sizeof(unix.SockExtendedErr{})) {
				continue
			}
			info := binary.NativeEndian.Uint32(m.data[8:])
			if m.data[4] == unix.SO_EE_ORIGIN_TIMESTAMPING && info == unix.SCM_TSTAMP_SND {
				r.ID, ok = binary.NativeEndian.Uint32(m.data[12:]), true
			}
		}
	}
}

// ReadReport reads one entry of the error queue of fd into control, which has
// [ReportSize] octets. It reports false if that is the error of a packet that was
// sent earlier. With nothing there the error is EAGAIN. It does not block and
// does not allocate.
func ReadReport(fd int, control []byte) (Report, bool, syscall.Errno) {
	h := unix.Msghdr{Control: &control[0]}
	h.SetControllen(len(control))
	for {
		// A raw system call, for it does not block.
		_, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&h)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		switch errno {
		case 0:
			r, ok := ParseReport(control[:min(int(h.Controllen), len(control))])
			return r, ok, 0
		case unix.EINTR:
		default:
			return Report{}, false, errno
		}
	}
}

// errNoReport is what the kernel is said to do that takes requests and does not
// answer them.
var errNoReport = errors.New("the kernel did not say when a packet over the loopback interface left")

// tryDepartures learns on the socket of s, which is its own peer, what the kernel
// reports. Over the loopback interface a packet has left when the call that sends
// it returns.
func (s *Source) tryDepartures() Departures {
	if err := EnableReports(s.socket, false); err != nil {
		return Departures{Err: fmt.Errorf("time stamps: %w", err)}
	}
	err := s.tryDeparture(true)
	if err == nil {
		return Departures{OwnIDs: true}
	}
	if errors.Is(err, unix.EINVAL) { // before Linux 6.13
		if err = RestartIDs(s.socket, false); err == nil {
			err = s.tryDeparture(false)
		}
	}
	if err != nil {
		err = fmt.Errorf("time stamps: %w", err)
	}
	return Departures{Err: err}
}

func (s *Source) tryDeparture(own bool) error {
	var id uint32
	if own {
		id = 0x0aced15c
	}
	before := owamp.FromTime(time.Now())
	if err := unix.Sendmsg(s.socket, []byte{0}, NewRequest(own, 0).Control(id, false, nil), nil, 0); err != nil {
		return os.NewSyscallError("sendmsg", err)
	}
	after := owamp.FromTime(time.Now())
	var control [ReportSize]byte
	r, ok, errno := ReadReport(s.socket, control[:])
	// The packet may come later, on a busy host; no trial is to find it. A report
	// would wake up whoever waits, so it is read before.
	if _, ready := s.wait(); ready {
		var datagram [1]byte
		_, _, _ = unix.Recvfrom(s.socket, datagram[:], 0)
	}
	if errno != 0 || !ok {
		return errNoReport
	}
	if r.ID != id || r.Time.Before(before) || r.Time.After(after) {
		return fmt.Errorf("report %d of %v about a packet with number %d that was sent from %v to %v", r.ID, r.Time.Time(), id, before.Time(), after.Time())
	}
	return nil
}
