package metrics

import (
	"errors"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"owl/internal/testprog"
	"owl/owamp"
	"owl/sessions"
)

var update = flag.Bool("update", false, "write the golden files anew")

// epoch is when the tests' packets are sent.
var epoch = owamp.FromUnix(1_700_000_000, 0)

// received returns records of packets with the given delays.
func received(delays ...time.Duration) []owamp.Record {
	recs := make([]owamp.Record, len(delays))
	for i, d := range delays {
		recs[i] = owamp.Record{Seq: uint32(i), Sent: epoch, Recv: epoch.AddDuration(d), TTL: 255}
	}
	return recs
}

func fixed(s sessions.Snapshot) func() sessions.Snapshot {
	return func() sessions.Snapshot { return s }
}

func newCollector(t testing.TB, options ...Option) (*prometheus.Registry, *Collector) {
	t.Helper()
	reg := prometheus.NewRegistry()
	c, err := New(reg, options...)
	if err != nil {
		t.Fatal(err)
	}
	return reg, c
}

// series returns every series of a scrape as "family{labels}" to value; of a
// histogram its number of observations.
func series(t testing.TB, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			name := strings.TrimPrefix(f.GetName(), "owamp_") + "{" + strings.Join(labels, ",") + "}"
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				all[name] = m.GetCounter().GetValue()
			case dto.MetricType_HISTOGRAM:
				all[name] = float64(m.GetHistogram().GetSampleCount())
			default:
				all[name] = m.GetGauge().GetValue()
			}
		}
	}
	return all
}

// expect fails for each series of want that a scrape has not, or has with
// another value.
func expect(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[name]; !ok || v != want[name] {
			t.Errorf("%s is %v (there: %v), want %v", name, v, ok, want[name])
		}
	}
}

// busy is a stream with something different in each field.
var busy = sessions.Snapshot{
	State:    sessions.StateRunning,
	Received: 1000, Lost: 7, NotSent: 3, NotCovered: 20,
	LostBy:     sessions.LossCount{sessions.CauseNetwork: 3, sessions.CauseHost: 4},
	Unresolved: 12, Overdue: 2,
	Duplicates: 4, Reordered: 5, Late: 6, SocketDrops: 8,
	TTL: 243, TTLMin: 240, TTLMax: 244,
	LastPacket: time.Unix(1_700_000_123, 500_000_000),
	ClockError: 250 * time.Microsecond, ClockSynced: true, ClockSteps: 2,
	SendSlip: 40 * time.Microsecond, TransmitGap: 900 * time.Nanosecond,
	Gaps: map[sessions.GapReason]time.Duration{
		sessions.GapPeerUnreachable: 90 * time.Second,
		sessions.GapRefused:         1500 * time.Millisecond,
	},
	Measured: 75 * time.Second, Elapsed: 100 * time.Second,
}

// What a server measures with a peer is named by the two addresses, as seen from
// this host.
func TestBetween(t *testing.T) {
	reg, c := newCollector(t)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::2")
	c.Between(a, b, true, fixed(sessions.Snapshot{Received: 5}))
	c.Between(b, a, false, fixed(sessions.Snapshot{Received: 6}))
	expect(t, series(t, reg), map[string]float64{
		"packets_total{destination=2001:db8::2,direction=to,source=192.0.2.1,state=received,stream=}":   5,
		"packets_total{destination=192.0.2.1,direction=from,source=2001:db8::2,state=received,stream=}": 6,
	})
}

// scraped is a Collector's registry as the golden file shows it: one stream
// for each direction, one of them only begun.
func scraped(t *testing.T) *prometheus.Registry {
	reg, c := newCollector(t, Version("1.2.3"))
	s := c.Stream(Labels{"ams.example.net", "lon.example.net", To, "ams-lon"}, fixed(busy))
	t.Cleanup(s.Close)
	s.Observe(received(-300*time.Nanosecond, 0, 700*time.Nanosecond, time.Microsecond,
		time.Microsecond+1, 1234567, 1234568, time.Millisecond, 20*time.Second))
	begun := c.Stream(Labels{"lon.example.net", "ams.example.net", From, ""}, fixed(sessions.Snapshot{
		SendSlip: 40 * time.Microsecond, TransmitGap: 900 * time.Nanosecond,
	}))
	t.Cleanup(begun.Close)
	return reg
}

