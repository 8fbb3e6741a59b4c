package clock

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
)

// A settable is a wall clock that is set by the test.
type settable struct {
	mu sync.Mutex
	at setting
}

func (s *settable) read() setting {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *settable) set(by, within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = setting{s.at.ahead + by, within}
}

// stepping returns a clock that s sets, the text of its log, and what makes it
// look at once.
func stepping(t *testing.T, s *settable) (c *Clock, log *bytes.Buffer, set func()) {
	t.Helper()
	log = new(bytes.Buffer)
	c = New(Config{
		Read: func() (Kernel, error) { return Kernel{Synchronized: true}, nil },
		Log:  slog.New(slog.NewTextHandler(log, nil)),
	})
	told := make(chan struct{})
	c.setting = s.read
	c.before = s.read()
	c.watch = func(ctx context.Context, set func()) {
		for {
			select {
			case <-ctx.Done():
				return
			case <-told:
				set()
			}
		}
	}
	return c, log, func() { told <- struct{}{} }
}

func TestSteps(t *testing.T) {
	s := &settable{at: setting{0, 40}}
	c, log, _ := stepping(t, s)
	for _, tc := range []struct {
		name       string
		by, within time.Duration
		count      uint64
		sum        time.Duration
	}{
		{name: "nothing", within: 40},
		{name: "what the reading may be off", by: 900, within: 60},
		{name: "and back", by: -900, within: 60},
		{name: "forward", by: 3 * us, within: 40, count: 1, sum: 3 * us},
		{name: "back", by: -7 * time.Second, within: 40, count: 2, sum: 3*us - 7*time.Second},
		{name: "while the reading was interrupted", by: ms, within: 2 * ms, count: 2, sum: 3*us - 7*time.Second},
		{name: "which a better one tells", within: 40, count: 3, sum: 3*us - 7*time.Second + ms},
		{name: "by decades", by: -40 * 365 * 24 * time.Hour, within: 40, count: 4, sum: 3*us - 7*time.Second + ms - 40*365*24*time.Hour},
	} {
		s.set(tc.by, tc.within)
		if got, want := c.Steps(), (Steps{tc.count, tc.sum}); got != want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, want)
		}
	}
	if got := c.Steps().Since(Steps{1, 3 * us}); got.Count != 3 {
		t.Errorf("since the first: %+v, want 3", got)
	}
	if n := strings.Count(log.String(), "the clock stepped by 3µs"); n != 1 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("logged %q, want one line about the first of many steps", log)
	}
}

// TestStepTold: whoever knows that the clock was set has it looked at, and the
// log says so once, with what was left out later.
func TestStepTold(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := new(settable)
		c, log, set := stepping(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { c.Run(ctx) })
		time.Sleep(sampleEvery / 2)
		s.set(250*ms, 0)
		set()
		synctest.Wait()
		if got, want := c.State().Steps, (Steps{1, 250 * ms}); got != want {
			t.Errorf("state says %+v, want %+v", got, want)
		}
		if c.State().Err != nil || !c.State().Synchronized {
			t.Errorf("state %+v", c.State())
		}
		for range 3 { // one each second is too many to tell of
			time.Sleep(sampleEvery)
			s.set(-ms, 0)
		}
		time.Sleep(10 * time.Second)
		s.set(-ms, 0)
		time.Sleep(2 * sampleEvery)
		cancel()
		run.Wait()
		if got, want := c.Steps(), (Steps{5, 246 * ms}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "the clock stepped by 250ms: ") || !strings.Contains(lines[1], "stepped by -1ms, and 3 times before that: ") {
			t.Errorf("logged %q, want a line of the first step and one of the others", lines)
		}
	})
}

// TestWallClock: this host's clock, which nobody sets meanwhile, does not step.
func TestWallClock(t *testing.T) {
	c := New(Config{})
	for range 10000 {
		if got := c.Steps(); got.Count != 0 {
			t.Fatalf("%+v; was the clock of this host set?", got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { c.Steps() }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestRound(t *testing.T) {
	for d, want := range map[time.Duration]string{
		3456:                      "3.456µs",
		-1234567:                  "-1.235ms",
		1234567890:                "1.235s",
		-90*time.Minute + 1234567: "-1h29m59.999s",
	} {
		if got := round(d).String(); got != want {
			t.Errorf("round(%v) = %s, want %s", d, got, want)
		}
	}
}

func BenchmarkSteps(b *testing.B) {
	c := New(Config{})
	b.ReportAllocs()
	for b.Loop() {
		c.Steps()
	}
}
