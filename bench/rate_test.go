package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"owl/owamp/owp"
	"owl/owamp/stats"
)

// BenchmarkRate sends one stream over loopback as fast as is asked for, for 10 s,
// and counts what has become of its packets: how many were sent, and not skipped
// because this host was later with them than the time-out of 1 s, and how many of
// those were lost.
func BenchmarkRate(b *testing.B) {
	owl := build(b)
	for _, tc := range []struct {
		mode string
		rate int
	}{
		{"O", 50_000}, {"O", 100_000}, {"O", 200_000}, {"O", 400_000}, {"E", 100_000}, {"E", 200_000},
	} {
		b.Run(fmt.Sprintf("mode=%s/packets=%d/s", tc.mode, tc.rate), func(b *testing.B) {
			server, client := keys(b, tc.mode)
			for b.Loop() {
				name := <-stream(b, owl, server, client, 10*tc.rate, tc.rate)
				_, slips := read(b, name)
				r, err := owp.Open(name)
				if err != nil {
					b.Fatal(err)
				}
				sum, err := stats.Summarize(&stats.Session{Spec: r.Header().Spec, Finished: true, NextSeq: r.Header().NextSeq, Skips: r.Skips()}, r.Batches(0), stats.Options{})
				r.Close()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(sum.Sent), "sent")
				b.ReportMetric(float64(sum.Lost), "lost")
				b.ReportMetric(float64(slips.Quantile(0.5)), "slip-ns-median")
				b.ReportMetric(float64(slips.Max()), "slip-ns-max")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// keys returns what has a server offer a mode, without limits, and a powstream
// take it.
func keys(b *testing.B, mode string) (server, client []string) {
	b.Helper()
	dir := b.TempDir()
	secrets := filepath.Join(dir, "owamp-server.pfs")
	for name, text := range map[string]string{
		"owamp-server.conf":   "",
		"owamp-server.limits": "limit root with disk=0, bandwidth=0, delete_on_fetch=on\nassign default root\n",
		"owamp-server.pfs":    "bench 736563726574\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	server, client = []string{"-c", dir, "-a", mode}, []string{"-A", mode}
	if mode != "O" {
		client = append(client, "-u", "bench", "-k", secrets)
	}
	return server, client
}
