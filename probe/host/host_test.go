package host

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/bubble"
	"owl/owamp"
)

const begin owamp.Timestamp = 0xeaf0_0000_0000_0000

// at returns the time d after the begin.
func at(d time.Duration) owamp.Timestamp { return begin.AddDuration(d) }

// A scene is a monitor whose host and clock are made up.
type scene struct {
	*Monitor
	time  owamp.Timestamp
	host  Sample
	reads int
}

func newScene() *scene {
	s := &scene{time: begin}
	s.Monitor = &Monitor{now: func() owamp.Timestamp { return s.time }, read: func(to *Sample) {
		s.reads++
		*to = s.host
	}}
	for c := range Counters() {
		s.host.Set(c, 1000)
	}
	return s
}

// pass lets seconds go by, with a sample at the end of each.
func (s *scene) pass(seconds int) {
	for range seconds {
		s.time = s.time.AddDuration(time.Second)
		s.host.add(CPUTime, 2e9)
		s.sample()
	}
}

func TestBetween(t *testing.T) {
	const sec = time.Second
	s := newScene()
	s.sample() // at 0
	s.pass(10)
	s.host.add(SoftnetDropped, 3)
	s.host.add(CPUWaiting, 25e7)
	s.host.add(CPUStolen, 4e8)
	s.pass(1) // 11
	s.pass(9) // 20
	s.host.add(DeviceOverruns, 5)
	s.host.SetLoad(7)
	s.pass(1) // 21
	s.pass(9) // 30

	early := Activity{Known: true, SoftnetDropped: 3, Pressure: 0.25, Stolen: 0.2}
	for _, tt := range []struct {
		name     string
		from, to time.Duration
		want     Activity
	}{
		{"before the first sample", -sec, 5 * sec, Activity{}},
		{"quiet", 2 * sec, 5 * sec, Activity{Known: true}},
		{"up to the sample before", 2 * sec, 10 * sec, Activity{Known: true}},
		{"a moment of that second", 10300 * time.Millisecond, 10300 * time.Millisecond, early},
		{"into that second", 2 * sec, 10001 * time.Millisecond, early},
		{"from the end of that second on", 11 * sec, 19 * sec, Activity{Known: true}},
		{"all", 0, 30 * sec, Activity{Known: true, SoftnetDropped: 3, DeviceOverruns: 5, Pressure: 0.25, Stolen: 0.2, Load: 7}},
	} {
		if diff := cmp.Diff(tt.want, s.Between(at(tt.from), at(tt.to))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, diff)
		}
	}
}

// Who asks of what has just been gets a sample of now, but not at will.
func TestBetweenLooksAgain(t *testing.T) {
	s := newScene()
	if s.Between(at(-time.Second), at(0)); s.reads != 0 {
		t.Error("a monitor that does not run was read")
	}
	s.sample()
	s.pass(1)
	s.reads = 0
	s.time = s.time.AddDuration(200 * time.Millisecond)
	s.host.add(SoftnetDropped, 1)
	for range 100 {
		if a := s.Between(at(1100*time.Millisecond), at(1200*time.Millisecond)); !a.Known || a.SoftnetDropped != 1 {
			t.Fatalf("%+v, want 1 dropped", a)
		}
		s.time = s.time.AddDuration(time.Microsecond)
	}
	if s.reads != 1 {
		t.Errorf("read %d times, want once", s.reads)
	}
}

// However often a monitor is asked, it remembers ten minutes, and no more.
func TestMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	s := newScene()
	s.sample()
	for s.time.Before(at(time.Hour)) {
		s.time = s.time.AddDuration(time.Duration(random.Int64N(int64(time.Second))))
		s.host.add(DeviceDropped, 1)
		s.Between(s.time.AddDuration(-time.Second), s.time)
		if len(s.ring) > remembered {
			t.Fatalf("%d samples", len(s.ring))
		}
	}
	for i := range len(s.ring) - 1 {
		if !s.at(i).At.Before(s.at(i + 1).At) {
			t.Fatalf("sample %d is not before the next", i)
		}
	}
	if a := s.Between(s.time.AddDuration(-10*time.Minute), s.time); !a.Known || a.DeviceDropped < 1000 {
		t.Errorf("of ten minutes: %+v", a)
	}
	if a := s.Between(s.time.AddDuration(-time.Hour), s.time); a.Known {
		t.Errorf("of an hour: %+v", a)
	}
}

// After the clock was set back, what was remembered is of another time.
func TestClockSetBack(t *testing.T) {
	s := newScene()
	s.sample()
	s.pass(5)
	s.time = at(-time.Hour)
	s.pass(2)
	if a := s.Between(at(2*time.Second), at(3*time.Second)); a.SoftnetDropped != 0 {
		t.Errorf("of the time before: %+v", a)
	}
	if a := s.Between(s.time.AddDuration(-time.Second), s.time); !a.Known {
		t.Error("of the time since: nothing")
	}
	if len(s.ring) != 2 {
		t.Errorf("%d samples, want 2", len(s.ring))
	}
}

