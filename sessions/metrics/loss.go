package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"owl/probe"
	"owl/probe/host"
)

// lossDesc is the family of lost packets by whose loss it was.
var lossDesc = desc("packets_lost_by_cause_total",
	"Those of owamp_packets_total that are lost, by whose loss it was as far as this host can tell: host (it dropped that many, at most), host_suspect (it did what may lose packets), network (it did not), unknown (nobody watched it).",
	"cause")

// A hostFamily is one value of this host.
type hostFamily struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*host.Sample, *probe.Incidents) (v float64, known bool)
}

func hostDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("owl_host_"+name, help, nil, nil)
}

// counted is a counter of the kernel, in units of which one of the metric has so
// many.
func counted(name, help string, c host.Counter, unit float64) hostFamily {
	return hostFamily{hostDesc(name, help), prometheus.CounterValue, func(s *host.Sample, _ *probe.Incidents) (float64, bool) {
		n, known := s.Get(c)
		return float64(n) / unit, known
	}}
}

// incident is a counter of the engine.
func incident(name, help string, n func(*probe.Incidents) uint64) hostFamily {
	return hostFamily{hostDesc(name, help), prometheus.CounterValue, func(_ *host.Sample, in *probe.Incidents) (float64, bool) {
		return float64(n(in)), true
	}}
}

var hostFamilies = []hostFamily{
	counted("softnet_dropped_total", "Packets that the kernel of this host dropped because its backlog was full.", host.SoftnetDropped, 1),
	counted("softnet_squeezed_total", "How often the kernel of this host broke off receiving with packets still waiting.", host.SoftnetSqueezed, 1),
	counted("device_overruns_total", "Packets for which the network interfaces of the tests had no buffer, since each is watched.", host.DeviceOverruns, 1),
	counted("device_dropped_total", "Packets that the network interfaces of the tests received and the kernel dropped, since each is watched.", host.DeviceDropped, 1),
	counted("device_unsent_total", "Packets that the network interfaces of the tests did not send, since each is watched.", host.DeviceUnsent, 1),
	counted("udp_overflows_total", "UDP packets for which a socket of any program on this host had no room.", host.UDPOverflows, 1),
	counted("udp_errors_total", "UDP packets that this host dropped for any reason, overflows and wrong checksums among them.", host.UDPErrors, 1),
	counted("cpu_waiting_seconds_total", "Time in which a task of this host had to wait for a processor (pressure stall information), in seconds.", host.CPUWaiting, 1e9),
	counted("cpu_stolen_seconds_total", "Processor time that this virtual machine wanted and did not get, in seconds.", host.CPUStolen, 1e9),
	{hostDesc("load1", "How many tasks of this host wanted a processor, on the average of the last minute."), prometheus.GaugeValue, func(s *host.Sample, _ *probe.Incidents) (float64, bool) {
		return s.Load()
	}},
	incident("late_reads_total", "How often arrived test packets were read at least 100 ms later than planned.", func(in *probe.Incidents) uint64 { return in.LateReads }),
	incident("late_sends_total", "How often test packets were sent, or given up, at least 100 ms after their scheduled time.", func(in *probe.Incidents) uint64 { return in.LateSends }),
	incident("refused_sends_total", "How often the kernel of this host refused to send a test packet, which may have been tried again.", func(in *probe.Incidents) uint64 { return in.Refused }),
}

// registerHost shows what this host does that loses packets, as far as it is known. Each
// scrape asks both functions once, from another goroutine.
func registerHost(reg prometheus.Registerer, latest func() host.Sample, incidents func() probe.Incidents) error {
	if err := reg.Register(hostCollector{latest, incidents}); err != nil {
		return fmt.Errorf("registering the metrics of this host: %w", err)
	}
	return nil
}

type hostCollector struct {
	latest    func() host.Sample
	incidents func() probe.Incidents
}

// Describe and Collect are for prometheus.Collector alone.

func (c hostCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range hostFamilies {
		ch <- f.desc
	}
}

func (c hostCollector) Collect(ch chan<- prometheus.Metric) {
	s, in := c.latest(), c.incidents()
	for _, f := range hostFamilies {
		if v, known := f.value(&s, &in); known {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, v)
		}
	}
}
