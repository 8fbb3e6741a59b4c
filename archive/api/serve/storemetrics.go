package serve

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"owl/archive/store"
)

const (
	// statsTime bounds a look at the store: a scrape does not wait for a slow disk.
	statsTime = 5 * time.Second
	// forecastAge is how long a forecast stands, and how long none is made again
	// after one that failed.
	forecastAge = 10 * time.Minute
)

// A storeFamily has one value for a store.
type storeFamily struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*store.Stats) float64
	asked bool // of the database, which may not answer
}

func storeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("owl_store_"+name, help, labels, nil)
}

var storeFamilies = []storeFamily{
	{desc: storeDesc("points_written_total", "Points that were written to the measurement archive."),
		kind: prometheus.CounterValue, value: func(s *store.Stats) float64 { return float64(s.Samples) }},
	{desc: storeDesc("commits_total", "Transactions of the measurement archive, each of which was one wait for the disk."),
		kind: prometheus.CounterValue, value: func(s *store.Stats) float64 { return float64(s.Commits) }},
	{desc: storeDesc("failing", "1 while the measurement archive cannot be written, else 0."),
		kind: prometheus.GaugeValue, value: func(s *store.Stats) float64 {
			if s.Failing != nil {
				return 1
			}
			return 0
		}},
	{desc: storeDesc("measurements", "Measurements that are registered in the measurement archive."), asked: true,
		kind: prometheus.GaugeValue, value: func(s *store.Stats) float64 { return float64(s.Measurements) }},
	{desc: storeDesc("size_bytes", "What the measurement archive takes on the disk, in octets."), asked: true,
		kind: prometheus.GaugeValue, value: func(s *store.Stats) float64 { return float64(s.Octets) }},
}

var (
	writesDesc = storeDesc("writes_total", "Writes to the measurement archive, by what became of them: written, repeated (all of it was there already) or refused.", "outcome")
	freeDesc   = storeDesc("free_bytes", "What the disk of the measurement archive has left, in octets.")
	growthDesc = storeDesc("daily_growth_bytes", "What a day adds to the measurement archive, in octets, while nothing is removed.")
	fullDesc   = storeDesc("full_timestamp_seconds", "When the disk of the measurement archive is full, as Unix time, with what is too old removed; +Inf: never.")
)

// A collector shows a store.
type collector struct {
	store   *store.Store
	rules   func() []store.Rule // nil: there are none
	created time.Time

	mu       sync.Mutex // held while a forecast is made
	forecast store.Forecast
	good     bool      // there is one
	tried    time.Time // when one was made last; zero: never
}

func newCollector(st *store.Store, rules func() []store.Rule) *collector {
	return &collector{store: st, rules: rules, created: time.Now()}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range storeFamilies {
		ch <- f.desc
	}
	for _, d := range []*prometheus.Desc{writesDesc, freeDesc, growthDesc, fullDesc} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTime)
	defer cancel()
	s, err := c.store.Stats(ctx)
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		if kind == prometheus.CounterValue {
			ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(d, kind, v, c.created, labels...)
			return
		}
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, f := range storeFamilies {
		if err == nil || !f.asked {
			send(f.desc, f.kind, f.value(&s))
		}
	}
	send(writesDesc, prometheus.CounterValue, float64(s.Written), "written")
	send(writesDesc, prometheus.CounterValue, float64(s.Repeated), "repeated")
	send(writesDesc, prometheus.CounterValue, float64(s.Refused), "refused")
	f, ok := c.outlook(ctx)
	if !ok {
		return
	}
	send(growthDesc, prometheus.GaugeValue, float64(f.PerDay))
	if f.Free >= 0 {
		full := math.Inf(1)
		if !f.Kept.IsZero() {
			full = float64(f.Kept.Unix())
		}
		send(freeDesc, prometheus.GaugeValue, float64(f.Free))
		send(fullDesc, prometheus.GaugeValue, full)
	}
}

// outlook returns a forecast, which may be some minutes old; false: there is none.
func (c *collector) outlook(ctx context.Context) (store.Forecast, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.tried.IsZero() && time.Since(c.tried) < forecastAge {
		return c.forecast, c.good
	}
	var rules []store.Rule
	if c.rules != nil {
		rules = c.rules()
	}
	f, err := c.store.Forecast(ctx, rules)
	c.tried = time.Now()
	if err == nil {
		c.forecast, c.good = f, true
	}
	return c.forecast, c.good
}