// Counters that are missing, that begin again, or come and go, count nothing.
func TestCountersComeAndGo(t *testing.T) {
	s := newScene()
	s.host = Sample{}
	s.sample()
	s.host.Set(SoftnetDropped, 50)
	s.pass(1)
	s.host.Set(SoftnetDropped, 4)
	s.pass(1)
	if a := s.Between(at(0), at(2*time.Second)); a.SoftnetDropped != 0 || a.Pressure != 0 || !a.Known {
		t.Errorf("%+v, want nothing, and known", a)
	}
	s.host.Set(SoftnetDropped, 6)
	s.pass(1)
	if a := s.Between(at(0), at(3*time.Second)); a.SoftnetDropped != 2 {
		t.Errorf("%+v, want 2 dropped", a)
	}
	// On a system that has nothing of it, nothing is known.
	s = newScene()
	s.host = Sample{}
	s.sample()
	s.host.known = 0
	s.read = func(*Sample) {}
	s.pass(3)
	if a := s.Between(at(0), at(time.Second)); a.Known {
		t.Errorf("%+v, want nothing known", a)
	}
}

func TestCosts(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		a                    Activity
		arrivals, departures bool
	}{
		{"nothing", Activity{Known: true, Load: 100, UDPOverflows: 99, UDPErrors: 99}, false, false},
		{"softnet dropped", Activity{SoftnetDropped: 1}, true, false},
		{"squeezed now and then", Activity{SoftnetSqueezed: ManySqueezed - 1}, false, false},
		{"squeezed", Activity{SoftnetSqueezed: ManySqueezed}, true, false},
		{"overruns", Activity{DeviceOverruns: 1}, true, false},
		{"a few dropped", Activity{DeviceDropped: ManyDropped - 1}, false, false},
		{"dropped", Activity{DeviceDropped: ManyDropped}, true, false},
		{"busy", Activity{Pressure: 0.4}, false, false},
		{"too busy", Activity{Pressure: HighPressure}, true, false},
		{"stolen", Activity{Stolen: HighStolen}, true, false},
		{"unsent", Activity{DeviceUnsent: 1}, false, true},
	} {
		if got := tt.a.CostsArrivals(); got != tt.arrivals {
			t.Errorf("%s: arrivals %v", tt.name, got)
		}
		if got := tt.a.CostsDepartures(); got != tt.departures {
			t.Errorf("%s: departures %v", tt.name, got)
		}
	}
}

// A monitor that runs takes a sample at once and then each second.
func TestRun(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newScene()
		s.now = func() owamp.Timestamp { return owamp.FromTime(time.Now()) }
		if got := s.Latest(); got != (Sample{}) {
			t.Errorf("before: %+v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go s.Run(ctx)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		latest := s.Latest()
		if n, known := latest.Get(SoftnetDropped); s.reads != 11 || !known || n != 1000 || latest.At == 0 {
			t.Errorf("%d samples in 10 s, the last is %+v", s.reads, latest)
		}
		cancel()
	})
}

// The sum over interfaces grows by what each counts while it is watched.
func TestDevices(t *testing.T) {
	var d devices
	eth0, eth1 := statistic{"eth0", "rx_dropped"}, statistic{"eth1", "rx_dropped"}
	for _, step := range []struct {
		st   statistic
		n    uint64
		want uint64
	}{
		{eth0, 500, 0}, {eth0, 503, 3}, {eth1, 9000, 3}, {eth1, 9001, 4}, {eth0, 1, 4}, {eth0, 2, 5},
	} {
		d.count(step.st, DeviceDropped, step.n)
		if got, known := d.total.Get(DeviceDropped); got != step.want || !known {
			t.Errorf("after %v: %d, %v; want %d", step, got, known, step.want)
		}
	}
}

func TestWatch(t *testing.T) {
	var d devices
	for range 3 {
		d.watch(netip.MustParseAddr("127.0.0.1"))
		d.watch(netip.MustParseAddr("192.0.2.77")) // nobody's
	}
	if len(d.names) != 1 {
		t.Errorf("interfaces %q, want that of the loopback address", d.names)
	}
	for i := range 2 * maxDevices {
		if len(d.names) == maxDevices {
			break
		}
		d.watchDevice(string(rune('a' + i)))
	}
	d.watch(netip.MustParseAddr("192.0.2.78"))
	if len(d.names) != maxDevices || len(d.seen) != 2 {
		t.Errorf("%d interfaces, %d addresses", len(d.names), len(d.seen))
	}
}

func FuzzParseStatistic(f *testing.F) {
	for _, s := range []string{"0\n", "18446744073709551615\n", "-1\n", "", "12 13\n", "0x10\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := parseStatistic(s); !ok && n != 0 && n != 1<<64-1 {
			t.Errorf("%q is no number and yet %d", s, n)
		}
	})
}
