package metrics

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"owl/probe"
	"owl/probe/host"
)

// Of a host that says nothing, only what Owl itself has counted is there.
func TestHost(t *testing.T) {
	reg := prometheus.NewRegistry()
	latest := func() host.Sample { return host.Sample{} }
	incidents := func() probe.Incidents {
		return probe.Incidents{Drops: 9, LateReads: 1, LateSends: 2, Refused: 3}
	}
	if err := registerHost(reg, latest, incidents); err != nil {
		t.Fatal(err)
	}
	want := `# HELP owl_host_late_reads_total How often arrived test packets were read at least 100 ms later than planned.
# TYPE owl_host_late_reads_total counter
owl_host_late_reads_total 1
# HELP owl_host_late_sends_total How often test packets were sent, or given up, at least 100 ms after their scheduled time.
# TYPE owl_host_late_sends_total counter
owl_host_late_sends_total 2
# HELP owl_host_refused_sends_total How often the kernel of this host refused to send a test packet, which may have been tried again.
# TYPE owl_host_refused_sends_total counter
owl_host_refused_sends_total 3
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if err := registerHost(reg, latest, incidents); err == nil {
		t.Error("registered twice without an error")
	}
}
