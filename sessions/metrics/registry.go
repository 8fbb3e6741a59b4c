package metrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"owl/probe/clock"
	"owl/probe/host"
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

// Process shows what all streams of a program have in common: its engine, the
// clock, and the host. Each function is asked at every scrape, from another
// goroutine.
func Process(reg prometheus.Registerer, e Engine, state func() clock.State, latest func() host.Sample) error {
	return errors.Join(registerSlip(reg, e.Slip), registerTransmit(reg, e), registerClock(reg, state), registerHost(reg, latest, e.Incidents))
}
