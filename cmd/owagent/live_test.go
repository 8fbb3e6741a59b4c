package main

import (
	"net/netip"
	"testing"
	"time"

	"owl/internal/agentfile"
	"owl/owamp"
	"owl/sessions/result"
)

// packet is one that took so long; without a delay it is lost.
func packet(delay time.Duration, flags owamp.RecordFlags) owamp.Record {
	r := owamp.Record{Sent: 1 << 40, Flags: flags}
	if delay > 0 {
		r.Recv = r.Sent.AddDuration(delay)
	}
	return r
}

// A second has the delays of its own packets alone, and counts all since the
// stream began; what came before somebody looked has no delays.
func TestTally(t *testing.T) {
	t.Parallel()
	var y tally
	lost := packet(0, 0)
	if !lost.Lost() {
		t.Fatal("a packet that did not come is not lost")
	}
	y.observe([]owamp.Record{packet(time.Second, 0), lost})
	first := y.take()
	if first.all != (count{received: 1, lost: 1}) || first.last != (count{}) || first.most != 0 {
		t.Errorf("before anybody looks: %+v", first)
	}
	y.observe([]owamp.Record{packet(3*time.Millisecond, 0), packet(1*time.Millisecond, 0), packet(2*time.Millisecond, 0), packet(time.Hour, owamp.FlagDuplicate), lost})
	near := func(got, want time.Duration) bool { return (got - want).Abs() < want/100 }
	s := y.take()
	if s.all != (count{received: 4, lost: 2, duplicates: 1}) || s.last != (count{received: 3, lost: 1, duplicates: 1}) ||
		!near(s.least, time.Millisecond) || !near(s.median, 2*time.Millisecond) || s.p95 < s.median || !near(s.most, 3*time.Millisecond) {
		t.Errorf("%+v", s)
	}
	if s = y.take(); s.all != (count{received: 4, lost: 2, duplicates: 1}) || s.last != (count{}) || s.median != 0 {
		t.Errorf("a second without packets: %+v", s)
	}
	y.rest()
	y.observe([]owamp.Record{packet(time.Second, 0)})
	if s = y.take(); s.all.received != 5 || s.last != (count{}) || s.median != 0 {
		t.Errorf("after a rest: %+v", s)
	}
}

// The page knows a stream by the ends that its results have.
func TestFindEnds(t *testing.T) {
	t.Parallel()
	for direction, want := range map[agentfile.Direction][2]string{
		agentfile.Receive: {"192.0.2.9", "192.0.2.1"},
		agentfile.Send:    {"192.0.2.1", "192.0.2.9"},
	} {
		s := &stream{task: result.TaskConfig{Host: "here.invalid", Local: "192.0.2.1", Remote: "192.0.2.9"}}
		s.spec.Direction = direction
		s.findEnds(t.Context())
		e := s.ends.Load()
		if e == nil || e.source != netip.MustParseAddr(want[0]) || e.destination != netip.MustParseAddr(want[1]) || e.sourceName != want[0] || e.destinationName != want[1] {
			t.Errorf("%s: %+v, want %v", direction, e, want)
		}
	}
}
