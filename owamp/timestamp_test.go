package owamp_test

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"owl/owamp"
)

// The times at which the meaning of a Timestamp changes.
var (
	eraBegin = time.Date(1968, 1, 20, 3, 14, 8, 0, time.UTC) // top bit becomes set
	eraWrap  = time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC) // seconds wrap around
	eraEnd   = time.Date(2104, 2, 26, 9, 42, 24, 0, time.UTC)
)

func TestTimestampOfTime(t *testing.T) {
	const ns = time.Nanosecond
	for _, tt := range []struct {
		time time.Time
		want owamp.Timestamp
	}{
		{time.Unix(0, 0), 0x83aa7e80_00000000},
		{time.Unix(0, 5e8), 0x83aa7e80_80000000},
		{time.Unix(0, 1), 0x83aa7e80_00000004},
		{time.Unix(0, 1000), 0x83aa7e80_000010c6},
		{time.Unix(-1, 999_999_999), 0x83aa7e7f_fffffffb},
		{time.Date(2026, 11, 21, 5, 7, 54, 494_435_000, time.UTC), 0xeeaba5aa_7e934aca}, // sent by the reference,
		{eraBegin, 0x80000000_00000000},
		{eraWrap.Add(-ns), 0xffffffff_fffffffb},
		{eraWrap, 0},
		{eraWrap.Add(ns), 4},
		{eraEnd.Add(-ns), 0x7fffffff_fffffffb},
	} {
		got := owamp.FromTime(tt.time)
		if got != tt.want {
			t.Errorf("FromTime(%v) = %016x, want %016x", tt.time.UTC(), uint64(got), uint64(tt.want))
		}
		if back := got.Time(); !back.Equal(tt.time) || back.Location() != time.UTC {
			t.Errorf("%016x.Time() = %v, want %v", uint64(got), back, tt.time.UTC())
		}
	}
}

func TestTimestampRounds(t *testing.T) {
	for _, tt := range []struct {
		t         owamp.Timestamp
		sec, nsec int64
	}{
		{0x83aa7e80_00000002, 0, 0},          // 0.466 ns
		{0x83aa7e80_00000003, 0, 1},          // 0.698 ns
		{0x83aa7e80_fffffffd, 0, 999999999},  // 999999999.3 ns
		{0x83aa7e80_ffffffff, 1, 0},          // 999999999.8 ns
		{0xffffffff_ffffffff, 2085978496, 0}, // over the end of the era
		{0x7fffffff_ffffffff, 4233462144, 0},
	} {
		if sec, nsec := tt.t.Unix(); sec != tt.sec || nsec != tt.nsec {
			t.Errorf("%016x.Unix() = %d, %d, want %d, %d", uint64(tt.t), sec, nsec, tt.sec, tt.nsec)
		}
	}
}

// TestNanosecondsRoundTrip holds that no nanosecond of the 136 years that a
// Timestamp can tell apart changes on its way through it.
func TestNanosecondsRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	first, last := eraBegin.Unix(), eraEnd.Unix()
	for range 200_000 {
		sec, nsec := first+r.Int64N(last-first), r.Int64N(1e9)
		if s, n := owamp.FromUnix(sec, nsec).Unix(); s != sec || n != nsec {
			t.Fatalf("%d s %d ns became %d s %d ns", sec, nsec, s, n)
		}
		d := time.Duration(r.Int64N(math.MaxInt64))
		if d > math.MaxUint32*time.Second {
			continue
		}
		if got := owamp.IntervalOf(d).Duration(); got != d {
			t.Fatalf("%d became %d", d, got)
		}
	}
}

func TestTimestampOrder(t *testing.T) {
	for _, tt := range []struct{ earlier, later owamp.Timestamp }{
		{1, 2},
		{0xffffffff_ffffffff, 0},
		{0xfffffff0_00000000, 0x10_00000000},
		{0x80000000_00000000, 0xffffffff_ffffffff},
		{0xeeaba5aa_00000000, 0x6eaba5a9_ffffffff},
	} {
		if !tt.earlier.Before(tt.later) || tt.later.Before(tt.earlier) || tt.earlier.Before(tt.earlier) {
			t.Errorf("Before: %x is not before %x, or also after", tt.earlier, tt.later)
		}
		if !tt.later.After(tt.earlier) || tt.earlier.After(tt.later) || tt.earlier.After(tt.earlier) {
			t.Errorf("After: %x is not after %x, or also before", tt.later, tt.earlier)
		}
	}
}

func TestTimestampArithmetic(t *testing.T) {
	base := owamp.Timestamp(0xffffffff_fffffff0) // just before the wrap
	for _, tt := range []struct {
		d    time.Duration
		want owamp.Timestamp
	}{
		{0, base},
		{1, base + 4},
		{-1, base - 5}, // -4.29 rounded down
		{time.Second, base + 1<<32},
		{-time.Second, base - 1<<32},
		{-time.Second - 1, base - 1<<32 - 5},
		{time.Hour, base + 3600<<32},
	} {
		got := base.AddDuration(tt.d)
		if got != tt.want {
			t.Errorf("AddDuration(%d) = base%+d, want base%+d", tt.d, int64(got-base), int64(tt.want-base))
		}
		if back := got.Sub(base); back != tt.d {
			t.Errorf("Sub = %d, want %d", back, tt.d)
		}
		if back := base.Sub(got); back != -tt.d {
			t.Errorf("Sub the other way = %d, want %d", back, -tt.d)
		}
	}
	if got := base.Add(0x20); got != 0x10 {
		t.Errorf("Add over the wrap = %x, want 10", got)
	}
	if got, want := owamp.Timestamp(1<<63).Sub(0), -(1<<31)*time.Second; got != want {
		t.Errorf("half an era apart: %v, want %v", got, want)
	}
	// Durations that leave the era go around it.
	if got, want := owamp.Timestamp(5).AddDuration(math.MinInt64), wrapped(5, math.MinInt64); got != want {
		t.Errorf("AddDuration(least) = %x, want %x", got, want)
	}
	if got, want := owamp.Timestamp(5).AddDuration(math.MaxInt64), wrapped(5, math.MaxInt64); got != want {
		t.Errorf("AddDuration(greatest) = %x, want %x", got, want)
	}
}