func scrape(t *testing.T, reg prometheus.Gatherer, accept string) (body []byte, contentType string) {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	Handler(reg).ServeHTTP(w, req)
	if w.Code != 200 {
		t.Fatalf("scrape answered %d: %s", w.Code, w.Body)
	}
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body, w.Header().Get("Content-Type")
}

// without returns text without the lines about owl_build_info, which tell of
// the toolchain.
func without(text []byte, name string) string {
	var keep []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, name) {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep, "")
}

func TestExposition(t *testing.T) {
	body, contentType := scrape(t, scraped(t), "")
	if !strings.HasPrefix(contentType, "text/plain; version=0.0.4") {
		t.Errorf("content type %q, want the Prometheus text format", contentType)
	}
	const golden = "testdata/scrape.txt"
	got := without(body, "owl_build_info")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("scrape (-%s +got):\n%s", golden, d)
	}
}

func TestNegotiation(t *testing.T) {
	reg := scraped(t)
	body, contentType := scrape(t, reg, "application/openmetrics-text;version=1.0.0")
	if !strings.HasPrefix(contentType, "application/openmetrics-text") || !strings.HasSuffix(string(body), "# EOF\n") {
		t.Errorf("content type %q and %d octets, want complete OpenMetrics", contentType, len(body))
	}
	_, contentType = scrape(t, reg, "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	if !strings.HasPrefix(contentType, "application/vnd.google.protobuf") {
		t.Errorf("content type %q, want protocol buffers for native histograms", contentType)
	}
}

