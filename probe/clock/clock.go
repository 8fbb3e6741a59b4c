// Package clock reads the wall clock that test packets are stamped with and
// says how good it is.
//
// The kernel knows both: adjtimex(2) reports whether something (ntpd, chronyd, a
// PTP servo) disciplines the clock, how far it believes the clock to be off, and
// how wrong that belief may be. A [Clock] asks it in the background, so that
// reading the time is free of locks, of system calls and of allocation. Others
// may be asked, too: chronyd, and NTP servers; see [Sources].
//
// # The error of the clock
//
// Two things are told apart. The greatest possible error is a bound: half of the
// round trip to the reference clock and what has been added up on the way
// (RFC 5905). The estimated error is how far the clock is expected to be off,
// which is usually much less; it is what a time stamp's Error Estimate says (RFC
// 4656 section 4.1.2), as the C suite has it, too.
//
// The clock is synchronized if the kernel or chronyd says so: an NTP server that
// is asked disciplines nothing. The estimated error is the greatest of
//
//   - what the kernel estimates, if it is synchronized;
//   - what chronyd has still to correct and the RMS of its offsets, if it follows
//     a source;
//   - the offset that NTP servers measure, if they contradict the clock: if it is
//     more than the bound of its own error, at more than half of the servers that
//     answer.
//
// So a host of which only the kernel speaks states the kernel's estimate, and one
// whose kernel is wrong about itself does not.
package clock

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"owl/owamp"
)

// sampleEvery is how often [Clock.Run] asks the kernel: as often as the kernel
// itself reckons with the offset that it is to work off.
const sampleEvery = time.Second

// Kernel is what the kernel says of its clock.
type Kernel struct {
	// Offset is what is still to be added to the clock to make it right, while
	// the kernel slews it. It is 0 unless the clock is synchronized.
	Offset time.Duration
	// Error is the estimated error and MaxError the greatest possible one.
	Error, MaxError time.Duration
	// Synchronized says that something disciplines the clock.
	Synchronized bool
}

// State is what is known of the clock.
type State struct {
	Kernel Kernel
	// Err is why the kernel did not answer; it then counts as not synchronized.
	Err error
	// Sources are the others that were asked, chronyd first, then NTP servers in
	// the order in which they were named. They are not changed once handed out.
	Sources []Source

	// Synchronized says that the kernel, or chronyd, vouches for the clock.
	Synchronized bool
	// Error is the estimated error, by the rule of the package; 0 if nobody has
	// any idea of it.
	Error time.Duration
	// MaxError is the greatest of the bounds of the error that were told, 0 if
	// there is none.
	MaxError time.Duration
	// Steps says how often the clock was set since it was made.
	Steps Steps
}

// Config describes a [Clock]. Its zero value is the host's clock as its kernel
// knows it.
type Config struct {
	// Read asks how good the clock is; nil: adjtimex, where there is one.
	Read func() (Kernel, error)
	// Shift is added to all times, to debug with a clock that is wrong.
	Shift time.Duration
	// Sources are who else is asked, and can be changed with [Clock.Ask].
	Sources Sources
	// Log is told when the clock was set, when a source that was named does not
	// answer, and when servers contradict the clock; nil: nobody is.
	Log *slog.Logger
}

// A Clock is the host's wall clock. Its methods may be called by any goroutine.
type Clock struct {
	read       func() (Kernel, error)
	watch      func(ctx context.Context, set func())
	shift      time.Duration
	log        *slog.Logger
	correction atomic.Uint64 // added to a Timestamp, modulo 2^64
	state      atomic.Pointer[State]

	sampling      sync.Mutex // one sample at a time; guards what follows
	contradicting bool       // it was told that servers contradict the clock
	contradicted  told

	stepping sync.Mutex // guards what follows
	setting  func() setting
	before   setting // as the clock was set before
	steps    Steps
	stepped  told

	asking    sync.Mutex // guards what follows
	sources   Sources
	witnesses []witness
	changed   chan struct{} // the witnesses have changed
}

// New returns the clock of cfg, its state sampled once, chronyd's, too, if that
// is to be asked: it answers at once or is not there. [Clock.Run] does the rest.
func New(cfg Config) *Clock {
	c := &Clock{
		read:    cfg.Read,
		watch:   func(context.Context, func()) {},
		shift:   cfg.Shift,
		log:     cfg.Log,
		setting: wallClock(),
		changed: make(chan struct{}, 1),
	}
	if c.read == nil {
		c.read, c.watch = readKernel, watchSet
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.before = c.setting()
	c.sample()
	c.Ask(cfg.Sources)
	return c
}

// Run samples the state of the clock every second, or when it was set, and asks
// its sources, until ctx is done.
func (c *Clock) Run(ctx context.Context) {
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { c.watch(ctx, c.sample) })
	select {
	case <-c.changed: // before, and so known
	default:
	}
	for c.attend(ctx) {
	}
}

// attend samples, and asks the sources that there are now, until ctx is done or
// there are others, which it reports.
func (c *Clock) attend(ctx context.Context) (changed bool) {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c.askAll(ctx, &asking)
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-c.changed:
			return true
		case <-ticker.C:
			c.sample()
		}
	}
}

func (c *Clock) sample() {
	c.sampling.Lock()
	defer c.sampling.Unlock()
	steps := c.Steps()
	k, err := c.read()
	if err != nil {
		k = Kernel{}
	}
	if !k.Synchronized {
		k.Offset = 0
	}
	c.correction.Store(uint64(owamp.Timestamp(0).AddDuration(k.Offset + c.shift)))
	s := judge(k, c.reports(time.Now()))
	s.Err, s.Steps = err, steps
	c.tellContradiction(s)
	c.state.Store(s)
}

// State returns what was known of the clock when it was last sampled.
func (c *Clock) State() State { return *c.state.Load() }

// Now returns the time: the wall clock, corrected as by [Clock.Adjust].
func (c *Clock) Now() owamp.Timestamp { return c.Adjust(owamp.FromTime(time.Now())) }

// Adjust corrects a reading of the wall clock, such as a time stamp of the
// kernel, by the offset and the shift.
func (c *Clock) Adjust(t owamp.Timestamp) owamp.Timestamp {
	return t + owamp.Timestamp(c.correction.Load())
}

// offset returns what [Clock.Adjust] adds.
func (c *Clock) offset() time.Duration {
	return c.state.Load().Kernel.Offset + c.shift
}

// Error returns the error of a time stamp that was taken within stamping of the
// event which it is the time of (RFC 4656 section 4.1.2): the clock's estimated
// error and that of the stamping. Where the clock is not synchronized S is 0,
// and the estimate is that of the stamping alone unless NTP servers have measured
// that the clock is off.
func (c *Clock) Error(stamping time.Duration) owamp.ErrorEstimate {
	s := c.state.Load()
	return owamp.NewErrorEstimate(s.Error+stamping, s.Synchronized)
}
