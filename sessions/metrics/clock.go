package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"owl/probe/clock"
)

// registerClock shows what is known of the clock of this host, and what each source that
// is asked says of it; state is asked at every scrape, from another goroutine.
func registerClock(reg prometheus.Registerer, state func() clock.State) error {
	if err := reg.Register(clockCollector(state)); err != nil {
		return fmt.Errorf("registering the metrics of the clock: %w", err)
	}
	return nil
}

type clockCollector func() clock.State

// A clockFamily has a value for the clock, or one for each of its sources.
type clockFamily struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*clock.State) float64
	of    func(*clock.Source) (v float64, known bool) // of a source; nil: see value
}

func ofClock(name, help string, kind prometheus.ValueType, value func(*clock.State) float64) clockFamily {
	return clockFamily{prometheus.NewDesc("owl_clock_"+name, help, nil, nil), kind, value, nil}
}

func perSource(name, help string, kind prometheus.ValueType, value func(*clock.Source) (float64, bool)) clockFamily {
	labels := []string{"via", "server"}
	return clockFamily{prometheus.NewDesc("owl_clock_source_"+name, help, labels, nil), kind, nil, value}
}

// measured is a family that a source has once it has answered.
func measured(name, help string, value func(*clock.Source) float64) clockFamily {
	return perSource(name, help, prometheus.GaugeValue, func(s *clock.Source) (float64, bool) {
		return value(s), !s.Last.IsZero()
	})
}

var clockFamilies = []clockFamily{
	ofClock("max_error_seconds",
		"How far the clock of this host may be off at most, by those who vouch for it, in seconds: half of the round trip to the reference clock and what has been added up on the way (RFC 5905); 0 if nobody knows. What time stamps state is the estimated error, owamp_clock_error_seconds, which is usually much less.",
		prometheus.GaugeValue, func(s *clock.State) float64 { return seconds(s.MaxError) }),
	ofClock("steps_total",
		"How often the clock of this host was set since the start of the program.",
		prometheus.CounterValue, func(s *clock.State) float64 { return float64(s.Steps.Count) }),
	ofClock("stepped_seconds",
		"By how much the clock of this host was set since the start of the program, in seconds: forward less back.",
		prometheus.GaugeValue, func(s *clock.State) float64 { return seconds(s.Steps.Sum) }),
	measured("offset_seconds",
		"What is to be added to the clock of this host to make it right, in seconds, by a source.",
		func(s *clock.Source) float64 { return seconds(s.Offset) }),
	measured("root_delay_seconds",
		"Round trip from this host over a source to the reference clock, in seconds.",
		func(s *clock.Source) float64 { return seconds(s.Delay) }),
	measured("root_dispersion_seconds",
		"Error added up on the way from the reference clock over a source to this host, in seconds.",
		func(s *clock.Source) float64 { return seconds(s.Dispersion) }),
	measured("jitter_seconds",
		"Root mean square of the offsets that a source has measured, in seconds.",
		func(s *clock.Source) float64 { return seconds(s.Jitter) }),
	measured("wander_ratio",
		"How wrong the frequency of the clock may be by a source, seconds a second; 0 of an NTP server.",
		func(s *clock.Source) float64 { return s.Wander / 1e6 }),
	measured("poll_interval_seconds",
		"Time between two measurements of a source, in seconds.",
		func(s *clock.Source) float64 { return seconds(s.Poll) }),
	perSource("stratum",
		"How many servers there are from a source to the reference clock, itself included; 16: it is not synchronized.",
		prometheus.GaugeValue, func(s *clock.Source) (float64, bool) { return float64(s.Stratum), true }),
	perSource("reach",
		"A bit for each of the last eight questions that a source has answered, the last one's is 1; so 255 is all.",
		prometheus.GaugeValue, func(s *clock.Source) (float64, bool) { return float64(s.Reach), true }),
	perSource("synchronized",
		"1 while a source follows a reference clock, and answers, else 0.",
		prometheus.GaugeValue, func(s *clock.Source) (float64, bool) {
			if s.Synchronized {
				return 1, true
			}
			return 0, true
		}),
	perSource("answers_total",
		"Questions that a source has answered.",
		prometheus.CounterValue, func(s *clock.Source) (float64, bool) { return float64(s.Answered), true }),
	perSource("failures_total",
		"Questions that a source has not answered, or in a way that is of no use.",
		prometheus.CounterValue, func(s *clock.Source) (float64, bool) { return float64(s.Failed), true }),
	perSource("last_answer_timestamp_seconds",
		"Unix time when a source has answered last, in seconds; 0 before the first answer.",
		prometheus.GaugeValue, func(s *clock.Source) (float64, bool) {
			if s.Last.IsZero() {
				return 0, true
			}
			return float64(s.Last.UnixNano()) / 1e9, true
		}),
}

// Describe and Collect are for prometheus.Collector alone.

func (c clockCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range clockFamilies {
		ch <- f.desc
	}
}

func (c clockCollector) Collect(ch chan<- prometheus.Metric) {
	state := c()
	for _, f := range clockFamilies {
		if f.of == nil {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(&state))
			continue
		}
		for i := range state.Sources {
			src := &state.Sources[i]
			if v, known := f.of(src); known {
				ch <- prometheus.MustNewConstMetric(f.desc, f.kind, v, string(src.Via), src.Name)
			}
		}
	}
}
