package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"owl/probe"
)

// An Engine knows when packets have left, who has stamped them, and what went
// wrong, as [probe.Engine] does.
type Engine interface {
	Transmit() probe.TransmitStats
	Stamps() probe.StampStats
	Slip() *probe.Distribution
	Incidents() probe.Incidents
}

// registerTransmit shows when the packets of the engine leave, and who has stamped them;
// it is asked at every scrape, from another goroutine.
func registerTransmit(reg prometheus.Registerer, e Engine) error {
	if err := reg.Register(transmitCollector{e}); err != nil {
		return fmt.Errorf("registering the metrics of transmission: %w", err)
	}
	return nil
}

// ofEngine describes a metric that no stream has.
func ofEngine(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("owl_"+name, help+" It has none of the labels of streams.", labels, nil)
}

const ofSample = ", of the sample of packets that the kernel is asked about"

var (
	transmitGap = ofEngine("transmit_gap_seconds",
		"How long after their stamps test packets have left this host, in seconds"+ofSample+"; a quantile is up to an eighth more than the true one.")
	transmitError = ofEngine("transmit_error_seconds",
		"What a hundredth of the last 128 values of owl_transmit_gap_seconds exceeds, in seconds: a part of the error estimate of test packets. Only while the kernel tells when packets leave; otherwise the time that sending takes stands in for it.")
	transmitReports = ofEngine("transmit_reports_total",
		"Test packets about which the kernel was asked when they leave, by outcome: known, or missing if it did not say.", "outcome")
	stamped = ofEngine("stamped_packets_total",
		"Test packets by who has stamped them: card (the clock of the network card), kernel, or user (the program, when it read them); received, or sent"+ofSample+".", "packets", "by")
	phcOffset = ofEngine("phc_offset_seconds",
		"What is to be added to the clock of the network card to get that of this host, in seconds. Only where the card stamps test packets.", "interface")
	phcError = ofEngine("phc_error_seconds",
		"By how much stamps of the network card may be off when they have been turned into times of this host's clock, in seconds.", "interface")
	phcUsable = ofEngine("phc_usable",
		"1 if the network card's stamps can be turned into times of this host's clock, else 0: then the kernel's take their place.", "interface")
	phcSteps = ofEngine("phc_steps_total",
		"How often the clock of the network card, or of this host, was seen to have been set.", "interface")
)

type transmitCollector struct{ engine Engine }

// Describe and Collect are for prometheus.Collector alone.

func (c transmitCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{transmitGap, transmitError, transmitReports, stamped, phcOffset, phcError, phcUsable, phcSteps} {
		ch <- d
	}
}

func (c transmitCollector) Collect(ch chan<- prometheus.Metric) {
	value := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		value(d, prometheus.CounterValue, float64(n), labels...)
	}
	t := c.engine.Transmit()
	ch <- summary(transmitGap, t.Gap)
	if t.High > 0 {
		value(transmitError, prometheus.GaugeValue, seconds(t.High))
	}
	count(transmitReports, t.Gap.Packets, "known")
	count(transmitReports, t.Missing, "missing")

	s := c.engine.Stamps()
	count(stamped, s.ReceivedCard, "received", "card")
	count(stamped, s.ReceivedKernel, "received", "kernel")
	count(stamped, s.ReceivedUser, "received", "user")
	count(stamped, s.SentCard, "sent", "card")
	count(stamped, s.SentKernel, "sent", "kernel")
	for _, card := range s.Cards {
		usable := 0.0
		if card.Err == nil {
			usable = 1
		}
		value(phcOffset, prometheus.GaugeValue, seconds(card.Offset), card.Interface)
		value(phcError, prometheus.GaugeValue, seconds(card.Error), card.Interface)
		value(phcUsable, prometheus.GaugeValue, usable, card.Interface)
		count(phcSteps, card.Steps, card.Interface)
	}
}
