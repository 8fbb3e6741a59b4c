package netlab

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var t0 = time.Unix(1_800_000_000, 0)

func newLane(seed uint64, p Path) *lane { return &lane{seed: seed, script: []Step{{Path: p}}} }

// leave returns what has come out by now.
func leave(l *lane, now time.Time) (out [][]byte, next time.Time) {
	next = l.leave(now, func(b []byte) (time.Time, time.Time, bool) {
		out = append(out, b)
		return now, now, true
	})
	return out, next
}

func numbers(packets [][]byte) []byte {
	var ns []byte
	for _, b := range packets {
		ns = append(ns, number(b))
	}
	return ns
}

// fate is what the log tells of the fate of a packet.
func fates(log []Entry) []string {
	var s []string
	for i := range log {
		s = append(s, fmt.Sprintf("%d %v", log[i].N, log[i].Action))
	}
	return s
}

func TestLane(t *testing.T) {
	udp4 := func(ns ...byte) (ps [][]byte) {
		for _, n := range ns {
			ps = append(ps, packet4(ProtocolUDP, n))
		}
		return ps
	}
	for _, c := range []struct {
		name    string
		path    Path
		packets [][]byte
		want    []byte
		log     []string
		counts  Counts
	}{
		{"clean", Path{}, [][]byte{packet4(ProtocolUDP, 1), packet6(ProtocolUDP, 2), packet6(ProtocolTCP, 3)}, []byte{1, 2, 3},
			[]string{"0 delivered", "1 delivered", "2 delivered"}, Counts{Packets: 3}},
		{"loss", Path{Loss: 1}, udp4(1, 2), nil, []string{"0 lost", "1 lost"}, Counts{Packets: 2, Lost: 2}},
		{"loss spares TCP", Path{Loss: 1, Duplicate: 1, Reorder: 1, Bursts: Bursts{Begin: 1}}, [][]byte{packet4(ProtocolTCP, 1), packet6(ProtocolTCP, 2)}, []byte{1, 2},
			[]string{"0 delivered", "1 delivered"}, Counts{Packets: 2}},
		{"down takes all", Path{Down: true, Loss: 1}, [][]byte{packet4(ProtocolTCP, 1), packet6(ProtocolUDP, 2)}, nil,
			[]string{"0 cut off", "1 cut off"}, Counts{Packets: 2, Lost: 2}},
		{"duplicate", Path{Duplicate: 1}, udp4(1, 2), []byte{1, 1, 2, 2},
			[]string{"0 delivered", "0 copied", "1 delivered", "1 copied"}, Counts{Packets: 2, Duplicated: 2}},
		{"reorder", Path{Reorder: 1}, [][]byte{packet4(ProtocolUDP, 1), packet4(ProtocolTCP, 9), packet4(ProtocolUDP, 2), packet4(ProtocolUDP, 3), packet4(ProtocolUDP, 4)}, []byte{9, 2, 1, 4, 3},
			[]string{"1 delivered", "2 delivered", "0 delivered", "4 delivered", "3 delivered"}, Counts{Packets: 5, Reordered: 2}},
		{"reorder by two", Path{Reorder: 1, Extent: 2}, udp4(1, 2, 3), []byte{2, 3, 1},
			[]string{"1 delivered", "2 delivered", "0 delivered"}, Counts{Packets: 3, Reordered: 1}},
		{"too many hops", Path{Hops: 64, Reorder: 1}, [][]byte{packet4(ProtocolUDP, 1), packet6(ProtocolTCP, 2)}, nil,
			[]string{"0 expired", "1 expired"}, Counts{Packets: 2, Lost: 2}},
		{"a burst for ever", Path{Bursts: Bursts{Begin: 1, Mean: 1e18}}, udp4(1, 2, 3), nil,
			[]string{"0 lost", "1 lost", "2 lost"}, Counts{Packets: 3, Lost: 3}},
		{"bursts of one", Path{Bursts: Bursts{Begin: 1}}, udp4(1, 2, 3, 4), []byte{2, 4},
			[]string{"0 lost", "2 lost", "1 delivered", "3 delivered"}, Counts{Packets: 4, Lost: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLane(1, c.path)
			for _, p := range c.packets {
				l.enter(p, t0)
			}
			got, next := leave(l, t0)
			if d := cmp.Diff(c.want, numbers(got)); d != "" {
				t.Errorf("came out (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.log, fates(l.log)); d != "" {
				t.Errorf("log (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.counts, Tally(l.log)); d != "" {
				t.Errorf("counts (-want +got):\n%s", d)
			}
			if !next.IsZero() {
				t.Errorf("something is left, due %v", next.Sub(t0))
			}
		})
	}
}

func TestLaneTimes(t *testing.T) {
	fall := []time.Duration{10, 0, 15} // the jitter of the packets and, in between, of duplicates that there are none of
	for _, c := range []struct {
		overtake bool
		want     []byte
		at       []time.Duration
	}{
		{false, []byte{1, 2, 3}, []time.Duration{20, 20, 25}},
		{true, []byte{2, 1, 3}, []time.Duration{10, 20, 25}},
	} {
		casts := 0
		l := newLane(1, Path{Delay: 10, Overtake: c.overtake, Jitter: func(float64) time.Duration {
			casts++
			return fall[(casts-1)/2]
		}})
		for n := range byte(3) {
			l.enter(packet4(ProtocolUDP, n+1), t0)
		}
		var got []byte
		var at []time.Duration
		for now := t0; !now.IsZero(); {
			var out [][]byte
			var next time.Time
			out, next = leave(l, now)
			for _, n := range numbers(out) {
				got, at = append(got, n), append(at, now.Sub(t0))
			}
			if !next.IsZero() && !next.After(now) {
				t.Fatalf("at %v it is to be asked again at %v", now, next)
			}
			now = next
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("overtake %v (-want +got):\n%s", c.overtake, d)
		}
		if d := cmp.Diff(c.at, at); d != "" {
			t.Errorf("overtake %v, times (-want +got):\n%s", c.overtake, d)
		}
	}
}

func TestLaneReorderWithoutSuccessor(t *testing.T) {
	l := newLane(1, Path{Reorder: 1})
	l.enter(packet4(ProtocolUDP, 1), t0)
	got, next := leave(l, t0)
	if got != nil || next != t0.Add(reorderWait) {
		t.Fatalf("at first %v, next after %v", got, next.Sub(t0))
	}
	got, _ = leave(l, next)
	if c := Tally(l.log); len(got) != 1 || c != (Counts{Packets: 1}) {
		t.Errorf("%d came out, %+v: nothing has overtaken it", len(got), c)
	}
}

func TestLaneRefused(t *testing.T) {
	l := newLane(1, Path{})
	l.enter(packet4(ProtocolUDP, 1), t0)
	l.leave(t0, func([]byte) (time.Time, time.Time, bool) { return t0, t0, false })
	if got := fates(l.log); !slices.Equal(got, []string{"0 refused"}) || !l.log[0].Out.IsZero() {
		t.Errorf("%v, out %v", got, l.log[0].Out)
	}
}

// A script's steps follow one another by the time at which packets come in, and
// the last one stays.
func TestScript(t *testing.T) {
	l := newLane(1, Path{Down: true})
	l.play([]Step{{For: time.Second, Path: Path{Hops: 1}}, {For: 2 * time.Second, Path: Path{Down: true}}, {For: time.Second, Path: Path{Hops: 3}}}, t0)
	for _, at := range []time.Duration{0, time.Second - 1, time.Second, 3*time.Second - 1, 3 * time.Second, time.Hour} {
		l.enter(packet4(ProtocolUDP, 1), t0.Add(at))
		leave(l, t0.Add(at))
	}
	var got []uint8
	for _, e := range l.log {
		got = append(got, e.OutTTL)
	}
	if want := []uint8{63, 63, 0, 0, 61, 61}; !slices.Equal(got, want) {
		t.Errorf("TTL of what came out %v, want %v", got, want)
	}
}

// travel lets n UDP packets pass a path, a millisecond after one another, with
// other packets among them, and returns the log of the UDP packets.
func travel(seed uint64, p Path, n, others int) []Entry {
	l := newLane(seed, p)
	now := t0
	for range n {
		for range others {
			l.enter(packet6(ProtocolTCP, 9), now)
		}
		l.enter(packet6(ProtocolUDP, 1), now)
		now = now.Add(time.Millisecond)
		leave(l, now)
	}
	leave(l, now.Add(time.Hour))
	return slices.DeleteFunc(l.log, func(e Entry) bool { return !e.UDP() })
}

// The same seed and packets have the same fate, whatever passes beside them;
// another seed another one.
func TestSeed(t *testing.T) {
	harm := Path{Delay: time.Second, Jitter: Exponential(5 * time.Millisecond), Overtake: true, Loss: 0.1, Bursts: Bursts{0.02, 4}, Duplicate: 0.1, Reorder: 0.1}
	story := func(seed uint64, others int) (s []string) {
		for _, e := range travel(seed, harm, 1000, others) {
			s = append(s, fmt.Sprintf("%d %v", e.N/(others+1), e.Action))
		}
		return s
	}
	want := story(7, 0)
	if d := cmp.Diff(want, story(7, 0)); d != "" {
		t.Errorf("the second run (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want, story(7, 3)); d != "" {
		t.Errorf("among other packets (-want +got):\n%s", d)
	}
	if slices.Equal(want, story(8, 0)) {
		t.Error("another seed makes the same fates")
	}
}

// Chances come out as they were set. The bounds are more than five standard
// deviations wide, and the seed is fixed.
func TestChances(t *testing.T) {
	const n = 100_000
	near := func(name string, got, want, tolerance float64) {
		t.Helper()
		if got < want-tolerance || got > want+tolerance {
			t.Errorf("%s: %v, want %v ± %v", name, got, want, tolerance)
		}
	}
	c := Tally(travel(1, Path{Loss: 0.1}, n, 0))
	near("loss", float64(c.Lost)/n, 0.1, 0.005)
	c = Tally(travel(2, Path{Duplicate: 0.1}, n, 0))
	near("duplicates", float64(c.Duplicated)/n, 0.1, 0.005)
	c = Tally(travel(3, Path{Reorder: 0.1}, n, 0))
	near("reordering", float64(c.Reordered)/n, 0.1/1.1, 0.005) // the one after a struck packet is spared
	log := travel(4, Path{Bursts: Bursts{Begin: 0.01, Mean: 5}}, n, 0)
	slices.SortFunc(log, func(a, b Entry) int { return a.N - b.N })
	bursts, lost := 0, 0
	for i, e := range log {
		if e.Action == Lost {
			lost++
			if i == 0 || log[i-1].Action != Lost {
				bursts++
			}
		}
	}
	near("bursts", float64(bursts)/float64(n-lost), 0.01, 0.002)
	near("length of bursts", float64(lost)/float64(bursts), 5, 0.8)

	dice := rand.New(rand.NewPCG(1, 2))
	for _, d := range []struct {
		name                 string
		jitter               Jitter
		mean, tolerance, max time.Duration
	}{
		{"uniform", Uniform(10 * time.Millisecond), 5 * time.Millisecond, 100 * time.Microsecond, 10 * time.Millisecond},
		{"exponential", Exponential(5 * time.Millisecond), 5 * time.Millisecond, 100 * time.Microsecond, time.Second},
		{"normal", Normal(10*time.Millisecond, time.Millisecond), 10 * time.Millisecond, 50 * time.Microsecond, time.Second},
		{"normal without deviation", Normal(10*time.Millisecond, 0), 10 * time.Millisecond, 0, 10 * time.Millisecond},
	} {
		var total, most time.Duration
		for range n {
			j := d.jitter(dice.Float64())
			if j < 0 {
				t.Fatalf("%s: %v", d.name, j)
			}
			total, most = total+j, max(most, j)
		}
		near(d.name, (total / n).Seconds(), d.mean.Seconds(), d.tolerance.Seconds())
		if most > d.max {
			t.Errorf("%s: %v, more than %v", d.name, most, d.max)
		}
		for _, p := range []float64{0, 1 - 1.0/(1<<53)} {
			if j := d.jitter(p); j < 0 || j > d.max {
				t.Errorf("%s at %v: %v", d.name, p, j)
			}
		}
	}
}

// Each packet has one fate, and what came out is what the log says.
func TestLaneConserves(t *testing.T) {
	for seed := range uint64(200) {
		dice := rand.New(rand.NewPCG(seed, 0))
		l := newLane(seed, Path{})
		now, n := t0, 0
		var out [][]byte
		for range 50 {
			l.play([]Step{{Path: Path{
				Delay: time.Duration(dice.IntN(20)) * time.Millisecond, Jitter: Uniform(time.Duration(dice.IntN(20)+1) * time.Millisecond), Overtake: dice.IntN(2) == 0,
				Hops: uint8(dice.IntN(70)), DSCP: new(uint8(dice.IntN(64))), Loss: dice.Float64() / 2, Bursts: Bursts{dice.Float64() / 4, dice.Float64() * 8},
				Duplicate: dice.Float64(), Reorder: dice.Float64(), Extent: dice.IntN(4), Down: dice.IntN(5) == 0,
			}}}, now)
			for range dice.IntN(20) {
				p := packet4(ProtocolUDP, 1)
				if dice.IntN(3) == 0 {
					p = packet6(ProtocolTCP, 1)
				}
				l.enter(p, now)
				n++
			}
			now = now.Add(time.Duration(dice.IntN(10)) * time.Millisecond)
			got, next := leave(l, now)
			out = append(out, got...)
			if !next.IsZero() && !next.After(now) {
				t.Fatalf("seed %d: asked again at %v, now is %v", seed, next, now)
			}
		}
		for next := now; !next.IsZero(); {
			var got [][]byte
			got, next = leave(l, next.Add(time.Second))
			out = append(out, got...)
		}
		settled := make([]int, n)
		came := 0
		for i := range l.log {
			e := &l.log[i]
			if e.CameOut() {
				came++
			}
			if e.Action != Copied {
				settled[e.N]++
			}
			if e.CameOut() == e.Out.IsZero() {
				t.Fatalf("seed %d: %v, and out at %v", seed, e.Action, e.Out)
			}
		}
		if i := slices.IndexFunc(settled, func(n int) bool { return n != 1 }); i >= 0 {
			t.Fatalf("seed %d: packet %d has %d fates", seed, i, settled[i])
		}
		if came != len(out) || Tally(l.log).Packets != n {
			t.Fatalf("seed %d: %d came out, by the log %d; %+v of %d", seed, len(out), came, Tally(l.log), n)
		}
	}
}
