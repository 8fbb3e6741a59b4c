package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/probe/clock"
)

func TestClockOptions(t *testing.T) {
	var o ClockOptions
	if got := o.Describe(); got != nil {
		t.Errorf("what nobody has asked for is described: %q", got)
	}
	for _, opt := range [][2]string{{"ntp", "192.0.2.1"}, {"chrony", "off"}, {"ntp", "[2001:db8::1]:1123"}} {
		if ok, err := o.Set(opt[0], opt[1]); !ok || err != nil {
			t.Errorf("--%s %s: %v, %v", opt[0], opt[1], ok, err)
		}
	}
	if d := cmp.Diff(clock.Sources{Chrony: clock.ChronyOff, NTP: []string{"192.0.2.1", "[2001:db8::1]:1123"}}, o.Sources); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	want := []string{"NTP servers are asked every 1m4s: 192.0.2.1, [2001:db8::1]:1123", "chronyd is not asked"}
	if d := cmp.Diff(want, o.Describe()); d != "" {
		t.Errorf("described (-want +got)\n%s", d)
	}
	if ok, err := o.Set("pacing", "normal"); ok || err != nil {
		t.Errorf("--pacing is taken for one of these options: %v, %v", ok, err)
	}
	for _, opt := range [][2]string{{"ntp", "192.0.2.1"}, {"ntp", ""}, {"ntp", "a b"}, {"chrony", ""}, {"chrony", "on"}} {
		again := ClockOptions{Sources: clock.Sources{NTP: []string{"192.0.2.1"}}}
		if ok, err := again.Set(opt[0], opt[1]); !ok || err == nil || !strings.HasPrefix(err.Error(), "option --"+opt[0]+": ") {
			t.Errorf("--%s %q: %v, %v; want an error", opt[0], opt[1], ok, err)
		}
	}
}