func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(scraped(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestPromtool(t *testing.T) {
	body, _ := scrape(t, scraped(t), "")
	testprog.Promtool(t, string(body))
}

func TestBuildInfo(t *testing.T) {
	body, _ := scrape(t, scraped(t), "")
	want := `owl_build_info{goversion="go`
	if s := string(body); !strings.Contains(s, want) || !strings.Contains(s, `version="1.2.3"} 1`) {
		t.Errorf("scrape has no %s…version=\"1.2.3\"} 1", want)
	}
}

func TestNewTwice(t *testing.T) {
	reg, _ := newCollector(t)
	_, err := New(reg)
	if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); !ok {
		t.Errorf("second collector on one registry: %v, want an AlreadyRegisteredError", err)
	}
}

func TestClose(t *testing.T) {
	reg, c := newCollector(t)
	asked := 0
	s := c.Stream(Labels{"a", "b", To, "x"}, func() sessions.Snapshot { asked++; return busy })
	if n := len(series(t, reg)); n < 25 {
		t.Errorf("an open stream has %d series, want at least 25", n)
	}
	s.Close()
	s.Close()
	before := asked
	got := series(t, reg)
	if len(got) != 1 { // owl_build_info
		t.Errorf("after Close there are %v, want only the build info", got)
	}
	s.Observe(received(time.Millisecond))
	if asked != before {
		t.Errorf("snapshot called %d times after Close", asked-before)
	}
}

// Sessions of one stream overlap, and a peer may have several at once: what
// has the same labels is one set of series, which never goes back.
func TestEqualLabels(t *testing.T) {
	reg, c := newCollector(t)
	l := Labels{"a", "b", From, "x"}
	first := c.Stream(l, fixed(busy))
	worse := busy
	worse.State, worse.TTL = sessions.StateWaiting, 200
	worse.LastPacket = busy.LastPacket.Add(time.Second)
	worse.ClockSynced, worse.ClockError, worse.SendSlip = false, time.Second, time.Millisecond
	worse.Measured = 25 * time.Second
	second := c.Stream(l, fixed(worse))
	first.Observe(received(1, 2))
	second.Observe(received(3))

	const labels = "{destination=b,direction=from,source=a,stream=x}"
	with := func(name, k, v string) string { // label names are sorted
		if k < "destination" {
			return name + "{" + k + "=" + v + "," + labels[1:]
		}
		if k < "source" {
			return name + "{destination=b,direction=from," + k + "=" + v + ",source=a,stream=x}"
		}
		return name + "{destination=b,direction=from,source=a," + k + "=" + v + ",stream=x}"
	}
	expect(t, series(t, reg), map[string]float64{
		"one_way_delay_seconds" + labels:                             3,
		with("packets_total", "state", "received"):                   2000,
		with("packets_total", "state", "lost"):                       14,
		with("packets_total", "state", "not_sent"):                   6,
		with("packets_lost_by_cause_total", "cause", "unknown"):      0,
		with("packets_lost_by_cause_total", "cause", "network"):      6,
		with("packets_lost_by_cause_total", "cause", "host_suspect"): 0,
		with("packets_lost_by_cause_total", "cause", "host"):         8,
		with("packets_total", "state", "not_covered"):                40,
		"packets_unresolved" + labels:                                24,
		"packets_overdue" + labels:                                   4,
		"packets_duplicated_total" + labels:                          8,
		"packets_reordered_total" + labels:                           10,
		"packets_late_total" + labels:                                12,
		"socket_drops_total" + labels:                                16,
		"clock_steps_total" + labels:                                 4,
		"hops" + labels:                                              55,
		"clock_error_seconds" + labels:                               1,
		"clock_synchronized" + labels:                                0,
		"send_slip_seconds" + labels:                                 0.001,
		"transmit_gap_seconds" + labels:                              9e-7,
		"last_packet_timestamp_seconds" + labels:                     1_700_000_124.5,
		"completeness_ratio" + labels:                                0.5,
		with("session_state", "state", "running"):                    1,
		with("session_state", "state", "waiting"):                    1,
		with("session_state", "state", "stopped"):                    0,
		with("gap_seconds_total", "reason", "refused"):               3,
		with("gap_seconds_total", "reason", "restarted"):             0,
	})

	second.Close()
	expect(t, series(t, reg), map[string]float64{
		"one_way_delay_seconds" + labels:               3,
		with("packets_total", "state", "received"):     2000,
		"socket_drops_total" + labels:                  16,
		with("gap_seconds_total", "reason", "refused"): 3,
		"completeness_ratio" + labels:                  0.5,
		"packets_unresolved" + labels:                  12,
		"clock_synchronized" + labels:                  1,
		"clock_error_seconds" + labels:                 0.00025,
		with("session_state", "state", "waiting"):      0,
	})
	first.Close()
	if got := series(t, reg); len(got) != 1 {
		t.Errorf("after the last Close there are %v, want only the build info", got)
	}
}

func TestMaxStreams(t *testing.T) {
	reg, c := newCollector(t, MaxStreams(2))
	one := sessions.Snapshot{State: sessions.StateRunning, Received: 1, LastPacket: time.Unix(1, 0)}
	var streams []*Stream
	for _, name := range []string{"a", "b", "c", "d"} {
		s := c.Stream(Labels{name, "z", To, name}, fixed(one))
		s.Observe(received(1))
		streams = append(streams, s)
	}
	const others = "destination=other,direction=other,source=other"
	got := series(t, reg)
	expect(t, got, map[string]float64{
		"one_way_delay_seconds{destination=z,direction=to,source=b,stream=b}": 1,
		"one_way_delay_seconds{" + others + ",stream=other}":                  2,
		"packets_total{" + others + ",state=received,stream=other}":           2,
		"session_state{" + others + ",state=running,stream=other}":            2,
	})
	for name := range got {
		if strings.Contains(name, "source=c") || strings.Contains(name, "source=d") {
			t.Errorf("%s is there, want it in the group other", name)
		}
		if strings.HasPrefix(name, "hops{"+others) {
			t.Errorf("%s is there, but many paths have no number of hops", name)
		}
	}

	// A stream that has left makes room, and those in the group stay there.
	streams[0].Close()
	c.Stream(Labels{"e", "z", To, "e"}, fixed(one))
	streams[2].Close()
	expect(t, series(t, reg), map[string]float64{
		"one_way_delay_seconds{destination=z,direction=to,source=e,stream=e}": 0,
		"packets_total{" + others + ",state=received,stream=other}":           2,
		"session_state{" + others + ",state=running,stream=other}":            1,
	})
}

func TestMaxClassic(t *testing.T) {
	reg, c := newCollector(t, MaxClassic(1))
	first := c.Stream(Labels{"a", "z", To, ""}, fixed(busy))
	c.Stream(Labels{"b", "z", To, ""}, fixed(busy))
	if got := classicBuckets(t, reg); !maps.Equal(got, map[string]int{"a": 22, "b": 0}) {
		t.Errorf("classic buckets %v, want 22 for the first stream only", got)
	}
	first.Close()
	c.Stream(Labels{"c", "z", To, ""}, fixed(busy))
	if got := classicBuckets(t, reg); !maps.Equal(got, map[string]int{"b": 0, "c": 22}) {
		t.Errorf("classic buckets %v, want the room of the one that left used again", got)
	}
}

// classicBuckets returns how many buckets each source's histogram has.
func classicBuckets(t *testing.T, reg prometheus.Gatherer) map[string]int {
	t.Helper()
	n := make(map[string]int)
	for _, m := range histograms(t, reg) {
		for _, l := range m.Label {
			if l.GetName() == "source" {
				n[l.GetValue()] = len(m.Histogram.Bucket)
			}
		}
	}
	return n
}

func histograms(t testing.TB, reg prometheus.Gatherer) []*dto.Metric {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "owamp_one_way_delay_seconds" {
			return f.Metric
		}
	}
	t.Fatal("no owamp_one_way_delay_seconds")
	return nil
}

