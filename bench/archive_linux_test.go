package bench

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"owl/owamp/owp"
)

// How often and how long BenchmarkArchive measures.
var archiving = struct {
	pairs    int
	sessions int
}{}

func init() {
	flag.IntVar(&archiving.pairs, "archive.pairs", 10, "`pairs` of runs of BenchmarkArchive")
	flag.IntVar(&archiving.sessions, "archive.sessions", 8, "`sessions` of a second in each run")
}

// BenchmarkArchive says by how much the delay moves that powstream measures at
// 1,000 packets a second when it brings a result a second to an archive: in pairs
// of runs, with an archive and without, of which each is first in turn.
//
//	go test -run '^$' -bench Archive -benchtime 1x -timeout 1h ./bench
func BenchmarkArchive(b *testing.B) {
	dir := b.TempDir()
	cmd := exec.Command("go", "build", "-o", dir, "owl/cmd/owampd", "owl/cmd/powstream")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("building: %v\n%s", err, out)
	}
	var results atomic.Int64
	archive := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // who breaks off is not counted
		results.Add(1)
	}))
	defer archive.Close()
	spec := fmt.Sprintf(`{"archiver": "http", "data": {"_url": %q}}`, archive.URL)
	server := serveOWAMP(b, dir)
	for b.Loop() {
		var with, without, differences []float64
		began, measured := results.Load(), time.Duration(0)
		for i := range archiving.pairs {
			var pair [2]float64 // without, with
			for j := range 2 {
				var more []string
				archived := (i+j)%2 == 1
				if archived {
					more = []string{"--archive", spec}
				}
				median, took := measureDelay(b, dir, server, more)
				k := 0
				if archived {
					k, measured = 1, measured+took
				}
				pair[k] = median
			}
			without, with = append(without, pair[0]), append(with, pair[1])
			differences = append(differences, pair[1]-pair[0])
		}
		mean, half := interval(differences)
		rate := float64(results.Load()-began) / measured.Seconds()
		say("median delay of %d runs without an archive, ns: %.0f", len(without), without)
		say("median delay of %d runs with one, ns: %.0f", len(with), with)
		say("difference %.0f ns, with a confidence of 95 %% from %.0f to %.0f; %.2f results a second\n", mean, mean-half, mean+half, rate)
		b.ReportMetric(mean, "difference-ns")
		b.ReportMetric(half, "half-interval-ns")
		b.ReportMetric(rate, "results/s")
	}
	b.ReportMetric(0, "ns/op")
}

// serveOWAMP starts an owampd until the benchmark ends, and returns where.
func serveOWAMP(b *testing.B, dir string) (addr string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	base := b.TempDir()
	if err := os.WriteFile(filepath.Join(base, "owamp-server.conf"), nil, 0o644); err != nil {
		b.Fatal(err)
	}
	start(b, exec.Command(filepath.Join(dir, "owampd"), "-f", "-Z", "-a", "O", "-S", addr, "-c", base, "-d", base, "-R", base))
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// start starts a program until the benchmark ends, or the function that it returns
// is called.
func start(b *testing.B, cmd *exec.Cmd) (end func()) {
	b.Helper()
	cmd.Stderr = io.Discard
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	}
	b.Cleanup(end)
	return end
}

// measureDelay runs powstream for some sessions, and returns the median delay of
// their packets in ns, but for those of the first session, and how long the
// sessions took of which there may be results.
func measureDelay(b *testing.B, dir, server string, more []string) (median float64, took time.Duration) {
	b.Helper()
	out := b.TempDir()
	args := append([]string{"-c", "1000", "-i", "0.001", "-L", "1", "-d", out}, more...)
	end := start(b, exec.Command(filepath.Join(dir, "powstream"), append(args, server)...))
	whole := func() []string {
		names, err := filepath.Glob(filepath.Join(out, "*.owp"))
		if err != nil {
			b.Fatal(err)
		}
		slices.Sort(names)
		return names
	}
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	for len(whole()) < archiving.sessions {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			b.Fatal(ctx.Err())
		}
	}
	end()
	names := whole()
	var delays []uint64 // in units of 2^-32 s
	for i, name := range names {
		r, err := owp.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		for rec, err := range r.Records() {
			if err != nil {
				b.Fatal(err)
			}
			if i > 0 && !rec.Lost() {
				delays = append(delays, uint64(rec.Recv-rec.Sent))
			}
		}
		r.Close()
	}
	slices.Sort(delays)
	if len(delays) == 0 {
		b.Fatal("no packet was received")
	}
	return float64(delays[len(delays)/2]) * 1e9 / (1 << 32), time.Duration(len(names)) * time.Second
}

// interval returns the mean of values and half the width of the interval that it is
// in with a confidence of 95 %, by Student's distribution.
func interval(values []float64) (mean, half float64) {
	n := float64(len(values))
	for _, v := range values {
		mean += v / n
	}
	sum := 0.0
	for _, v := range values {
		sum += (v - mean) * (v - mean)
	}
	// Quantiles of 97.5 %, for 1 to 19 degrees of freedom; beyond, that of the
	// normal distribution with what it is short of.
	t := []float64{12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093}
	q := 1.96 + 2.4/max(n-1, 1)
	if i := len(values) - 2; i >= 0 && i < len(t) {
		q = t[i]
	}
	return mean, q * math.Sqrt(sum/max(n-1, 1)/n)
}
