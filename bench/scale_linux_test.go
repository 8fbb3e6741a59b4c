package bench

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"owl/histogram"
	"owl/internal/netlab"
	"owl/owamp/owp"
)

// What BenchmarkScale is to run, for it takes long.
var scale = struct {
	streams   int
	rate      float64
	session   time.Duration
	during    time.Duration
	direction string
	over      string
	sampled   int
}{}

func init() {
	flag.IntVar(&scale.streams, "scale.streams", 500, "`number` of streams of BenchmarkScale")
	flag.Float64Var(&scale.rate, "scale.rate", 10, "`packets` a second of each stream")
	flag.DurationVar(&scale.session, "scale.session", 30*time.Second, "`length` of a session")
	flag.DurationVar(&scale.during, "scale.for", time.Minute, "how long to measure once all streams run")
	flag.StringVar(&scale.direction, "scale.direction", "receive", "`direction` of the streams as owagent sees it: receive, send or both")
	flag.StringVar(&scale.over, "scale.over", "loopback", "`network` between the two: loopback or veth")
	flag.IntVar(&scale.sampled, "scale.sampled", 10, "`number` of streams the delays of whose packets are read from their files")
}

// BenchmarkScale runs many streams through one owagent and one owampd, and says
// what each of the two takes for it, what became of the packets, and how long
// they took:
//
//	go test -run '^$' -bench Scale -benchtime 1x -timeout 1h ./bench -scale.streams 10000 -scale.for 5m
func BenchmarkScale(b *testing.B) {
	dir := b.TempDir()
	cmd := exec.Command("go", "build", "-o", dir, "owl/cmd/owampd", "owl/cmd/owagent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("building: %v\n%s", err, out)
	}
	b.Run(fmt.Sprintf("streams=%d/%s/%s", scale.streams, scale.direction, scale.over), func(b *testing.B) {
		for b.Loop() {
			runScale(b, dir)
		}
		b.ReportMetric(0, "ns/op")
	})
}

// say prints a line of the result: a benchmark may log only a few.
func say(format string, args ...any) { fmt.Fprintf(os.Stdout, "\n"+format, args...) }

// A site is where the two programs run.
type site struct {
	agent, server netip.Addr
	hosts         [2]*netlab.Host // of the agent and of the server; nil: this one
}

func newSite(b *testing.B) *site {
	switch scale.over {
	case "loopback":
		lo := netip.MustParseAddr("127.0.0.1")
		return &site{agent: lo, server: lo}
	case "veth":
		x, y := netlab.NewVeth(b)
		return &site{agent: x.Addr4, server: y.Addr4, hosts: [2]*netlab.Host{x, y}}
	}
	b.Fatalf("-scale.over %s: want loopback or veth", scale.over)
	return nil
}

// runScale is one run of the programs in dir.
func runScale(b *testing.B, dir string) {
	at := newSite(b)
	base := b.TempDir()
	for _, d := range []string{"etc", "var", "data"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "etc", "owamp-server.conf"), nil, 0o666); err != nil {
		b.Fatal(err)
	}
	control := netip.AddrPortFrom(at.server, 8611)
	owampd := newProgram(b, "owampd", at.hosts[1], netip.AddrPortFrom(at.server, 8612), exec.Command(filepath.Join(dir, "owampd"),
		"-f", "-Z", "-a", "O", "-c", filepath.Join(base, "etc"), "-R", filepath.Join(base, "var"), "-d", filepath.Join(base, "data"),
		"-S", control.String(), "--metrics", netip.AddrPortFrom(at.server, 8612).String()))
	owampd.await(b)
	file, socket := filepath.Join(base, "owagent.yaml"), filepath.Join(base, "owagent.sock")
	writeStreams(b, file, base, control, netip.AddrPortFrom(at.agent, 8613))
	owagent := newProgram(b, "owagent", at.hosts[0], netip.AddrPortFrom(at.agent, 8613), exec.Command(filepath.Join(dir, "owagent"),
		"run", "--config", file, "--socket", socket))
	owagent.await(b)

	ask := func() agentStatus { return askAgent(b, dir, socket) }
	began := time.Now()
	patience := time.Minute + 2*scale.session + time.Duration(scale.streams)*10*time.Millisecond
	for ask().unlike("running") > 0 {
		if time.Since(began) > patience {
			b.Fatalf("after %v there are %d streams that do not run", patience, ask().unlike("running"))
		}
		time.Sleep(time.Duration(1+scale.streams/1000) * time.Second) // to ask is work, too
	}
	// What the first sessions took is no measure: they begin all at once.
	time.Sleep(scale.session)
	say("all streams run after %v", time.Since(began).Round(time.Second))

	first, since := ask(), time.Now()
	programs := []*program{owampd, owagent}
	for _, p := range programs {
		p.begin(b)
	}
	for time.Since(since) < scale.during {
		time.Sleep(time.Second)
		for _, p := range programs {
			p.sample(b)
		}
	}
	last, elapsed := ask(), time.Since(since)
	packets := scale.rate * float64(last.streams()) * elapsed.Seconds()
	for _, p := range programs {
		p.tell(b, packets, scale.streams)
	}
	last.minus(&first).tell(b)
	h, n := sampledDelays(b, base, since)
	if h.Count() > 0 {
		say("delay of %d packets of %d sessions: least %d ns, median %d ns, p99 %d ns, p99.9 %d ns",
			h.Count(), n, h.Min(), h.Quantile(0.5), h.Quantile(0.99), h.Quantile(0.999))
		b.ReportMetric(float64(h.Quantile(0.5)), "delay-ns-median")
		b.ReportMetric(float64(h.Quantile(0.99)), "delay-ns-p99")
	}
}

