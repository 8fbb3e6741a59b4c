package interop

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"owl/internal/netlab"
	"owl/internal/testprog"
	"owl/owamp"
	"owl/owamp/owp"
)

// truth is what a wire knows of the first n test packets of one session.
type truth struct {
	*measured
	n       uint32
	entries []netlab.Entry // in the order in which fates were settled
}

// stamp returns the number and the sender's time stamp that a test packet of
// open mode carries.
func stamp(e *netlab.Entry) (seq uint32, sent owamp.Timestamp) {
	return binary.BigEndian.Uint32(e.Head[:]), owamp.Timestamp(binary.BigEndian.Uint64(e.Head[4:]))
}

// truthOf picks the packets of a session from the log of the wire that begins at
// a: those between its ports that carry a time stamp which belongs to their
// number in its schedule. Of a session that was cut short it takes those up to
// the last that there is a record of.
func truthOf(t *testing.T, m *measured, a *netlab.Host, w *netlab.Wire) *truth {
	t.Helper()
	r := &truth{measured: m, n: m.Spec.Packets}
	if m.end != 0 && m.isCut(t) {
		r.n = 0
		for _, rec := range m.records {
			r.n = max(r.n, rec.Seq+1)
		}
	}
	d := w.BA
	if from := m.Spec.Sender.Addr(); from == a.Addr4 || from == a.Addr6 {
		d = w.AB
	}
	times := m.times(t)
	flow := netlab.Between(m.Spec.Sender, m.Spec.Receiver)
	known := map[uint32]owamp.Timestamp{}
	for _, e := range d.Log() {
		seq, sent := stamp(&e)
		if !flow(e) || seq >= r.n {
			continue
		}
		// The other sessions of a stream are further away than a time-out.
		if early := times[seq].Sub(sent); early > time.Microsecond || -early > m.Spec.Timeout.Duration() {
			continue
		}
		if was, ok := known[seq]; ok && (e.Action != netlab.Copied || was != sent) {
			t.Fatalf("%s: packet %d came in twice: %+v", m.path, seq, e)
		}
		known[seq] = sent
		r.entries = append(r.entries, e)
	}
	return r
}

// reordering returns how many packets are n-reordered, at index n-1: those right
// before which n packets of greater numbers have come. It is the definition of
// draft-shalunov-reordering-definition itself, without any cleverness; as in the
// reference, duplicates are arrivals, too.
func (r *truth) reordering() (counts []int) {
	var seqs []uint32
	for i := range r.entries {
		if r.entries[i].CameOut() {
			seq, _ := stamp(&r.entries[i])
			seqs = append(seqs, seq)
		}
	}
	for i, seq := range seqs {
		for n := 1; n <= i && seqs[i-n] > seq; n++ {
			if len(counts) < n {
				counts = append(counts, 0)
			}
			counts[n-1]++
		}
	}
	return counts
}

// check holds the session's records against the truth: what became of each
// packet, its stamps and its TTL. It returns how far delays are off.
func (r *truth) check(t *testing.T) (off []deviation) {
	t.Helper()
	m := r.measured
	got := m.count(r.n)
	told := netlab.Tally(r.entries)
	want := census{received: told.Packets - told.Lost, lost: told.Lost, skipped: int(r.n) - told.Packets, duplicates: told.Duplicated, reordered: told.Reordered}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: of %d packets %+v, on the wire %+v", m.path, r.n, got, want)
	}

	// The records of the packets that came, in that order.
	var came []netlab.Entry
	for _, e := range r.entries {
		if e.CameOut() {
			came = append(came, e)
		}
	}
	for _, rec := range m.records {
		if rec.Lost() {
			continue
		}
		if len(came) == 0 {
			t.Fatalf("%s: more records than packets", m.path)
		}
		e := &came[0]
		came = came[1:]
		seq, sent := stamp(e)
		if rec.Seq != seq || rec.Sent != sent || rec.TTL != e.OutTTL {
			t.Fatalf("%s: record %+v of packet %d, sent %d, which came out with TTL %d", m.path, rec, seq, sent, e.OutTTL)
		}
		in := owamp.FromTime(e.In)
		off = append(off, deviation{
			before:   in.Sub(rec.Sent),
			after:    rec.Recv.Sub(owamp.FromTime(e.Out)),
			enclosed: e.Done.Sub(e.Out),
			stated:   rec.SentErr.Duration() + rec.RecvErr.Duration(),

			synchronized: rec.RecvErr.Synchronized(),
		})
	}
	if len(came) > 0 {
		t.Errorf("%s: %d packets that came have no record", m.path, len(came))
	}
	return off
}

