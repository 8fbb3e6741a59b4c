package probe

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
)

func TestParsePortRange(t *testing.T) {
	for s, want := range map[string]PortRange{
		"0":          {},
		"0-0":        {},
		"8760-9960":  {8760, 9960},
		"8760":       {8760, 8760},
		"1-65535":    {1, 65535},
		"65535":      {65535, 65535},
		"5000-05000": {5000, 5000},
	} {
		if got, err := ParsePortRange(s); got != want || err != nil {
			t.Errorf("ParsePortRange(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "-", "1-", "-1", "2-1", "0-5", "65536", "1-65536", "a", "1-2-3", " 1", "+1", "0x10"} {
		if got, err := ParsePortRange(s); err == nil {
			t.Errorf("ParsePortRange(%q) = %v, want an error", s, got)
		}
	}
}

func FuzzParsePortRange(f *testing.F) {
	for _, s := range []string{"0", "8760-9960", "1", "1-65535", "9-8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParsePortRange(s)
		if err != nil {
			return
		}
		if back, err := ParsePortRange(r.String()); err != nil || back != r {
			t.Fatalf("ParsePortRange(%q) = %v, and its String as %v, %v", s, r, back, err)
		}
		if n := r.ports(); n < 0 || n > 65535 || (n == 0) != (r == PortRange{}) {
			t.Fatalf("%v: %d ports", r, n)
		}
	})
}

func TestSkips(t *testing.T) {
	s := skips{max: 3}
	for _, seq := range []uint32{0, 1, 2, 5, 7, 8} {
		if !s.add(seq) {
			t.Errorf("no room for packet %d", seq)
		}
	}
	if s.add(10) {
		t.Error("room for a fourth range, want three at most")
	}
	if !s.add(9) {
		t.Error("no room for the neighbour of a range")
	}
	want := []owamp.SkipRange{{First: 0, Last: 2}, {First: 5, Last: 5}, {First: 7, Last: 9}}
	if d := cmp.Diff(want, s.ranges); d != "" {
		t.Error(d)
	}
	if err := owamp.ValidateSkips(s.ranges, 10, 10); err != nil {
		t.Error(err)
	}
}

func TestPortRangeContains(t *testing.T) {
	for _, test := range []struct {
		r    PortRange
		port uint16
		want bool
	}{
		{PortRange{}, 1, true},
		{PortRange{8760, 9960}, 8759, false},
		{PortRange{8760, 9960}, 8760, true},
		{PortRange{8760, 9960}, 9960, true},
		{PortRange{8760, 9960}, 9961, false},
	} {
		if got := test.r.Contains(test.port); got != test.want {
			t.Errorf("%v contains %d: %t, want %t", test.r, test.port, got, test.want)
		}
	}
}
