package sessions

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStateNames(t *testing.T) {
	var got []string
	for s := range States() {
		got = append(got, s.String())
	}
	want := []string{"idle", "connecting", "running", "waiting", "stopped"}
	if !slices.Equal(got, want) {
		t.Errorf("states %q, want %q", got, want)
	}
	if got := State(77).String(); got != "state(77)" {
		t.Errorf("unknown state: %q, want state(77)", got)
	}
}

// The list is part of the result's format: a change here breaks its readers.
func TestGapReasons(t *testing.T) {
	var got []string
	for r := range GapReasons() {
		got = append(got, string(r))
	}
	const want = "peer_unreachable refused handshake_failed control_lost clock_invalid local_overload restarted not_configured"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("reasons %q, want %q", s, want)
	}
}

func TestCompleteness(t *testing.T) {
	for _, c := range []struct {
		name              string
		measured, elapsed time.Duration
		want              float64
		ok                bool
	}{
		{"before the start", 0, 0, 0, false},
		{"nothing measured", 0, time.Second, 0, true},
		{"half", time.Second, 2 * time.Second, 0.5, true},
		{"more measured than elapsed", 3 * time.Second, 2 * time.Second, 1, true},
		{"clock went back", time.Second, -time.Second, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Snapshot{Measured: c.measured, Elapsed: c.elapsed}
			if got, ok := s.Completeness(); got != c.want || ok != c.ok {
				t.Errorf("completeness %v, %v; want %v, %v", got, ok, c.want, c.ok)
			}
		})
	}
}
