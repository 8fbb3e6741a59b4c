package schedule_test

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
	"owl/owamp/schedule"
)

const second owamp.Interval = 1 << 32

func exponential(mean owamp.Interval) []owamp.Slot {
	return []owamp.Slot{{Type: owamp.SlotExponential, Parameter: mean}}
}

func newGenerator(t testing.TB, sid owamp.SID, slots []owamp.Slot) *schedule.Generator {
	t.Helper()
	g, err := schedule.New(sid, slots)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func parseHex(t *testing.T, s string) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// parseSlots reads "exp(0.1=0000000019999999),lit(0.25)": where the fixed point
// is not given, it comes from the seconds.
func parseSlots(t *testing.T, s string) []owamp.Slot {
	t.Helper()
	var slots []owamp.Slot
	for f := range strings.SplitSeq(s, ",") {
		kind, arg, ok := strings.Cut(strings.TrimSuffix(f, ")"), "(")
		if !ok {
			t.Fatalf("slot %q", f)
		}
		seconds, fixed, ok := strings.Cut(arg, "=")
		v, err := strconv.ParseFloat(seconds, 64)
		if err != nil {
			t.Fatal(err)
		}
		slot := owamp.Slot{Parameter: owamp.IntervalSeconds(v)}
		if ok && uint64(slot.Parameter) != parseHex(t, fixed) {
			t.Fatalf("%s s = %016x, want %s", seconds, uint64(slot.Parameter), fixed)
		}
		if kind == "lit" {
			slot.Type = owamp.SlotFixed
		}
		slots = append(slots, slot)
	}
	return slots
}

// TestReference compares every number of schedule.txt, which the reference
// library computed, bit for bit.
func TestReference(t *testing.T) {
	f, err := os.Open("testdata/schedule.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	var (
		spec   owamp.SessionSpec
		g      *schedule.Generator
		title  string
		n      int // intervals taken from g
		delta  owamp.Interval
		sum    owamp.Interval
		checks int
	)
	begin := func(sid string, slots []owamp.Slot) {
		id, err := owamp.ParseSID(sid)
		if err != nil {
			t.Fatal(err)
		}
		spec = owamp.SessionSpec{SID: id, Slots: slots}
		g, n, sum = newGenerator(t, id, slots), 0, 0
	}
	advance := func(to int) {
		for ; n < to; n++ {
			delta = g.Next()
			sum += delta
		}
	}
	check := func(what string, got owamp.Interval, want string) {
		checks++
		if uint64(got) != parseHex(t, want) {
			t.Errorf("%s: %s = %016x, want %s", title, what, uint64(got), want)
		}
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "RAW"):
			title = line
			begin(fields[3], exponential(second))
		case strings.Contains(line, "slots same 3 slots"):
			title = line
			begin(fields[1], spec.Slots)
		case strings.HasPrefix(line, "SID"):
			title = line
			begin(fields[1], parseSlots(t, fields[3]))
		case strings.HasPrefix(fields[0], "SUM("):
			count, want, _ := strings.Cut(strings.TrimPrefix(fields[0], "SUM("), ")=")
			to, err := strconv.Atoi(count)
			if err != nil {
				t.Fatal(err)
			}
			advance(to)
			check(fields[0], sum, want)
			if to <= 1000 {
				spec.Packets = uint32(to)
				end, err := schedule.End(&spec)
				if err != nil {
					t.Fatal(err)
				}
				check("End", owamp.Interval(end), want)
			}
		case len(fields) == 2: // RAW: number from 1, delta
			to, err := strconv.Atoi(fields[0])
			if err != nil {
				t.Fatal(err)
			}
			advance(to)
			check("delta "+fields[0], delta, fields[1])
		case len(fields) == 5 && fields[1] == "delta": // number from 0, delta, sum
			to, err := strconv.Atoi(fields[0])
			if err != nil {
				t.Fatal(err)
			}
			advance(to + 1)
			check("delta "+fields[0], delta, fields[2])
			check("sum "+fields[0], sum, fields[4])
		default:
			t.Fatalf("line %q", line)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if want := 1176; checks != want {
		t.Errorf("%d numbers compared, want %d", checks, want)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		slots []owamp.Slot
		want  string
	}{
		{nil, "schedule: no slots, want at least one"},
		{
			[]owamp.Slot{{Type: owamp.SlotFixed}, {Type: 7}},
			"schedule: slot 1 is of type 7, want 0 (exponential) or 1 (fixed)",
		},
	} {
		if _, err := schedule.New(owamp.SID{}, tt.slots); err == nil || err.Error() != tt.want {
			t.Errorf("New(%v): %v, want %s", tt.slots, err, tt.want)
		}
		if _, err := schedule.End(&owamp.SessionSpec{Slots: tt.slots, Packets: 1}); err == nil || err.Error() != tt.want {
			t.Errorf("End(%v): %v, want %s", tt.slots, err, tt.want)
		}
	}
}

func take(g *schedule.Generator, n int) []owamp.Interval {
	s := make([]owamp.Interval, n)
	for i := range s {
		s[i] = g.Next()
	}
	return s
}

// TestCopy holds a copy, made at each of many places, against the original.
func TestCopy(t *testing.T) {
	slots := append(exponential(second), owamp.Slot{Type: owamp.SlotFixed, Parameter: 5}, owamp.Slot{Parameter: 9})
	g := newGenerator(t, owamp.SID{1, 2, 3}, slots)
	all := take(newGenerator(t, owamp.SID{1, 2, 3}, slots), 200)
	for i := range 100 {
		c := *g
		if diff := cmp.Diff(all[i:i+100], take(&c, 100)); diff != "" {
			t.Fatalf("copy after %d intervals (-want +got):\n%s", i, diff)
		}
		if got := g.Next(); got != all[i] {
			t.Fatalf("interval %d = %d after its copy was used, want %d", i, got, all[i])
		}
	}
}

// TestSlotsAreCopied holds that the caller may reuse its slice.
func TestSlotsAreCopied(t *testing.T) {
	slots := []owamp.Slot{{Type: owamp.SlotFixed, Parameter: 1}}
	g := newGenerator(t, owamp.SID{}, slots)
	slots[0].Parameter = 2
	if got := g.Next(); got != 1 {
		t.Errorf("interval %d, want 1", got)
	}
}

// TestEnd compares End with the sum of all intervals, and its short way for
// fixed slots with the long one.
func TestEnd(t *testing.T) {
	fixed := func(p ...owamp.Interval) (s []owamp.Slot) {
		for _, p := range p {
			s = append(s, owamp.Slot{Type: owamp.SlotFixed, Parameter: p})
		}
		return s
	}
	const start owamp.Timestamp = 0xeeaba5f0877fe088
	for _, tt := range []struct {
		name  string
		slots []owamp.Slot
	}{
		{"one fixed", fixed(second)},
		{"three fixed", fixed(1, 20, 300)},
		{"wraps", fixed(math.MaxUint64, 1<<63, 12345)},
		{"exponential", exponential(second / 7)},
		{"mixed", append(fixed(3, 4), exponential(second)...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGenerator(t, owamp.SID{9}, tt.slots)
			want := start
			for n := range uint32(50) {
				spec := owamp.SessionSpec{SID: owamp.SID{9}, Slots: tt.slots, Start: start, Packets: n}
				got, err := schedule.End(&spec)
				if err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Fatalf("End of %d packets = %016x, want %016x", n, got, want)
				}
				want = want.Add(g.Next())
			}
		})
	}
	spec := owamp.SessionSpec{Slots: fixed(1), Packets: math.MaxUint32}
	if got, err := schedule.End(&spec); got != math.MaxUint32 || err != nil {
		t.Errorf("End of 2^32-1 packets = %d, %v", got, err)
	}
}

