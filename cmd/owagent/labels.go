package main

import (
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"owl/sessions/metrics"
)

// A labelCollector shows the labels that the file gives to streams, as
// owamp_stream_info, beside those that all series of a stream have: so that
// queries may group by them.
type labelCollector struct {
	mu  sync.Mutex
	all map[metrics.Labels]map[string]string
}

func newLabelCollector() *labelCollector {
	return &labelCollector{all: make(map[metrics.Labels]map[string]string)}
}

// add adds a stream; one without labels is not shown.
func (c *labelCollector) add(l metrics.Labels, labels map[string]string) {
	if len(labels) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[l] = labels
}

func (c *labelCollector) remove(l metrics.Labels) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, l)
}

// Describe implements [prometheus.Collector]. The names of labels change with
// the file.
func (c *labelCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c *labelCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	all := maps.Clone(c.all)
	c.mu.Unlock()
	seen := make(map[string]bool)
	for _, labels := range all {
		for name := range labels {
			seen[name] = true
		}
	}
	own := slices.Sorted(maps.Keys(seen))
	desc := prometheus.NewDesc("owamp_stream_info", "Always 1; the labels that the file of owagent gives to a stream.",
		append([]string{"source", "destination", "direction", "stream"}, own...), nil)
	for l, labels := range all {
		values := []string{l.Source, l.Destination, l.Direction, l.Stream}
		for _, name := range own {
			values = append(values, labels[name])
		}
		if m, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, 1, values...); err == nil {
			ch <- m
		} else {
			ch <- prometheus.NewInvalidMetric(desc, err)
		}
	}
}
