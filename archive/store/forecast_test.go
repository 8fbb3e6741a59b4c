package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"owl/archive/series"
)

// writeMinutes writes some minutes of what powstream measures, a value a minute.
func writeMinutes(t testing.TB, s *Store, key string, begin, minutes int64) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(begin), 0))
	var samples []series.Sample
	for i := range minutes {
		at := begin + 60*i
		histogram := ""
		for bin := range 12 {
			histogram += fmt.Sprintf(`, "%.2f": %d`, 34.3+0.1*float64(bin), 1+r.IntN(60))
		}
		for event, value := range map[series.EventType]string{
			"histogram-owdelay": "{" + histogram[2:] + "}", "histogram-ttl": `{"59": 600}`,
			"packet-count-sent": `600`, "packet-count-lost": `0`, "packet-loss-rate": `{"numerator": 0, "denominator": 600}`,
			"packet-duplicates": `0`, "packet-reorders": `0`, "time-error-estimates": `0.1234`,
		} {
			samples = append(samples, sample(t, at, event, value))
		}
	}
	if _, err := s.Write(t.Context(), key, samples); err != nil {
		t.Fatal(err)
	}
}

func testForecast(t *testing.T, address string) {
	s, clock := openAt(t, address)
	if f, err := s.Forecast(t.Context(), nil); err != nil || f.PerDay != 0 || f.Values != 0 || !f.Full.IsZero() || f.Most != f.Octets || f.Octets <= 0 {
		t.Errorf("nothing: %+v, %v", f, err)
	}
	empty, err := s.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const begin, streams = 1_699_920_000, 1
	var keys []string
	for i := range streams {
		keys = append(keys, register(t, s, powstream(t, "192.0.2.1", fmt.Sprintf("192.0.2.%d", 2+i))).Key)
	}
	for at := int64(begin); at < begin+86400; at += 1800 { // in turns, as they come
		for _, key := range keys {
			writeMinutes(t, s, key, at, 30)
		}
	}
	register(t, s, powstream(t, "192.0.2.1", "192.0.2.99")) // which is never written
	clock.Store(begin + 86400 - 1)
	f, err := s.Forecast(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.Values < streams*8*1440-100 || f.Values > streams*8*1440+100 {
		t.Errorf("%d values a day, want %d", f.Values, streams*8*1440)
	}
	grown := f.Octets - empty
	if _, ok := s.dialect.(*sqlite); ok { // without the log beside the file
		if err := s.reader(t.Context()).query(func(r row) error { return r.Scan(&grown) }, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"); err != nil {
			t.Fatal(err)
		}
	}

	if float64(f.PerDay) < 0.6*float64(grown) || float64(f.PerDay) > 1.5*float64(grown) {
		t.Errorf("%d octets a day, want about %d", f.PerDay, grown)
	}
	if f.Most != -1 {
		t.Errorf("at most %d octets, want no bound", f.Most)
	}
	// Rules by which everything is gone that is older than three days, of which
	// two have still to come.
	rules, err := ParseRetention("*=3d")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := s.Forecast(t.Context(), rules)
	if err != nil {
		t.Fatal(err)
	}
	if more := float64(kept.Most-kept.Octets) / float64(kept.PerDay); more < 2 || more > 2.2 {
		t.Errorf("%.2f days' worth to come, want two, and the last windows", more)
	}
	if !kept.Kept.IsZero() {
		t.Errorf("full at %v, want never", kept.Kept)
	}
}

func TestForecastFull(t *testing.T) {
	f := &forecaster{now: 1_700_000_000}
	inf := math.Inf(1)
	for _, c := range []struct {
		free    int64
		growths []growth
		want    float64 // days; 0: never
	}{
		{-1, []growth{{100, inf}}, 0},
		{1000, nil, 0},
		{1000, []growth{{0, inf}}, 0},
		{1000, []growth{{100, inf}}, 10},
		{1000, []growth{{50, inf}, {50, inf}}, 10},
		{1000, []growth{{100, 5}}, 0},
		{1000, []growth{{100, 5}, {50, inf}}, 10},
		{1000, []growth{{10, inf}, {100, 5}, {40, 10}}, 10},
		{1000, []growth{{100, 10}}, 10},
		{1, []growth{{100, 0}}, 0},
		{math.MaxInt64, []growth{{1, inf}}, 0},
	} {
		got := f.full(c.free, c.growths)
		if c.want == 0 && !got.IsZero() || c.want > 0 && math.Abs(got.Sub(time.Unix(f.now, 0)).Hours()/24-c.want) > 1e-6 {
			t.Errorf("%d octets with %v are full at %v, want after %v days", c.free, c.growths, got, c.want)
		}
	}
}
