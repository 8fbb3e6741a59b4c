package host

import (
	"cmp"

	"github.com/prometheus/procfs"
)

// reader returns what fills in samples.
func (m *Monitor) reader(cfg Config) func(*Sample) {
	sys := cmp.Or(cfg.Sys, "/sys")
	proc, err := procfs.NewFS(cmp.Or(cfg.Proc, procfs.DefaultMountPoint))
	return func(s *Sample) {
		if err == nil {
			readProc(proc, s)
		}
		m.devices.read(sys, s)
	}
}

// readProc reads what there is of proc(5).
func readProc(proc procfs.FS, s *Sample) {
	if rows, err := proc.NetSoftnetStat(); err == nil {
		for _, r := range rows { // one of each processor
			s.add(SoftnetDropped, uint64(r.Dropped))
			s.add(SoftnetSqueezed, uint64(r.TimeSqueezed))
		}
	}
	if self, err := proc.Self(); err == nil {
		readUDP(self, s)
	}
	if psi, err := proc.PSIStatsForResource("cpu"); err == nil && psi.Some != nil {
		s.Set(CPUWaiting, psi.Some.Total*1e3)
	}
	if stat, err := proc.Stat(); err == nil {
		const ns = 1e9
		t := stat.CPUTotal // guests are part of user and nice
		s.Set(CPUStolen, uint64(t.Steal*ns))
		s.Set(CPUTime, uint64((t.User+t.Nice+t.System+t.Idle+t.Iowait+t.IRQ+t.SoftIRQ+t.Steal)*ns))
	}
	if load, err := proc.LoadAvg(); err == nil {
		s.SetLoad(load.Load1)
	}
}

// readUDP reads the counters of UDP, those of IPv4 and of IPv6.
func readUDP(self procfs.Proc, s *Sample) {
	add := func(c Counter, v *float64) {
		if v != nil && *v >= 0 {
			s.add(c, uint64(*v))
		}
	}
	if v4, err := self.Snmp(); err == nil {
		add(UDPOverflows, v4.Udp.RcvbufErrors)
		add(UDPErrors, v4.Udp.InErrors)
	}
	if v6, err := self.Snmp6(); err == nil {
		add(UDPOverflows, v6.Udp6.RcvbufErrors)
		add(UDPErrors, v6.Udp6.InErrors)
	}
}
