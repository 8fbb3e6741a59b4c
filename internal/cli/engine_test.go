package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/probe"
)

func TestEngineOptions(t *testing.T) {
	var o EngineOptions
	if o.Needs().RawSockets {
		t.Error("privileges for what nobody has asked for")
	}
	if got := o.Describe(); got != nil {
		t.Errorf("what nobody has asked for is described: %q", got)
	}
	if ok, err := o.Set("check", ""); ok || err != nil {
		t.Errorf("--check is taken for one of these options: %v, %v", ok, err)
	}
	given := map[string]string{"pacing": "precise", "no-warm": "", "transmit": "raw", "capture": "raw", "pcap": "file"}
	for _, l := range EngineLong {
		value, known := given[l.Name]
		if !known || l.Arg != (value != "") {
			t.Fatalf("option %+v, want it with %q", l, value)
		}
		if ok, err := o.Set(l.Name, value); !ok || err != nil {
			t.Errorf("--%s %s: %v, %v", l.Name, value, ok, err)
		}
	}
	if d := cmp.Diff(EngineOptions{Pacing: probe.PacingPrecise, Cold: true, Transmit: probe.TransmitRaw, Capture: probe.CaptureRaw, Pcap: "file"}, o); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if got := o.Describe(); len(got) != len(given) {
		t.Errorf("%d options are described as %q", len(given), got)
	}
	for _, opt := range [][2]string{{"pacing", ""}, {"pacing", "exact"}, {"transmit", "tcp"}, {"capture", "tcp"}, {"pcap", ""}} {
		if ok, err := o.Set(opt[0], opt[1]); !ok || err == nil {
			t.Errorf("--%s %q: %v, %v; want an error", opt[0], opt[1], ok, err)
		}
	}
}
