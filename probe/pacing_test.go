package probe

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestParsePacing(t *testing.T) {
	for _, want := range []Pacing{PacingNormal, PacingPrecise, PacingEconomy} {
		if got, err := ParsePacing(want.String()); got != want || err != nil {
			t.Errorf("ParsePacing(%q) = %v, %v", want, got, err)
		}
	}
	for _, bad := range []string{"", "Normal", "normal ", "pacing 3", "exact"} {
		if got, err := ParsePacing(bad); err == nil {
			t.Errorf("ParsePacing(%q) = %v, want an error", bad, got)
		}
	}
	if got, want := Pacing(7).String(), "pacing 7"; got != want {
		t.Errorf("Pacing(7) is %q, want %q", got, want)
	}
}

// The meter finds the lower quartile, from wherever it begins, and neither a
// sleep that never seems to end nor a clock that is set back throws it off.
func TestWakeMeter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, begin := range []time.Duration{0, spin} {
		w := wakeMeter{late: begin}
		for range 1000 {
			w.observe(30*time.Microsecond + time.Duration(random.IntN(8000)))
		}
		if w.late < 29*time.Microsecond || w.late > 35*time.Microsecond {
			t.Errorf("from %v: %v, want about 32 µs", begin, w.late)
		}
		settled := w.late
		w.observe(time.Hour)
		w.observe(-time.Hour)
		if d := w.late - settled; d < -2*time.Microsecond || d > 2*time.Microsecond {
			t.Errorf("from %v: moved by %v through two sleeps", begin, d)
		}
		for range 1000 {
			w.observe(time.Second)
		}
		if w.late != spin {
			t.Errorf("a host that is always late: %v, want the bound %v", w.late, spin)
		}
		for range 1000 {
			w.observe(-time.Second)
		}
		if w.late != 0 {
			t.Errorf("a host that is always early: %v, want 0", w.late)
		}
	}
}
