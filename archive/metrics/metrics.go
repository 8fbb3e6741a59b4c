// Package metrics shows a queue of results to Prometheus: for each destination
// what waits, what was delivered and how long that took, and what was lost and
// why.
package metrics

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"owl/archive/queue"
)

// timeout bounds a look at the queue: a scrape does not wait for a slow disk.
const timeout = 5 * time.Second

// Register shows what stats returns, which is asked at every scrape, from another
// goroutine; [queue.Queue.Stats] is one. now is the clock that tells how old a
// result is; nil: the host's.
func Register(reg prometheus.Registerer, stats func(context.Context) (queue.Stats, error), now func() time.Time) error {
	if now == nil {
		now = time.Now
	}
	if err := reg.Register(&collector{stats: stats, now: now, created: now()}); err != nil {
		return fmt.Errorf("registering the metrics of archiving: %w", err)
	}
	return nil
}

type collector struct {
	stats   func(context.Context) (queue.Stats, error)
	now     func() time.Time
	created time.Time
}

// A family has one value for the queue.
type family struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*queue.Stats) float64
}

func ofQueue(name, help string, kind prometheus.ValueType, value func(*queue.Stats) float64) family {
	return family{prometheus.NewDesc("owl_archive_"+name, help, nil, nil), kind, value}
}

// A lineFamily has one value for each destination, or none while it is not known.
type lineFamily struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(l *queue.LineStats, now time.Time) (v float64, known bool)
}

func desc(name, help string, extra ...string) *prometheus.Desc {
	return prometheus.NewDesc("owl_archive_"+name, help, append([]string{"destination"}, extra...), nil)
}

func gauge(name, help string, value func(*queue.LineStats) int64) lineFamily {
	return lineFamily{desc(name, help), prometheus.GaugeValue, func(l *queue.LineStats, _ time.Time) (float64, bool) { return float64(value(l)), true }}
}

func counter(name, help string, value func(*queue.LineStats) uint64) lineFamily {
	return lineFamily{desc(name, help), prometheus.CounterValue, func(l *queue.LineStats, _ time.Time) (float64, bool) { return float64(value(l)), true }}
}

var families = []family{
	ofQueue("queue_bytes", "Size of the results in the queue, in octets.",
		prometheus.GaugeValue, func(s *queue.Stats) float64 { return float64(s.Size) }),
	ofQueue("queue_limit_bytes", "How large the results in the queue may be together, in octets.",
		prometheus.GaugeValue, func(s *queue.Stats) float64 { return float64(s.MaxSize) }),
	ofQueue("queue_failing", "1 while the queue cannot be written, else 0.",
		prometheus.GaugeValue, func(s *queue.Stats) float64 {
			if s.Failing != nil {
				return 1
			}
			return 0
		}),
	ofQueue("results_total", "Results that were queued.",
		prometheus.CounterValue, func(s *queue.Stats) float64 { return float64(s.Came) }),
	ofQueue("refused_total", "Results that were not queued, because the queue was full or could not be written.",
		prometheus.CounterValue, func(s *queue.Stats) float64 { return float64(s.Refused) }),
}

var lineFamilies = []lineFamily{
	gauge("queued", "Results that were not tried yet, or are on their way.",
		func(l *queue.LineStats) int64 { return l.Queued }),
	gauge("waiting", "Results that have failed and are tried again.",
		func(l *queue.LineStats) int64 { return l.Waiting }),
	gauge("dead", "Results that have failed and are not tried again, unless somebody wants it.",
		func(l *queue.LineStats) int64 { return l.Dead }),
	{desc("oldest_seconds", "Age of the oldest result that is to be delivered, in seconds; 0 if there is none."), prometheus.GaugeValue,
		func(l *queue.LineStats, now time.Time) (float64, bool) {
			if l.Oldest.IsZero() {
				return 0, l.Queued+l.Waiting == 0
			}
			return max(now.Sub(l.Oldest).Seconds(), 0), true
		}},
	counter("delivered_total", "Results that the destination has said to have.",
		func(l *queue.LineStats) uint64 { return l.Delivered }),
	counter("discarded_total", "Results that the archive specification does not want there.",
		func(l *queue.LineStats) uint64 { return l.Discarded }),
	counter("retried_total", "Tries that failed and were to be made again.",
		func(l *queue.LineStats) uint64 { return l.Retried }),
	counter("buried_total", "Results whose last try failed.",
		func(l *queue.LineStats) uint64 { return l.Buried }),
}

var (
	droppedDesc = desc("dropped_total",
		"Results that were given up, by reason: ttl (the specification does not want them so late), age or size (the queue's bounds), request (somebody said so).",
		"reason")
	deliveryDesc = desc("delivery_seconds",
		"Time from the coming of a result until it was delivered, in seconds.")
)

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range families {
		ch <- f.desc
	}
	for _, f := range lineFamilies {
		ch <- f.desc
	}
	ch <- droppedDesc
	ch <- deliveryDesc
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s, _ := c.stats(ctx) // with an error nobody knows how old the oldest are
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		if kind == prometheus.CounterValue {
			ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(d, kind, v, c.created, labels...)
			return
		}
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, f := range families {
		send(f.desc, f.kind, f.value(&s))
	}
	now := c.now()
	for i := range s.Lines {
		l := &s.Lines[i]
		for _, f := range lineFamilies {
			if v, known := f.value(l, now); known {
				send(f.desc, f.kind, v, l.Name)
			}
		}
		for _, reason := range slices.Sorted(maps.Keys(l.Dropped)) {
			send(droppedDesc, prometheus.CounterValue, float64(l.Dropped[reason]), l.Name, reason)
		}
		ch <- delivery(l, c.created)
	}
}

// delivery is the histogram of how long deliveries took.
func delivery(l *queue.LineStats, created time.Time) prometheus.Metric {
	cumulated := make(map[float64]uint64, len(queue.Took))
	var n uint64
	for i, bound := range queue.Took {
		n += l.Took[i]
		cumulated[bound.Seconds()] = n
	}
	return prometheus.MustNewConstHistogramWithCreatedTimestamp(deliveryDesc, l.Delivered, l.TookAll.Seconds(), cumulated, created, l.Name)
}
