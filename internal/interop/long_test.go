package interop

import (
	"testing"
	"time"

	"owl/internal/testprog"
)

// longArgs make a stream of sessions that are shorter than what a session needs
// to be set up and to be settled, so that a dozen exist at once.
var longArgs = []string{"-c", "100", "-i", "0.01", "-L", "2"}

// TestInteropLong lets such sessions follow one another for two minutes, from
// the reference's owampd and from Owl's, and to them, side by side.
func TestInteropLong(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes two minutes")
	}
	t.Parallel()
	c, own := reference(t), owl(t)
	for _, peer := range []suite{c, own} {
		for _, way := range []string{"from", "to"} {
			t.Run(way+" "+peer.name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				v := peer.serve(t, 0)
				args := append([]string{"-p", "-P", "0", "-d", dir}, longArgs...)
				slack := 0
				if way == "to" {
					args = append(args, "-t")
				}
				if way == "to" && peer == c {
					// Its receiver ends a session when by the schedule all time-outs
					// are over, and then drops what was sent later than that, by a
					// host that is as busy as one with such tests is.
					slack = 20
				}
				checkLong(t, testprog.Start(t, own.command("powstream", append(args, v.at(true))...)), dir, slack)
			})
		}
	}
}

// checkLong waits for two minutes' sessions of powstream, ends it and checks that
// there is no hole anywhere, nor a packet missing, but for so many as slack at
// the end of a session.
func checkLong(t *testing.T, p *testprog.Process, dir string, slack int) {
	t.Helper()
	const least = 120 * time.Second
	p.AwaitFor(t, 2*least, p.Stdout, "files of two minutes", func(string) bool {
		lines := p.Stdout.Lines()
		if len(lines) < 2 {
			return false
		}
		start, _ := span(t, lines[0])
		_, end := span(t, lines[len(lines)-1])
		return end.Sub(start) >= least
	})
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	all := sessionsIn(t, dir)
	checkChain(t, all)
	checkPrinted(t, dir, p.Stdout.Lines())
	received := 0
	for i, m := range all {
		if i > 0 && i >= len(all)-4 && m.isCut(t) {
			continue // it was running at the end
		}
		c := m.count(m.Spec.Packets)
		if n := m.Spec.Packets - uint32(len(c.missing)); slack > 0 && len(c.missing) <= slack && c.missing != nil && c.missing[0] == n {
			m.checkUnharmed(t, n)
		} else {
			m.checkWhole(t)
		}
		received += c.received
	}
	if told := gapLine.FindAllString(p.Stderr.String(), -1); told != nil {
		t.Errorf("told of %q: want no gap", told)
	}
	t.Logf("%d sessions, %d packets, without a hole", len(all), received)
}
