package probe

import (
	"slices"
	"testing"
	"time"
)

func TestRecentGaps(t *testing.T) {
	var r recentGaps
	if got := r.high(); got != 0 {
		t.Errorf("high gap %v of none, want unknown", got)
	}
	for i := range enoughGaps - 1 {
		r.observe(time.Duration(i))
	}
	if got := r.high(); got != 0 {
		t.Errorf("high gap %v of %d, want unknown", got, enoughGaps-1)
	}
	r.observe(time.Second)
	if got := r.high(); got != time.Second {
		t.Errorf("high gap %v of a few, want the greatest, 1 s", got)
	}
	// Against the definition, over more gaps than are kept.
	var all []time.Duration
	r = recentGaps{}
	for i := range 5 * gapsKept {
		all = append(all, time.Duration(i*7919%1009)*time.Microsecond+1)
		r.observe(all[i])
		if i+1 < gapsKept {
			continue
		}
		kept := slices.Sorted(slices.Values(all[i+1-gapsKept:]))
		if got, want := r.high(), kept[gapsKept-2]; got != want {
			t.Fatalf("high gap %v after %d, want %v", got, i+1, want)
		}
	}
	r = recentGaps{}
	for range gapsKept {
		r.observe(0)
	}
	if got := r.high(); got != 1 {
		t.Errorf("high gap %v of zeros, want 1 ns, for 0 is unknown", got)
	}
	if n := testing.AllocsPerRun(100, func() { r.observe(1); r.high() }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
