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
	"owl/owamp/owp"
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
	server := exec.Command(filepath.Join(dir, "owampd"), "-f", "-Z", "-a", "O",
		"-c", filepath.Join(base, "etc"), "-R", filepath.Join(base, "var"), "-d", filepath.Join(base, "data"), "-S", addr)
	start(b, server)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	client := exec.Command(filepath.Join(dir, "powstream"), "-p", "-d", filepath.Join(base, "out"), "-L", "1",
		"-c", fmt.Sprint(max(100, 5*rate)), "-i", fmt.Sprint(1/float64(rate)), addr)
	stdout, err := client.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	start(b, client)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if name := lines.Text(); strings.HasSuffix(name, ".owp") {
			return read(b, name)
		}
	}
	b.Fatal("powstream ended without a session")
	return nil
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

func read(b *testing.B, name string) *histogram.Live {
	b.Helper()
	r, err := owp.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	h := new(histogram.Live)
	for rec, err := range r.Records() {
		if err != nil {
			b.Fatal(err)
		}
		if !rec.Lost() {
			h.Insert(int64(rec.Recv.Sub(rec.Sent)))
		}
	}
	return h
}
