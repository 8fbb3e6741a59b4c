package bench

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"owl/internal/netlab"
)

// clockTick is the unit of processor time in /proc, the same on all systems that
// Linux programs see.
const clockTick = 10 * time.Millisecond

// A program is one that runs, and what it takes.
type program struct {
	name    string
	host    *netlab.Host // nil: this one
	metrics netip.AddrPort
	pid     int

	before            time.Duration // processor time at the begin
	began             time.Time
	memory            int // octets, the most that were resident
	files, threads    int // the most
	connections, udps int // the most that it had open of either kind
}

// newProgram starts cmd, which ends with the benchmark.
func newProgram(b *testing.B, name string, host *netlab.Host, metrics netip.AddrPort, cmd *exec.Cmd) *program {
	b.Helper()
	cmd.Stderr = new(lines)
	run := cmd.Start
	if host != nil {
		run = func() error { return host.Start(cmd) }
	}
	if err := run(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	return &program{name: name, host: host, metrics: metrics, pid: cmd.Process.Pid}
}

// lines prints the first lines that a program does.
type lines int

func (l *lines) Write(p []byte) (int, error) {
	const most = 10
	for line := range strings.Lines(string(p)) {
		if *l++; *l <= most {
			say("%s", strings.TrimSpace(line))
		}
	}
	return len(p), nil
}

// await waits until p answers who asks for its metrics.
func (p *program) await(b *testing.B) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := p.dial()
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s: %v", p.name, err)
		}
	}
}

// dial connects to where p serves its metrics.
func (p *program) dial() (conn net.Conn, err error) {
	run := func() { conn, err = net.DialTimeout("tcp", p.metrics.String(), 10*time.Second) }
	if p.host == nil {
		run()
		return conn, err
	}
	if failed := p.host.Do(run); failed != nil {
		return nil, failed
	}
	return conn, err
}

// scrape returns how many octets the metrics of p have, how long they took, and
// how many packets its sockets have dropped.
func (p *program) scrape(b *testing.B) (size int64, took time.Duration, drops float64) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives:  true,
		DisableCompression: true,
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return p.dial() },
	}}
	began := time.Now()
	resp, err := client.Get("http://" + p.metrics.String() + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	for r := bufio.NewReader(resp.Body); ; {
		line, err := r.ReadString('\n')
		size += int64(len(line))
		if value, found := strings.CutPrefix(line, "owamp_socket_drops_total"); found {
			n, err := strconv.ParseFloat(strings.TrimSpace(value[strings.LastIndexByte(value, ' ')+1:]), 64)
			if err != nil {
				b.Fatal(err)
			}
			drops += n
		}
		if err == io.EOF {
			return size, time.Since(began), drops
		} else if err != nil {
			b.Fatal(err)
		}
	}
}

// proc returns the path of a file of the process.
func (p *program) proc(file string) string {
	return filepath.Join("/proc", strconv.Itoa(p.pid), file)
}

// cpu returns the processor time that p has used.
func (p *program) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		b.Fatal(err)
	}
	sum := 0
	for _, field := range strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[14-3 : 16-3] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		sum += ticks
	}
	return time.Duration(sum) * clockTick
}

func (p *program) begin(b *testing.B) { p.before, p.began = p.cpu(b), time.Now() }

// sample takes note of what p has now.
func (p *program) sample(b *testing.B) {
	b.Helper()
	status, err := os.ReadFile(p.proc("status"))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.Atoi(f[1]) // what is wanted are numbers
		switch f[0] {
		case "VmRSS:":
			p.memory = max(p.memory, n<<10)
		case "Threads:":
			p.threads = max(p.threads, n)
		}
	}
	fds, err := os.ReadDir(p.proc("fd"))
	if err != nil {
		b.Fatal(err)
	}
	p.files = max(p.files, len(fds))
	p.udps = max(p.udps, p.count(b, "net/udp"))
	p.connections = max(p.connections, p.count(b, "net/tcp")+p.count(b, "net/tcp6"))
}

// count returns how many sockets there are in a table of the network that p is
// in, which on loopback are those of everybody.
func (p *program) count(b *testing.B, table string) int {
	b.Helper()
	text, err := os.ReadFile(p.proc(table))
	if err != nil {
		b.Fatal(err)
	}
	return strings.Count(string(text), "\n") - 1 // a heading
}

// tell tells what p took for so many packets of so many streams.
func (p *program) tell(b *testing.B, packets float64, streams int) {
	b.Helper()
	cpu, elapsed := p.cpu(b)-p.before, time.Since(p.began)
	size, took, drops := p.scrape(b)
	say("%s: %.1f KB resident a stream (%d MB), %d descriptors, %d threads, %.2f us of CPU a packet (%.0f %% of a processor); sockets in its network: %d UDP, %d TCP; dropped by its sockets: %.0f; /metrics: %d KB in %v",
		p.name, float64(p.memory)/float64(streams)/1000, p.memory/1000000, p.files, p.threads,
		float64(cpu.Nanoseconds())/packets/1000, 100*cpu.Seconds()/elapsed.Seconds(), p.udps, p.connections, drops, size/1000, took.Round(time.Millisecond))
	b.ReportMetric(float64(p.memory)/float64(streams), p.name+"-octets/stream")
	b.ReportMetric(float64(p.files), p.name+"-descriptors")
	b.ReportMetric(float64(cpu.Nanoseconds())/packets, p.name+"-cpu-ns/packet")
	b.ReportMetric(drops, p.name+"-drops")
}
