package host

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// devices are the network interfaces that test packets go through, and what they
// have counted. An interface that comes later, or goes, or counts anew, does not
// make the sum jump.
type devices struct {
	seen  map[netip.Addr]bool
	names []string
	last  map[statistic]uint64
	total Sample // the sums
}

// A statistic is one counter of one interface.
type statistic struct{ device, name string }

// statistics are those of sysfs, in /sys/class/net/*/statistics, and what they
// count towards.
var statistics = []struct {
	name    string
	counter Counter
}{
	{"rx_missed_errors", DeviceOverruns},
	{"rx_fifo_errors", DeviceOverruns},
	{"rx_over_errors", DeviceOverruns},
	{"rx_dropped", DeviceDropped},
	{"tx_dropped", DeviceUnsent},
	{"tx_errors", DeviceUnsent},
}

// watch adds the interface that has the address.
func (d *devices) watch(addr netip.Addr) {
	if d.seen[addr] || len(d.names) == maxDevices {
		return
	}
	if d.seen == nil {
		d.seen = make(map[netip.Addr]bool)
	}
	d.seen[addr] = true
	if name := deviceOf(addr); name != "" {
		d.watchDevice(name)
	}
}

// watchDevice adds an interface.
func (d *devices) watchDevice(name string) {
	if !slices.Contains(d.names, name) {
		d.names = append(d.names, name)
	}
}

// deviceOf returns the name of the network interface that has an address, empty
// if none has.
func deviceOf(addr netip.Addr) string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == addr.WithZone("") && (addr.Zone() == "" || addr.Zone() == i.Name) {
				return i.Name
			}
		}
	}
	return ""
}

// read adds what the interfaces have counted to s. sys is where sysfs is.
func (d *devices) read(sys string, s *Sample) {
	for _, device := range d.names {
		for _, st := range statistics {
			text, err := os.ReadFile(filepath.Join(sys, "class/net", device, "statistics", st.name))
			if err != nil {
				continue
			}
			if n, ok := parseStatistic(string(text)); ok {
				d.count(statistic{device, st.name}, st.counter, n)
			}
		}
	}
	for _, st := range statistics {
		if n, known := d.total.Get(st.counter); known {
			s.Set(st.counter, n)
		}
	}
}

// count takes in what a statistic says.
func (d *devices) count(st statistic, c Counter, n uint64) {
	if d.last == nil {
		d.last = make(map[statistic]uint64)
	}
	last, known := d.last[st]
	d.last[st] = n
	if !known || n < last {
		last = n
	}
	d.total.add(c, n-last)
}

// parseStatistic reads the one number that a file of sysfs holds.
func parseStatistic(text string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	return n, err == nil
}
