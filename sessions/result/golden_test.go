package result

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
	"owl/owamp/stats"
)

// batch yields records as a file's reader does.
func batch(recs []owamp.Record) iter.Seq2[[]owamp.Record, error] {
	return func(yield func([]owamp.Record, error) bool) { yield(recs, nil) }
}

func newTask(t testing.TB, change func(*TaskConfig)) *Task {
	t.Helper()
	cfg := TaskConfig{
		Test: LatencyBG, Tool: "powstream", ToolVersion: "1.0",
		Host: "ps1.example.net", Local: "192.0.2.10", Remote: "198.51.100.20",
		ControlPort: 861, DataPorts: [2]uint16{8760, 9960}, IPVersion: 4,
		Added:   time.Date(2026, 5, 1, 11, 59, 40, 0, time.UTC),
		Packets: 600, Interval: owamp.IntervalSeconds(0.1), Timeout: owamp.IntervalSeconds(1),
	}
	if change != nil {
		change(&cfg)
	}
	task, err := NewTask(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// session returns a session of so many packets from 192.0.2.10, at 2026-05-01.
func session(packets uint32, timeout time.Duration) *stats.Session {
	return &stats.Session{
		Finished: true,
		NextSeq:  packets,
		Spec: owamp.SessionSpec{
			Sender:   netip.MustParseAddrPort("192.0.2.10:8760"),
			Receiver: netip.MustParseAddrPort("198.51.100.20:8761"),
			SID:      owamp.SID{1, 2, 3, 15: 4},
			Packets:  packets,
			Slots:    []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalSeconds(0.1)}},
			Start:    owamp.FromTime(time.Date(2026, 5, 1, 12, 0, 0, 250_000_000, time.UTC)),
			Timeout:  owamp.IntervalOf(timeout),
		},
	}
}

// of returns the result of records.
func of(t testing.TB, task *Task, s *stats.Session, recs []owamp.Record, width float64, raw bool) *Result {
	t.Helper()
	f := NewFold(raw)
	sum, err := stats.Summarize(s, batch(recs), stats.Options{BucketWidth: width, Each: f.Observe})
	if err != nil {
		t.Fatal(err)
	}
	end := s.Spec.Start.AddDuration(time.Minute)
	return f.Result(task, sum, Extent{Part: -1, Start: s.Spec.Start, End: end, Until: end, Made: time.Date(2026, 5, 1, 12, 1, 3, 0, time.UTC)})
}

// decode returns the document of r.
func decode(t testing.TB, r *Result, raw bool) map[string]any {
	t.Helper()
	text, err := r.JSON("", raw)
	if err != nil {
		t.Fatal(err)
	}
	return decodeText(t, text)
}

func decodeText(t testing.TB, text []byte) map[string]any {
	t.Helper()
	var d map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&d); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return d
}

// lineForm is what pScheduler's powstream tool takes for a packet.
var lineForm = regexp.MustCompile(`^(\d+) (\d+) (\d) ([-.0-9e+]*) (\d+) (\d) ([-.0-9e+]*) (\d+)$`)

// packets reads what owstats -R prints, as that tool does.
func packets(t *testing.T, text string) (recs []owamp.Record, odd bool) {
	number := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	estimate := func(sync, s string) owamp.ErrorEstimate {
		seconds, err := strconv.ParseFloat(s, 64)
		odd = odd || err != nil || seconds < 0
		return owamp.NewErrorEstimate(time.Duration(seconds*1e9), sync == "1")
	}
	for line := range strings.Lines(text) {
		m := lineForm.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || strings.HasSuffix(line, " ") {
			continue
		}
		recs = append(recs, owamp.Record{
			Seq: uint32(number(m[1])), Sent: owamp.Timestamp(number(m[2])), SentErr: estimate(m[3], m[4]),
			Recv: owamp.Timestamp(number(m[5])), RecvErr: estimate(m[6], m[7]), TTL: uint8(number(m[8])),
		})
	}
	return recs, odd
}

