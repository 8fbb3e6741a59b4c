package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"owl/internal/cli"
	"owl/internal/report"
	"owl/owamp"
	"owl/owamp/stats"
	"owl/probe"
)

var unexported = cmp.AllowUnexported(options{}, stats.Unit{})

// defaults are the options of a command line that is but an address.
func defaults() options {
	return options{
		test:     "h",
		packets:  100,
		slots:    []owamp.Slot{{Type: owamp.SlotExponential, Parameter: 0x19999999}},
		ports:    probe.PortRange{Low: 8760, High: 9960},
		to:       true,
		from:     true,
		endDelay: time.Second,
	}
}

func TestParse(t *testing.T) {
	for args, change := range map[string]func(*options){
		"h":           func(*options) {},
		"h s":         func(o *options) { o.server = "s" },
		"-c 5 h":      func(o *options) { o.packets = 5 },
		"h -c5":       func(o *options) { o.packets = 5 },
		"-f h":        func(o *options) { o.to, o.endDelay = false, 0 },
		"-t h":        func(o *options) { o.from = false },
		"-ft h":       func(*options) {},
		"-F a h":      func(o *options) { o.to, o.endDelay, o.fromFile = false, 0, "a" },
		"-T b h":      func(o *options) { o.from, o.toFile = false, "b" },
		"-F a -T b h": func(o *options) { o.fromFile, o.toFile = "a", "b" },
		"-f -E 3 h":   func(o *options) { o.to, o.endDelay = false, 3*time.Second },
		"-E 0 h":      func(o *options) { o.endDelay = 0 },
		"-i 1,0.5f h": func(o *options) {
			o.slots = []owamp.Slot{{Parameter: 1 << 32}, {Type: owamp.SlotFixed, Parameter: 1 << 31}}
		},
		"-D EF h":        func(o *options) { o.dscp = 0x2e },
		"-D 0x3f h":      func(o *options) { o.dscp = 63 },
		"-L 0.25 h":      func(o *options) { o.timeout = 0.25 },
		"-P 0 h":         func(o *options) { o.ports = probe.PortRange{} },
		"-P 7000-7001 h": func(o *options) { o.ports = probe.PortRange{Low: 7000, High: 7001} },
		"-s 65000 h":     func(o *options) { o.padding = 65000 },
		"-z 1.5 h":       func(o *options) { o.delay = 1500 * time.Millisecond },
		"-w h":           func(*options) {},
		"-6 -S eth0 h":   func(o *options) { o.conn = cli.ClientOptions{Family: cli.IPv6, Source: "eth0"} },
		"-A AOE -B d h":  func(o *options) { o.conn = cli.ClientOptions{Modes: 7, Device: "d"} },
		"-u u -k f --max-pbkdf2-count 5000 h": func(o *options) {
			o.conn = cli.ClientOptions{User: "u", KeyFile: "f", MaxCount: 5000}
		},
		"--json -N 5 h": func(o *options) { o.report = report.Options{JSON: true, Part: 5} },
		"-MN5 -v3 -n u h": func(o *options) {
			o.report = report.Options{Machine: true, Part: 5, Verbose: true, Limit: 3, Text: stats.ReportOptions{Unit: stats.Microseconds}}
		},
		"-b 0.5 -RUQpd x -a 95,99.9 h": func(o *options) {
			o.report = report.Options{
				BucketWidth: 0.5, Raw: true, Quiet: true, Save: true, Dir: "x",
				Text: stats.ReportOptions{Unix: true, Percentiles: []float32{95, 99.9}},
			}
		},
	} {
		want := defaults()
		change(&want)
		got, err := parse(strings.Fields(args))
		if err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		if d := cmp.Diff(want, *got, unexported, cmpopts.IgnoreFields(stats.ReportOptions{}, "Zone")); d != "" {
			t.Errorf("%s (-want +got)\n%s", args, d)
		}
	}
}

