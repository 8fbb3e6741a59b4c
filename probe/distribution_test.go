package probe

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestDistribution(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		var m meter
		slips := make([]time.Duration, 1+random.IntN(300))
		sum := time.Duration(0)
		for i := range slips {
			slips[i] = time.Duration(random.Uint64() >> (10 + random.IntN(54)))
			sum += slips[i]
			m.observe(slips[i])
		}
		slices.Sort(slips)
		s := m.distribution()
		if s.Packets != uint64(len(slips)) || s.Sum != sum {
			t.Errorf("%d packets, sum %v, want %d and %v", s.Packets, s.Sum, len(slips), sum)
		}
		for _, q := range []float64{0, 0.25, 0.5, 0.99, 1} {
			want := slips[min(int(q*float64(len(slips))), len(slips)-1)]
			if got := s.Quantile(q); got < want || got > want+want/meterSub {
				t.Errorf("quantile %g of %d slips is %v, want %v and at most an eighth more", q, len(slips), got, want)
			}
		}
	}
}

func TestDistributionBounds(t *testing.T) {
	var m meter
	if s := m.distribution(); s.Quantile(0.5) != 0 || s.Packets != 0 {
		t.Errorf("nothing counted: %d packets with a median of %v, want zeros", s.Packets, s.Quantile(0.5))
	}
	m.observe(-time.Second) // the wall clock was set back
	if s := m.distribution(); s.Quantile(1) != 0 || s.Packets != 1 || s.Sum != 0 {
		t.Errorf("a negative slip: %v in %d packets, want 0 in 1", s.Quantile(1), s.Packets)
	}
	m.observe(math.MaxInt64)
	if got := m.distribution().Quantile(1); got != math.MaxInt64 {
		t.Errorf("the greatest slip is %d, want %d", got, int64(math.MaxInt64))
	}
	if n := testing.AllocsPerRun(100, func() { m.observe(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations a packet, want none", n)
	}
}
