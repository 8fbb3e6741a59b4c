package result

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"owl/histogram"
	"owl/owamp"
	"owl/owamp/schedule"
	"owl/owamp/stats"
)

// due returns when each packet of a session is scheduled.
func due(t testing.TB, s *stats.Session) []owamp.Timestamp {
	t.Helper()
	g, err := schedule.New(s.Spec.SID, s.Spec.Slots)
	if err != nil {
		t.Fatal(err)
	}
	times := make([]owamp.Timestamp, s.Spec.Packets)
	at := s.Spec.Start
	for i := range times {
		at = at.Add(g.Next())
		times[i] = at
	}
	return times
}

// arrivals makes the records of a session on a path that loses, copies and
// reorders packets, between clocks that differ by skew, in the order in which a
// receiver writes them.
func arrivals(t testing.TB, rng *rand.Rand, s *stats.Session, skew time.Duration) []owamp.Record {
	type event struct {
		at  owamp.Timestamp
		rec owamp.Record
	}
	var events []event
	burst := 0
	for seq, at := range due(t, s) {
		if burst == 0 && rng.IntN(20) == 0 {
			burst = 1 + rng.IntN(4)
		}
		if burst > 0 {
			burst--
			rec := owamp.Record{Seq: uint32(seq), Sent: at, TTL: 255, SentErr: 1, RecvErr: 0x8a80}
			events = append(events, event{at.Add(s.Spec.Timeout), rec})
			continue
		}
		sent := at.AddDuration(time.Duration(rng.IntN(50_000)))
		for range 1 + max(0, rng.IntN(15)-13) {
			d := skew + time.Duration(rng.ExpFloat64()*float64(80*time.Millisecond))
			d = min(d, s.Spec.Timeout.Duration()/2)
			rec := owamp.Record{Seq: uint32(seq), Sent: sent, Recv: sent.AddDuration(d), TTL: uint8(50 + rng.IntN(3)), SentErr: 0x8a80, RecvErr: owamp.ErrorEstimate(0x8a00 | 1 + rng.IntN(255))}
			events = append(events, event{rec.Recv, rec})
		}
	}
	slices.SortStableFunc(events, func(a, b event) int {
		return int(int64(a.at-b.at) >> 8)
	})
	recs := make([]owamp.Record, len(events))
	for i, e := range events {
		recs[i] = e.rec
	}
	// Losses are declared in the order of sequence numbers.
	return recs
}

// naive counts records the slow way.
type naive struct {
	Sent, Received, Lost, Duplicates, Reordered, NotSent uint64
	Bursts, Longest                                      uint64
	Distances                                            map[uint64]uint64
	Bins                                                 map[int32]uint64
	TTL                                                  map[int]uint64
	Min, Max                                             int64 // ns
}

func count1(recs []owamp.Record, width float64) naive {
	n := naive{Bins: map[int32]uint64{}, TTL: map[int]uint64{}, Distances: map[uint64]uint64{}}
	seen := map[uint32]bool{}
	h := histogram.NewFixed(width)
	next := uint32(0)
	var lost []uint64
	for _, r := range recs {
		switch {
		case r.Lost():
			n.Sent++
			n.Lost++
			lost = append(lost, uint64(r.Seq))
		case seen[r.Seq]:
			n.Duplicates++
		default:
			seen[r.Seq] = true
			n.Sent++
			n.Received++
			if r.Seq < next {
				n.Reordered++
			} else {
				next = r.Seq + 1
			}
			n.Bins[h.Bin(float64(r.Recv)/(1<<32)-float64(r.Sent)/(1<<32))]++
			n.TTL[int(r.TTL)]++
			d := int64(r.Recv.Sub(r.Sent))
			if n.Received == 1 {
				n.Min, n.Max = d, d
			}
			n.Min, n.Max = min(n.Min, d), max(n.Max, d)
		}
	}
	slices.Sort(lost)
	run := uint64(0)
	for i, seq := range lost {
		if i == 0 || seq != lost[i-1]+1 {
			if i > 0 {
				n.Distances[seq-lost[i-1]]++
			}
			n.Bursts++
			run = 0
		}
		run++
		n.Longest = max(n.Longest, run)
	}
	return n
}

