package metrics

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"owl/probe"
)

// engine is one whose answers the test sets.
type engine struct {
	transmit probe.TransmitStats
	stamps   probe.StampStats
}

func (e *engine) Transmit() probe.TransmitStats { return e.transmit }
func (e *engine) Stamps() probe.StampStats      { return e.stamps }
func (e *engine) Slip() *probe.Distribution     { return new(probe.Distribution) }
func (e *engine) Incidents() probe.Incidents    { return probe.Incidents{} }

func TestTransmit(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	e := &engine{transmit: probe.TransmitStats{Gap: new(probe.Distribution)}}
	if err := registerTransmit(reg, e); err != nil {
		t.Fatal(err)
	}
	if err := registerTransmit(reg, e); err == nil {
		t.Error("registered twice without an error")
	}
	// Nothing is known at first, but what is counted is there.
	if n, err := testutil.GatherAndCount(reg, "owl_transmit_error_seconds", "owl_phc_offset_seconds", "owl_phc_usable"); n != 0 || err != nil {
		t.Errorf("%d values, %v of what is not known", n, err)
	}
	if n, err := testutil.GatherAndCount(reg, "owl_transmit_gap_seconds", "owl_transmit_reports_total", "owl_stamped_packets_total"); n != 1+2+5 || err != nil {
		t.Errorf("%d values, %v of what is counted, want 8", n, err)
	}

	e.transmit.Gap.Packets, e.transmit.Gap.Sum = 4, 2*time.Microsecond
	e.transmit.Asked, e.transmit.Missing, e.transmit.High = 7, 3, 1500*time.Nanosecond
	e.stamps = probe.StampStats{
		ReceivedCard: 1, ReceivedKernel: 2, ReceivedUser: 5, SentCard: 3, SentKernel: 4,
		Cards: []probe.CardStats{
			{Interface: "eth0", Offset: -37 * time.Second, Error: 250 * time.Nanosecond, Steps: 2},
			{Interface: "eth1", Err: errors.New("gone")},
		},
	}
	got := make(map[string]float64)
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			switch {
			case m.Summary != nil:
				got[name+" sum"], got[name] = m.Summary.GetSampleSum(), float64(m.Summary.GetSampleCount())
			case m.Counter != nil:
				got[name] = m.Counter.GetValue()
			default:
				got[name] = m.Gauge.GetValue()
			}
		}
	}
	for name, want := range map[string]float64{
		"transmit_gap_seconds": 4, "transmit_gap_seconds sum": 2e-6, "transmit_error_seconds": 1.5e-6,
		"transmit_reports_total known": 4, "transmit_reports_total missing": 3,
		"stamped_packets_total card received": 1, "stamped_packets_total kernel received": 2, "stamped_packets_total user received": 5,
		"stamped_packets_total card sent": 3, "stamped_packets_total kernel sent": 4,
		"phc_offset_seconds eth0": -37, "phc_error_seconds eth0": 2.5e-7, "phc_usable eth0": 1, "phc_steps_total eth0": 2,
		"phc_usable eth1": 0,
	} {
		if v, ok := got["owl_"+name]; !ok || v != want {
			t.Errorf("owl_%s = %v (%t), want %v", name, v, ok, want)
		}
	}
	problems, err := testutil.GatherAndLint(reg)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if err != nil {
		t.Error(err)
	}
}
