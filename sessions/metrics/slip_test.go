package metrics

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"owl/probe"
)

func TestSlip(t *testing.T) {
	reg := prometheus.NewRegistry()
	stats := new(probe.Distribution)
	slip := func() *probe.Distribution { return stats }
	if err := registerSlip(reg, slip); err != nil {
		t.Fatal(err)
	}
	want := `# HELP owl_schedule_slip_seconds How long after their scheduled times, or the begin of their session if that was later, this program has sent its test packets, those of all streams since its start, in seconds; a quantile is up to an eighth more than the true one. It has none of the labels of streams.
# TYPE owl_schedule_slip_seconds summary
owl_schedule_slip_seconds{quantile="0.5"} 0
owl_schedule_slip_seconds{quantile="0.9"} 0
owl_schedule_slip_seconds{quantile="0.99"} 0
owl_schedule_slip_seconds{quantile="1"} 0
owl_schedule_slip_seconds_sum 0.5
owl_schedule_slip_seconds_count 3
`
	stats.Packets, stats.Sum = 3, 5e8
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if err := registerSlip(reg, slip); err == nil {
		t.Error("registered twice without an error")
	}
}
