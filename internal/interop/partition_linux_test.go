package interop

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"owl/internal/netlab"
	"owl/internal/testprog"
)

// TestNetworkPartition cuts the wire for some seconds, for control connections
// as for test packets; see checkPartition.
func TestNetworkPartition(t *testing.T) {
	t.Parallel()
	checkPartition(t, 4*time.Second)
}

// TestNetworkPartitionLong does so for 20 s, longer than a stream asks ahead.
func TestNetworkPartitionLong(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes a minute")
	}
	t.Parallel()
	checkPartition(t, 20*time.Second)
}

// checkPartition lets two streams of sessions of a second, one in each direction,
// live through a partition. It costs what was sent meanwhile, which is lost, and
// the sessions that could not be had meanwhile, which is a gap that is told of.
// Then they go on by themselves.
func checkPartition(t *testing.T, length time.Duration) {
	own := owl(t)
	for i, f := range families {
		for _, direction := range [][]string{nil, {"-t"}} {
			t.Run(f.name+strings.Join(direction, ""), func(t *testing.T) {
				t.Parallel()
				stolen := watchStolen(t)
				clean := netlab.Path{Delay: time.Millisecond}
				a, b, w := netlab.NewWire(t, uint64(i), clean)
				at := netip.AddrPortFrom(f.addr(b), 861).String()
				v := own.serveIn(t, b, at)
				v.Await(t, v.Stderr, "listening", func(text string) bool { return strings.Contains(text, "listening on") })
				dir := t.TempDir()
				args := slices.Concat(direction, []string{"-p", "-d", dir, "-c", "100", "-i", "0.01", "-L", "0.5", "-P", "0", at})
				p := testprog.StartIn(t, a, own.command("powstream", args...))
				awaitFiles(t, p, 2, ".sum")
				w.Set(netlab.Path{Down: true})
				time.Sleep(length)
				w.Set(clean)
				healed := time.Now()
				p.AwaitFor(t, patience+length, p.Stdout, "sessions after the partition", func(string) bool {
					return len(slices.DeleteFunc(p.Stdout.Lines(), func(path string) bool {
						start, _ := span(t, path)
						return !strings.HasSuffix(path, ".sum") || !start.Time().After(healed)
					})) >= 4
				})
				if code := p.Terminate(t); code != 0 {
					t.Errorf("exit code %d", code)
				}

				all := sessionsIn(t, dir)
				var off []deviation
				lost, after := 0, 0
				for i, m := range all {
					off = append(off, truthOf(t, m, a, w).check(t)...)
					lost += m.count(m.Spec.Packets).lost
					if m.start.Time().After(healed) {
						if after++; i < len(all)-1 {
							m.checkWhole(t)
						}
					}
				}
				checkDelays(t, off, stolen)
				told := checkGaps(t, all, p.Stderr.String())
				t.Logf("%d sessions, %d of them after the partition, %d packets lost, no data for %v", len(all), after, lost, told)
				// What was asked for before the partition ran on.
				if lost < 100 {
					t.Errorf("%d packets were lost in %v, want 100 and more", lost, length)
				}
			})
		}
	}
}

var gapTold = regexp.MustCompile(`no data for (\S+) s from (\S+): (\w+)`)

// checkGaps checks that what lies between sessions is what was told of: neither
// more nor less, and for a reason that a partition has. It returns how long that
// was.
func checkGaps(t *testing.T, all []*measured, stderr string) (total time.Duration) {
	t.Helper()
	type gap struct{ start, end time.Time }
	var told []gap
	for _, line := range gapTold.FindAllStringSubmatch(stderr, -1) {
		length, err := time.ParseDuration(line[1] + "s")
		if err != nil {
			t.Fatal(err)
		}
		start, err := time.Parse(time.RFC3339, line[2])
		if err != nil {
			t.Fatal(err)
		}
		// A session that was still to be stopped when powstream ended is one
		// that it did not wait for.
		if !slices.Contains([]string{"peer_unreachable", "control_lost", "handshake_failed", "restarted"}, line[3]) {
			t.Errorf("%s", line[0])
		}
		told = append(told, gap{start, start.Add(length)})
	}
	slices.SortFunc(told, func(a, b gap) int { return a.start.Compare(b.start) })

	const rounding = 2 * time.Millisecond
	same := func(a, b time.Time) bool { return a.Sub(b).Abs() <= rounding }
	last := all[len(all)-1].end.Time()
	for i := 1; i < len(all); i++ {
		from, to := all[i-1].end.Time(), all[i].start.Time()
		for at := from; !same(at, to); {
			if len(told) == 0 || !same(told[0].start, at) || at.After(to) {
				t.Errorf("between %s and %s nothing was told of %v from %v; next is %v", all[i-1].path, all[i].path, to.Sub(at), at, told)
				return total
			}
			total += told[0].end.Sub(told[0].start)
			at, told = told[0].end, told[1:]
		}
	}
	if len(told) > 0 && told[0].start.Before(last.Add(-rounding)) {
		t.Errorf("told of gaps that there are not: %v", told)
	}
	return total
}
