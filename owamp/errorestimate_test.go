package owamp_test

import (
	"math"
	"testing"
	"time"

	"owl/owamp"
)

func TestErrorEstimate(t *testing.T) {
	for _, tt := range []struct {
		e       owamp.ErrorEstimate
		sync    bool
		valid   bool
		seconds float64
		d       time.Duration
	}{
		{owamp.UnknownError, false, true, 0x1p-32, 1},
		{0x0000, false, false, 0, 0},
		{0x8000, true, false, 0, 0},
		{0x9f00, true, false, 0, 0},
		{0x8001, true, true, 0x1p-32, 1},
		{0x2001, false, true, 1, time.Second},
		{0x6001, false, true, 1, time.Second}, // bit 14 has no meaning
		{0x1fff, false, true, 127.5, 127_500 * time.Millisecond},
		{0xbfff, true, true, 0xff * 0x1p31, math.MaxInt64},
		{0x8d84, true, true, 132 * 0x1p-19, 251_771}, // what the reference sends for 250 µs
	} {
		if got := tt.e.Synchronized(); got != tt.sync {
			t.Errorf("%04x: synchronized %v", uint16(tt.e), got)
		}
		if got := tt.e.Valid(); got != tt.valid {
			t.Errorf("%04x: valid %v", uint16(tt.e), got)
		}
		if got := tt.e.Seconds(); got != tt.seconds {
			t.Errorf("%04x: %v s, want %v", uint16(tt.e), got, tt.seconds)
		}
		if got := tt.e.Duration(); got != tt.d {
			t.Errorf("%04x: %d, want %d", uint16(tt.e), got, tt.d)
		}
	}
}

func TestNewErrorEstimate(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		sync bool
		want owamp.ErrorEstimate
	}{
		{0, false, 0x0005},
		{-time.Second, true, 0x8005},
		{1, true, 0x8005},
		{10 * time.Microsecond, false, 0x08a8},
		{250 * time.Microsecond, true, 0x8d84},
		{time.Second, true, 0x9981},
		{math.MaxInt64, true, 0xb980},
	} {
		if got := owamp.NewErrorEstimate(tt.d, tt.sync); got != tt.want {
			t.Errorf("NewErrorEstimate(%d, %v) = %04x, want %04x", tt.d, tt.sync, uint16(got), uint16(tt.want))
		}
	}
}

// FuzzErrorEstimate holds that an estimate is never less than the error and
// not much more: one part of its multiplier, and the two units that rounding
// to units of 2^-32 s costs.
func FuzzErrorEstimate(f *testing.F) {
	for _, d := range []int64{math.MinInt64, -1, 0, 1, 59, 1000, 250_000, 1e9, math.MaxUint32 * 1e9, math.MaxInt64} {
		f.Add(d, true)
	}
	f.Fuzz(func(t *testing.T, ns int64, sync bool) {
		e := owamp.NewErrorEstimate(time.Duration(ns), sync)
		if !e.Valid() || e.Synchronized() != sync || e&(1<<14) != 0 {
			t.Fatalf("estimate %04x of %d", uint16(e), ns)
		}
		s := float64(min(max(ns, 1), math.MaxUint32*1e9)) / 1e9
		if got := e.Seconds(); got < s || got > s*(1+1.0/127)+2*0x1p-32 {
			t.Fatalf("%d ns became %v s", ns, got)
		}
		if d := e.Duration(); d < time.Duration(min(ns, math.MaxUint32*1e9)) {
			t.Fatalf("%d ns became %d", ns, d)
		}
	})
}

// A Duration is what the seconds are, rounded up.
func TestErrorEstimateDurationOfAll(t *testing.T) {
	for e := range owamp.ErrorEstimate(1 << 14) {
		want := time.Duration(math.MaxInt64)
		if ns := math.Ceil(e.Seconds() * 1e9); ns < math.MaxInt64 {
			want = time.Duration(ns)
		}
		if got := e.Duration(); got != want {
			t.Fatalf("%#04x, %g s: %v, want %v", uint16(e), e.Seconds(), got, want)
		}
	}
}
