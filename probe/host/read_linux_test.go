package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
)

// place puts what one of the directories of testdata has where the kernel would.
func place(t *testing.T, root, from string) {
	t.Helper()
	for name, at := range map[string]string{
		"softnet_stat": "net/softnet_stat",
		"pressure":     "pressure/cpu",
		"stat":         "stat",
		"loadavg":      "loadavg",
		"snmp":         "4711/net/snmp",
		"snmp6":        "4711/net/snmp6",
	} {
		text, err := os.ReadFile(filepath.Join("testdata", from, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, at), string(text))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What two moments of a host look like in its files is read out of them.
func TestRead(t *testing.T) {
	proc, sys := t.TempDir(), t.TempDir()
	if err := os.Symlink("4711", filepath.Join(proc, "self")); err != nil {
		t.Fatal(err)
	}
	now := begin
	m := New(Config{Now: func() owamp.Timestamp { return now }, Proc: proc, Sys: sys})
	m.devices.watchDevice("eth7")
	statistic := func(name, text string) {
		write(t, filepath.Join(sys, "class/net/eth7/statistics", name), text)
	}
	place(t, proc, "quiet")
	statistic("rx_dropped", "4100\n")
	statistic("rx_missed_errors", "10\n")
	statistic("rx_fifo_errors", "0\n")
	statistic("tx_dropped", "1\n")
	m.sample()
	first := m.Latest()
	for c, want := range map[Counter]uint64{
		SoftnetDropped: 3, SoftnetSqueezed: 2, UDPOverflows: 760, UDPErrors: 763,
		CPUWaiting: 7726044892000, CPUStolen: 35070e9 / 1e3, DeviceDropped: 0,
	} {
		if got, known := first.Get(c); got != want || !known {
			t.Errorf("counter %d: %d, %v; want %d", c, got, known, want)
		}
	}
	if load, known := first.Load(); load != 0.31 || !known {
		t.Errorf("load %v, %v; want 0.31", load, known)
	}

	place(t, proc, "busy")
	statistic("rx_dropped", "4112\n")
	statistic("rx_missed_errors", "13\n")
	statistic("rx_fifo_errors", "2\n")
	statistic("tx_dropped", "no number\n")
	now = at(time.Second)
	m.sample()
	want := Activity{
		Known:          true,
		SoftnetDropped: 12, SoftnetSqueezed: 19,
		DeviceOverruns: 5, DeviceDropped: 12,
		UDPOverflows: 6, UDPErrors: 9,
		Pressure: 0.75, Stolen: 0.1, Load: 8.25,
	}
	if diff := cmp.Diff(want, m.Between(begin, now)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Of a kernel that has less, as of many containers, less is known.
func TestReadLess(t *testing.T) {
	proc := t.TempDir()
	place(t, proc, "old")
	m := New(Config{Now: func() owamp.Timestamp { return begin }, Proc: proc, Sys: t.TempDir()})
	m.devices.watchDevice("eth7")
	m.sample()
	s := m.Latest()
	if n, known := s.Get(SoftnetSqueezed); n != 4 || !known {
		t.Errorf("squeezed %d, %v; want 4", n, known)
	}
	for _, c := range []Counter{UDPOverflows, UDPErrors, CPUWaiting, CPUStolen, CPUTime, DeviceDropped} {
		if n, known := s.Get(c); n != 0 || known {
			t.Errorf("counter %d: %d, though nothing says so", c, n)
		}
	}
	if _, known := s.Load(); known {
		t.Error("a load, though nothing says so")
	}
	// Nothing at all is there.
	m = New(Config{Now: func() owamp.Timestamp { return begin }, Proc: filepath.Join(proc, "no"), Sys: filepath.Join(proc, "no")})
	m.sample()
	if s := m.Latest(); s.known != 0 {
		t.Errorf("%+v of nothing", s)
	}
}

// This host has some of it, which never goes back.
func TestReadThisHost(t *testing.T) {
	m := New(Config{Now: func() owamp.Timestamp { return owamp.FromTime(time.Now()) }})
	m.devices.watchDevice("lo")
	m.sample()
	first := m.Latest()
	m.sample()
	second := m.Latest()
	if first.known == 0 {
		t.Skip("SKIPPED: neither /proc nor /sys says anything here")
	}
	for c := range Counters() {
		before, _ := first.Get(c)
		if after, known := second.Get(c); known && after < before {
			t.Errorf("counter %d went from %d to %d", c, before, after)
		}
	}
}

func BenchmarkSample(b *testing.B) {
	m := New(Config{Now: func() owamp.Timestamp { return owamp.FromTime(time.Now()) }})
	m.devices.watchDevice("lo")
	m.devices.watchDevice("eth0")
	b.ReportAllocs()
	for b.Loop() {
		m.sample()
	}
}
