package serve

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
		gauge("certificate_expiry_timestamp_seconds", "When the certificate of the measurement archive is no longer good, as Unix time; +Inf: it has none.",
			func() float64 {
				if s.options.Certificate == nil {
					return math.Inf(1)
				}
				return float64(s.options.Certificate.Expires().Unix())
			}),
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