func TestBadArguments(t *testing.T) {
	for _, tt := range []struct {
		args, err string
		usage     bool
	}{
		{"", "want a testaddr, and after it at most a servaddr", true},
		{"a b c", "want a testaddr, and after it at most a servaddr", true},
		{"-Y h", "unknown option -Y", true},
		{"--salvage h", "unknown option --salvage", true},
		{"--json -M h", "options --json and -M: want one of them: the document is for programs", false},
		{"-Q --json h", "options --json and -Q: want one of them: it goes to standard output", false},
		{"h -c", "option -c needs an argument", true},
		{"-c x h", `option -c: "x": want a number of packets from 1 to 4294967295`, false},
		{"-c 0 h", `option -c: "0": want a number of packets from 1 to 4294967295`, false},
		{"-c 4294967296 h", `option -c: "4294967296": want a number of packets from 1 to 4294967295`, false},
		{"-D zz h", `option -D: DSCP "zz": want a number from 0 to 0x3f, or none, default, DF, EF, CS0 to CS7 or AF11 to AF43`, false},
		{"-E -1 h", `option -E: "-1": want a number of seconds from 0 to 2592000`, false},
		{"-i x h", `option -i: schedule "x": "x": want seconds from 0, with f (fixed) or e (exponential) behind it or nothing`, false},
		{"-i 0 h", `option -i: schedule "0": want a mean interval above 0`, false},
		{"-i 0.1,0.2g h", `option -i: schedule "0.1,0.2g": "0.2g": want seconds from 0, with f (fixed) or e (exponential) behind it or nothing`, false},
		{"-L 0 h", `option -L: "0": want a number of seconds above 0`, false},
		{"-L nan h", `option -L: "nan": want a number of seconds above 0`, false},
		{"-L 1e10 h", `option -L: "1e10": want a number of seconds above 0`, false},
		{"-L 0.00001 h", `Invalid test specification: LossThreshold(0.000010) '-L' < BucketWidth (0.000100) '-b'`, false},
		{"-b 2 -L 1 h", `Invalid test specification: LossThreshold(1.000000) '-L' < BucketWidth (2.000000) '-b'`, false},
		{"-P junk h", `option -P: port range "junk": want a port, low-high with ports from 1 to 65535, or 0`, false},
		{"-P 9-8 h", `option -P: port range "9-8": want a port, low-high with ports from 1 to 65535, or 0`, false},
		{"-s -1 h", `option -s: "-1": want a number of octets from 0 to 65000`, false},
		{"-s 65001 h", `option -s: "65001": want a number of octets from 0 to 65000`, false},
		{"-z x h", `option -z: "x": want a number of seconds from 0 to 2592000`, false},
		{"-a 101 h", `option -a: percentile "101": want a number from 0 to 100`, false},
		{"-n q h", `option -n: unit "q": want n, u, m or s`, false},
		{"-b 0 h", `option -b: bucket width "0": want a number of seconds above 0`, false},
		{"-N x h", `option -N: "x": want a number of packets`, false},
		{"-4 -6 h", "-4 and -6 flags cannot be set together", false},
		{"-B a -B b h", "-B can only be used once", false},
		{"-A X h", "Invalid -authmode X: want letters out of A, E and O", false},
		{"-A AE h", "option -A: AE: want -u, too, or open mode (O), which has no users", false},
		{"-k f h", "option -k: want -u, too, for whose pass-phrase it is", false},
		{"-u #u h", `option -u: "#u": want a name without # in front`, false},
		{"-u u -k /nonexistent h", "option -k: open /nonexistent: no such file or directory", false},
		{"--max-pbkdf2-count 4294967296 h", `option --max-pbkdf2-count: "4294967296": want a number from 1024 to 4294967295`, false},
	} {
		code, stdout, stderr := owping(t, strings.Fields(tt.args)...)
		first, rest, _ := strings.Cut(stderr, "\n")
		if code != 1 || stdout != "" || first != "owping: "+tt.err || rest != "" != tt.usage {
			t.Errorf("owping %s: exit code %d, %q, %q; want 1, %q", tt.args, code, stdout, stderr, tt.err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"h", "-c 5 -i 0.1,0.2f -L 1 h s", "-F a -T b -P 0 h", "-4 -A O -b 1 h", "-v3 -z 1e300 -E inf h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		o, err := parse(strings.Fields(line))
		switch {
		case err != nil:
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: more than a line: %v", line, err)
			}
		case !o.Help && !o.Version && (o.test == "" || o.packets == 0 || len(o.slots) == 0 || !o.to && !o.from || o.endDelay < 0 || o.delay < 0):
			t.Errorf("%q: %+v", line, o)
		}
	})
}
