package main

import (
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/cli"
	"owl/owamp"
	"owl/probe"
)

func TestParse(t *testing.T) {
	defaults := options{
		test:     "peer",
		retry:    30 * time.Second, // a session's length
		packets:  300,
		interval: 0.1,
		timeout:  10,
		ports:    probe.PortRange{Low: 8760, High: 9960},
		bucket:   0.0001,
		dir:      ".",
		facility: cli.FacilityUser,
		level:    slog.LevelInfo,
	}
	for args, change := range map[string]func(*options){
		"peer":        func(*options) {},
		"peer server": func(o *options) { o.server = "server" },
		"-4 -A oe -S lo -B eth0 peer": func(o *options) {
			o.conn = cli.ClientOptions{Family: cli.IPv4, Modes: owamp.ModeOpen | owamp.ModeEncrypted, Source: "lo", Device: "eth0"}
		},
		"-c600 -i.1 -N 60 -L 2.5 -s14 -P 0 peer": func(o *options) {
			o.packets, o.part, o.timeout, o.padding, o.ports, o.retry = 600, 60, 2.5, 14, probe.PortRange{}, time.Minute
		},
		"-I 5 peer":            func(o *options) { o.retry = 5 * time.Second },
		"-I 0 peer":            func(o *options) { o.retry = minRetry },
		"-I 90 -c 1200 peer":   func(o *options) { o.packets, o.retry = 1200, 90*time.Second },
		"-c 1 -i .25 peer":     func(o *options) { o.packets, o.interval, o.retry = 1, 0.25, time.Minute },
		"-E 1.5 -z 10 peer":    func(o *options) { o.endDelay, o.delay = 1500*time.Millisecond, 10*time.Second },
		"-t peer":              func(o *options) { o.send, o.endDelay = true, time.Second },
		"-t -E .2 peer":        func(o *options) { o.send, o.endDelay = true, 200*time.Millisecond },
		"-D AF41 peer":         func(o *options) { o.dscp = 34 },
		"-b 1e-5 -d /tmp peer": func(o *options) { o.bucket, o.dir = 1e-5, "/tmp" },
		"-pRU -e local3 peer": func(o *options) {
			o.print, o.quiet, o.unix = true, true, true
			o.facility, _ = cli.ParseFacility("local3")
		},
		"-v peer":             func(o *options) { o.verbose, o.level = 1, slog.LevelDebug },
		"-vv -g warning peer": func(o *options) { o.verbose, o.level = 2, slog.LevelWarn },
		"-g info -v peer":     func(o *options) { o.verbose = 1 },
		"--ntp a --chrony=off --ntp b:1123 peer": func(o *options) {
			o.clock.Sources.NTP, o.clock.Sources.Chrony = []string{"a", "b:1123"}, "off"
		},
		"--metrics=:9861 --check peer": func(o *options) { o.metrics, o.check = ":9861", true },
		"-w -- peer -p":                func(o *options) { o.server = "-p" },
	} {
		want := defaults
		change(&want)
		got, err := parse(strings.Fields(args))
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		if d := cmp.Diff(want, *got, cmp.AllowUnexported(options{})); d != "" {
			t.Errorf("%q (-want +got):\n%s", args, d)
		}
	}
}

// FuzzOptions: whatever the command line, it is refused in one line, or says
// what can be measured.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{
		"", "-h", "-p -c 300 -i 0.1 peer", "-c 0 h", "-i 1e999 h", "-I 4294967295 -c 1 h", "-z 4294967295 h",
		"-L 1e8 -E 0x1p-40 h", "-N 3 -c 9 -U h s", "-P 1-65535 h", "-4 -6 h", "--metrics=: h", "-c 4294967295 -i 1e-9 h",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		o, err := parse(strings.Fields(line))
		if err != nil {
			if s := err.Error(); s == "" || strings.Contains(s, "\n") {
				t.Fatalf("%q: error %q: want one line", line, s)
			}
			return
		}
		if o.Help || o.Version {
			return
		}
		for _, v := range []float64{o.interval, o.timeout, o.bucket} {
			if !(v > 0) || math.IsInf(v, 0) {
				t.Fatalf("%q: %+v", line, o)
			}
		}
		if o.test == "" || o.packets == 0 || o.part != 0 && o.packets%o.part != 0 || o.padding > cli.MaxPadding ||
			o.retry < minRetry || o.delay < 0 || o.endDelay < 0 || o.ports.Low > o.ports.High || o.dscp > 63 {
			t.Fatalf("%q: %+v", line, o)
		}
	})
}