// One bad name must not cost the whole scrape.
func TestNameNotUTF8(t *testing.T) {
	reg, c := newCollector(t)
	c.Stream(Labels{"a\xff", "b", To, ""}, fixed(busy))
	expect(t, series(t, reg), map[string]float64{
		"packets_unresolved{destination=b,direction=to,source=a\uFFFD,stream=}": 12,
	})
}

// Streams come, measure and go while others scrape: every scrape is consistent
// in itself.
func TestConcurrency(t *testing.T) {
	reg, c := newCollector(t, MaxStreams(2))
	stop := make(chan struct{})
	var work sync.WaitGroup
	for i := range 4 {
		work.Go(func() {
			recs := received(1, -1, 0, time.Duration(i)*time.Second, time.Hour)
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := c.Stream(Labels{string(rune('a' + i)), "z", To, ""}, fixed(busy))
				for range 10 {
					s.Observe(recs)
				}
				s.Close()
			}
		})
	}
	c.Stream(Labels{"stays", "z", To, ""}, fixed(busy))
	for range 100 {
		for _, m := range histograms(t, reg) {
			h := m.Histogram
			_, n := nativeCounts(h)
			if n != h.GetSampleCount() {
				t.Fatalf("the native buckets hold %d, the histogram says %d", n, h.GetSampleCount())
			}
			if b := h.Bucket; len(b) > 0 && b[len(b)-1].GetCumulativeCount() > h.GetSampleCount() {
				t.Fatalf("the classic buckets hold %d, the histogram says %d", b[len(b)-1].GetCumulativeCount(), h.GetSampleCount())
			}
		}
	}
	close(stop)
	work.Wait()
}
