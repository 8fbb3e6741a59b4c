package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/cli"
	"owl/owamp"
	"owl/probe"
	"owl/sessions/policy"
)

const conf = `
# owamp-server.conf
FACILITY   local5        # with a comment
loglevel   warning
loglocation
verbose
rootfolly
datadir    /var/lib/owamp
vardir     /run
user       owamp
group      -115
authmode   o
srcnode    [::1]:8861
testports  8760-9960
enddelay   0.25
controltimeout 60
maxcontrolsessions \
    100
dieby      10
diskfudge  3.0
retention  86400
pbkdf2_count 4096
`

// fromConf is what conf says.
func fromConf() options {
	facility, err := cli.ParseFacility("local5")
	if err != nil {
		panic(err)
	}
	o := preset()
	o.dataDir, o.varDir = "/var/lib/owamp", "/run"
	o.modes, o.listen, o.ports = owamp.ModeOpen, "[::1]:8861", probe.PortRange{Low: 8760, High: 9960}
	o.endDelay, o.controlTimeout, o.maxConnections = 250*time.Millisecond, time.Minute, 100
	o.facility, o.level, o.levelGiven, o.location, o.verbose = facility, slog.LevelWarn, true, true, 1
	o.user, o.group, o.rootFolly = "owamp", "-115", true
	o.dieBy, o.diskFudge, o.retention, o.iterations = 10*time.Second, 3, 24*time.Hour, 4096
	return o
}

// preset is what an empty file and an empty command line say.
func preset() options {
	return options{
		listen: ":861", dataDir: ".", varDir: ".", endDelay: time.Second, controlTimeout: 30 * time.Minute,
		maxConnections: 4096, diskFudge: 1, dieBy: 5 * time.Second, iterations: 2048, facility: cli.FacilityDaemon,
		limits: policy.Unlimited(), passphrases: new(policy.Passphrases),
	}
}

// sameOptions compares options but for where they come from.
func sameOptions(want, got options) string {
	for _, o := range []*options{&want, &got} {
		o.confDir, o.from = "", nil
	}
	sameLimits := cmp.Comparer(func(a, b *policy.Limits) bool { return a == b || a != nil && b != nil && a.String() == b.String() })
	samePassphrases := cmp.Comparer(func(a, b *policy.Passphrases) bool { return a == b || a != nil && b != nil && a.Len() == b.Len() })
	return cmp.Diff(want, got, cmp.AllowUnexported(options{}), sameLimits, samePassphrases)
}

func TestParse(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, confName), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	if err := os.WriteFile(filepath.Join(empty, confName), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		base   options
		change func(*options)
	}{
		{"-Z -c " + empty, preset(), func(*options) {}},
		{"-Z -vvc" + empty, preset(), func(o *options) { o.verbose = 2 }},
		{"-fZc " + empty + " -a AO --metrics :9861", preset(), func(o *options) {
			o.rootFolly, o.metrics = true, ":9861"
			o.modes = owamp.ModeOpen | owamp.ModeAuthenticated
			o.remarks = []string{fmt.Sprintf("authmode AO: only open mode (O) is offered until there are users in %s: see pfstore", filepath.Join(empty, keysName))}
		}},
		{"-Zc " + empty + " --ntp a --chrony=off --ntp b:1123", preset(), func(o *options) {
			o.clock.Sources.NTP, o.clock.Sources.Chrony = []string{"a", "b:1123"}, "off"
		}},
		{"-Z -c " + dir, fromConf(), func(*options) {}},
		{"-c " + dir + " -Z -d data -R var -e daemon -P 0 -S :861 -U nobody -G nogroup -v", fromConf(), func(o *options) {
			o.dataDir, o.varDir, o.facility, o.ports = "data", "var", cli.FacilityDaemon, probe.PortRange{}
			o.listen, o.user, o.group, o.verbose = ":861", "nobody", "nogroup", 2
		}},
	} {
		want := c.base
		want.foreground = true
		c.change(&want)
		got, err := parse("", strings.Fields(c.args))
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		if d := sameOptions(want, *got); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.args, d)
		}
	}
}

func TestConfTooLong(t *testing.T) {
	for text, want := range map[string]string{
		"verbose\ndatadir " + strings.Repeat("x", maxLine):                               "conf:2: want lines of at most 65536 octets",
		"verbose\n\nsrcnode \\\n" + strings.Repeat(strings.Repeat(" ", 1000)+"\\\n", 70): "conf:3: want lines of at most 65536 octets",
	} {
		if err := readConf("conf", strings.NewReader(text), fresh()); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// fresh returns options that nothing has been read into.
func fresh() *options { return &options{from: make(map[string]string)} }

// TestConfErrors: every line that is wrong is told of, up to a bound.
func TestConfErrors(t *testing.T) {
	err := readConf("conf", strings.NewReader("dieby x\nverbose\nnokey 1\n"), fresh())
	const want = "conf:1: dieby: \"x\": want seconds, 0 or more\nconf:3: Unknown key=nokey"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	err = readConf("conf", strings.NewReader(strings.Repeat("nokey 1\n", 1000)), fresh())
	if n := len(apart(err)); n != maxErrors {
		t.Errorf("%d errors, want %d", n, maxErrors)
	}
}

// FuzzConf: a file is refused with one line for each of its own that is wrong,
// which says where, or is worth the same without its comments and empty lines.
func FuzzConf(f *testing.F) {
	f.Add(conf)
	for _, s := range []string{"", "\\\n", "#\\\nverbose", "verbose\\\n\\\n", "enddelay 1e999", "testports 1 2", "dieby\x00 1", "user \xff", "controltimeout 0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := fresh()
		if err := readConf("conf", strings.NewReader(text), o); err != nil {
			last := 0
			for _, l := range apart(err) {
				var line int
				if n, _ := fmt.Sscanf(l, "conf:%d: ", &line); n != 1 || line <= last || line > strings.Count(text, "\n")+1 {
					t.Fatalf("error %q: want lines that say where, in order", err)
				}
				last = line
			}
			return
		}
		if strings.Contains(text, `\`) {
			return // then even an empty line may belong to the one before it
		}
		var bare strings.Builder
		for l := range strings.Lines(text) {
			l, _, _ = strings.Cut(l, "#")
			if l = strings.TrimRight(l, "\r\n"); strings.TrimSpace(l) != "" {
				bare.WriteString(l + "\n")
			}
		}
		again := fresh()
		if err := readConf("conf", strings.NewReader(bare.String()), again); err != nil {
			t.Fatalf("%q without what says nothing: %v", text, err)
		}
		if d := sameOptions(*o, *again); d != "" {
			t.Fatalf("%q without what says nothing (-with +without):\n%s", text, d)
		}
	})
}

// FuzzOptions: whatever the command line, it is refused in lines, or says
// how to serve.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{"", "-Z", "-h", "-Zfa O -S :0", "-Z -P 8760-9960 -U nobody", "-Z --metrics=:1 -vv", "-c missing", "-Z -e KERN x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Fields(line)
		for i := range args {
			if strings.Contains(args[i], "c") {
				args[i] = "-" // not any file of this host
			}
		}
		o, err := parse("", args)
		if err != nil {
			for _, s := range apart(err) {
				if s == "" {
					t.Fatalf("%q: error %q: want lines", line, err)
				}
			}
			return
		}
		if !o.Help && !o.Version && (o.endDelay != time.Second || o.ports.Low > o.ports.High) {
			t.Fatalf("%q: %+v", line, o)
		}
	})
}