// counts returns what r says of what naive counts.
func counts(r *Result) naive {
	n := naive{
		Sent: r.Sent, Received: r.Received, Lost: r.Lost, Duplicates: r.Duplicates, Reordered: r.Reordered, NotSent: r.NotSent,
		Bins: map[int32]uint64{}, TTL: map[int]uint64{}, Distances: map[uint64]uint64{}, Min: r.delay.least, Max: r.delay.most,
	}
	maps.Insert(n.Bins, r.Delays.Bins())
	for ttl, c := range r.TTL {
		if c > 0 {
			n.TTL[ttl] = c
		}
	}
	l := r.losses.document()
	n.Bursts, n.Longest = l.Count, l.Longest
	maps.Copy(n.Distances, l.Distances)
	return n
}

// A result counts as somebody does who looks at each record by itself.
func TestCounts(t *testing.T) {
	task := newTask(t, nil)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 4))
		s := session(1+uint32(rng.IntN(700)), 2*time.Second)
		recs := arrivals(t, rng, s, time.Duration(rng.IntN(200)-100)*time.Millisecond)
		width := []float64{1e-4, 1e-3, 0.0003}[rng.IntN(3)]
		want := count1(recs, width)
		got := of(t, task, s, slices.Clone(recs), width, false)
		if d := cmp.Diff(want, counts(got), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("seed %d (-want +got)\n%s", seed, d)
		}
		if got.Sent != got.Received+got.Lost || got.Packets != uint64(s.Spec.Packets) {
			t.Errorf("seed %d: sent %d, received %d, lost %d of %d", seed, got.Sent, got.Received, got.Lost, got.Packets)
		}
		if q := got.delay; q.n > 0 && !slices.IsSorted([]int64{q.least, q.p05, q.p25, q.p50, q.p75, q.p95, q.p99, q.most}) {
			t.Errorf("seed %d: quantiles %+v", seed, q)
		}
	}
}

// What the sender skipped is not lost, and what it did not come to neither.
func TestNotSent(t *testing.T) {
	s := session(10, time.Second)
	times := due(t, s)
	s.NextSeq = 8
	s.Skips = []owamp.SkipRange{{First: 2, Last: 4}}
	var recs []owamp.Record
	for i, at := range times[:8] {
		recs = append(recs, owamp.Record{Seq: uint32(i), Sent: at, Recv: at.AddDuration(time.Millisecond), TTL: 60, SentErr: 0x8a80, RecvErr: 0x8a80})
	}
	recs[7].Recv = 0
	recs = slices.Delete(recs, 2, 5)
	d := decode(t, of(t, newTask(t, nil), s, recs, 0, false), false)["result"].(map[string]any)
	owl := d["owl"].(map[string]any)
	for member, want := range map[string]string{"packets-sent": "5", "packets-received": "4", "packets-lost": "1"} {
		if got := d[member]; got != json.Number(want) {
			t.Errorf("%s %v, want %s", member, got, want)
		}
	}
	for member, want := range map[string]string{"packets-scheduled": "10", "packets-not-sent": "3", "packets-not-covered": "2"} {
		if got := owl[member]; got != json.Number(want) {
			t.Errorf("owl/%s %v, want %s", member, got, want)
		}
	}
}

