package stamp

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/probe/clock"
)

// epoch is when the tests begin, by the wall clock.
const epoch = int64(1_700_000_000_000_000_000)

// fakeCard is a card whose clock the test sets, and a wall clock beside it.
type fakeCard struct {
	now    int64 // true time since the begin
	offset int64 // of the card's clock
	rate   int64 // by which it is too fast, in parts in 10^9
	wall   int64 // by which the wall clock is wrong
	took   time.Duration
	err    error
	random *rand.Rand
}

func (f *fakeCard) card() int64 { return f.now + f.now/1000*f.rate/1_000_000 + f.offset }

func (f *fakeCard) at() int64 { return epoch + f.now + f.wall }

// Cross is off by up to what it took.
func (f *fakeCard) Cross() (clock.Crossing, error) {
	if f.err != nil {
		return clock.Crossing{}, f.err
	}
	c := clock.Crossing{Card: f.card(), Wall: f.at(), Error: f.took}
	if f.took > 0 {
		c.Wall += f.random.Int64N(2*int64(f.took)) - int64(f.took)
	}
	return c, nil
}

func timestamp(ns int64) owamp.Timestamp { return owamp.FromUnix(ns/1e9, ns%1e9) }

// check holds what the card says of its time, and of others shortly before, against
// the truth.
func (f *fakeCard) check(t *testing.T, c *Card, what string, atMost time.Duration) {
	t.Helper()
	for _, ago := range []int64{0, 1000, 1e6, 2e8} {
		f.now -= ago
		got, within, ok := c.Wall(f.card())
		want := timestamp(f.at())
		f.now += ago
		off := got.Sub(want)
		if !ok || max(off, -off) > within+2 || within > atMost {
			t.Errorf("%s: the time %d ns ago is off by %v, which is to be within %v (%t), want at most %v", what, ago, off, within, ok, atMost)
		}
	}
}

// Whichever way the clocks differ and run apart, stamps become true times, and
// the stated error holds.
func TestCardOffsets(t *testing.T) {
	for _, offset := range []int64{0, 37e9, -37e9, 5e17, -epoch / 2, 123} {
		for _, rate := range []int64{0, 50_000, -50_000, 900_000, -900_000} {
			for _, took := range []time.Duration{0, 400} {
				f := &fakeCard{now: 1e9, offset: offset + epoch, rate: rate, took: took, random: rand.New(rand.NewPCG(1, 2))}
				c := NewCard("eth0", f)
				if _, _, ok := c.Wall(f.card()); ok || c.State().Err == nil {
					t.Fatal("a time, before the clocks have been read")
				}
				c.cross()
				if _, _, ok := c.Wall(f.card()); ok {
					t.Fatal("a time from one crossing: nobody knows the drift")
				}
				for range 30 {
					f.now += 1e9
					c.cross()
					f.now += 3e8
					f.check(t, c, "running", 2*took+time.Millisecond)
					f.now -= 3e8
				}
				// What was unknown at the begin, the drift, is known now.
				f.now += 3e8
				f.check(t, c, "settled", 5*took+50*time.Microsecond)
				st := c.State()
				want := time.Duration(f.at() - f.card())
				if off := st.Offset - want; max(off, -off) > time.Millisecond || st.Steps != 0 || st.Err != nil {
					t.Errorf("state %+v, want an offset of about %v and no step", st, want)
				}
			}
		}
	}
}

func TestCardSteps(t *testing.T) {
	for what, step := range map[string]func(*fakeCard){
		"card forward":     func(f *fakeCard) { f.offset += 5e6 },
		"card back":        func(f *fakeCard) { f.offset -= 5e6 },
		"card far back":    func(f *fakeCard) { f.offset -= 3600e9 },
		"card far forward": func(f *fakeCard) { f.offset += 3600e9 },
		"wall far forward": func(f *fakeCard) { f.wall += 3600e9 },
		"wall forward":     func(f *fakeCard) { f.wall += 2e9 },
		"wall back":        func(f *fakeCard) { f.wall -= 2e9 },
		// Which its drift hides: the clocks are as far apart as could be expected
		// of others.
		"card forward by little": func(f *fakeCard) { f.offset += 1_500_000 },
	} {
		f := &fakeCard{now: 1e9, offset: epoch + 37e9, rate: -900_000}
		c := NewCard("eth0", f)
		for range 5 {
			f.now += 1e9
			c.cross()
		}
		f.check(t, c, what+", before", time.Millisecond)
		step(f)
		f.now += 1e9
		c.cross()
		if got, within, ok := c.Wall(f.card()); ok {
			t.Errorf("%s: a time, %v within %v, from crossings before and after", what, got.Time(), within)
		}
		if st := c.State(); st.Steps != 1 || st.Err == nil {
			t.Errorf("%s: state %+v, want one step", what, st)
		}
		f.now += 1e9
		c.cross()
		f.check(t, c, what+", after", time.Millisecond)
		if st := c.State(); st.Steps != 1 || st.Err != nil {
			t.Errorf("%s: state %+v, want one step that is over", what, st)
		}
	}
}

