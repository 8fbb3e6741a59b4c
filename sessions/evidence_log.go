package sessions

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// A stream tells of its first loss at once, and then, while there are others, of
// all that there were meanwhile: after lossEvery, after twice that, and so on up
// to every lossSeldom.
const (
	lossEvery  = time.Minute
	lossSeldom = 16 * time.Minute
)

// A lossLog tells of losses, so seldom that a dead path does not fill the log.
type lossLog struct {
	mu    sync.Mutex
	log   *slog.Logger  // nil: nobody reads it
	timer *time.Timer   // calls lapse; nil: it was never set
	set   bool          // it will call it
	wait  time.Duration // for which it was set last; 0: it did not run before
	sum   LossBurst     // not told yet
}

// add takes in a burst. It writes nothing itself, for who calls it may hold
// locks that are needed to measure.
func (l *lossLog) add(b *LossBurst) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.log == nil {
		return
	}
	l.sum.join(b)
	if l.set {
		return
	}
	l.set, l.wait = true, 0
	if l.timer == nil {
		l.timer = time.AfterFunc(0, l.lapse)
	} else {
		l.timer.Reset(0)
	}
}

// lapse tells of what there was since it was called the last time. If there was
// nothing, the next loss is told at once.
func (l *lossLog) lapse() {
	told := l.flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !told && l.sum.Bursts == 0 {
		l.set = false
		return
	}
	l.wait = min(max(2*l.wait, lossEvery), lossSeldom)
	l.timer.Reset(l.wait)
}

// flush tells of what was not told yet, and reports whether there was anything.
func (l *lossLog) flush() bool {
	l.mu.Lock()
	b := l.sum
	l.sum = LossBurst{}
	l.mu.Unlock()
	if b.Bursts == 0 {
		return false
	}
	level := slog.LevelInfo
	if b.Lost.Cause() >= CauseHostSuspect {
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, b.String())
	return true
}

// String tells of the burst in one line: what was lost, whose loss it was, and
// what there was to see on this host.
func (b LossBurst) String() string {
	var s strings.Builder
	n := b.Lost.Total()
	fmt.Fprintf(&s, "lost %s ", plural(n, "packet"))
	switch {
	case b.Bursts > 1:
		fmt.Fprintf(&s, "in %d bursts from %s to %s: ", b.Bursts, logTime(b.From), logTime(b.To))
	case b.First == b.Last:
		fmt.Fprintf(&s, "(seq %d) at %s: ", b.First, logTime(b.From))
	default:
		fmt.Fprintf(&s, "(seq %d-%d) at %s: ", b.First, b.Last, logTime(b.From))
	}
	var whose []string
	for _, c := range []struct {
		cause Cause
		where string
	}{
		{CauseHost, "at most in this host's receive buffer"},
		{CauseHostSuspect, "perhaps in this host"},
		{CauseNetwork, "in the network"},
		{CauseUnknown, "unexplained"},
	} {
		switch k := b.Lost[c.cause]; {
		case k == n && c.cause != CauseHost:
			whose = append(whose, c.where)
		case k > 0:
			whose = append(whose, fmt.Sprintf("%d %s", k, c.where))
		}
	}
	s.WriteString(strings.Join(whose, ", "))
	for _, sign := range b.signs() {
		s.WriteString("; " + sign)
	}
	return s.String()
}

// What is less than this is not worth a word.
const (
	noticeable       = 0.1  // of the time in which a task waited for a processor
	noticeableStolen = 0.01 // of the processor time
)

// signs are what there was to see on this host, in words.
func (b *LossBurst) signs() (signs []string) {
	say := func(there bool, format string, args ...any) {
		if there {
			signs = append(signs, fmt.Sprintf(format, args...))
		}
	}
	in, act := &b.Incidents, &b.Activity
	say(act.SoftnetDropped > 0, "%d dropped by the kernel's backlog", act.SoftnetDropped)
	say(act.SoftnetSqueezed > 0, "receiving broken off %s", plural(act.SoftnetSqueezed, "time"))
	say(act.DeviceOverruns > 0, "%s of the network interface", plural(act.DeviceOverruns, "overrun"))
	say(act.DeviceDropped > 0, "%d dropped by the network interface", act.DeviceDropped)
	say(act.DeviceUnsent > 0, "%d not sent by the network interface", act.DeviceUnsent)
	say(act.UDPOverflows > 0 && in.Drops == 0, "%s of other UDP sockets", plural(act.UDPOverflows, "overflow"))
	say(in.LateReads > 0, "read %v late", in.LateRead.Round(time.Millisecond))
	say(in.LateSends > 0, "sent %v late", in.LateSend.Round(time.Millisecond))
	say(in.Refused > 0, "%s refused by the kernel", plural(in.Refused, "send"))
	say(act.Pressure >= noticeable, "cpu pressure %.0f %%", act.Pressure*100)
	say(act.Stolen >= noticeableStolen, "cpu stolen %.0f %%", act.Stolen*100)
	say(len(signs) > 0 && act.Load > 0, "load %.1f", act.Load)
	return signs
}

// plural returns n things.
func plural(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
