package table

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0 ns"},
		{1, "1 ns"},
		{-1, "-1 ns"},
		{612, "612 ns"},
		{999, "999 ns"},
		{1000, "1.00 µs"},
		{1315, "1.31 µs"}, // 1.315 is a little less in binary
		{-1320, "-1.32 µs"},
		{9_994, "9.99 µs"},
		{9_996, "10.0 µs"},
		{99_960, "100 µs"},
		{999_499, "999 µs"},
		{999_500, "1.00 ms"},
		{40_100 * time.Microsecond, "40.1 ms"},
		{999_500 * time.Microsecond, "1.00 s"},
		{12 * time.Second, "12.0 s"},
		{999 * time.Second, "999 s"},
		{1000 * time.Second, "0.278 h"},
		{999 * time.Hour, "999 h"},
		{1000 * time.Hour, "41.7 d"},
		{56 * 365 * 24 * time.Hour, "20440 d"},
		{math.MaxInt64, "106752 d"},
		{math.MinInt64, "-106752 d"},
	} {
		if got := Duration(c.d); got != c.want {
			t.Errorf("Duration(%d) = %q, want %q", c.d, got, c.want)
		}
	}
}

// What is shown is within half a unit of the third digit of what is.
func TestDurationKeepsThreeDigits(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	size := map[string]float64{"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9, "h": 3600e9, "d": 86400e9}
	for range 100_000 {
		d := time.Duration(math.Exp(random.Float64() * 43))
		number, unit, _ := strings.Cut(Duration(d), " ")
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			t.Fatal(err)
		}
		if e := math.Abs(v*size[unit]-float64(d)) / float64(d); e > 0.005001 {
			t.Fatalf("%d ns is shown as %s %s, %.2f %% off", d, number, unit, 100*e)
		}
		if len(Duration(d)) > len("0.278 µs") && unit != "d" {
			t.Fatalf("%d ns is shown as %q, too wide", d, Duration(d))
		}
	}
}

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		part, whole uint64
		want        string
	}{
		{0, 0, "–"},
		{0, 10, "0 %"},
		{10, 10, "100 %"},
		{1, 1_000_000_000, "<0.001 %"},
		{1, 100_000, "0.001 %"},
		{12, 100_000, "0.012 %"},
		{1, 300, "0.333 %"},
		{1, 30, "3.33 %"},
		{1, 3, "33.3 %"},
		{9994, 10_000, "99.9 %"},
		{9996, 10_000, ">99.9 %"},
		{math.MaxUint64 - 1, math.MaxUint64, ">99.9 %"},
	} {
		if got := Percent(c.part, c.whole); got != c.want {
			t.Errorf("Percent(%d, %d) = %q, want %q", c.part, c.whole, got, c.want)
		}
	}
}

func TestCount(t *testing.T) {
	for _, c := range []struct {
		n    uint64
		want string
	}{
		{0, "0"},
		{999, "999"},
		{1000, "1\u2009000"},
		{1234567, "1\u2009234\u2009567"},
		{math.MaxUint64, "18\u2009446\u2009744\u2009073\u2009709\u2009551\u2009615"},
	} {
		if got := Count(c.n); got != c.want {
			t.Errorf("Count(%d) = %q, want %q", c.n, got, c.want)
		}
	}
}

// A name comes from a file or from DNS: nothing in it may steer the terminal.
func FuzzPlain(f *testing.F) {
	f.Add("lon.example.net → ams", 12)
	f.Add("\x1b[2J\a\u202e\u0301東京\xff", 3)
	f.Fuzz(func(t *testing.T, s string, n int) {
		p := Plain(s)
		if !utf8.ValidString(p) {
			t.Fatalf("Plain(%q) = %q is not UTF-8", s, p)
		}
		for _, r := range p {
			if !unicode.IsPrint(r) {
				t.Fatalf("Plain(%q) keeps %q", s, r)
			}
		}
		n = min(max(n, 0), 1000)
		if c := cut(p, n); width(c) > n {
			t.Fatalf("cut(%q, %d) = %q is %d wide", p, n, c, width(c))
		} else if width(p) <= n && c != p {
			t.Fatalf("cut(%q, %d) = %q, want it whole", p, n, c)
		}
	})
}
