package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/owamp/schedule"
)

const (
	// retryAfter is how long the kernel gets to empty a full queue.
	retryAfter = 200 * time.Microsecond
	// pendingErrors is how many errors in a row may be those of earlier
	// packets: one that always comes back at once is the packet's own.
	pendingErrors = 4
	// skipsAtOnce is how many overdue packets a session skips before the others
	// get their turn.
	skipsAtOnce = 64
	// manySkips is how many gaps in what a session has sent say that its host
	// cannot keep up.
	manySkips = maxSkips / 16
	// maxDatagram is a length in octets that no UDP packet can have: buffers
	// need not be longer for the kernel to refuse them.
	maxDatagram = 1 << 16
)

// A Sending is a session that a [Port] sends. Its methods may be called by any
// goroutine.
type Sending struct {
	port *Port
	spec SendSpec
	stop sync.Once
	gone chan struct{} // closed when the lane has let go of the session

	// What follows is the lane's until gone is closed.
	schedule schedule.Generator
	elapsed  owamp.Interval  // from the start to packet seq
	due      owamp.Timestamp // of packet seq
	at       owamp.Timestamp // when to look at the session: due, or later
	begun    owamp.Timestamp // when the lane took it over
	index    int             // in the queue, -1: not there
	seq      uint32
	skips    skips
	behind   bool // this host cannot keep up
	packet   []byte
	to       sockaddr
	raw      *rawSession // nil: from the port's UDP socket
	header   unix.Msghdr // for what sendto cannot say
	vector   unix.Iovec
	control  []byte
	asking   *unix.Msghdr // what asks when the packet leaves; nil: nothing does

	// What follows is the lane's to write and anybody's to read.
	sent, skipped atomic.Uint32
	slip, maxSlip atomic.Int64
	gap           atomic.Int64
	errno         atomic.Uintptr
}

