package metrics

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"owl/owamp"
	"owl/probe"
	"owl/probe/host"
)

// What this host says has names and types that Prometheus accepts.
func TestThisHost(t *testing.T) {
	m := host.New(host.Config{Now: func() owamp.Timestamp { return owamp.FromTime(time.Now()) }})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.Run(ctx) // for one sample
	reg := prometheus.NewRegistry()
	if err := registerHost(reg, m.Latest, func() probe.Incidents { return probe.Incidents{} }); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "owl_host_") || len(f.GetMetric()) != 1 {
			t.Errorf("%s has %d series", f.GetName(), len(f.GetMetric()))
		}
	}
	if len(families) <= 3 {
		t.Skip("SKIPPED: this host says nothing of itself")
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
