package probe

import (
	"testing"
	"time"

	"owl/owamp"
)

// A host that cannot keep up does not note a gap for every other packet.
func TestBehind(t *testing.T) {
	s := &Sending{spec: SendSpec{Timeout: owamp.IntervalSeconds(1)}}
	for _, step := range []struct {
		ranges int
		slip   time.Duration
		want   bool
	}{
		{0, 900 * time.Millisecond, false},
		{0, 1100 * time.Millisecond, true},
		{0, 900 * time.Millisecond, false}, // what is not too late is sent
		{manySkips, 900 * time.Millisecond, false},
		{manySkips, 1100 * time.Millisecond, true},
		{manySkips, 900 * time.Millisecond, true},
		{manySkips, 501 * time.Millisecond, true},
		{manySkips, 499 * time.Millisecond, false},
		{manySkips, 900 * time.Millisecond, false},
	} {
		s.skips.ranges = make([]owamp.SkipRange, step.ranges)
		if got := s.isOverdue(step.slip); got != step.want {
			t.Errorf("%d gaps, %v late: overdue %v, want %v", step.ranges, step.slip, got, step.want)
		}
	}
}
