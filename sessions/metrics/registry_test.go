package metrics

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"owl/probe"
	"owl/probe/clock"
	"owl/probe/host"
)

// What a program has beside its streams is all there, once.
func TestProcess(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	show := func() error {
		return Process(reg, &engine{transmit: probe.TransmitStats{Gap: new(probe.Distribution)}},
			func() clock.State { return clock.State{} }, func() host.Sample { return host.Sample{} })
	}
	if err := show(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"owl_schedule_slip_seconds", "owl_transmit_gap_seconds", "owl_clock_steps_total", "owl_host_late_reads_total"} {
		if n, err := testutil.GatherAndCount(reg, name); n != 1 || err != nil {
			t.Errorf("%s: %d series, %v, want one", name, n, err)
		}
	}
	if err := show(); err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("shown twice: %v, want an error of each of four", err)
	}
}
