// Package clock reads the wall clock that test packets are stamped with and
// says how good it is.
//
// The kernel knows both: adjtimex(2) reports whether something (ntpd, chronyd, a
// PTP servo) disciplines the clock, how far it believes the clock to be off, and
// how wrong that belief may be. A [Clock] asks it in the background, so that
// reading the time is free of locks, of system calls and of allocation.
package clock

import (
	"context"
	"sync/atomic"
	"time"

	"owl/owamp"
)

// sampleEvery is how often [Clock.Run] asks the kernel: as often as the kernel
// itself reckons with the offset that it is to work off.
const sampleEvery = time.Second

// State is what the kernel says of its clock.
type State struct {
	// Offset is what is still to be added to the clock to make it right, while
	// the kernel slews it. It is 0 unless the clock is synchronized.
	Offset time.Duration
	// Error is the estimated error and MaxError the greatest possible one.
	Error, MaxError time.Duration
	// Synchronized says that something disciplines the clock.
	Synchronized bool
	// Err is why the kernel did not answer; the clock then counts as not
	// synchronized.
	Err error
}

// Config describes a [Clock]. Its zero value is the host's clock as it is.
type Config struct {
	// Read asks how good the clock is; nil: adjtimex, where there is one.
	Read func() (State, error)
	// Shift is added to all times, to debug with a clock that is wrong.
	Shift time.Duration
}

// A Clock is the host's wall clock. Its methods may be called by any goroutine.
type Clock struct {
	read       func() (State, error)
	shift      time.Duration
	correction atomic.Uint64 // added to a Timestamp, modulo 2^64
	state      atomic.Pointer[State]
}

// New returns the clock of cfg, its state sampled once. [Clock.Run] samples it
// from then on.
func New(cfg Config) *Clock {
	c := &Clock{read: cfg.Read, shift: cfg.Shift}
	if c.read == nil {
		c.read = readKernel
	}
	c.sample()
	return c
}

// Run samples the state of the clock every second until ctx is done.
func (c *Clock) Run(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.sample()
		}
	}
}

func (c *Clock) sample() {
	s, err := c.read()
	if err != nil {
		s = State{Err: err}
	}
	if !s.Synchronized {
		s.Offset = 0
	}
	c.correction.Store(uint64(owamp.Timestamp(0).AddDuration(s.Offset + c.shift)))
	c.state.Store(&s)
}

// State returns what the kernel said last.
func (c *Clock) State() State { return *c.state.Load() }

// Now returns the time: the wall clock, corrected as by [Clock.Adjust].
func (c *Clock) Now() owamp.Timestamp { return c.Adjust(owamp.FromTime(time.Now())) }

// Adjust corrects a reading of the wall clock, such as a time stamp of the
// kernel, by the offset and the shift.
func (c *Clock) Adjust(t owamp.Timestamp) owamp.Timestamp {
	return t + owamp.Timestamp(c.correction.Load())
}

// Error returns the error of a time stamp that was taken within stamping of the
// event which it is the time of (RFC 4656 section 4.1.2). The clock's estimated
// error comes on top where the clock is synchronized. Where it is not, nobody
// knows its error: S is 0, and the estimate is that of the stamping alone.
func (c *Clock) Error(stamping time.Duration) owamp.ErrorEstimate {
	s := c.state.Load()
	if !s.Synchronized {
		return owamp.NewErrorEstimate(stamping, false)
	}
	return owamp.NewErrorEstimate(s.Error+stamping, true)
}
