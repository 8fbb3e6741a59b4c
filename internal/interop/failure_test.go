package interop

import (
	"fmt"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"owl/internal/testprog"
	"owl/owamp/owp"
)

// gapLine is what powstream tells of a time without data.
var gapLine = regexp.MustCompile(`no data for ([0-9.]+) s from \S+: (\w+)`)

// TestInteropServerEnds ends the reference's owampd in the middle of a session,
// both ways, and starts it again. Owl's powstream keeps what it had measured,
// measures on, and tells how long there was nothing.
func TestInteropServerEnds(t *testing.T) {
	t.Parallel()
	c, own := reference(t), owl(t)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			v := c.serve(t, 0)
			s := &stream{client: own, server: c, packets: 400, dir: t.TempDir()}
			s.start(t, v)
			// The second session is in its midst, and more than a time-out old, so
			// that there are packets which a sender's leave does not put in doubt.
			awaitFiles(t, s.Process, 1, ".owp")
			awaitRecords(t, filepath.Join(s.dir, ".owl-*.owp.i"), 130)
			v.SignalGroup(sig)
			v.ExitCode(t)
			awaitFiles(t, s.Process, 2, ".owp")
			c.serve(t, v.port)
			awaitFiles(t, s.Process, 4, ".owp")
			if code := s.Terminate(t); code != 0 {
				t.Errorf("exit code %d", code)
			}

			all := sessionsIn(t, s.dir)
			all[0].checkWhole(t)
			checkChain(t, all[:2])
			broken, resumed := all[1], all[2]
			finished := owp.Incomplete
			if sig == syscall.SIGTERM && broken.Finished == owp.Normal {
				finished = owp.Normal // it had the time to take leave
			}
			broken.checkCut(t, finished)
			if len(broken.records) >= s.packets {
				t.Errorf("%s has %d records although its server ended", broken.path, len(broken.records))
			}
			resumed.checkWhole(t)
			all[3].checkWhole(t)
			checkChain(t, all[2:])
			checkPrinted(t, s.dir, s.Stdout.Lines())

			told := gapLine.FindAllStringSubmatch(s.Stderr.String(), -1)
			if len(told) != 1 {
				t.Fatalf("%d gaps were told: %v, want one", len(told), told)
			}
			if got, want := told[0][1], fmt.Sprintf("%.3f", resumed.start.Sub(broken.end).Seconds()); got != want || told[0][2] != "control_lost" {
				t.Errorf("told of %s s, %s: want %s s, control_lost", got, told[0][2], want)
			}
		})
	}
}

// TestInteropServerStands stops the reference's owampd for longer than a
// time-out. Its sender skips what it could not send in time, and says so; Owl's
// powstream takes that for neither lost nor missing, and the sessions go on
// without a hole.
func TestInteropServerStands(t *testing.T) {
	t.Parallel()
	c, own := reference(t), owl(t)
	v := c.serve(t, 0)
	dir := t.TempDir()
	s := testprog.Start(t, own.command("powstream", "-p", "-P", "0", "-d", dir, "-c", "300", "-i", "0.01", "-L", "1", v.at(false)))
	awaitFiles(t, s, 1, ".owp")
	v.SignalGroup(syscall.SIGSTOP)
	stopped := time.Now()
	time.Sleep(2500 * time.Millisecond)
	v.SignalGroup(syscall.SIGCONT)
	stood := time.Since(stopped)
	awaitFiles(t, s, 4, ".owp")
	if code := s.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}

	all := sessionsIn(t, dir)
	checkChain(t, all)
	if told := gapLine.FindAllString(s.Stderr.String(), -1); told != nil {
		t.Errorf("told of %q: want no gap", told)
	}
	const timeout = time.Second
	skipped := 0
	for _, m := range all[:4] {
		n := m.count(m.Spec.Packets)
		if m.Finished != owp.Normal || m.NextSeq != m.Spec.Packets || n.received+n.skipped != int(m.Spec.Packets) {
			t.Errorf("%s: %v, next %d, %+v: want each packet received or not sent", m.path, m.Finished, m.NextSeq, n)
		}
		skipped += n.skipped
		m.checkStamps(t, 255)
	}
	// Of 100 packets a second all but those of the last second are too late.
	if least := int((stood - timeout).Seconds() * 100 / 2); skipped < least {
		t.Errorf("%d packets were not sent in %v, want %d and more", skipped, stood, least)
	}
}
