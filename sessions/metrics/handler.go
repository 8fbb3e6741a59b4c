package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	maxScrapes    = 16 // requests at once; all that come during a collection share its result
	scrapeTimeout = 30 * time.Second
)

// Handler serves what reg gathers in the format that the client asks for: the
// Prometheus text format, OpenMetrics, or the protocol buffers that native
// histograms need.
func Handler(reg prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: maxScrapes,
		CoalesceGather:      true,
		Timeout:             scrapeTimeout,
	})
}
