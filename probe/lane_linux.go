package probe

import (
	"container/heap"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/probe/clock"
)

const (
	// A sleep is this part shorter than it might be: ppoll(2) allows itself to
	// be late by a thousandth.
	sleepMargin = 500
	// shortSleep is the longest sleep that no request ends: such a sleep costs
	// a little less.
	shortSleep = 300 * time.Microsecond
	// tellingSleep is the longest sleep whose end tells how late this host
	// wakes up, and not how late ppoll(2) allows itself to be.
	tellingSleep = time.Millisecond
	// longestSleep bounds what a step of the wall clock can do.
	longestSleep = time.Second
)

// A lane sends the packets of many sessions, each when it is due. Its goroutine
// is locked to a thread and exists as long as there is something to send. It
// alone touches the queue and the sessions in it; others leave requests.
type lane struct {
	clock     *clock.Clock
	log       *slog.Logger
	pacing    Pacing
	sinks     [2]*sink                     // of IPv4 and IPv6, for copies; nil: none are sent
	transmit  func(*Sending) syscall.Errno // hands a packet to the kernel
	slips     meter
	left      *departures
	incidents incidents // the lane's and the reader's
	wake      int       // eventfd, readable when there are requests
	done      sync.WaitGroup

	pending atomic.Bool // there are requests

	mu       sync.Mutex // guards all below
	requests []request
	running  bool
	closed   bool

	// The goroutine's own.
	queue queue
	gap   gapMeter
	late  wakeMeter

	priority priority
	last     owamp.Timestamp // when the kernel took the last packet
}

// A request asks the lane to begin or to end a session.
type request struct {
	session *Sending
	end     bool
}

func newLane(cfg Config, left *departures) (*lane, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &lane{
		clock:    cfg.Clock,
		log:      cfg.Log,
		pacing:   cfg.Pacing,
		transmit: (*Sending).transmit,
		left:     left,
		wake:     fd,
		gap:      gapMeter{longest: initialGap},
		late:     wakeMeter{late: spin / 2},
		last:     cfg.Clock.Now().AddDuration(-time.Second), // whatever it was, it is long ago
	}
	if !cfg.Cold {
		for i := range l.sinks {
			// A host without a loopback address of a family has cold paths.
			l.sinks[i], _ = newSink(i == 1)
		}
	}
	return l, nil
}

// close ends the lane, which has no sessions any longer.
func (l *lane) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.done.Wait()
	err := os.NewSyscallError("close", unix.Close(l.wake))
	for _, k := range l.sinks {
		if k != nil {
			err = errors.Join(err, k.close())
		}
	}
	return err
}

// begin lets the lane send s.
func (l *lane) begin(s *Sending) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.request(request{session: s})
	if !l.running {
		l.running = true
		l.done.Go(l.run)
	}
	return nil
}

// end makes the lane let go of s, which it has done when s.gone is closed.
func (l *lane) end(s *Sending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running { // else it has let go of everything
		l.request(request{session: s, end: true})
	}
}

// request leaves a request. l.mu is held.
func (l *lane) request(r request) {
	l.requests = append(l.requests, r)
	if l.pending.Swap(true) || !l.running {
		return
	}
	// It cannot fail but for a full counter, which is readable all the same.
	_, _ = unix.Write(l.wake, []byte{7: 1})
}

// take obeys the requests and reports whether anything is left to do; if not,
// the lane has ended.
func (l *lane) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.requests {
		switch s := r.session; {
		case !r.end:
			s.begun = l.clock.Now()
			s.prepare()
			heap.Push(&l.queue, s)
		case s.index >= 0:
			heap.Remove(&l.queue, s.index)
			close(s.gone)
		}
	}
	clear(l.requests)
	l.requests = l.requests[:0]
	if l.pending.Swap(false) {
		var count [8]byte
		_, _ = unix.Read(l.wake, count[:]) // nothing there: the lane has just begun
	}
	l.running = len(l.queue) > 0
	return l.running
}

// processors guards the number of threads that run Go code at a time.
var processors sync.Mutex

// addProcessor lets n more threads run Go code at a time. A lane that spins, or
// sleeps without telling the runtime, keeps one from all other goroutines.
func addProcessor(n int) {
	processors.Lock()
	defer processors.Unlock()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
}

// run sends until nothing is left to send. It ends without unlocking its thread,
// which so ends, too, and takes what was asked for it along.
func (l *lane) run() {
	runtime.LockOSThread()
	addProcessor(1)
	defer addProcessor(-1)
	l.tune()
	for {
		if l.pending.Load() || len(l.queue) == 0 {
			if !l.take() {
				l.left.collect(l.clock.Now())
				return
			}
		}
		l.priority.look(l.last)
		s := l.queue[0]
		l.readReports(s)
		if !l.await(s) {
			continue
		}
		if s.step(l) {
			heap.Fix(&l.queue, 0)
		} else {
			heap.Pop(&l.queue)
			s.finish()
		}
	}
}