// TestAdvance compares Advance with as many Next, from anywhere in a round.
func TestAdvance(t *testing.T) {
	for name, slots := range map[string][]owamp.Slot{
		"fixed": {{Type: owamp.SlotFixed, Parameter: 1}, {Type: owamp.SlotFixed, Parameter: math.MaxUint64 / 3}, {Type: owamp.SlotFixed, Parameter: 300}},
		"mixed": {{Type: owamp.SlotFixed, Parameter: 1}, {Type: owamp.SlotExponential, Parameter: second}},
	} {
		for before := range 4 {
			for n := range 20 {
				g := newGenerator(t, owamp.SID{9}, slots)
				for range before {
					g.Next()
				}
				one := *g
				var want owamp.Interval
				for range n {
					want += one.Next()
				}
				if got := g.Advance(uint64(n)); got != want {
					t.Errorf("%s, from %d: Advance(%d) = %d, want %d", name, before, n, got, want)
				}
				if got, want := g.Next(), one.Next(); got != want {
					t.Errorf("%s, from %d: after Advance(%d) Next = %d, want %d", name, before, n, got, want)
				}
			}
		}
	}
	// The greatest number of rounds of the greatest slots is one multiplication.
	g := newGenerator(t, owamp.SID{}, []owamp.Slot{{Type: owamp.SlotFixed, Parameter: math.MaxUint64}})
	if got := g.Advance(math.MaxUint64); got != 1 {
		t.Errorf("(2^64-1)² = %d modulo 2^64, want 1", got)
	}
}

func TestWithin(t *testing.T) {
	for _, tt := range []struct {
		slots []owamp.Interval
		d     owamp.Interval
		want  uint64
	}{
		{[]owamp.Interval{second}, 0, 2},
		{[]owamp.Interval{second}, 10 * second, 12},
		{[]owamp.Interval{second, 0, 0}, 10 * second, 36},
		{[]owamp.Interval{0}, 1, math.MaxUint64},
		{[]owamp.Interval{1}, math.MaxUint64 - 2, math.MaxUint64},
		{[]owamp.Interval{1}, math.MaxUint64 / 2, math.MaxUint64/2 + 2},
		{[]owamp.Interval{0, 1}, math.MaxUint64 / 2, math.MaxUint64},
		{[]owamp.Interval{1 << 63, 1 << 63}, math.MaxUint64, 4},
	} {
		var slots []owamp.Slot
		for _, p := range tt.slots {
			slots = append(slots, owamp.Slot{Type: owamp.SlotFixed, Parameter: p})
		}
		if got := newGenerator(t, owamp.SID{}, slots).Within(tt.d); got != tt.want {
			t.Errorf("slots %v within %d: %d packets, want %d", tt.slots, tt.d, got, tt.want)
		}
	}
}