// writeStreams writes the file of owagent.
func writeStreams(b *testing.B, name, base string, control, metrics netip.AddrPort) {
	var text strings.Builder
	total := uint64(scale.rate*float64(scale.streams)) * 2
	fmt.Fprintf(&text, "host: bench\nmetrics: %v\nbudget: %d\nports: 20000-60000\n", metrics, total+1)
	fmt.Fprintf(&text, "defaults: {direction: %s, interval: %v, packets: %d, timeout: 2s}\nstreams:\n",
		scale.direction, 1/scale.rate, max(1, int(scale.session.Seconds()*scale.rate)))
	for i := range scale.streams {
		dir := ""
		if i < scale.sampled {
			dir = fmt.Sprintf(", dir: %s/out", base)
		}
		fmt.Fprintf(&text, "- {name: s%05d, peer: %q, server: %q%s}\n", i, control.Addr(), control, dir)
	}
	if err := os.WriteFile(name, []byte(text.String()), 0o666); err != nil {
		b.Fatal(err)
	}
}

// An agentStatus is what the benchmark reads of the answer to owagent status.
type agentStatus struct {
	Streams []struct {
		State      string             `json:"state"`
		Received   uint64             `json:"received"`
		Lost       uint64             `json:"lost"`
		NotSent    uint64             `json:"not_sent"`
		NotCovered uint64             `json:"not_covered"`
		Gaps       map[string]float64 `json:"gaps_s"`
	} `json:"streams"`
}

func askAgent(b *testing.B, dir, socket string) (s agentStatus) {
	out, err := exec.Command(filepath.Join(dir, "owagent"), "status", "--json", "--socket", socket).Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		b.Fatalf("owagent status: %v", err)
	}
	return s
}

// streams returns how many streams there are, counting each direction.
func (s *agentStatus) streams() int { return len(s.Streams) }

// unlike returns how many streams are not in the state.
func (s agentStatus) unlike(state string) (n int) {
	for i := range s.Streams {
		if s.Streams[i].State != state {
			n++
		}
	}
	return n
}

// A fate is what became of packets, and what was not measured.
type fate struct {
	received, lost, notSent, notCovered uint64
	gaps                                map[string]float64 // s, by reason
}

// minus returns what has become of packets since earlier.
func (s *agentStatus) minus(earlier *agentStatus) fate {
	f := fate{gaps: make(map[string]float64)}
	for i := range s.Streams {
		now, then := &s.Streams[i], &earlier.Streams[i]
		f.received += now.Received - then.Received
		f.lost += now.Lost - then.Lost
		f.notSent += now.NotSent - then.NotSent
		f.notCovered += now.NotCovered - then.NotCovered
		for reason, seconds := range now.Gaps {
			f.gaps[reason] += seconds - then.Gaps[reason]
		}
	}
	return f
}

func (f fate) tell(b *testing.B) {
	say("packets settled: %d received, %d lost, %d not sent, %d not covered; gaps %v", f.received, f.lost, f.notSent, f.notCovered, f.gaps)
	b.ReportMetric(float64(f.received), "received")
	b.ReportMetric(float64(f.lost), "lost")
	b.ReportMetric(float64(f.notSent+f.notCovered), "not-sent")
}

// sampledDelays returns the delays in the files that were begun after the time
// since, and how many files those are.
func sampledDelays(b *testing.B, base string, since time.Time) (*histogram.Live, int) {
	all := new(histogram.Live)
	files := 0
	for _, pattern := range []string{"out/*.owp", "out/*/*.owp", "out/*/*/*.owp"} {
		names, err := filepath.Glob(filepath.Join(base, pattern))
		if err != nil {
			b.Fatal(err)
		}
		for _, name := range names {
			r, err := owp.Open(name)
			if err != nil {
				b.Fatal(err)
			}
			if !r.Header().Spec.Start.Time().Before(since) {
				for rec, err := range r.Records() {
					if err != nil {
						b.Fatal(err)
					}
					if !rec.Lost() {
						all.Insert(int64(rec.Recv.Sub(rec.Sent)))
					}
				}
				files++
			}
			r.Close()
		}
	}
	return all, files
}