// What the tool counts makes the same result here, but for what it gets wrong.
func TestGoldenTool(t *testing.T) {
	text, err := os.ReadFile("testdata/owstats-parse.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Case   string
		Input  string
		Result map[string]any
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	corrected := map[string]map[string]any{
		// A copy of a packet is neither sent nor received once more.
		"dup": {"packets-sent": 2.0, "packets-received": 2.0, "packets-duplicated": 1.0, "histogram-ttl": map[string]any{"255": 2.0}},
	}
	compared := 0
	for _, c := range cases {
		recs, odd := packets(t, c.Input)
		if odd || c.Case == "lost-then-arrived" {
			continue // an error estimate, or a sequence of records, that no receiver writes
		}
		t.Run(c.Case, func(t *testing.T) {
			compared++
			n := uint32(1)
			for _, r := range recs {
				n = max(n, r.Seq+1)
			}
			var delays []float64 // ms, of first copies
			seen := make(map[uint32]bool)
			for _, r := range recs {
				if !r.Lost() && !seen[r.Seq] {
					seen[r.Seq] = true
					delays = append(delays, float64(int64(r.Recv-r.Sent))/(1<<32)*1000)
				}
			}
			s := session(n, 1000*time.Second)
			s.Spec.Start = 17101113440000000000 // before all of them
			const width = 1e-5                  // as fine as the tool's labels are
			got := map[string]any{}
			encoded, err := of(t, newTask(t, nil), s, recs, width, false).outcome(false)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(encoded, &got); err != nil {
				t.Fatal(err)
			}
			delete(got, "owl")
			// Labels are the far ends of bins, and not the nearest multiple of one.
			histogram := got["histogram-latency"].(map[string]any)
			checkLabels(t, histogram, delays, width*1000)
			if n := len(c.Result["histogram-latency"].(map[string]any)); c.Case != "dup" && n != len(histogram) {
				t.Errorf("%d bins, want %d", len(histogram), n)
			}
			delete(got, "histogram-latency")
			delete(c.Result, "histogram-latency")
			maps.Copy(c.Result, corrected[c.Case])
			if d := cmp.Diff(c.Result, got); d != "" {
				t.Errorf("(-pScheduler +owl)\n%s", d)
			}
		})
	}
	if compared < 18 {
		t.Errorf("%d cases were compared, want 18 or more", compared)
	}
}

// checkLabels checks that a histogram counts each delay in the bin whose far end
// is its label.
func checkLabels(t *testing.T, histogram map[string]any, delays []float64, width float64) {
	t.Helper()
	var labels []float64
	for label, n := range histogram {
		v, err := strconv.ParseFloat(label, 64)
		if err != nil {
			t.Fatal(err)
		}
		for range int(n.(float64)) {
			labels = append(labels, v)
		}
	}
	slices.Sort(labels)
	slices.Sort(delays)
	if len(labels) != len(delays) {
		t.Fatalf("%d delays in the histogram, want %d", len(labels), len(delays))
	}
	for i, d := range delays {
		// Delays are rounded to 0.5 µs before they are sorted into bins.
		if over := math.Abs(labels[i]) - math.Abs(d); over < -0.0006 || over >= width+0.0006 {
			t.Errorf("a delay of %v ms is in bin %v", d, labels[i])
		}
	}
}

// kinds lists the paths of what is in v, with what kind of value each has.
func kinds(path string, v any, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		into[path] = "object"
		for name, m := range v {
			switch {
			case strings.Contains(path, "/histogram-"):
				kinds(path+"/*", m, into)
			case name != "owl" && !strings.HasSuffix(path, "/reference"):
				kinds(path+"/"+name, m, into)
			}
		}
	case []any:
		into[path] = "array"
		for _, m := range v {
			kinds(path+"/*", m, into)
		}
	default:
		into[path] = fmt.Sprintf("%T", v)
	}
}

// A document has the members that pScheduler's has, with values of the same
// kinds, and no others but owl.
func TestGoldenDocument(t *testing.T) {
	received := []owamp.Record{{Seq: 0, Sent: 1 << 63, Recv: 1<<63 + 1<<22, TTL: 59, SentErr: 0x8a80, RecvErr: 0x8a80}}
	reference := json.RawMessage(`{"display-task-name": "Example OWAMP", "psconfig": {"created-by": {"agent-type": "pscheduler", "uuid": "11111111-2222-3333-4444-555555555555"}}}`)
	gap := Gap{Reason: "peer_unreachable", Start: session(1, time.Second).Spec.Start, Open: true}
	for name, test := range map[string]struct {
		change func(*TaskConfig)
		recs   []owamp.Record
		extra  []string // members that the golden document leaves out, for they are optional
	}{
		"01-success":                   {func(c *TaskConfig) { c.Reference = reference }, received, nil},
		"02-loss-dup-reorder-negative": {nil, received, []string{"flip", "ip-version", "output-raw"}},
		"03-failed":                    {nil, nil, nil},
		"04-all-lost":                  {nil, []owamp.Record{{Seq: 0, Sent: session(1, 0).Spec.Start, TTL: 255}}, nil},
		"08-latency-owping": {func(c *TaskConfig) { c.Test, c.Tool, c.TOS, c.Packets = Latency, "owping", 32, 100 }, received,
			[]string{"flip", "ip-version", "output-raw", "bucket-width", "ctrl-port", "data-ports", "data-ports/lower", "data-ports/upper", "packet-padding", "packet-timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			want, got := make(map[string]string), make(map[string]string)
			kinds("", decodeText(t, text)["result"], want)
			task := newTask(t, test.change)
			var r *Result
			if test.recs == nil {
				r = Failed(task, gap.Start, gap, "no route to host", gap.Start.Time())
			} else {
				s := session(1, time.Second)
				s.Spec.Start = test.recs[0].Sent
				r = of(t, task, s, test.recs, 0, false)
			}
			kinds("", decode(t, r, false), got)
			for _, m := range test.extra {
				delete(got, "/test/spec/"+m)
				delete(got, "/task/test/spec/"+m)
			}
			// One program can measure from either end, pScheduler asks for it.
			for _, spec := range []string{"/test/spec", "/task/test/spec"} {
				delete(want, spec+"/single-participant-mode")
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-pScheduler +owl)\n%s", d)
			}
		})
	}
}
