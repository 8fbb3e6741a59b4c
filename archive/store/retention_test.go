package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive/series"
)

func TestParseRetention(t *testing.T) {
	const days = 24 * time.Hour
	rules, err := ParseRetention(" histogram-owdelay/base=90d, */aggregation/300=1y\n*/averages = 2w,,failures=36h,*=forever\n")
	want := []Rule{
		{Event: "histogram-owdelay", Summary: &series.Summary{}, Keep: 90 * days},
		{Summary: &series.Summary{Type: series.Aggregation, Window: 300}, Keep: 365 * days},
		{Summary: &series.Summary{Type: series.Average, Window: AnyWindow}, Keep: 14 * days},
		{Event: "failures", Keep: 36 * time.Hour},
		{},
	}
	if diff := cmp.Diff(want, rules); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if rules, err := ParseRetention(""); len(rules) > 0 || err != nil {
		t.Errorf("nothing: %v, %v", rules, err)
	}
	for text, want := range map[string]string{
		"x":                       `retention "x": want EVENT/SUMMARY/WINDOW=TIME, such as */base=90d`,
		"throughputs=1d":          `retention "throughputs=1d": "throughputs" is no event type: want one, or *`,
		"*/mean=1d":               `retention "*/mean=1d": "mean" is no summary: want base, aggregation, average or statistics`,
		"*/base/0=1d":             `retention "*/base/0=1d": want EVENT/SUMMARY/WINDOW, and no window of base`,
		"*/average/300/1=1d":      `retention "*/average/300/1=1d": want EVENT/SUMMARY/WINDOW, and no window of base`,
		"*/statistics/0=1d":       `retention "*/statistics/0=1d": "0" is no window: want seconds, more than 0 (what has window 0 is made of base)`,
		"*=90":                    `retention "*=90": "90" is no time: want forever, or a number with s, m, h, d, w or y, such as 90d`,
		"*=0d":                    `retention "*=0d": "0d" is no time: want forever, or a number with s, m, h, d, w or y, such as 90d`,
		"*=300000000y":            `retention "*=300000000y": "300000000y" is no time: want forever, or a number with s, m, h, d, w or y, such as 90d`,
		"*=d":                     `retention "*=d": "d" is no time: want forever, or a number with s, m, h, d, w or y, such as 90d`,
		"*=1d, failures/base=-1d": `retention "failures/base=-1d": "-1d" is no time: want forever, or a number with s, m, h, d, w or y, such as 90d`,
	} {
		if _, err := ParseRetention(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseRetention(f *testing.F) {
	f.Add("histogram-owdelay/base=90d,*/aggregation/300=1y,*=forever")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := ParseRetention(text)
		for _, r := range rules {
			if r.Keep < 0 || err != nil {
				t.Errorf("%+v, %v", r, err)
			}
		}
	})
}

// A window has one fold for all its summaries, so it is kept as long as any of them.
func TestKeepSpan(t *testing.T) {
	rules, err := ParseRetention("*/aggregation/300=1d,*/statistics/300=2d,*/aggregation/3600=1d,histogram-rtt=3d")
	if err != nil {
		t.Fatal(err)
	}
	both := []series.Summary{{Type: series.Aggregation, Window: 300}, {Type: series.Statistics, Window: 300}, {Type: series.Aggregation, Window: 3600}, {Type: series.Statistics, Window: 3600}}
	for _, c := range []struct {
		event series.EventType
		span  int64
		want  time.Duration
	}{
		{"histogram-owdelay", 300, 48 * time.Hour}, {"histogram-owdelay", 3600, 0}, {"histogram-owdelay", 0, 0},
		{"histogram-rtt", 0, 72 * time.Hour}, {"histogram-rtt", 3600, 72 * time.Hour},
	} {
		if got := keepSpan(rules, c.event, both, c.span); got != c.want {
			t.Errorf("%s over %d s is kept %v, want %v", c.event, c.span, got, c.want)
		}
	}
}

// rowsOf counts the rows of all values, and of the summaries over each window.
func rowsOf(t testing.TB, s *Store) string {
	t.Helper()
	text := ""
	for _, query := range []string{"SELECT 0, count(*) FROM points", "SELECT span, count(*) FROM folds GROUP BY span ORDER BY span"} {
		if err := s.reader(t.Context()).query(func(r row) error {
			var span, n int64
			err := r.Scan(&span, &n)
			text += fmt.Sprintf("%d:%d ", span, n)
			return err
		}, query); err != nil {
			t.Fatal(err)
		}
	}
	return text
}

func testPrune(t *testing.T, address string) {
	s, clock := openAt(t, address)
	const begin = 1_699_920_000 // of a day
	m := register(t, s, powstream(t, "192.0.2.1", "192.0.2.2"))
	other := register(t, s, powstream(t, "192.0.2.2", "192.0.2.1"))
	// Two hours of three series, a value a minute: enough for several parts.
	for _, key := range []string{m.Key, other.Key} {
		var samples []series.Sample
		for i := range int64(480) {
			samples = append(samples,
				sample(t, begin+15*i, "histogram-owdelay", `{"34.30": 1}`),
				sample(t, begin+15*i, "packet-count-sent", `600`),
				sample(t, begin+15*i, "packet-duplicates", `0`))
		}
		if _, err := s.Write(t.Context(), key, samples); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := rowsOf(t, s), "0:2880 300:96 3600:8 86400:4 "; got != want {
		t.Fatalf("rows %s, want %s", got, want)
	}
	prune := func(rules string, want int64, left string) {
		t.Helper()
		parsed, err := ParseRetention(rules)
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.Prune(t.Context(), parsed)
		if err != nil || n != want {
			t.Errorf("%s: %d removed (%v), want %d", rules, n, err, want)
		}
		if got := rowsOf(t, s); got != left {
			t.Errorf("%s: rows %s, want %s", rules, got, left)
		}
	}
	sum := func(window int64) string {
		return readings(t, s, Query{Key: m.Key, Event: "packet-count-sent", Summary: series.Summary{Type: series.Aggregation, Window: window}, To: begin + 86400, Limit: -1})
	}
	daily := sum(86400)
	clock.Store(begin + 3600 + 7200)
	prune("", 0, "0:2880 300:96 3600:8 86400:4 ")
	prune("*=forever", 0, "0:2880 300:96 3600:8 86400:4 ")
	// The values of the first hour, but those of one series; what is just as old
	// as it may be stays.
	prune("packet-duplicates=forever,*/base=2h", 2*2*240, "0:1920 300:96 3600:8 86400:4 ")
	prune("packet-duplicates=forever,*/base=2h", 0, "0:1920 300:96 3600:8 86400:4 ")
	// Some time later, what has got too old since.
	clock.Add(60)
	prune("packet-duplicates=forever,*/base=2h", 2*2*4, "0:1904 300:96 3600:8 86400:4 ")
	// A value that comes too late is found a day later.
	if _, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, begin-10*86400, "packet-count-sent", `1`)}); err != nil {
		t.Fatal(err)
	}
	prune("packet-duplicates=forever,*/base=2h", 0, "0:1905 300:97 3600:9 86400:5 ")
	clock.Add(86400)
	prune("packet-duplicates=forever,*/base=1w", 1, "0:1904 300:97 3600:9 86400:5 ")
	// Windows, of which one is still within its time.
	clock.Store(begin + 3600 + 7200)
	// The late one's two; of the first hour all windows but the last; of histograms
	// statistics want them, too.
	prune("*/aggregation/300=2h,*/aggregation/3600=1d", 2+2*11, "0:1904 300:74 3600:8 86400:5 ")
	prune("*/aggregation/300=2h,*/statistics/300=2h", 2*11, "0:1904 300:52 3600:8 86400:5 ")
	if got := sum(86400); got != fmt.Sprintf("%d 1.0\n", begin-10*86400)+daily {
		t.Errorf("the sums of days are %q, want %q and that of the late value", got, daily)
	}
	if _, err := s.Metadata(t.Context(), m.Key); err != nil {
		t.Error(err)
	}
	prune("*=1s", 1904+52+8+1, "0:0 86400:4 ") // their day is not over
	if _, err := s.Metadata(t.Context(), m.Key); err != nil {
		t.Error("the measurement is gone with its values:", err)
	}
}

