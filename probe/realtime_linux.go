package probe

import (
	"time"

	"golang.org/x/sys/unix"

	"owl/owamp"
)

// A thread that others may delay makes packets late on a host that does anything
// else: by milliseconds where a real-time thread is late by microseconds. But one
// that never sleeps keeps others from its processor, and the kernel stops it for
// 50 ms of each second (sched(7), sched_rt_runtime_us). So the lane is a
// real-time thread, where it may be, as long as it sleeps enough.
const (
	// sleepWindow is how often the lane looks how much it has slept.
	sleepWindow = 100 * time.Millisecond
	// tooAwake is the part of that below which it is no real-time thread any
	// longer, and rested the one above which it becomes one again.
	tooAwake = sleepWindow / 10
	rested   = sleepWindow / 5
	// leastSlack has a thread woken up as precisely as the kernel can.
	leastSlack = time.Nanosecond
)

// A priority is that of the thread of a lane, which alone calls its methods.
type priority struct {
	mayChange bool
	realTime  bool
	began     owamp.Timestamp // of the window
	asleep    time.Duration   // in it
}

// raise makes the calling thread a real-time one, the least of them. It takes a
// privilege.
func (p *priority) raise(now owamp.Timestamp) error {
	p.began, p.asleep = now, 0
	err := setPolicy(unix.SCHED_FIFO, 1)
	p.mayChange, p.realTime = err == nil, err == nil
	return err
}

// look changes the priority if the thread sleeps too little for it, or enough
// again. It does nothing most of the time.
func (p *priority) look(now owamp.Timestamp) {
	elapsed := now.Sub(p.began)
	if !p.mayChange || 0 <= elapsed && elapsed < sleepWindow {
		return
	}
	switch {
	case elapsed < 0: // the clock was set, or nothing has been sent yet
	case p.realTime && p.asleep < tooAwake:
		p.realTime = setPolicy(unix.SCHED_NORMAL, 0) != nil
		setSlack(leastSlack) // which is another's now
	case !p.realTime && p.asleep > rested:
		p.realTime = setPolicy(unix.SCHED_FIFO, 1) == nil
	}
	p.began, p.asleep = now, 0
}

// setPolicy sets the scheduling policy of the calling thread. Threads that it
// begins do not have it.
func setPolicy(policy, priority uint32) error {
	return unix.SchedSetAttr(0, &unix.SchedAttr{
		Size:     unix.SizeofSchedAttr,
		Policy:   policy,
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
		Priority: priority,
	}, 0)
}

// setSlack lets the kernel wake up the calling thread late by that much, unless
// it is a real-time one.
func setSlack(slack time.Duration) {
	// It fails for no thread that asks for itself.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0)
}
