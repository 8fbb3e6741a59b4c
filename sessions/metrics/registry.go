package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// NewRegistry returns what a program of the given version serves with
// [Handler], and the Collector in it: beside the streams it shows the process
// and its Go runtime, as Prometheus programs do.
func NewRegistry(version string) (*prometheus.Registry, *Collector, error) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	c, err := New(reg, Version(version))
	return reg, c, err
}