// checkDelays checks how far delays are off.
//
// The wire's In is the kernel's stamp of the moment at which the packet left the
// sender's system call for the device, Out and Done enclose the system call in
// which the receiver's kernel stamps it; all three are of the clock that both
// programs read. The true delay lies between Out-In and Done-In. What Owl says
// is Recv-Sent, with Sent earlier than In by the sender's way from its stamp into
// the kernel. So a delay is too long by that way, and this is what the stated
// error has to cover, of 99 packets in 100. That does not hold for a program that
// stamps what it sends too early, or too late, takes a time of its own for the
// kernel's when it receives, or states less of an error than it makes. That the
// wire wakes up late is in Out, and so excuses nobody.
//
// Where nothing synchronizes the clock, so that nothing is added to stamps, Recv
// itself must lie between Out and Done.
//
// Nothing can be said of that where a hypervisor takes the processors away, for a
// program that does not run between its stamp and the kernel does not know it:
// stolen is the share that was taken meanwhile, see [watchStolen].
func checkDelays(t *testing.T, off []deviation, stolen func() float64) {
	t.Helper()
	share := func(what string, wrong func(deviation) bool) {
		n := len(off) - len(slices.DeleteFunc(slices.Clone(off), wrong))
		if n*100 <= len(off) {
			return
		}
		say := t.Errorf
		if gone := stolen(); gone > mostStolen {
			say = func(format string, args ...any) {
				t.Logf("SKIPPED: the hypervisor has taken %.0f %% of the processors: "+format, append([]any{100 * gone}, args...)...)
			}
		}
		say("%d of %d packets: %s: %s", n, len(off), what, describe(off))
	}
	share("the delay is further off than is stated", func(d deviation) bool { return d.error() > d.stated })
	share("received at another time than the kernel has stamped", func(d deviation) bool {
		return !d.synchronized && (d.after < 0 || d.after > d.enclosed)
	})
}

// mostStolen is the share of the processors without which checks of delays hold.
const mostStolen = 0.05

// watchStolen returns a function that says which share of this host's processors
// its hypervisor has taken for others since now.
func watchStolen(t *testing.T) (stolen func() float64) {
	t.Helper()
	read := func() (steal, all float64) {
		fs, err := procfs.NewDefaultFS()
		if err != nil {
			t.Fatal(err)
		}
		stat, err := fs.Stat()
		if err != nil {
			t.Fatal(err)
		}
		c := stat.CPUTotal
		return c.Steal, c.User + c.Nice + c.System + c.Idle + c.Iowait + c.IRQ + c.SoftIRQ + c.Steal
	}
	steal, all := read()
	return func() float64 {
		s, a := read()
		return (s - steal) / max(a-all, 1e-9)
	}
}

// A deviation says how a delay differs from the truth.
type deviation struct {
	before   time.Duration // from the sender's stamp to the wire's
	after    time.Duration // from the wire's stamp to the receiver's
	enclosed time.Duration // what after may be at most
	stated   time.Duration // the error that both ends have stated

	synchronized bool // the receiver's clock
}

// error returns how far the delay is from the nearest that can be true.
func (d deviation) error() time.Duration {
	off := d.before + d.after
	return max(-off, off-d.enclosed, 0)
}

// describe tells how deviations are distributed, in microseconds.
func describe(off []deviation) string {
	line := func(name string, of func(deviation) time.Duration) string {
		v := make([]time.Duration, len(off))
		for i, d := range off {
			v[i] = of(d)
		}
		slices.Sort(v)
		s := name
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
			s += fmt.Sprintf(" %.1f", v[int(q*float64(len(v)-1))].Seconds()*1e6)
		}
		return s
	}
	if len(off) == 0 {
		return "no delays"
	}
	return "least, median, 90 %, 99 %, greatest (µs): " + strings.Join([]string{
		line("error", deviation.error),
		line("stated", func(d deviation) time.Duration { return d.stated }),
		line("before the wire", func(d deviation) time.Duration { return d.before }),
		line("after it", func(d deviation) time.Duration { return d.after }),
		line("enclosed", func(d deviation) time.Duration { return d.enclosed }),
	}, "; ")
}

