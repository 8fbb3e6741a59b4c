package clock

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
)

// fake is a kernel whose answer the test sets.
type fake struct {
	mu    sync.Mutex
	state Kernel
	err   error
}

func (f *fake) set(k Kernel, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.err = k, err
}

func (f *fake) read() (Kernel, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.err
}

func TestRunSamples(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		kernel := &fake{state: Kernel{Offset: 3 * time.Millisecond, Error: time.Millisecond, Synchronized: true}}
		c := New(Config{Read: kernel.read, Shift: time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Run(ctx)

		offBy := func() time.Duration { return c.Now().Sub(owamp.FromTime(time.Now())) }
		if got, want := offBy(), time.Second+3*time.Millisecond; got != want {
			t.Errorf("synchronized: clock is off by %v, want %v", got, want)
		}
		if e := c.Error(time.Microsecond); !e.Synchronized() || e.Duration() < 1001*time.Microsecond || e.Duration() > 1010*time.Microsecond {
			t.Errorf("synchronized: error %v (S %v), want 1.001 ms", e.Duration(), e.Synchronized())
		}

		kernel.set(Kernel{Offset: 3 * time.Millisecond, Error: 16 * time.Second}, nil)
		time.Sleep(sampleEvery)
		synctest.Wait()
		if got := offBy(); got != time.Second {
			t.Errorf("unsynchronized: clock is off by %v, want the shift alone", got)
		}
		if e := c.Error(0); e.Synchronized() || !e.Valid() || e.Duration() > 10*time.Nanosecond {
			t.Errorf("unsynchronized: error %#04x (%v), want the least valid one and S 0", e, e.Duration())
		}

		kernel.set(Kernel{Offset: -2 * time.Millisecond, Synchronized: true}, nil)
		time.Sleep(sampleEvery)
		synctest.Wait()
		if got, want := offBy(), time.Second-2*time.Millisecond; got != want {
			t.Errorf("negative offset: clock is off by %v, want %v", got, want)
		}

		denied := errors.New("denied")
		kernel.set(Kernel{Synchronized: true}, denied)
		time.Sleep(sampleEvery)
		synctest.Wait()
		if s := c.State(); !errors.Is(s.Err, denied) || s.Synchronized {
			t.Errorf("State = %+v, want not synchronized and the reason", s)
		}
	})
}

func TestAllocations(t *testing.T) {
	c := New(Config{})
	if n := testing.AllocsPerRun(100, func() {
		c.Now()
		c.Error(time.Microsecond)
	}); n != 0 {
		t.Errorf("%v allocations a packet, want none", n)
	}
}

// BenchmarkNow has the time package's own clock to compare with.
func BenchmarkNow(b *testing.B) {
	c := New(Config{})
	b.Run("Clock", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Now()
			c.Error(time.Microsecond)
		}
	})
	b.Run("time", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = time.Now()
		}
	})
}
