package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"owl/probe"
)

// slipQuantiles are the quantiles that [Slip] shows; 1 is the greatest slip.
var slipQuantiles = []float64{0.5, 0.9, 0.99, 1}

// Slip shows how punctual the program sends: slip is asked at every scrape, from
// another goroutine.
func Slip(reg prometheus.Registerer, slip func() *probe.Distribution) error {
	c := slipCollector{
		desc: prometheus.NewDesc("owl_schedule_slip_seconds",
			"How long after their scheduled times this program has sent its test packets, those of all streams since its start, in seconds; a quantile is up to an eighth more than the true one. It has none of the labels of streams.", nil, nil),
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
	s := c.slip()
	quantiles := make(map[float64]float64, len(slipQuantiles))
	for _, q := range slipQuantiles {
		quantiles[q] = seconds(s.Quantile(q))
	}
	ch <- prometheus.MustNewConstSummary(c.desc, s.Packets, seconds(s.Sum), quantiles)
}