func TestCardThatCannotBeRead(t *testing.T) {
	f := &fakeCard{now: 1e9, offset: epoch}
	c := NewCard("eth0", f)
	for range 3 {
		f.now += 1e9
		c.cross()
	}
	f.err = errors.New("unplugged")
	f.now += 1e9
	c.cross()
	f.check(t, c, "for a while", time.Millisecond)
	if err := c.State().Err; !errors.Is(err, f.err) {
		t.Errorf("state's error %v, want %v", err, f.err)
	}
	f.now += 10e9
	c.cross()
	if _, _, ok := c.Wall(f.card()); ok {
		t.Error("a time ten seconds after the last crossing")
	}
	if _, _, ok := c.Wall(f.card() - 60e9); ok {
		t.Error("a time of a minute ago")
	}
	// One crossing after such a time is as good as the first.
	f.err = nil
	c.cross()
	if _, _, ok := c.Wall(f.card()); ok {
		t.Error("a time from crossings that are far apart")
	}
	f.now += 1e9
	c.cross()
	f.check(t, c, "again", time.Millisecond)
	if st := c.State(); st.Steps != 0 {
		t.Errorf("%d steps, want none", st.Steps)
	}
}

// The card's stamp of an arrival counts if it goes with the kernel's.
func TestCardArrival(t *testing.T) {
	f := &fakeCard{now: 1e9, offset: epoch + 37e9}
	c := NewCard("eth0", f)
	for range 3 {
		f.now += 1e9
		c.cross()
	}
	at := timestamp(f.at())
	for _, tc := range []struct {
		name   string
		card   int64
		kernel time.Duration // after the card
		none   bool          // no stamp of the kernel
		ok     bool
	}{
		{"as usual", f.card(), 3 * time.Microsecond, false, true},
		{"held back", f.card(), 9 * time.Millisecond, false, true},
		{"at once", f.card(), 0, false, true},
		{"the kernel before the card", f.card(), -time.Microsecond, false, false},
		{"an hour before the kernel", f.card(), time.Hour, false, false},
		{"nothing by the card", 0, time.Microsecond, false, false},
		{"nothing by the kernel", f.card(), time.Microsecond, true, false},
		{"another clock's", f.card() + 37e9, time.Microsecond, false, false},
	} {
		a := Arrival{Time: at.AddDuration(tc.kernel), Card: tc.card}
		if tc.none {
			a.Time = 0
		}
		got, within, ok := c.Arrival(&a)
		if ok != tc.ok || ok && max(got.Sub(at), at.Sub(got)) > within+2 {
			t.Errorf("%s: Arrival = %v off, within %v, %t, want %t", tc.name, got.Sub(at), within, ok, tc.ok)
		}
	}
	a := Arrival{Time: at, Card: f.card()}
	if n := testing.AllocsPerRun(100, func() { c.Arrival(&a) }); n != 0 {
		t.Errorf("%v allocations a packet, want none", n)
	}
}

// Whatever a card says, a line through two crossings is exact at both.
func TestLine(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 1000 {
		f := &fakeCard{now: random.Int64N(1e15), offset: random.Int64N(1e18), rate: random.Int64N(1_900_000) - 950_000}
		c := NewCard("eth0", f)
		c.cross()
		first := f.card()
		firstWall := f.at()
		f.now += 1 + random.Int64N(int64(crossingHolds)/2)
		c.cross()
		l := c.line.Load()
		if l == nil {
			if f.card()-first < 1e6 { // too near to each other for the rounding of the drift
				continue
			}
			t.Fatalf("no line through %d and %d", first, f.card())
		}
		for at, want := range map[int64]int64{first: firstWall, f.card(): f.at()} {
			if got, _, ok := l.wall(at); ok && max(got-want, want-got) > 1 || !ok && at != first {
				t.Errorf("the wall clock at %d was %d (%t), want %d", at, got, ok, want)
			}
		}
	}
}

func TestCardRun(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begin := time.Now()
		c := NewCard("eth0", crosser(func() (clock.Crossing, error) {
			passed := int64(time.Since(begin))
			return clock.Crossing{Card: 1e9 + passed, Wall: epoch + passed}, nil
		}))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Run(ctx)
		synctest.Wait()
		if _, _, ok := c.Wall(1e9); ok {
			t.Error("a time from one crossing")
		}
		time.Sleep(crossEvery)
		synctest.Wait()
		if got, _, ok := c.Wall(1e9 + 5e8); !ok || got != timestamp(epoch+5e8) {
			t.Errorf("half a second after the begin is %v (%t), want %v", got.Time(), ok, timestamp(epoch+5e8).Time())
		}
	})
}

// crosser is a Crosser that is a function.
type crosser func() (clock.Crossing, error)

func (f crosser) Cross() (clock.Crossing, error) { return f() }
