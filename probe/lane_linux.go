package probe

import (
	"container/heap"
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
	// spin is how long before a packet is due the lane stops to sleep: what a
	// thread needs to wake up, even in a virtual machine.
	spin = 60 * time.Microsecond
	// A sleep is this part shorter than it might be: ppoll(2) allows itself to
	// be late by a thousandth.
	sleepMargin = 500
	// shortSleep is the longest sleep during which the runtime need not know
	// that the thread is in the kernel; a longer one would hold up the
	// collector.
	shortSleep = 300 * time.Microsecond
	// longestSleep bounds what a step of the wall clock can do.
	longestSleep = time.Second
)

// A lane sends the packets of many sessions, each when it is due. Its goroutine
// is locked to a thread and exists as long as there is something to send. It
// alone touches the queue and the sessions in it; others leave requests.
type lane struct {
	clock    *clock.Clock
	transmit func(*Sending) syscall.Errno // hands a packet to the kernel
	wake     int                          // eventfd, readable when there are requests
	done     sync.WaitGroup

	pending atomic.Bool // there are requests

	mu       sync.Mutex // guards all below
	requests []request
	running  bool
	closed   bool

	queue queue // the goroutine's own
	gap   gapMeter
}

// A request asks the lane to begin or to end a session.
type request struct {
	session *Sending
	end     bool
}

func newLane(c *clock.Clock) (*lane, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &lane{clock: c, transmit: (*Sending).transmit, wake: fd, gap: gapMeter{longest: initialGap}}, nil
}

// close ends the lane, which has no sessions any longer.
func (l *lane) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.done.Wait()
	return os.NewSyscallError("close", unix.Close(l.wake))
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

// run sends until nothing is left to send.
func (l *lane) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	addProcessor(1)
	defer addProcessor(-1)
	// Sleep as precisely as the kernel can; 0 restores the thread's default.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }()
	for {
		if l.pending.Load() || len(l.queue) == 0 {
			if !l.take() {
				return
			}
		}
		s := l.queue[0]
		if !l.await(s.at) {
			continue
		}
		if s.step(l) {
			heap.Fix(&l.queue, 0)
		} else {
			heap.Pop(&l.queue)
			close(s.gone)
		}
	}
}

// await waits for the time at. It reports false if there is something else to
// do before.
func (l *lane) await(at owamp.Timestamp) bool {
	for {
		left := at.Sub(l.clock.Now())
		switch {
		case left <= 0:
			return true
		case left > spin:
			l.sleep(min(left-spin-left/sleepMargin, longestSleep))
		}
		if l.pending.Load() {
			return false
		}
	}
}

// sleep sleeps for d or until there is a request.
func (l *lane) sleep(d time.Duration) {
	fd := unix.PollFd{Fd: int32(l.wake), Events: unix.POLLIN}
	ts := unix.NsecToTimespec(int64(d))
	if d < shortSleep {
		_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fd)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	} else {
		_, _, _ = unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fd)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	}
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

// A gapMeter measures the time between the stamp of a packet and the return of
// the kernel, which has it on the device's queue by then: how much earlier than
// its sending a packet may have been stamped.
type gapMeter struct{ longest time.Duration }

func (g *gapMeter) observe(d time.Duration) {
	g.longest = max(d, g.longest-g.longest/gapDecay)
}
