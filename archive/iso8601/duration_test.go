package iso8601

import (
	"math/rand/v2"
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

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                             "PT0S",
		-time.Second:                  "PT0S",
		90 * time.Minute:              "PT1H30M",
		24*time.Hour + 2*time.Second:  "P1DT2S",
		48 * time.Hour:                "P2D",
		1500 * time.Millisecond:       "PT1.5S",
		time.Minute + time.Nanosecond: "PT1M0.000000001S",
		10 * time.Second:              "PT10S",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		d := time.Duration(random.Int64N(1 << random.IntN(63)))
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%v: %s: %v, %v", d, FormatDuration(d), got, err)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"PT60S", "P1W2DT1.5H", "P", "PT", "P999999999999D"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if again, err := ParseDuration(FormatDuration(d)); d < 0 || err != nil || again != d {
			t.Errorf("%q: %v, then %s: %v, %v", s, d, FormatDuration(d), again, err)
		}
	})
}
