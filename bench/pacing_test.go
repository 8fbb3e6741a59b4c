package bench

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// clockTick is the unit of processor time in /proc, the same on all systems
// that Linux programs see.
const clockTick = 10 * time.Millisecond

// BenchmarkPacing measures what sending and receiving 10,000 packets a second
// over loopback costs, server and powstream together, and how punctual the
// packets are: with each pacing of Owl, and with the reference.
func BenchmarkPacing(b *testing.B) {
	const rate = 10000
	owl, reference := build(b), os.Getenv("OWAMP_REFERENCE_DIR")
	for _, tc := range []struct {
		name, dir string
		options   []string
	}{
		{"owl/normal", owl, []string{"--pacing", "normal"}},
		{"owl/economy", owl, []string{"--pacing", "economy"}},
		{"owl/precise", owl, []string{"--pacing", "precise"}},
		{"reference", reference, nil},
	} {
		b.Run(tc.name, func(b *testing.B) {
			if tc.dir == "" {
				b.Skip("OWAMP_REFERENCE_DIR is not set: it names the directory of the C suite's programs")
			}
			for b.Loop() {
				files := stream(b, tc.dir, tc.options, tc.options, 10*rate, rate)
				// Sessions of 10 s follow each other, so that from the end of one
				// to the end of the next the load is that of packets alone.
				<-files
				before, began := cpuTime(b, tc.dir), time.Now()
				name := <-files
				cpu, elapsed := cpuTime(b, tc.dir)-before, time.Since(began)
				delays, slips := read(b, name)
				b.ReportMetric(float64(cpu)/(rate*elapsed.Seconds()), "cpu-ns/packet")
				b.ReportMetric(float64(slips.Quantile(0.5)), "slip-ns-median")
				b.ReportMetric(float64(slips.Quantile(0.99)), "slip-ns-p99")
				b.ReportMetric(float64(delays.Quantile(0.5)), "delay-ns-median")
				b.ReportMetric(float64(delays.Count()), "packets")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cpuTime returns what all programs in dir that run have used so far, with what
// their children had used that have ended.
func cpuTime(b *testing.B, dir string) time.Duration {
	b.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		b.Fatal(err)
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		b.Fatal(err)
	}
	sum := time.Duration(0)
	for _, p := range processes {
		exe, err := os.Readlink(p + "/exe")
		if err != nil || filepath.Dir(exe) != dir {
			continue
		}
		stat, err := os.ReadFile(p + "/stat")
		if err != nil { // it has ended
			continue
		}
		// proc(5): utime, stime, cutime and cstime are the fields 14 to 17; the
		// second is the name in brackets.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, field := range fields[14-3 : 18-3] {
			ticks, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(ticks) * clockTick
		}
	}
	return sum
}
