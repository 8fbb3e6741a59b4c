package host

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"owl/owamp"
)

const (
	// every is how often a [Monitor] looks.
	every = time.Second
	// soon bounds how often it looks when it is asked of a time that the last
	// sample does not cover.
	soon = 100 * time.Millisecond
	// remembered is how many samples it keeps, those of more than ten minutes.
	remembered = 640
	// maxDevices bounds the network interfaces that it watches.
	maxDevices = 16
)

// Config describes a [Monitor].
type Config struct {
	// Now reads the clock of the time stamps. It is needed.
	Now func() owamp.Timestamp
	// Proc and Sys are where proc(5) and sysfs(5) are; empty: /proc and /sys.
	Proc, Sys string
}

// A Monitor remembers what the kernel said of this host in the last ten minutes.
// Its methods may be called by any goroutine.
type Monitor struct {
	now  func() owamp.Timestamp
	read func(*Sample) // fills in what there is; sampling is held

	sampling sync.Mutex // held while a sample is taken; not to be asked for with mu held
	devices  devices    // guarded by it

	mu   sync.Mutex // guards the rest
	ring []Sample
	next int // where the next sample goes, once the ring is full
}

// New returns a monitor. It knows nothing before it runs.
func New(cfg Config) *Monitor {
	m := &Monitor{now: cfg.Now}
	m.read = m.reader(cfg)
	return m
}

// Run takes a sample every second until ctx is done.
func (m *Monitor) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		m.sampling.Lock()
		m.sample()
		m.sampling.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Watch says that test packets come to, or go from, an address of this host: its
// network interface is watched from now on.
func (m *Monitor) Watch(local netip.Addr) {
	m.sampling.Lock()
	defer m.sampling.Unlock()
	m.devices.watch(local)
}

// Between returns what this host did between two times. Samples are a second
// apart, so what it did a second before or after may be part of it.
func (m *Monitor) Between(from, to owamp.Timestamp) Activity {
	m.cover(to)
	m.mu.Lock()
	defer m.mu.Unlock()
	first := len(m.ring) // samples that are not after from, of which the last counts; most ask of a moment ago
	for first > 0 && m.at(first-1).At.After(from) {
		first--
	}
	if first == 0 {
		return Activity{}
	}
	return activity(func(yield func(*Sample) bool) {
		for i := first - 1; i < len(m.ring); i++ {
			if s := m.at(i); !yield(s) || !s.At.Before(to) {
				return
			}
		}
	})
}

// Latest returns the last sample, the zero Sample before the first.
func (m *Monitor) Latest() Sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.last(); s != nil {
		return *s
	}
	return Sample{}
}

// cover takes a sample if the last one is before a time and not of a moment ago.
// Those who ask at the same time wait for one. A monitor that was never started
// does not begin to work because it is asked.
func (m *Monitor) cover(to owamp.Timestamp) {
	stale := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		last := m.last()
		return last != nil && last.At.Before(to) && m.now().Sub(last.At) >= soon
	}
	if !stale() {
		return
	}
	m.sampling.Lock()
	defer m.sampling.Unlock()
	if stale() {
		m.sample()
	}
}

// sample takes a sample. m.sampling is held.
func (m *Monitor) sample() {
	var s Sample
	m.read(&s)
	s.At = m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(s)
}

// add remembers a sample. One that was taken soon after the one before it takes
// the place of that, unless there is none before. m.mu is held.
func (m *Monitor) add(s Sample) {
	n := len(m.ring)
	if n > 0 && s.At.Before(m.last().At) {
		m.ring, m.next, n = m.ring[:0], 0, 0 // the clock was set back
	}
	switch {
	case n >= 2 && m.last().At.Sub(m.at(n-2).At) < every-soon:
		*m.last() = s
	case n < remembered:
		m.ring = append(m.ring, s)
	default:
		m.ring[m.next] = s
		m.next = (m.next + 1) % remembered
	}
}

// at returns the i-th sample, the oldest being the first. m.mu is held.
func (m *Monitor) at(i int) *Sample {
	if len(m.ring) == remembered {
		i = (m.next + i) % remembered
	}
	return &m.ring[i]
}

// last returns the last sample, nil if there is none. m.mu is held.
func (m *Monitor) last() *Sample {
	if len(m.ring) == 0 {
		return nil
	}
	return m.at(len(m.ring) - 1)
}