// TestWithinBounds holds the bound against schedules of fixed slots.
func TestWithinBounds(t *testing.T) {
	slots := []owamp.Slot{{Type: 1, Parameter: 3}, {Type: 1}, {Type: 1, Parameter: 50}, {Type: 1, Parameter: 1}}
	g := newGenerator(t, owamp.SID{}, slots)
	var due []owamp.Interval
	var at owamp.Interval
	for range 200 {
		at += g.Next()
		due = append(due, at)
	}
	for d := range owamp.Interval(300) {
		most := uint64(0)
		for i, first := range due {
			n := uint64(0)
			for _, at := range due[i:] {
				if at-first <= d {
					n++
				}
			}
			most = max(most, n)
		}
		if got := g.Within(d); got < most {
			t.Errorf("within %d: %d packets, but there are %d", d, got, most)
		}
	}
}

func TestNextDoesNotAllocate(t *testing.T) {
	g := newGenerator(t, owamp.SID{1}, exponential(second))
	if n := testing.AllocsPerRun(1000, func() { g.Next() }); n != 0 {
		t.Errorf("%v allocations an interval", n)
	}
}

// FuzzNew holds that no slots, however odd, stop the generator, and that two
// of the same session agree.
func FuzzNew(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), uint8(0), uint64(1<<32), uint8(1), uint64(0))
	f.Add([]byte{}, uint8(1), uint64(math.MaxUint64), uint8(0), uint64(math.MaxUint64))
	f.Add([]byte{0xff}, uint8(2), uint64(1), uint8(0), uint64(1))
	f.Fuzz(func(t *testing.T, id []byte, t1 uint8, p1 uint64, t2 uint8, p2 uint64) {
		var sid owamp.SID
		copy(sid[:], id)
		slots := []owamp.Slot{
			{Type: owamp.SlotType(t1), Parameter: owamp.Interval(p1)},
			{Type: owamp.SlotType(t2), Parameter: owamp.Interval(p2)},
		}
		g, err := schedule.New(sid, slots)
		if err != nil {
			if t1 <= 1 && t2 <= 1 {
				t.Fatal(err)
			}
			return
		}
		spec := owamp.SessionSpec{SID: sid, Slots: slots, Packets: 100}
		end, err := schedule.End(&spec)
		if err != nil {
			t.Fatal(err)
		}
		var sum owamp.Interval
		for range 100 {
			sum += g.Next()
		}
		if owamp.Interval(end) != sum {
			t.Fatalf("End = %d, sum of intervals %d", end, sum)
		}
	})
}

// Fill and Next are one schedule, whatever is asked for in which order.
func TestFill(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, slots := range [][]owamp.Slot{
		exponential(second),
		{{Type: owamp.SlotFixed, Parameter: second}},
		append(exponential(second), owamp.Slot{Type: owamp.SlotFixed, Parameter: 7}),
	} {
		g := newGenerator(t, owamp.SID{1, 2, 3}, slots)
		one := *g
		waits := make([]owamp.Interval, 5000)
		for range 200 {
			some := waits[:rng.IntN(len(waits))]
			if rng.IntN(2) == 0 {
				some = waits[:rng.IntN(40)]
			}
			g.Fill(some)
			for i, got := range some {
				if want := one.Next(); got != want {
					t.Fatalf("%v: wait %d of %d is %d, want %d", slots, i, len(some), got, want)
				}
			}
			if got, want := g.Next(), one.Next(); got != want {
				t.Fatalf("%v: after %d the next wait is %d, want %d", slots, len(some), got, want)
			}
		}
	}
}

func BenchmarkNext(b *testing.B) {
	g := newGenerator(b, owamp.SID{1}, exponential(second))
	b.ReportAllocs()
	for b.Loop() {
		g.Next()
	}
}

func ExampleGenerator() {
	sid, _ := owamp.ParseSID("2872979303ab47eeac028dab3829dab2")
	g, err := schedule.New(sid, []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalSeconds(0.1)}})
	if err != nil {
		panic(err)
	}
	var due owamp.Timestamp // of a session that starts at 0
	for range 3 {
		due = due.Add(g.Next())
		fmt.Println(owamp.Interval(due).Duration())
	}
	// Output:
	// 42.639001ms
	// 63.262309ms
	// 78.560105ms
}

func BenchmarkFill(b *testing.B) {
	g := newGenerator(b, owamp.SID{1}, exponential(second))
	waits := make([]owamp.Interval, 1<<14)
	for b.Loop() {
		g.Fill(waits)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(waits)), "ns/packet")
}