// A value that comes late for a window whose summary is gone, but not its values,
// makes a summary of all of them.
func testPruneSummaries(t *testing.T, address string) {
	s, clock := openAt(t, address)
	const begin = 1_699_920_000
	m := register(t, s, powstream(t, "192.0.2.1", "192.0.2.2"))
	write := func(at int64, n string) {
		t.Helper()
		if _, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, at, "packet-count-sent", n), sample(t, at, "histogram-owdelay", `{"1": `+n+`}`)}); err != nil {
			t.Fatal(err)
		}
	}
	write(begin, "1")
	write(begin+60, "10")
	write(begin+600, "100")
	clock.Store(begin + 86400)
	rules, err := ParseRetention("*/aggregation/300=1h,*/statistics/300=1h")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Prune(t.Context(), rules); n != 4 || err != nil {
		t.Fatalf("%d removed, %v, want 4", n, err)
	}
	sums := func(event series.EventType) string {
		return readings(t, s, Query{Key: m.Key, Event: event, Summary: series.Summary{Type: series.Aggregation, Window: 300}, To: begin + 86400, Limit: -1})
	}
	if got := sums("packet-count-sent"); got != "" {
		t.Fatalf("%q is left", got)
	}
	write(begin+120, "1000")
	if got, want := sums("packet-count-sent"), fmt.Sprintf("%d 1011.0\n", begin); got != want {
		t.Errorf("the sum is %q, want %q", got, want)
	}
	if got, want := sums("histogram-owdelay"), fmt.Sprintf("%d {\"1\": 1011}\n", begin); got != want {
		t.Errorf("the sum is %q, want %q", got, want)
	}
	// One that is replaced, in a window without a summary.
	if _, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, begin+600, "histogram-owdelay", `{"1": 7}`)}); err != nil {
		t.Fatal(err)
	}
	if got, want := sums("histogram-owdelay"), fmt.Sprintf("%d {\"1\": 1011}\n%d {\"1\": 7}\n", begin, begin+600); got != want {
		t.Errorf("the sum is %q, want %q", got, want)
	}
}
