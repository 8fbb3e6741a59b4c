package bench

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"owl/histogram"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
)

// BenchmarkDelay measures the one-way delay that a server and a powstream see
// over loopback, which is what their stamping adds to a network: with Owl's
// programs and with the reference's, at several rates.
func BenchmarkDelay(b *testing.B) {
	suites := []struct{ name, dir string }{{"owl", build(b)}, {"reference", os.Getenv("OWAMP_REFERENCE_DIR")}}
	for _, rate := range []int{10, 100, 1000, 10000} {
		for _, s := range suites {
			b.Run(fmt.Sprintf("packets=%d/s/%s", rate, s.name), func(b *testing.B) {
				if s.dir == "" {
					b.Skip("OWAMP_REFERENCE_DIR is not set: it names the directory of the C suite's programs")
				}
				for b.Loop() {
					h := delays(b, s.dir, rate)
					b.ReportMetric(float64(h.Min()), "ns-min")
					b.ReportMetric(float64(h.Quantile(0.5)), "ns-median")
					b.ReportMetric(float64(h.Quantile(0.95)), "ns-p95")
					b.ReportMetric(float64(h.Count()), "packets")
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// build builds Owl's programs.
func build(b *testing.B) string {
	dir := b.TempDir()
	cmd := exec.Command("go", "build", "-o", dir, "owl/cmd/owampd", "owl/cmd/powstream")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("building: %v\n%s", err, out)
	}
	return dir
}

// delays runs the programs in dir and returns the delays of the first session:
// 5 s of packets, at least 100.
func delays(b *testing.B, dir string, rate int) *histogram.Live {
	b.Helper()
	files := stream(b, dir, nil, nil, max(100, 5*rate), rate)
	h, _ := read(b, <-files)
	return h
}

// stream runs a server and a powstream of dir, with the given options beside
// those that both suites have, and returns the names of the .owp files as they
// are completed. The programs end with the benchmark.
func stream(b *testing.B, dir string, serverOptions, clientOptions []string, packets, rate int) <-chan string {
	b.Helper()
	base := b.TempDir()
	for _, d := range []string{"etc", "var", "data", "out"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o777); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "etc", "owamp-server.conf"), nil, 0o666); err != nil {
		b.Fatal(err)
	}
	addr := freeAddr(b)
	server := exec.Command(filepath.Join(dir, "owampd"), append([]string{"-f", "-Z", "-a", "O",
		"-c", filepath.Join(base, "etc"), "-R", filepath.Join(base, "var"), "-d", filepath.Join(base, "data"), "-S", addr}, serverOptions...)...)
	start(b, server)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	client := exec.Command(filepath.Join(dir, "powstream"), append(clientOptions, "-p", "-d", filepath.Join(base, "out"), "-L", "1",
		"-c", fmt.Sprint(packets), "-i", fmt.Sprint(1/float64(rate)), addr)...)
	stdout, err := client.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	start(b, client)
	files := make(chan string, 16)
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if name := lines.Text(); strings.HasSuffix(name, ".owp") {
				files <- name
			}
		}
		close(files)
	}()
	return files
}

// start starts a program that ends with the benchmark.
func start(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
}

// freeAddr returns a TCP address of loopback that nobody listens on.
func freeAddr(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// read returns the delays in a file of a session, and how long after their
// scheduled times its packets were sent.
func read(b *testing.B, name string) (delays, slips *histogram.Live) {
	b.Helper()
	if name == "" {
		b.Fatal("powstream ended without a session")
	}
	r, err := owp.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	spec := r.Header().Spec
	generator, err := schedule.New(spec.SID, spec.Slots)
	if err != nil {
		b.Fatal(err)
	}
	due := make([]owamp.Timestamp, spec.Packets)
	for i, at := 0, spec.Start; i < len(due); i++ {
		at = at.Add(generator.Next())
		due[i] = at
	}
	delays, slips = new(histogram.Live), new(histogram.Live)
	for rec, err := range r.Records() {
		if err != nil {
			b.Fatal(err)
		}
		if !rec.Lost() {
			delays.Insert(int64(rec.Recv.Sub(rec.Sent)))
			slips.Insert(int64(rec.Sent.Sub(due[rec.Seq])))
		}
	}
	return delays, slips
}