// wrapped returns t + floor(ns·2^32/1e9) modulo 2^64.
func wrapped(t, ns int64) owamp.Timestamp {
	v := new(big.Int).Lsh(big.NewInt(ns), 32)
	v.Div(v, big.NewInt(1e9)) // rounds down for a positive divisor
	v.Add(v, big.NewInt(t))
	return owamp.Timestamp(v.And(v, new(big.Int).SetUint64(math.MaxUint64)).Uint64())
}

func TestAddDuration(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for range 10_000 {
		base, d := r.Int64(), time.Duration(r.Int64()>>r.IntN(60))
		if r.IntN(2) == 0 {
			d = -d
		}
		if got, want := owamp.Timestamp(base).AddDuration(d), wrapped(base, int64(d)); got != want {
			t.Fatalf("%x.AddDuration(%d) = %x, want %x", base, d, uint64(got), uint64(want))
		}
	}
}

func TestIntervalOf(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want owamp.Interval
	}{
		{math.MinInt64, 0},
		{-1, 0},
		{0, 0},
		{1, 4},
		{time.Second / 2, 1 << 31},
		{10 * time.Second, 10 << 32},
		{math.MaxUint32*time.Second + time.Second - 1, 0xffffffff_fffffffb},
		{(math.MaxUint32 + 1) * time.Second, math.MaxUint64},
		{math.MaxInt64, math.MaxUint64},
	} {
		if got := owamp.IntervalOf(tt.d); got != tt.want {
			t.Errorf("IntervalOf(%d) = %x, want %x", tt.d, uint64(got), uint64(tt.want))
		}
	}
}

func TestIntervalDuration(t *testing.T) {
	for _, tt := range []struct {
		i    owamp.Interval
		want time.Duration
	}{
		{0, 0},
		{2, 0},
		{3, 1},
		{4, 1},
		{1<<32 - 1, time.Second},
		{1 << 32, time.Second},
		{math.MaxUint64, (math.MaxUint32 + 1) * time.Second},
	} {
		if got := tt.i.Duration(); got != tt.want {
			t.Errorf("Interval(%x).Duration() = %d, want %d", uint64(tt.i), got, tt.want)
		}
	}
}

// TestIntervalSeconds has the values that the reference's -i and -L give.
func TestIntervalSeconds(t *testing.T) {
	for _, tt := range []struct {
		s    float64
		want owamp.Interval
	}{
		{1, 1 << 32},
		{0.1, 0x19999999},
		{0.02, 0x051eb851},
		{0.001, 0x00418937},
		{3.3333, 0x3_55532617},
		{10, 0xa_00000000},
		{0, 0},
		{-1, 0},
		{math.Copysign(0, -1), 0},
		{math.NaN(), 0},
		{math.Inf(-1), 0},
		{math.Inf(1), math.MaxUint64},
		{1 << 32, math.MaxUint64},
		{1<<32 - 1, 0xffffffff_00000000},
	} {
		if got := owamp.IntervalSeconds(tt.s); got != tt.want {
			t.Errorf("IntervalSeconds(%v) = %x, want %x", tt.s, uint64(got), uint64(tt.want))
		}
	}
	if got := owamp.Interval(3 << 31).Seconds(); got != 1.5 {
		t.Errorf("Seconds() = %v, want 1.5", got)
	}
}

func FuzzTimestamp(f *testing.F) {
	f.Add(uint64(0), int64(0))
	f.Add(uint64(math.MaxUint64), int64(math.MinInt64))
	f.Add(uint64(0xeeaba5aa7e934aca), int64(-1))
	f.Fuzz(func(t *testing.T, v uint64, ns int64) {
		ts := owamp.Timestamp(v)
		sec, nsec := ts.Unix()
		if nsec < 0 || nsec >= 1e9 {
			t.Fatalf("%x: %d ns", v, nsec)
		}
		// Rounding to a nanosecond is off by at most half of one: 2.2 units,
		// and coming back rounds down by another.
		if off := int64(owamp.FromUnix(sec, nsec) - ts); off < -4 || off > 3 {
			t.Fatalf("%x came back %d units off", v, off)
		}
		if !owamp.FromTime(ts.Time()).Time().Equal(ts.Time()) {
			t.Fatalf("%x: its time does not come back", v)
		}
		if got, want := ts.AddDuration(time.Duration(ns)), wrapped(int64(v), ns); got != want {
			t.Fatalf("%x.AddDuration(%d) = %x, want %x", v, ns, uint64(got), uint64(want))
		}
	})
}

func ExampleTimestamp() {
	t := owamp.FromTime(time.Date(2026, 11, 21, 5, 18, 2, 500_000_000, time.UTC))
	fmt.Printf("%016x\n", uint64(t))
	fmt.Printf("%020d\n", uint64(t)) // as in file names
	fmt.Println(t.Add(owamp.IntervalSeconds(0.25)).Sub(t))
	// Output:
	// eeaba80a80000000
	// 17198024365094993920
	// 250ms
}
