package serve

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"owl/archive/store"
)

// counters are what a server counts of its requests.
type counters struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	active   prometheus.Gauge
	refused  prometheus.Counter
	panics   prometheus.Counter
}

func newCounters() *counters {
	c := &counters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "owl_store_requests_total",
			Help: "Requests that the measurement archive has answered, by route and by HTTP status; 499 if the client has not got all of the answer.",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "owl_store_request_seconds",
			Help:                            "Time that requests to the measurement archive took, from their headers to the end of the answer, in seconds.",
			Buckets:                         []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"route"}),
		active: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "owl_store_requests_active",
			Help: "Requests that the measurement archive is answering now.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "owl_store_requests_refused_total",
			Help: "Requests that had no turn in time and were answered with status 503.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "owl_store_panics_total",
			Help: "Requests that a mistake in the program has ended; the log has each.",
		}),
	}
	for _, route := range routes { // so that they are there before the first request
		c.requests.WithLabelValues(route, "200")
		c.seconds.WithLabelValues(route)
	}
	return c
}

// count counts a request that was answered.
func (c *counters) count(route string, code int, took time.Duration) {
	c.requests.WithLabelValues(route, strconv.Itoa(code)).Inc()
	if route != routeLive { // which takes as long as somebody looks
		c.seconds.WithLabelValues(route).Observe(took.Seconds())
	}
}

// register shows a server.
func (s *Server) register(reg prometheus.Registerer) error {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "owl_store_" + name, Help: help}, value)
	}
	c := s.counters
	all := []prometheus.Collector{
		c.requests, c.seconds, c.active, c.refused, c.panics,
		gauge("connections", "Connections with the measurement archive.", func() float64 {
			now, _ := s.connections()
			return float64(now)
		}),
		gauge("connections_limit", "How many connections there may be.", func() float64 { return float64(s.options.Connections) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "owl_store_connections_evicted_total",
			Help: "Connections that had to go because there were more than there may be.",
		}, func() float64 {
			_, evicted := s.connections()
			return float64(evicted)
		}),
	}
	if cert := s.options.Certificate; cert != nil {
		all = append(all, gauge("certificate_expiry_timestamp_seconds", "When the certificate of the measurement archive is no longer good, as Unix time.",
			func() float64 { return float64(cert.Expires().Unix()) }))
	}
	return registerAll(reg, all...)
}

func registerAll(reg prometheus.Registerer, all ...prometheus.Collector) error {
	var errs []error
	for _, m := range all {
		errs = append(errs, reg.Register(m))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("registering the metrics of the measurement archive: %w", err)
	}
	return nil
}

// statsTime bounds a look at the store: a scrape does not wait for a slow disk.
const statsTime = 5 * time.Second

// A storeFamily has one value for a store.
type storeFamily struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*store.Stats) float64
	asked bool // of the database, which may not answer
}

func family(name, help string, kind prometheus.ValueType, value func(*store.Stats) float64) storeFamily {
	return storeFamily{prometheus.NewDesc("owl_store_"+name, help, nil, nil), kind, value, false}
}

var storeFamilies = []storeFamily{
	family("points_written_total", "Points that were written to the measurement archive.",
		prometheus.CounterValue, func(s *store.Stats) float64 { return float64(s.Samples) }),
	family("commits_total", "Transactions of the measurement archive, each of which was one wait for the disk.",
		prometheus.CounterValue, func(s *store.Stats) float64 { return float64(s.Commits) }),
	family("failing", "1 while the measurement archive cannot be written, else 0.",
		prometheus.GaugeValue, func(s *store.Stats) float64 {
			if s.Failing != nil {
				return 1
			}
			return 0
		}),
	{prometheus.NewDesc("owl_store_measurements", "Measurements that are registered in the measurement archive.", nil, nil),
		prometheus.GaugeValue, func(s *store.Stats) float64 { return float64(s.Measurements) }, true},
	{prometheus.NewDesc("owl_store_size_bytes", "What the measurement archive takes on the disk, in octets.", nil, nil),
		prometheus.GaugeValue, func(s *store.Stats) float64 { return float64(s.Octets) }, true},
}

var writesDesc = prometheus.NewDesc("owl_store_writes_total",
	"Writes to the measurement archive, by what became of them: written, repeated (all of it was there already) or refused.", []string{"outcome"}, nil)

// A collector shows a store.
type collector struct {
	stats   func(context.Context) (store.Stats, error)
	created time.Time
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range storeFamilies {
		ch <- f.desc
	}
	ch <- writesDesc
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTime)
	defer cancel()
	s, err := c.stats(ctx)
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(d, prometheus.CounterValue, v, c.created, labels...)
	}
	for _, f := range storeFamilies {
		switch {
		case f.asked && err != nil: // nobody knows
		case f.kind == prometheus.CounterValue:
			counter(f.desc, f.value(&s))
		default:
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(&s))
		}
	}
	counter(writesDesc, float64(s.Written), "written")
	counter(writesDesc, float64(s.Repeated), "repeated")
	counter(writesDesc, float64(s.Refused), "refused")
}
