package tstat

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// logSize is how large the log of a benchmark is.
var logSize = flag.Int64("tstat-log", 16<<20, "octets of a log that is generated")

// tcpHeader is the first line of the logs that tstat 3 writes.
func tcpHeader(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/tree/2016_02_17_12_53.out/log_tcp_complete")
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(string(text), "\n")
	return header
}

// generate writes a log of TCP connections of about size octets, as those of a
// busy link are: one connection of a hundred is large.
func generate(w io.Writer, header string, size int64) (lines int64, err error) {
	names := strings.Split(header, " ")
	for i := range names {
		names[i] = columnName([]byte(names[i]))
	}
	out := bufio.NewWriterSize(w, 1<<20)
	if _, err := fmt.Fprintln(out, header); err != nil {
		return 0, err
	}
	random := rand.New(rand.NewPCG(1, 2))
	var line []byte
	for written := int64(len(header)); written < size; lines++ {
		line = line[:0]
		start := 1455745857000 + 3600_000*random.Float64()
		took := 1000 * random.ExpFloat64()
		for _, name := range names {
			switch bare := name[strings.IndexByte(name, '_')+1:]; {
			case bare == "ip":
				line = fmt.Appendf(line, "198.51.%d.%d ", random.IntN(256), random.IntN(256))
			case bare == "port":
				line = fmt.Appendf(line, "%d ", 1024+random.IntN(60000))
			case bare == "bytes_uniq" && random.IntN(100) == 0:
				line = fmt.Appendf(line, "%d ", 1e9+random.Int64N(1e11))
			case bare == "bytes_uniq", bare == "pkts_data", bare == "bytes_all", bare == "pkts_all":
				line = fmt.Appendf(line, "%d ", random.IntN(1e6))
			case name == "first":
				line = fmt.Appendf(line, "%.6f ", start)
			case name == "last":
				line = fmt.Appendf(line, "%.6f ", start+took)
			case name == "durat":
				line = fmt.Appendf(line, "%.6f ", took)
			case strings.HasPrefix(bare, "rtt_") && bare != "rtt_cnt", bare == "first", bare == "last", bare == "first_ack":
				line = fmt.Appendf(line, "%.6f ", 100*random.Float64())
			case bare == "mss" || bare == "mss_max":
				line = append(line, "1460 "...)
			default:
				line = fmt.Appendf(line, "%d ", random.IntN(10))
			}
		}
		line[len(line)-1] = '\n'
		n, err := out.Write(line)
		if err != nil {
			return lines, err
		}
		written += int64(n)
	}
	return lines, out.Flush()
}

// generated makes a directory of tstat with a log in it.
func generated(t testing.TB, size int64) (root string, lines int64) {
	t.Helper()
	root = t.TempDir()
	dir := filepath.Join(root, "2016_02_17_12_53.out")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, tcp.logName()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if lines, err = generate(f, tcpHeader(t), size); err != nil {
		t.Fatal(err)
	}
	return root, lines
}

// BenchmarkSend reads a log, of which one line of fifty is worth sending, or of
// which every line is. A log of 1 GB is
//
//	go test -run '^$' -bench Send -benchtime 1x ./archive/tstat -tstat-log 1000000000
func BenchmarkSend(b *testing.B) {
	root, lines := generated(b, *logSize)
	info, err := os.Stat(filepath.Join(root, "2016_02_17_12_53.out", tcp.logName()))
	if err != nil {
		b.Fatal(err)
	}
	for name, bits := range map[string]int64{"threshold": 8e9, "all": 0} {
		b.Run(name, func(b *testing.B) {
			o := options(b, bits)
			o.Log = discard
			b.SetBytes(info.Size())
			b.ReportAllocs()
			for b.Loop() {
				total, err := Send(b.Context(), root, Dump(io.Discard), o)
				if err != nil || total.Lines != lines || total.Unreadable != 0 {
					b.Fatalf("%+v, %v", total, err)
				}
				b.StopTimer()
				if err := os.Remove(filepath.Join(root, "2016_02_17_12_53.out", markName)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
