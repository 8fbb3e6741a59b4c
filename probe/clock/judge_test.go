package clock

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"owl/internal/bubble"
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

// An opinion is a witness who says what the test has it say.
type opinion struct{ Source }

func (o *opinion) ask(context.Context) time.Duration { return -1 }
func (o *opinion) report(time.Time) *Source          { return &o.Source }

// TestContradictionTold: the log's last word is what is true, however quickly
// servers change their minds, and yet it does not say so each time.
func TestContradictionTold(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := New(Config{
			Read: func() (Kernel, error) { return Kernel{Synchronized: true}, nil },
			Log:  slog.New(slog.NewTextHandler(&log, nil)),
		})
		server := new(opinion)
		c.witnesses = []witness{server}
		says := func(offset time.Duration, want string) {
			t.Helper()
			time.Sleep(20 * time.Second)
			server.Source = ntpSaying(offset, ms)
			c.sample()
			if got := log.String(); want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("logged %q, want %q", got, want)
			}
			log.Reset()
		}
		const off, agree = "1 of 1 NTP servers say that the clock is off by 5s", "do not contradict the clock any more"
		says(0, "")
		says(5*time.Second, off)
		says(0, agree)
		says(5*time.Second, "") // within a minute
		says(5*time.Second, off)
		says(5*time.Second, "")
		says(0, agree)
		says(0, "")
	})
}
