package iso8601

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"PT60S":           time.Minute,
		"P1W2DT1.5H":      9*day + 90*time.Minute,
		"PT":              0,
		"P1D":             day,
		"P1DT2S":          day + 2*time.Second,
		"PT0,5M":          30 * time.Second,
		"PT0.1S":          100 * time.Millisecond,
		"PT0.0000000019S": 1,
		"P106751D":        106751 * day,
	} {
		if got, err := ParseDuration(s); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "P", "pt5s", "P1M", "P1Y", "R2/PT5S", "PT5", "5S", "PT-5S", " PT5S", "PT5S\n", "P1H", "P106752D", "P" + string(make([]byte, 100)) + "D"} {
		if got, err := ParseDuration(s); err == nil {
			t.Errorf("%q: %v, want an error", s, got)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"PT60S", "P1W2DT1.5H", "P", "PT", "P999999999999D"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDuration(s); d < 0 || err != nil && d != 0 {
			t.Errorf("%q: %v, %v", s, d, err)
		}
	})
}