// checkSummary holds a summary against the truth.
func (r *truth) checkSummary(t *testing.T, what string, sum map[string]string, dscp uint8) {
	t.Helper()
	told := netlab.Tally(r.entries)
	lowest, highest := uint8(255), uint8(0)
	for i := range r.entries {
		if e := &r.entries[i]; e.CameOut() {
			lowest, highest = min(lowest, e.OutTTL), max(highest, e.OutTTL)
		}
		if e := &r.entries[i]; e.DSCP != dscp {
			t.Fatalf("%s: a packet came in with DSCP %d, want %d", what, e.DSCP, dscp)
		}
	}
	want := map[string]string{
		"SENT": strconv.Itoa(told.Packets), "LOST": strconv.Itoa(told.Lost), "DUPS": strconv.Itoa(told.Duplicated),
		"MINTTL": strconv.Itoa(int(lowest)), "MAXTTL": strconv.Itoa(int(highest)),
		"DSCP": fmt.Sprintf("0x%2.2x", dscp), "SESSION_FINISHED": "1",
	}
	for i, n := range r.reordering() {
		want[strconv.Itoa(i+1)+"-REORDERED"] = strconv.Itoa(n)
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if sum[key] != want[key] {
			t.Errorf("%s: %s %q, want %s", what, key, sum[key], want[key])
		}
	}
	if told.Lost == 0 || told.Duplicated == 0 || told.Reordered == 0 || lowest == highest {
		t.Errorf("%s: the wire has done %+v, TTL %d to %d: want some of each", what, told, lowest, highest)
	}
}

// TestNetworkTruth lets powstream and owping measure both ways at once over a
// wire that delays, loses, duplicates and reorders packets, and changes its hops
// meanwhile. What they report is what the wire has done, packet by packet.
func TestNetworkTruth(t *testing.T) {
	t.Parallel()
	own := owl(t)
	for i, f := range families {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			stolen := watchStolen(t)
			harm := netlab.Path{
				Delay: 3 * time.Millisecond, Jitter: netlab.Exponential(500 * time.Microsecond), Hops: 4,
				Loss: 0.02, Bursts: netlab.Bursts{Begin: 0.005, Mean: 4}, Duplicate: 0.04, Reorder: 0.03, Extent: 3,
			}
			further := harm
			further.Hops, further.Delay, further.DSCP = 9, 12*time.Millisecond, new(uint8(0))
			a, b, w := netlab.NewWire(t, uint64(i+1), harm)
			at := netip.AddrPortFrom(f.addr(b), 861).String()
			v := own.serveIn(t, b, at)
			v.Await(t, v.Stderr, "listening", func(text string) bool { return strings.Contains(text, "listening on") })

			const packets, dscp = 1000, 46
			args := []string{"-c", strconv.Itoa(packets), "-i", "0.004", "-L", "1.5", "-D", "ef", "-P", "0"}
			from, to, dir := t.TempDir(), t.TempDir(), t.TempDir()
			ping := testprog.StartIn(t, a, own.command("owping", slices.Concat(args, []string{"-M", "-F", filepath.Join(dir, "from.owp"), "-T", filepath.Join(dir, "to.owp"), at})...))
			streams := map[string]*testprog.Process{
				from: testprog.StartIn(t, a, own.command("powstream", slices.Concat(args, []string{"-p", "-d", from, at})...)),
				to:   testprog.StartIn(t, a, own.command("powstream", slices.Concat(args, []string{"-p", "-t", "-d", to, at})...)),
			}
			// Each of the three flows of a direction is in the midst of its packets
			// when these are.
			w.AB.AwaitPackets(t, packets, patience)
			w.AB.Set(further)
			w.BA.AwaitPackets(t, packets, patience)
			w.BA.Set(further)

			var off []deviation
			for dir, p := range streams {
				awaitFiles(t, p, 1, ".sum")
				if code := p.Terminate(t); code != 0 {
					t.Errorf("%v: exit code %d", p.Cmd, code)
				}
				m := sessionsIn(t, dir)[0]
				if m.Finished != owp.Normal {
					t.Errorf("%s: %v", m.path, m.Finished)
				}
				r := truthOf(t, m, a, w)
				off = append(off, r.check(t)...)
				path := strings.TrimSuffix(m.path, "owp") + "sum"
				r.checkSummary(t, path, summary(t, path), dscp)
			}
			if code := ping.ExitCode(t); code != 0 {
				t.Fatalf("%v: exit code %d", ping.Cmd, code)
			}
			reports := strings.SplitAfter(ping.Stdout.String(), "</NREORDERING>\n")
			for i, name := range []string{"to.owp", "from.owp"} {
				m := read(t, filepath.Join(dir, name))
				r := truthOf(t, m, a, w)
				off = append(off, r.check(t)...)
				r.checkSummary(t, "owping's "+name, parseSummary(reports[i]), dscp)
			}
			checkDelays(t, off, stolen)
			t.Log(describe(off))
		})
	}
}
