package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"owl/probe"
)

// shownQuantiles are the quantiles of a summary; 1 is the greatest value.
var shownQuantiles = []float64{0.5, 0.9, 0.99, 1}

// registerSlip shows how punctual the program sends: slip is asked at every scrape, from
// another goroutine.
func registerSlip(reg prometheus.Registerer, slip func() *probe.Distribution) error {
	c := slipCollector{
		desc: prometheus.NewDesc("owl_schedule_slip_seconds",
			"How long after their scheduled times, or the begin of their session if that was later, this program has sent its test packets, those of all streams since its start, in seconds; a quantile is up to an eighth more than the true one. It has none of the labels of streams.", nil, nil),
		slip: slip,
	}
	if err := reg.Register(c); err != nil {
		return fmt.Errorf("registering owl_schedule_slip_seconds: %w", err)
	}
	return nil
}

type slipCollector struct {
	desc *prometheus.Desc
	slip func() *probe.Distribution
}

// Describe and Collect are for prometheus.Collector alone.

func (c slipCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c slipCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- summary(c.desc, c.slip())
}

// summary shows a distribution.
func summary(desc *prometheus.Desc, d *probe.Distribution) prometheus.Metric {
	quantiles := make(map[float64]float64, len(shownQuantiles))
	for _, q := range shownQuantiles {
		quantiles[q] = seconds(d.Quantile(q))
	}
	return prometheus.MustNewConstSummary(desc, d.Packets, seconds(d.Sum), quantiles)
}