// readReports reads what the kernel has said about packets that have left if
// there is time before that of s is due.
func (l *lane) readReports(s *Sending) {
	if l.left.waiting.Load() > 0 {
		if now := l.clock.Now(); s.at.Sub(now) > idleTime {
			l.left.collect(now)
		}
	}
}

// tune asks the kernel to wake up the calling thread as the pacing needs it.
func (l *lane) tune() {
	if l.pacing == PacingEconomy {
		setSlack(economySlack)
		return
	}
	setSlack(leastSlack)
	if err := l.priority.raise(l.clock.Now()); err != nil {
		l.log.Debug("packets are sent by a thread that others may delay", "sched_setattr", err)
	}
}

// await waits until the packet of s is due. It reports false if there is
// something else to do before.
func (l *lane) await(s *Sending) bool {
	if k := l.sinkFor(s); k != nil && s.at.Sub(l.last) > quietAfter {
		if l.pacing == PacingEconomy {
			// Time is not that dear, and a copy costs less than waiting.
			return l.sleepUntil(s.at) && s.warm(l, k, s.at.AddDuration(time.Second))
		}
		return l.sleepUntil(s.at.AddDuration(-warmLead)) && s.warm(l, k, s.at.AddDuration(-warmGuard)) && l.spinUntil(s.at)
	}
	return l.sleepUntil(s.at)
}

// spinUntil waits for the time at without sleeping. It reports false if there
// is something else to do before.
func (l *lane) spinUntil(at owamp.Timestamp) bool {
	for l.clock.Now().Before(at) {
		if l.pending.Load() {
			return false
		}
	}
	return true
}

// sleepUntil waits for the time at. It reports false if there is something else
// to do before.
func (l *lane) sleepUntil(at owamp.Timestamp) bool {
	for {
		now := l.clock.Now()
		left := at.Sub(now)
		lead := l.lead()
		switch {
		case left <= 0:
			return true
		case left > lead:
			d := min(left-lead-left/sleepMargin, longestSleep)
			if d > rawRest {
				d -= rawRest / 2 // the last sleep is one that the thread is back from at once
			}
			l.sleep(d)
			slept := l.clock.Now().Sub(now)
			l.priority.asleep += slept
			if d <= tellingSleep {
				l.late.observe(slept - d)
			}
		}
		if l.pending.Load() {
			return false
		}
	}
}

// lead is how long before a packet is due the lane wants to be awake.
func (l *lane) lead() time.Duration {
	switch l.pacing {
	case PacingPrecise:
		return spin
	case PacingEconomy:
		return 0
	default:
		return l.late.late
	}
}

// sleep sleeps for d, or, unless that is short, until there is a request. Of sleeps
// of up to rawRest the runtime does not know, so that it takes nothing from the
// thread that this would have to wait for afterwards.
func (l *lane) sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	if d < shortSleep {
		_, _, _ = unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		return
	}
	fd := unix.PollFd{Fd: int32(l.wake), Events: unix.POLLIN}
	if d <= rawRest {
		_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fd)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	} else {
		_, _, _ = unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fd)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	}
}

// sinkFor returns where copies of the packets of s go; nil: nowhere.
func (l *lane) sinkFor(s *Sending) *sink {
	if s.port.ipv6 {
		return l.sinks[1]
	}
	return l.sinks[0]
}

// A queue is a heap of sessions, the one whose turn is next in front.
type queue []*Sending

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push and Pop are for container/heap alone.

func (q *queue) Push(x any) {
	s := x.(*Sending)
	s.index = len(*q)
	*q = append(*q, s)
}

func (q *queue) Pop() any {
	n := len(*q) - 1
	s := (*q)[n]
	(*q)[n] = nil
	*q = (*q)[:n]
	s.index = -1
	return s
}

const (
	// initialGap is the gap that is stated before one has been measured.
	initialGap = 10 * time.Microsecond
	// gapDecay is after how many packets a long gap counts half, about.
	gapDecay = 16
)

// precision returns how much later than its stamp a packet may leave. What the
// kernel reports is true, and includes what packets wait in queues of the device;
// where it reports nothing, the time that sending takes stands in for it.
func (l *lane) precision() time.Duration {
	if d := time.Duration(l.left.high.Load()); d > 0 {
		return d
	}
	return l.gap.longest
}

// A gapMeter measures the time between the stamp of a packet and the return of
// the kernel, which has it on the device's queue by then: how much earlier than
// its sending a packet may have been stamped.
type gapMeter struct{ longest time.Duration }

func (g *gapMeter) observe(d time.Duration) {
	g.longest = max(d, g.longest-g.longest/gapDecay)
}
