package metrics

import (
	"runtime/debug"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"owl/sessions"
)

var labelNames = []string{"source", "destination", "direction", "stream"}

// desc describes a family whose series have the labels of a stream and extra.
func desc(name, help string, extra ...string) *prometheus.Desc {
	return prometheus.NewDesc("owamp_"+name, help, slices.Concat(labelNames, extra), nil)
}

var (
	delayDesc = desc("one_way_delay_seconds",
		"One-way delay of received test packets (RFC 7679) in seconds, each counted once and as it comes. Negative where the clocks of both hosts disagree by more than the delay.")
	packetsDesc = desc("packets_total",
		"Scheduled test packets whose sessions are settled, by what became of them; the states add up to the schedule: received, lost (sent, did not arrive within the time-out; RFC 7680), not_sent (skipped by the sender), not_covered (control lost or clock invalid, so that nobody can say).",
		"state")
	stateDesc = desc("session_state",
		"1 for the state that the stream is in and 0 for the others; where streams share series, how many of them are in that state.",
		"state")
	gapDesc = desc("gap_seconds_total",
		"Time that the stream did not measure, in seconds, by reason.",
		"reason")
)

// A family has one value for each stream, or none while it is not known.
type family struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(t *total) (v float64, known bool)
}

func counter(name, help string, value func(t *total) uint64) family {
	return family{desc(name, help), prometheus.CounterValue, func(t *total) (float64, bool) {
		return float64(value(t)), true
	}}
}

func gauge(name, help string, value func(t *total) (float64, bool)) family {
	return family{desc(name, help), prometheus.GaugeValue, value}
}

var families = []family{
	gauge("packets_unresolved",
		"Test packets scheduled until now whose session is not settled yet.",
		func(t *total) (float64, bool) { return float64(t.Unresolved), true }),
	gauge("packets_overdue",
		"Those of owamp_packets_unresolved that have not come although their time-out is over: lost, unless their sender says that it skipped them.",
		func(t *total) (float64, bool) { return float64(t.Overdue), true }),
	counter("packets_duplicated_total",
		"Further copies of test packets that had already arrived (RFC 5560).",
		func(t *total) uint64 { return t.Duplicates }),
	counter("packets_reordered_total",
		"Test packets that arrived after one with a greater sequence number (RFC 4737).",
		func(t *total) uint64 { return t.Reordered }),
	counter("packets_late_total",
		"Test packets that arrived after their time-out and so count as lost.",
		func(t *total) uint64 { return t.Late }),
	counter("socket_drops_total",
		"Packets that the kernel of this host dropped because the receive buffer was full; some of what counts as lost may be among them.",
		func(t *total) uint64 { return t.SocketDrops }),
	gauge("hops",
		"Routers that the last test packet passed, 255 minus its TTL or hop limit on arrival; 0 also where that is not reported.",
		func(t *total) (float64, bool) {
			return float64(255 - t.TTL), !t.LastPacket.IsZero() && t.group.labels != other
		}),
	gauge("clock_error_seconds",
		"How far the clock of this host may be off in seconds, as its time stamps state it; without synchronization only the error of stamping is known.",
		func(t *total) (float64, bool) { return seconds(t.ClockError), true }),
	gauge("clock_synchronized",
		"1 while the clock of this host is synchronized to UTC, else 0.",
		func(t *total) (float64, bool) {
			if t.ClockSynced {
				return 1, true
			}
			return 0, true
		}),
	counter("clock_steps_total",
		"How often the clock of this host was set since the stream's start; delays measured across a step are off by as much.",
		func(t *total) uint64 { return t.ClockSteps }),
	gauge("send_slip_seconds",
		"How long after its scheduled time, or the begin of its session if that was later, the last test packet was sent, in seconds; only where this host sends.",
		func(t *total) (float64, bool) { return seconds(t.SendSlip), t.sends() }),
	gauge("transmit_gap_seconds",
		"Time from a test packet's send stamp to the kernel's own when it left, in seconds, as last sampled; a part of the measured delay. Only where this host sends.",
		func(t *total) (float64, bool) { return seconds(t.TransmitGap), t.sends() }),
	gauge("last_packet_timestamp_seconds",
		"Unix time when the last test packet arrived, in seconds; 0 before the first.",
		func(t *total) (float64, bool) {
			if t.LastPacket.IsZero() {
				return 0, true
			}
			return float64(t.LastPacket.UnixNano()) / 1e9, true
		}),
	gauge("completeness_ratio",
		"Part of the time since the stream's start that was measured, from 0 to 1.",
		func(t *total) (float64, bool) { return t.Completeness() }),
}

// descs are all that a Collector may collect.
var descs = func() []*prometheus.Desc {
	all := []*prometheus.Desc{delayDesc, packetsDesc, lossDesc, stateDesc, gapDesc}
	for _, f := range families {
		all = append(all, f.desc)
	}
	return all
}()

// sends reports whether this host sends the group's test packets.
func (t *total) sends() bool { return t.group.labels.Direction == From }

// seconds returns d in seconds, correctly rounded.
func seconds(d time.Duration) float64 { return float64(d) / 1e9 }

// collect sends every series of the group.
func (t *total) collect(ch chan<- prometheus.Metric) {
	labels := t.group.labels.values()
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, extra ...string) {
		values := slices.Concat(labels, extra)
		if kind == prometheus.CounterValue {
			ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(d, kind, v, t.group.created, values...)
			return
		}
		ch <- prometheus.MustNewConstMetric(d, kind, v, values...)
	}

	ch <- t.group.delayed().metric(t.group.created, labels)
	for _, p := range [...]struct {
		state string
		n     uint64
	}{
		{"received", t.Received},
		{"lost", t.Lost},
		{"not_sent", t.NotSent},
		{"not_covered", t.NotCovered},
	} {
		send(packetsDesc, prometheus.CounterValue, float64(p.n), p.state)
	}
	for c := range sessions.Causes() {
		send(lossDesc, prometheus.CounterValue, float64(t.LostBy[c]), c.String())
	}
	for s := range sessions.States() {
		send(stateDesc, prometheus.GaugeValue, float64(t.inState[s]), s.String())
	}
	for r := range sessions.GapReasons() {
		send(gapDesc, prometheus.CounterValue, seconds(t.Gaps[r]), string(r))
	}
	for _, f := range families {
		if v, known := f.value(t); known {
			send(f.desc, f.kind, v)
		}
	}
}

// buildInfo says which program runs, in labels, as Prometheus programs do. An
// empty version is the one that the toolchain recorded.
func buildInfo(version string) prometheus.Collector {
	labels := prometheus.Labels{"version": version, "revision": "unknown", "goversion": "unknown"}
	if b, ok := debug.ReadBuildInfo(); ok {
		labels["goversion"] = b.GoVersion
		if version == "" {
			labels["version"] = b.Main.Version
		}
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				labels["revision"] = s.Value
			}
		}
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "owl_build_info",
		Help:        "Always 1; the labels say which Owl this is and what built it.",
		ConstLabels: labels,
	}, func() float64 { return 1 })
}
