package sessions

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/probe"
	"owl/probe/host"
)

// A lineBuffer takes a log.
type lineBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lineBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// take returns what was written since it was called the last time.
func (b *lineBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.buf.Reset()
	return b.buf.String()
}

// The lines that people read.
func TestLossLines(t *testing.T) {
	at := owamp.FromTime(time.Date(2026, 11, 21, 12, 0, 1, 200e6, time.UTC))
	one := func(n uint32, by LossCount, in probe.Incidents, act host.Activity) LossBurst {
		return LossBurst{Bursts: 1, First: 102, Last: 101 + n, From: at, To: at.AddDuration(time.Second), Lost: by, Incidents: in, Activity: act}
	}
	for _, tt := range []struct {
		burst LossBurst
		want  string
	}{
		{one(1, LossCount{CauseNetwork: 1}, probe.Incidents{}, host.Activity{Known: true, Load: 3}),
			"lost 1 packet (seq 102) at 2026-11-21T12:00:01.200Z: in the network"},
		{one(3, LossCount{CauseHost: 2, CauseNetwork: 1}, probe.Incidents{Drops: 2}, host.Activity{Known: true, Pressure: 0.12, UDPOverflows: 2}),
			"lost 3 packets (seq 102-104) at 2026-11-21T12:00:01.200Z: 2 at most in this host's receive buffer, 1 in the network; cpu pressure 12 %"},
		{one(3, LossCount{CauseHost: 3}, probe.Incidents{Drops: 7}, host.Activity{}),
			"lost 3 packets (seq 102-104) at 2026-11-21T12:00:01.200Z: 3 at most in this host's receive buffer"},
		{one(2, LossCount{CauseHostSuspect: 2}, probe.Incidents{LateReads: 2, LateRead: 240400 * time.Microsecond},
			host.Activity{Known: true, SoftnetDropped: 4, SoftnetSqueezed: 1, DeviceOverruns: 1, DeviceDropped: 9, UDPOverflows: 1, Pressure: 0.09, Stolen: 0.08, Load: 8.25}),
			"lost 2 packets (seq 102-103) at 2026-11-21T12:00:01.200Z: perhaps in this host; 4 dropped by the kernel's backlog; receiving broken off 1 time; 1 overrun of the network interface; 9 dropped by the network interface; 1 overflow of other UDP sockets; read 240ms late; cpu stolen 8 %; load 8.2"},
		{one(2, LossCount{CauseHostSuspect: 2}, probe.Incidents{LateSends: 1, LateSend: 300 * time.Millisecond, Refused: 5}, host.Activity{Known: true, DeviceUnsent: 3}),
			"lost 2 packets (seq 102-103) at 2026-11-21T12:00:01.200Z: perhaps in this host; 3 not sent by the network interface; sent 300ms late; 5 sends refused by the kernel"},
		{one(2, LossCount{CauseUnknown: 2}, probe.Incidents{}, host.Activity{}),
			"lost 2 packets (seq 102-103) at 2026-11-21T12:00:01.200Z: unexplained"},
		{LossBurst{Bursts: 12, First: 1, Last: 5000, From: at, To: at.AddDuration(time.Minute), Lost: LossCount{1, 528, 10, 2}},
			"lost 541 packets in 12 bursts from 2026-11-21T12:00:01.200Z to 2026-11-21T12:01:01.200Z: 2 at most in this host's receive buffer, 10 perhaps in this host, 528 in the network, 1 unexplained"},
	} {
		if d := cmp.Diff(tt.want, tt.burst.String()); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
}

// The first loss is told at once, what follows as sums, the more seldom the longer
// it goes on; after a rest the next one is told at once again.
func TestLossLog(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		began := time.Now()
		var out lineBuffer
		var told []string
		l := lossLog{log: slog.New(slog.NewTextHandler(&out, nil))}
		look := func() {
			synctest.Wait()
			for line := range strings.Lines(out.take()) {
				var n int
				fmt.Sscanf(line[strings.Index(line, "lost "):], "lost %d", &n)
				_, level, _ := strings.Cut(line, "level=")
				level, _, _ = strings.Cut(level, " ")
				told = append(told, fmt.Sprintf("%v %s %d", time.Since(began), level, n))
			}
		}
		pass := func(d time.Duration) { // to the moment after the timer
			time.Sleep(d)
			look()
		}
		burst := func(c Cause) {
			b := LossBurst{Bursts: 1}
			b.Lost[c] = 1
			l.add(&b)
		}
		want := func(lines ...string) {
			t.Helper()
			if d := cmp.Diff(lines, told); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			told = nil
		}
		burst(CauseNetwork)
		look()
		want("0s INFO 1")
		for range 120 * 60 { // two hours, one a second
			burst(CauseNetwork)
			pass(time.Second)
		}
		want("1m0s INFO 60", "3m0s INFO 120", "7m0s INFO 240", "15m0s INFO 480", "31m0s INFO 960", "47m0s INFO 960", "1h3m0s INFO 960",
			"1h19m0s INFO 960", "1h35m0s INFO 960", "1h51m0s INFO 960")
		pass(16 * time.Minute) // what is left is told
		want("2h16m0s INFO 540")
		pass(16 * time.Minute) // nothing
		want()
		burst(CauseHost)
		burst(CauseNetwork)
		look()
		want("2h32m0s WARN 2")
		burst(CauseHostSuspect)
		look()
		want()
		l.flush() // the end
		look()
		want("2h32m0s WARN 1")
		if l.flush() {
			t.Error("told twice")
		}
	})
}

// Who has no log tells nobody.
func TestNoLossLog(t *testing.T) {
	var l lossLog
	l.add(&LossBurst{Bursts: 1})
	if l.timer != nil || l.flush() {
		t.Error("there is something to tell")
	}
}