func TestLabels(t *testing.T) {
	for _, test := range []struct {
		width float64
		bin   int32
		want  string
	}{
		{0.0001, 343, "34.3"}, {0.0001, 340, "34"}, {0.0001, -1, "-0.1"}, {0.0001, 0, "0"}, {0.0001, 12000, "1200"},
		{0.001, 7, "7"}, {1e-5, 3, "0.03"}, {0.5, 3, "1500"}, {2, -2, "-4000"}, {1e-6, 1, "0.001"},
		{0.30000000000000004, 1, "300.00000000000004"}, {1.0 / 3, 2147483647, "715827882333.3332617505451"},
		{1e-4, math.MinInt32, "-214748364.8"},
	} {
		if got := string(newScale(test.width).appendLabel(nil, test.bin)); got != test.want {
			t.Errorf("bin %d of %v s: %s, want %s", test.bin, test.width, got, test.want)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	short := regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?$`)
	for range 20000 {
		width := math.Pow(10, rng.Float64()*12-9)
		if rng.IntN(2) == 0 {
			width, _ = strconv.ParseFloat(strconv.FormatFloat(width, 'g', 1+rng.IntN(4), 64), 64)
		}
		bin := int32(rng.Uint32() >> rng.IntN(32))
		got := string(newScale(width).appendLabel(nil, bin))
		label, ok := new(big.Rat).SetString(got)
		want, _ := new(big.Rat).SetString(strconv.FormatFloat(width, 'g', -1, 64))
		want.Mul(want, big.NewRat(int64(bin)*1000, 1))
		if !ok || label.Cmp(want) != 0 || !short.MatchString(got) || got == "-0" {
			t.Fatalf("bin %d of %v s: %s", bin, width, got)
		}
	}
}

func TestText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "PT0S", -1: "PT0S", time.Minute: "PT1M", 86402 * time.Second: "P1DT2S", 90*time.Minute + 1500*time.Millisecond: "PT1H30M1.5S",
		24 * time.Hour: "P1D", 1: "PT0.000000001S",
	} {
		if got := iso(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
	for s, want := range map[float64]string{0.1: "0.1", 2: "2", 0.333: "0.333", 1e-6: "0.000001", 60: "60"} {
		if got, _ := json.Marshal(seconds(owamp.IntervalSeconds(s))); string(got) != want {
			t.Errorf("%v s are %s, want %s", s, got, want)
		}
	}
	for v, want := range map[int64]string{0: "0", 5_000: "0.01", 4_999: "0", 300_000: "0.3", 1_924_000: "1.92", -999_800_000: "-999.8"} {
		if got, _ := json.Marshal(hundredths(v)); string(got) != want {
			t.Errorf("%d ns are %s ms, want %s", v, got, want)
		}
	}
	if got, _ := json.Marshal(millis(-1_234_500)); string(got) != "-1.2345" {
		t.Errorf("-1234500 ns are %s ms", got)
	}
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// What is told twice has one name, and other things have others.
func TestIDs(t *testing.T) {
	seen := map[string]string{}
	check := func(what, id string) {
		t.Helper()
		if !uuidForm.MatchString(id) {
			t.Errorf("%s: %q is no UUID of version 8", what, id)
		}
		if other, ok := seen[id]; ok {
			t.Errorf("%s has the ID of %s", what, other)
		}
		seen[id] = what
	}
	task := newTask(t, nil)
	check("the task", task.ID())
	if again := newTask(t, func(c *TaskConfig) { c.Added, c.ToolVersion = time.Now(), "2" }); again.ID() != task.ID() {
		t.Error("the task has another ID after a restart")
	}
	check("a name", newTask(t, func(c *TaskConfig) { c.Name = "other" }).ID())
	check("a direction", newTask(t, func(c *TaskConfig) { c.Receives = true }).ID())
	check("an interval", newTask(t, func(c *TaskConfig) { c.Interval++ }).ID())
	check("a host", newTask(t, func(c *TaskConfig) { c.Host = "ps2" }).ID())

	sid := owamp.SID{1, 2, 3}
	e := Extent{Part: -1, Start: 1 << 63}
	check("a session", measuredID(sid, e))
	if measuredID(sid, Extent{Part: -1, Start: 1 << 63, End: 1, Until: 2, Made: time.Now()}) != measuredID(sid, e) {
		t.Error("a session that is told again has another ID")
	}
	check("a part", measuredID(sid, Extent{Part: 0, Start: 1 << 63}))
	check("another part", measuredID(sid, Extent{Part: 1, Start: 1 << 63}))
	check("another start", measuredID(sid, Extent{Part: -1, Start: 1<<63 + 1}))
	check("another session", measuredID(owamp.SID{1, 2, 4}, e))
	check("a failure", Failed(task, 1<<63, Gap{}, "", time.Time{}).ID)
	check("a later failure", Failed(task, 1<<63+1, Gap{}, "", time.Time{}).ID)
}

func TestHrefs(t *testing.T) {
	task := newTask(t, nil)
	r := Failed(task, 1<<63, Gap{}, "why", time.Time{})
	for host, want := range map[string]string{
		"":                   "https://ps1.example.net/pscheduler/tasks/",
		"a.example:8443":     "https://a.example:8443/pscheduler/tasks/",
		"2001:db8::1":        "https://[2001:db8::1]/pscheduler/tasks/",
		"[2001:db8::1]:8443": "https://[2001:db8::1]:8443/pscheduler/tasks/",
	} {
		text, err := r.JSON(host, false)
		if err != nil {
			t.Fatal(err)
		}
		run := decodeText(t, text)["run"].(map[string]any)
		if got := run["task-href"]; got != want+task.ID() || got != task.Href(host) {
			t.Errorf("host %q: task at %v", host, got)
		}
		if got := run["href"]; got != want+task.ID()+"/runs/"+r.ID || got != r.RunHref(host) {
			t.Errorf("host %q: run at %v", host, got)
		}
	}
}

func TestRefused(t *testing.T) {
	for want, change := range map[string]func(*TaskConfig){
		`test "throughput": want latencybg or latency`: func(c *TaskConfig) { c.Test = "throughput" },
		"a task needs the names of both hosts":         func(c *TaskConfig) { c.Remote = "" },
		"the reference is not JSON":                    func(c *TaskConfig) { c.Reference = json.RawMessage("{") },
		"a reference of 1048577 octets: want at most 1048576": func(c *TaskConfig) {
			c.Reference = json.RawMessage(strings.Repeat(" ", maxReference) + "1")
		},
	} {
		cfg := TaskConfig{Test: LatencyBG, Host: "a", Remote: "b"}
		change(&cfg)
		if _, err := NewTask(cfg); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Packets keep all bits of their times.
func TestRaw(t *testing.T) {
	s := session(2, time.Second)
	times := due(t, s)
	recs := []owamp.Record{
		{Seq: 0, Sent: times[0], Recv: times[0] + 4294967, TTL: 59, SentErr: 0x8a80, RecvErr: 0x0a80},
		{Seq: 1, Sent: times[1], TTL: 255, SentErr: 1, RecvErr: 0x8a80},
	}
	r := of(t, newTask(t, func(c *TaskConfig) { c.Raw = true }), s, recs, 0, true)
	d := decode(t, r, true)
	want := fmt.Sprintf(`[{"seq-num":0,"src-ts":%d,"src-clock-sync":true,"src-clock-err":0.000030517578125,"dst-ts":%d,"dst-clock-sync":false,"dst-clock-err":0.000030517578125,"ip-ttl":59},`+
		`{"seq-num":1,"src-ts":%d,"src-clock-sync":false,"src-clock-err":2.3283064365386963e-10,"dst-ts":0,"dst-clock-sync":true,"dst-clock-err":0.000030517578125,"ip-ttl":255}]`,
		uint64(times[0]), uint64(times[0])+4294967, uint64(times[1]))
	var wanted any
	decoder := json.NewDecoder(strings.NewReader(want))
	decoder.UseNumber()
	if err := decoder.Decode(&wanted); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, d["result"].(map[string]any)["raw-packets"]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, ok := d["run"].(map[string]any)["result-merged"].(map[string]any)["raw-packets"]; ok {
		t.Error("the packets are in run, too")
	}
	if _, ok := decode(t, r, false)["result"].(map[string]any)["raw-packets"]; ok {
		t.Error("packets that nobody has asked for")
	}
}

// Of more packets than there may be the rest is counted.
func TestRawIsBounded(t *testing.T) {
	f := NewFold(true)
	rec := owamp.Record{Sent: 1 << 63, Recv: 1<<63 + 1, TTL: 1, SentErr: 1, RecvErr: 1}
	for i := range uint32(MaxRaw + 5) {
		rec.Seq = i
		f.Observe(&rec)
	}
	if len(f.raw) != MaxRaw || f.more != 5 {
		t.Errorf("%d packets, and %d more", len(f.raw), f.more)
	}
}

// Failures say why, since when and for how long.
func TestFailed(t *testing.T) {
	task := newTask(t, nil)
	start := owamp.FromTime(time.Date(2026, 5, 1, 12, 0, 0, 500_000_000, time.UTC))
	later := start.AddDuration(time.Minute)
	for _, test := range []struct {
		gap          Gap
		seconds      any
		completeness any
	}{
		{Gap{Reason: "refused", Start: start, End: start.AddDuration(90 * time.Second)}, json.Number("90"), json.Number("0")},
		{Gap{Reason: "refused", Start: start, Open: true}, nil, nil},
	} {
		d := decode(t, Failed(task, later, test.gap, "no room", later.Time()), true)
		r := d["result"].(map[string]any)
		if r["succeeded"] != false || r["error"] != "no room" || r["diags"] != nil || r["schema"] != json.Number("1") {
			t.Errorf("result %v", r)
		}
		owl := r["owl"].(map[string]any)
		want := []any{map[string]any{"reason": "refused", "start": "2026-05-01T12:00:00.5Z", "seconds": test.seconds}}
		if diff := cmp.Diff(want, owl["gaps"]); diff != "" || owl["completeness"] != test.completeness {
			t.Errorf("completeness %v, gaps (-want +got)\n%s", owl["completeness"], diff)
		}
		if start := d["schedule"].(map[string]any)["start"]; start != "2026-05-01T12:01:00Z" {
			t.Errorf("start %v", start)
		}
	}
}

// parts returns results of parts of one session that begin in the same second.
func parts(t testing.TB, rng *rand.Rand, n int) []*Result {
	task := newTask(t, nil)
	all := make([]*Result, n)
	for i := range all {
		s := session(50, time.Second)
		s.Spec.Start += owamp.Timestamp(rng.Uint32() >> 1)
		if rng.IntN(5) == 0 {
			gap := Gap{Reason: []string{"refused", "restarted"}[rng.IntN(2)], Start: s.Spec.Start, End: s.Spec.Start + owamp.Timestamp(rng.IntN(1000))}
			all[i] = Failed(task, gap.Start, gap, "why", gap.Start.Time())
			all[i].Time = s.Spec.Start.Time().Truncate(time.Second)
			continue
		}
		recs := arrivals(t, rng, s, 0)
		if rng.IntN(6) == 0 {
			recs = nil
		}
		all[i] = of(t, task, s, recs, 1e-4, true)
		all[i].Part = i
		all[i].ID = fmt.Sprint(i)
		all[i].Gaps = []Gap{{Reason: "refused", Start: s.Spec.Start, End: s.Spec.Start + 9}}
		if rng.IntN(2) == 0 {
			all[i].LostBy = map[string]uint64{"network": all[i].Lost}
		}
	}
	return all
}

// unordered are the members of a document that do not say in which order results
// were merged.
func unordered(t testing.TB, r *Result) any {
	d := decode(t, r, false)["result"].(map[string]any)
	if r.Succeeded {
		owl := d["owl"].(map[string]any)
		delete(owl, "sid")
		delete(owl, "part")
	}
	return d
}

// Merging adds up what there is, in whatever order, and changes nothing of it.
func TestMerge(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 9))
		all := parts(t, rng, 3)
		a, b, c := all[0], all[1], all[2]
		before := decode(t, a, true)
		merge := func(x, y *Result) *Result {
			t.Helper()
			m, err := Merge(x, y)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		ab, ba := merge(a, b), merge(b, a)
		if d := cmp.Diff(decode(t, ab, true), decode(t, ba, true)); d != "" {
			t.Fatalf("seed %d: not commutative (-a,b +b,a)\n%s", seed, d)
		}
		left, right := merge(ab, c), merge(a, merge(b, c))
		if d := cmp.Diff(unordered(t, left), unordered(t, right)); d != "" {
			t.Fatalf("seed %d: not associative\n%s", seed, d)
		}
		if d := cmp.Diff(before, decode(t, a, true)); d != "" {
			t.Fatalf("seed %d: merging has changed a result\n%s", seed, d)
		}
		want := naive{Bins: map[int32]uint64{}, TTL: map[int]uint64{}, Distances: map[uint64]uint64{}, Min: math.MaxInt64, Max: math.MinInt64}
		for _, r := range all {
			if !r.Succeeded {
				continue
			}
			n := counts(r)
			want.Sent, want.Received, want.Lost, want.Duplicates = want.Sent+n.Sent, want.Received+n.Received, want.Lost+n.Lost, want.Duplicates+n.Duplicates
			want.Reordered, want.NotSent, want.Bursts, want.Longest = want.Reordered+n.Reordered, want.NotSent+n.NotSent, want.Bursts+n.Bursts, max(want.Longest, n.Longest)
			for bin, c := range n.Bins {
				want.Bins[bin] += c
			}
			for ttl, c := range n.TTL {
				want.TTL[ttl] += c
			}
			for d, c := range n.Distances {
				want.Distances[d] += c
			}
			if n.Received > 0 {
				want.Min, want.Max = min(want.Min, n.Min), max(want.Max, n.Max)
			}
		}
		if !left.Succeeded {
			continue
		}
		if want.Received == 0 {
			want.Min, want.Max = 0, 0
		}
		if d := cmp.Diff(want, counts(left), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("seed %d (-want +merged)\n%s", seed, d)
		}
	}
}

func TestMergeRefuses(t *testing.T) {
	task, other := newTask(t, nil), newTask(t, func(c *TaskConfig) { c.Name = "other" })
	a := Failed(task, 1<<63, Gap{}, "", time.Time{})
	for _, b := range []*Result{Failed(other, 1<<63, Gap{}, "", time.Time{}), Failed(task, 1<<63+1<<32, Gap{}, "", time.Time{})} {
		if _, err := Merge(a, b); err == nil {
			t.Error("merged what is of another task or second")
		}
	}
	s := session(1, time.Second)
	x, y := of(t, task, s, nil, 1e-4, false), of(t, task, s, nil, 1e-3, false)
	if _, err := Merge(x, y); err == nil {
		t.Error("merged histograms of different bins")
	}
}

// What a result costs, from its records to its JSON.
func BenchmarkResult(b *testing.B) {
	for _, n := range []uint32{10, 600} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			task := newTask(b, nil)
			s := session(n, 2*time.Second)
			recs := arrivals(b, rand.New(rand.NewPCG(1, 1)), s, 0)
			scratch := make([]owamp.Record, len(recs))
			var size, bins int
			b.ReportAllocs()
			for b.Loop() {
				copy(scratch, recs)
				r := of(b, task, s, scratch, 7e-4, false)
				text, err := r.JSON("", false)
				if err != nil {
					b.Fatal(err)
				}
				size, bins = len(text), r.Delays.Len()
			}
			b.ReportMetric(float64(size), "octets")
			b.ReportMetric(float64(bins), "bins")
		})
		b.Run(fmt.Sprintf("%d/summary alone", n), func(b *testing.B) {
			s := session(n, 2*time.Second)
			recs := arrivals(b, rand.New(rand.NewPCG(1, 1)), s, 0)
			scratch := make([]owamp.Record, len(recs))
			for b.Loop() {
				copy(scratch, recs)
				if _, err := stats.Summarize(s, batch(scratch), stats.Options{BucketWidth: 2e-3 / 4}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
