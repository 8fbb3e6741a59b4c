package sessions

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"owl/owamp"
	"owl/probe/clock"
	"owl/sessions/result"
)

// stopped is a clock that says one time.
type stopped struct{ now owamp.Timestamp }

func (c *stopped) Now() owamp.Timestamp                  { return c.now }
func (*stopped) Error(time.Duration) owamp.ErrorEstimate { return owamp.UnknownError }
func (*stopped) Steps() clock.Steps                      { return clock.Steps{} }

// A tray keeps results; while it is locked it takes none.
type tray struct {
	door sync.Mutex
	all  []*result.Result
}

func (s *tray) Put(_ context.Context, r *result.Result) error {
	s.door.Lock()
	defer s.door.Unlock()
	s.all = append(s.all, r)
	return nil
}

// times returns for which seconds of a minute results stand.
func (s *tray) times() (seconds []int) {
	for _, r := range s.all {
		seconds = append(seconds, r.Time.Second())
	}
	return seconds
}

func newTestReporter(t *testing.T, log *slog.Logger) (*reporter, *tray, func(seconds float64) owamp.Timestamp) {
	t.Helper()
	start := owamp.FromTime(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	at := func(seconds float64) owamp.Timestamp { return start.Add(owamp.IntervalSeconds(seconds)) }
	s := new(tray)
	r, err := newReporter(&StreamConfig{
		Sink: s, Clock: &stopped{at(50.5)}, Log: log, Packets: 10, Timeout: owamp.IntervalSeconds(1),
		Slots: []owamp.Slot{{Type: owamp.SlotFixed, Parameter: owamp.IntervalSeconds(1)}},
		Task:  result.TaskConfig{Tool: "powstream", Host: "here", Remote: "there"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, s, at
}

// A result without measurement stands for a second in which no session begins.
func TestReporterSeconds(t *testing.T) {
	r, s, at := newTestReporter(t, slog.New(slog.DiscardHandler))
	r.plan(at(10.5))
	r.plan(at(11.5))
	r.gap(GapRefused, at(10.2), at(20), "why", false)  // 12: sessions begin in 10 and 11
	r.gap(GapRefused, at(11.5), at(20), "", false)     // 11: it is that session
	r.gap(GapRestarted, at(12.1), at(12.9), "", false) // none
	r.gap(GapControlLost, at(30), at(40), "", true)    // none
	if !r.outage(GapRefused, at(49), at(49.5), "") {   // 49
		t.Error("an outage is not told of")
	}
	if r.outage(GapRefused, at(49), at(49.7), "") && r.outage(GapRefused, at(49), at(49.8), "") { // 50, and none yet
		t.Error("an outage is told of that has no second yet")
	}
	r.finish()
	if got := s.times(); !slices.Equal(got, []int{12, 11, 49, 50}) {
		t.Errorf("results stand for %v, want 12, 11, 49 and 50", got)
	}
	if got, want := s.all[0].Error, "no data since 2026-05-01T12:00:10.200Z: refused: why"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	var pending []string
	for _, g := range r.gaps {
		pending = append(pending, g.Reason)
	}
	if got := strings.Join(pending, " "); got != "restarted control_lost" {
		t.Errorf("the next result tells of %s", got)
	}
}

// What a sink does not take in time is dropped, and told.
func TestReporterIsBounded(t *testing.T) {
	var text bytes.Buffer
	r, s, at := newTestReporter(t, slog.New(slog.NewTextHandler(&text, nil)))
	s.door.Lock()
	for i := range maxReports + 10 {
		from := at(0).AddDuration(time.Duration(-i) * time.Minute)
		r.gap(GapRefused, from, from.AddDuration(time.Second), "", false)
	}
	s.door.Unlock()
	r.finish()
	// One is with the sink while the others wait.
	if n := len(s.all); n < maxReports || n > maxReports+1 {
		t.Errorf("%d results, want %d or one more", n, maxReports)
	}
	for _, want := range []string{"128 results wait to be archived: those that come are dropped", "results are archived again; "} {
		if n := strings.Count(text.String(), want); n != 1 {
			t.Errorf("told %q %d times, want once:\n%s", want, n, text.String())
		}
	}
}