// Send begins to send a session.
func (p *Port) Send(spec SendSpec) (*Sending, error) {
	fail := func(err error) (*Sending, error) {
		return nil, fmt.Errorf("sending to %v: %w", spec.Remote, err)
	}
	if spec.Sealer == nil || spec.Schedule == nil {
		return fail(errors.New("want a sealer and a schedule"))
	}
	if spec.DSCP > 0x3f {
		return fail(fmt.Errorf("DSCP %d, want at most 63", spec.DSCP))
	}
	to, err := p.remote(spec.Remote)
	if err != nil {
		return fail(err)
	}
	s := &Sending{
		port:     p,
		spec:     spec,
		gone:     make(chan struct{}),
		schedule: *spec.Schedule,
		index:    -1,
		skips:    skips{max: maxSkips},
		packet:   make([]byte, min(uint64(spec.Sealer.Size())+uint64(spec.Padding), maxDatagram)),
		to:       to,
	}
	if spec.PadSource != nil {
		if _, err := io.ReadFull(spec.PadSource, s.packet[spec.Sealer.Size():]); err != nil {
			return fail(fmt.Errorf("padding: %w", err))
		}
	}
	if p.raw != nil {
		s.setRaw(p.engine.lane.sinkFor(s))
	}
	if spec.DSCP != 0 {
		s.setClass(spec.DSCP)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkOpen(); err != nil {
		return fail(err)
	}
	p.reports.enable(p.engine, p.card)
	if s.raw != nil { // as long as its packets are not too long
		p.raw.reports.enable(p.engine, p.card)
	}
	if spec.Packets == 0 {
		s.finish()
	} else if err := p.engine.lane.begin(s); err != nil {
		return fail(err)
	}
	p.sending[s] = struct{}{}
	return s, nil
}

// setClass makes packets carry a DSCP. The socket's own is left alone, for other
// sessions have others.
func (s *Sending) setClass(dscp uint8) {
	level, kind := unix.IPPROTO_IP, unix.IP_TOS
	if s.port.ipv6 {
		level, kind = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	s.control = make([]byte, unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&s.control[0]))
	h.Level, h.Type = int32(level), int32(kind)
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(s.control[unix.CmsgLen(0):], uint32(dscp)<<2)
	s.vector.Base = &s.packet[0]
	s.vector.SetLen(len(s.packet))
	s.header.Name = (*byte)(unsafe.Pointer(&s.to.raw))
	s.header.Namelen = s.to.len
	s.header.Iov = &s.vector
	s.header.SetIovlen(1)
	s.header.Control = &s.control[0]
	s.header.SetControllen(len(s.control))
}

// Stop ends the session, if it has not ended, and reports what it has done. No
// packet is sent after it returns.
func (s *Sending) Stop() owamp.SendReport {
	s.stop.Do(func() {
		select {
		case <-s.gone:
		default:
			s.port.engine.lane.end(s)
			<-s.gone
		}
		s.port.mu.Lock()
		delete(s.port.sending, s)
		s.port.mu.Unlock()
	})
	return owamp.SendReport{SID: s.spec.SID, NextSeq: s.seq, Skips: s.skips.ranges}
}

// Progress returns how far the session has come.
func (s *Sending) Progress() SendProgress {
	p := SendProgress{
		Sent:    s.sent.Load(),
		Skipped: s.skipped.Load(),
		Slip:    time.Duration(s.slip.Load()),
		MaxSlip: time.Duration(s.maxSlip.Load()),
		Gap:     time.Duration(s.gap.Load()),
	}
	if errno := syscall.Errno(s.errno.Load()); errno != 0 {
		p.Err = errno
	}
	return p
}

// Incidents returns what this host did between two times, both inclusive, that
// may have cost packets of the session.
func (s *Sending) Incidents(from, to owamp.Timestamp) Incidents {
	return s.port.engine.lane.incidents.between(from, to)
}

// prepare gets the first packet ready, and [Sending.next] every other: ahead of
// the time at which it is due.
func (s *Sending) prepare() {
	s.elapsed += min(s.schedule.Next(), schedule.Horizon-s.elapsed)
	s.due = s.spec.Start.Add(s.elapsed)
	s.at = s.due
	s.spec.Sealer.Prepare(s.packet, s.seq)
}

// step sends the packet whose time has come, or skips it if it is too late. It
// reports false when the session has ended.
func (s *Sending) step(l *lane) bool {
	precision := l.clock.Error(l.precision())
	var errno syscall.Errno
	for range pendingErrors {
		l.left.begin(s)
		now := l.clock.Now()
		late := now.Sub(s.due)
		slip := min(late, now.Sub(s.begun)) // what was overdue at the begin is not this host's doing
		if s.isOverdue(late) {
			l.left.cancel(s)
			if slip >= LateWake {
				l.incidents.sent(now, slip)
			}
			return s.skipOverdue(now)
		}
		s.spec.Sealer.Finish(s.packet, now, precision)
		errno = l.transmit(s)
		after := l.clock.Now()
		l.left.end(s, now, errno)
		switch errno {
		case 0:
			l.gap.observe(after.Sub(now))
			l.last = after
			l.slips.observe(slip)
			if slip >= LateWake {
				l.incidents.sent(now, slip)
			}
			s.slip.Store(int64(slip))
			s.maxSlip.Store(max(int64(slip), s.maxSlip.Load()))
			s.sent.Store(s.sent.Load() + 1)
			return s.next(after)
		case unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM: // no room now
			s.errno.Store(uintptr(errno))
			l.incidents.refused(now)
			s.spec.Sealer.Prepare(s.packet, s.seq)
			s.at = after.AddDuration(retryAfter)
			return true
		}
		// This may be what became of an earlier packet, of any session on the
		// port, and then this one was not even looked at.
		s.port.clearErrors()
		s.spec.Sealer.Prepare(s.packet, s.seq)
	}
	s.errno.Store(uintptr(errno))
	l.incidents.refused(l.clock.Now())
	return s.skip() && s.next(l.clock.Now())
}

// warm sends copies of the packet over the loopback interface until the given
// time. It always reports true.
func (s *Sending) warm(l *lane, k *sink, until owamp.Timestamp) bool {
	precision := l.clock.Error(l.precision())
	for range warmCopies {
		now := l.clock.Now()
		if !now.Before(until) {
			break
		}
		s.spec.Sealer.Finish(s.packet, now, precision)
		errno := k.send(s)
		s.spec.Sealer.Prepare(s.packet, s.seq)
		if errno != 0 {
			break
		}
	}
	k.drain()
	return true
}

// skipOverdue skips packets, but not so many that other sessions suffer.
func (s *Sending) skipOverdue(now owamp.Timestamp) bool {
	for range skipsAtOnce {
		if !s.skip() || !s.next(now) {
			return false
		}
		if !s.isOverdue(now.Sub(s.due)) {
			break
		}
	}
	return true
}

// isOverdue reports whether a packet that is that late is to be skipped. A host that
// cannot keep up would send every other packet a time-out late, and run out of
// room to note those between: so once there are many it skips more of them, and
// is less late for a while.
func (s *Sending) isOverdue(late time.Duration) bool {
	timeout := s.spec.Timeout.Duration()
	switch {
	case late > timeout:
		s.behind = len(s.skips.ranges) >= manySkips
		return true
	case s.behind && late > timeout/2:
		return true
	}
	s.behind = false
	return false
}

// skip notes that the current packet is not sent. It reports false when there
// is no room to note it; the session ends before the packet then.
func (s *Sending) skip() bool {
	if !s.skips.add(s.seq) {
		return false
	}
	s.skipped.Store(s.skipped.Load() + 1)
	return true
}

// next turns to the next packet and reports false when there is none. Its turn
// is not before now, so that a session which is behind comes after others whose
// packets are due as well.
func (s *Sending) next(now owamp.Timestamp) bool {
	if s.seq++; s.seq == s.spec.Packets {
		return false
	}
	s.prepare()
	if s.at.Before(now) {
		s.at = now
	}
	return true
}

// finish lets go of a session that has run to its end.
func (s *Sending) finish() {
	close(s.gone)
	if s.spec.Done != nil {
		go s.spec.Done()
	}
}

// transmit hands the packet to the kernel by one system call, a raw one, for it
// does not block.
func (s *Sending) transmit() syscall.Errno {
	asking := s.asking
	if s.raw != nil {
		errno := s.raw.transmit(asking)
		if errno != unix.EMSGSIZE {
			return errno
		}
		s.raw, asking = nil, nil // the UDP socket knows how to fragment
	}
	fd := uintptr(s.port.fd)
	var errno syscall.Errno
	if asking != nil {
		_, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(asking)), 0)
	} else if s.control != nil {
		_, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.header)), 0)
	} else {
		_, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&s.packet[0])), uintptr(len(s.packet)),
			0, uintptr(unsafe.Pointer(&s.to.raw)), uintptr(s.to.len))
	}
	return errno
}
