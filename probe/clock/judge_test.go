package clock

import (
	"testing"
	"time"
)

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// ntpSaying is a server that says that the clock is off by offset, and may be
// wrong by within.
func ntpSaying(offset, within time.Duration) Source {
	return Source{Via: ViaNTP, Synchronized: true, Figures: Figures{Offset: offset, Delay: within, Dispersion: within / 4, Jitter: within / 4}}
}

func chronySaying(offset, rms time.Duration) Source {
	return Source{Via: ViaChrony, Synchronized: true, Figures: Figures{Offset: offset, Delay: 2 * ms, Dispersion: 100 * us, Jitter: rms}}
}

// TestJudge: the rule of the package.
func TestJudge(t *testing.T) {
	kernel := Kernel{Error: 30 * us, MaxError: 4 * ms, Synchronized: true}
	free := Kernel{Error: 16 * time.Second, MaxError: 16 * time.Second}
	silent := ntpSaying(5*time.Second, ms)
	silent.Synchronized = false
	lost := chronySaying(time.Second, time.Second)
	lost.Synchronized = false
	for _, tc := range []struct {
		name         string
		kernel       Kernel
		sources      []Source
		synchronized bool
		err, max     time.Duration
	}{
		{"the kernel alone", kernel, nil, true, 30 * us, 4 * ms},
		{"nobody", free, nil, false, 0, 0},
		{"chronyd agrees", kernel, []Source{chronySaying(5*us, 10*us)}, true, 30 * us, 4 * ms},
		{"chronyd says more", kernel, []Source{chronySaying(-50*us, 10*us)}, true, 60 * us, 4 * ms},
		{"chronyd without rtcsync", free, []Source{chronySaying(5*us, 10*us)}, true, 15 * us, 1105 * us},
		{"chronyd without a source", free, []Source{lost}, false, 0, 0},
		{"a server agrees", kernel, []Source{ntpSaying(300*us, ms)}, true, 30 * us, 4 * ms},
		{"a server knows less", kernel, []Source{ntpSaying(-3*ms, 40*ms)}, true, 30 * us, 33 * ms},
		{"a server contradicts", kernel, []Source{ntpSaying(-20*ms, ms)}, true, 20 * ms, 20*ms + 750*us},
		{"a server that does not answer", kernel, []Source{silent}, true, 30 * us, 4 * ms},
		{"one of two contradicts", kernel, []Source{ntpSaying(20*ms, ms), ntpSaying(10*us, ms)}, true, 30 * us, 4 * ms},
		{"one of three lies", kernel, []Source{ntpSaying(10*us, ms), ntpSaying(-20*us, ms), ntpSaying(time.Hour, us)}, true, 30 * us, 4 * ms},
		{"two of three contradict", kernel, []Source{ntpSaying(10*us, ms), ntpSaying(-20*ms, ms), ntpSaying(21*ms, ms)}, true, 20 * ms, 20*ms + 750*us},
		{"nobody disciplines, a server measures", free, []Source{ntpSaying(-80*ms, ms)}, false, 80 * ms, 80*ms + 750*us},
		{"nobody disciplines, a server sees nothing wrong", free, []Source{ntpSaying(-80*us, ms)}, false, 0, 830 * us},
	} {
		got := judge(tc.kernel, tc.sources)
		if got.Synchronized != tc.synchronized || got.Error != tc.err || got.MaxError != tc.max {
			t.Errorf("%s: synchronized %v, error %v, at most %v; want %v, %v, %v", tc.name,
				got.Synchronized, got.Error, got.MaxError, tc.synchronized, tc.err, tc.max)
		}
	}
}
