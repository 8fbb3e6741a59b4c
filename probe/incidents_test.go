package probe

import (
	"math/rand/v2"
	"testing"
	"time"

	"owl/owamp"
)

const incidentsBegin owamp.Timestamp = 0xeaf0_0000_0000_0000

// after returns the time d after the begin.
func after(d time.Duration) owamp.Timestamp { return incidentsBegin.AddDuration(d) }

func TestTimelineBetween(t *testing.T) {
	const s = time.Second
	var line timeline
	line.note(after(10*s), after(20*s), 3, 0)
	line.note(after(30*s), after(30*s), 1, 5*s)
	line.note(after(40*s), after(50*s), 7, 2*s)
	for _, tt := range []struct {
		from, to time.Duration
		n        uint64
		longest  time.Duration
	}{
		{0, 9 * s, 0, 0},
		{0, 10 * s, 3, 0},
		{12 * s, 13 * s, 3, 0},
		{20 * s, 29 * s, 3, 0},
		{21 * s, 29 * s, 0, 0},
		{30 * s, 30 * s, 1, 5 * s},
		{20 * s, 40 * s, 11, 5 * s},
		{50 * s, 99 * s, 7, 2 * s},
		{51 * s, 99 * s, 0, 0},
	} {
		if n, longest := line.between(after(tt.from), after(tt.to)); n != tt.n || longest != tt.longest {
			t.Errorf("between %v and %v: %d, at most %v; want %d, %v", tt.from, tt.to, n, longest, tt.n, tt.longest)
		}
	}
	if line.total != 11 || line.greatest != 5*s {
		t.Errorf("in all %d, at most %v", line.total, line.greatest)
	}
}

// However much happens, a timeline stays small, never says less than the truth,
// and of what was lately about the truth.
func TestTimelineIsBoundedFromBelow(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var line timeline
	var all []span
	now := time.Duration(0)
	for range 20 * timelineLength {
		from := now
		now += time.Duration(random.Int64N(int64(time.Second)))
		s := span{after(from), after(now), 1 + random.Uint64N(5), 0}
		all = append(all, s)
		line.note(s.from, s.to, s.n, 0)
	}
	if len(line.spans) > timelineLength {
		t.Fatalf("%d spans", len(line.spans))
	}
	truth := func(from, to owamp.Timestamp) (n uint64) {
		for _, s := range all {
			if !s.to.Before(from) && !s.from.After(to) {
				n += s.n
			}
		}
		return n
	}
	for range 1000 {
		from := after(time.Duration(random.Int64N(int64(now))))
		to := from.AddDuration(time.Duration(random.Int64N(int64(time.Minute))))
		if n, _ := line.between(from, to); n < truth(from, to) {
			t.Fatalf("%d between %v and %v, want at least %d", n, from.Time(), to.Time(), truth(from, to))
		}
	}
	recent := all[len(all)-timelineLength/4:]
	for _, s := range recent {
		if n, _ := line.between(s.from, s.to); n > truth(s.from.AddDuration(-timelineStep), s.to.AddDuration(timelineStep)) {
			t.Errorf("%d around %v, want at most %d", n, s.from.Time(), truth(s.from, s.to))
		}
	}
	if n, _ := line.between(all[0].from, all[len(all)-1].to); n != line.total {
		t.Errorf("%d in all that time, want %d", n, line.total)
	}
}

// A flood of drops, each between two packets that are close to each other, is
// one span for each step of time.
func TestTimelineJoinsWhatIsClose(t *testing.T) {
	var line timeline
	for i := range 100_000 { // 1 s
		at := after(time.Duration(i) * 10 * time.Microsecond)
		line.note(at, at.AddDuration(10*time.Microsecond), 2, 0)
	}
	if n := len(line.spans); n > 60 {
		t.Errorf("%d spans of a second", n)
	}
	if n, _ := line.between(after(500*time.Millisecond), after(500*time.Millisecond)); n < 2 || n > 2*2*uint64(timelineStep/(10*time.Microsecond)) {
		t.Errorf("%d at a moment", n)
	}
}

// The counter wraps around, runs ahead of the packets that are in the queue when
// it is asked, and is absent before the first drop.
func TestDropMeter(t *testing.T) {
	const ms = time.Millisecond
	m := dropMeter{seen: after(0)}
	drops := func(from, to time.Duration) uint64 {
		n, _ := m.timeline.between(after(from), after(to))
		return n
	}
	m.observe(0, after(100*ms))
	m.observe(0, after(200*ms))
	if len(m.timeline.spans) != 0 {
		t.Fatal("something was noted before a drop")
	}
	m.observe(3, after(300*ms))
	m.observe(3, after(400*ms))
	m.observe(8, after(1000*ms)) // asked
	m.observe(5, after(900*ms))  // of a packet that was in the queue
	m.observe(8, after(1100*ms))
	for _, tt := range []struct {
		from, to time.Duration
		want     uint64
	}{{0, 150 * ms, 0}, {0, 200 * ms, 3}, {250 * ms, 260 * ms, 3}, {310 * ms, 390 * ms, 0}, {500 * ms, 600 * ms, 5}, {1010 * ms, 2000 * ms, 0}} {
		if got := drops(tt.from, tt.to); got != tt.want {
			t.Errorf("%d from %v to %v, want %d", got, tt.from, tt.to, tt.want)
		}
	}
	m.counted = 1<<32 - 2
	m.observe(1, after(1200*ms))
	if got := drops(1150*ms, 1200*ms); got != 3 {
		t.Errorf("%d across the end of the counter, want 3", got)
	}
}

func TestIncidents(t *testing.T) {
	var i incidents
	i.read(after(time.Second), 200*time.Millisecond)
	i.sent(after(2*time.Second), 300*time.Millisecond)
	i.refused(after(3 * time.Second))
	i.refused(after(3 * time.Second))
	for _, tt := range []struct {
		from, to time.Duration
		want     Incidents
	}{
		{0, 700 * time.Millisecond, Incidents{}},
		{0, 800 * time.Millisecond, Incidents{LateReads: 1, LateRead: 200 * time.Millisecond}},
		{1900 * time.Millisecond, 2 * time.Second, Incidents{LateSends: 1, LateSend: 300 * time.Millisecond}},
		{3 * time.Second, 9 * time.Second, Incidents{Refused: 2}},
	} {
		if got := i.between(after(tt.from), after(tt.to)); got != tt.want {
			t.Errorf("from %v to %v: %+v, want %+v", tt.from, tt.to, got, tt.want)
		}
	}
	want := Incidents{LateReads: 1, LateRead: 200 * time.Millisecond, LateSends: 1, LateSend: 300 * time.Millisecond, Refused: 2}
	if got := i.total(); got != want {
		t.Errorf("%+v in all, want %+v", got, want)
	}
}
