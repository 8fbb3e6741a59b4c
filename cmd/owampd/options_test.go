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
`

// fromConf is what conf says.
func fromConf() options {
	facility, err := cli.ParseFacility("local5")
	if err != nil {
		panic(err)
	}
	return options{
		confDir: ".", dataDir: "/var/lib/owamp", varDir: "/run",
		modes: owamp.ModeOpen, listen: "[::1]:8861", ports: probe.PortRange{Low: 8760, High: 9960},
		endDelay: 250 * time.Millisecond, controlTimeout: time.Minute, maxConnections: 100,
		facility: facility, level: slog.LevelWarn, levelGiven: true, location: true, verbose: 1,
		user: "owamp", group: "-115", rootFolly: true,
		remarks: []string{"dieby has no effect: owampd ends at once"},
	}
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
	defaults := options{confDir: empty, dataDir: ".", varDir: ".", endDelay: time.Second, facility: cli.FacilityDaemon}
	for _, c := range []struct {
		args   string
		base   options
		change func(*options)
	}{
		{"-Z -c " + empty, defaults, func(*options) {}},
		{"-Z -vvc" + empty, defaults, func(o *options) { o.verbose, o.level = 2, slog.LevelDebug }},
		{"-fZc " + empty + " -a AO --metrics :9861", defaults, func(o *options) {
			o.rootFolly, o.metrics = true, ":9861"
			o.modes = owamp.ModeOpen | owamp.ModeAuthenticated
			o.remarks = []string{"authmode AO: only open mode (O) is offered"}
		}},
		{"-Z -c " + dir, fromConf(), func(*options) {}},
		{"-c " + dir + " -wZ -d data -R var -e daemon -P 0 -S :861 -U nobody -G nogroup -v", fromConf(), func(o *options) {
			o.dataDir, o.varDir, o.facility, o.ports = "data", "var", cli.FacilityDaemon, probe.PortRange{}
			o.listen, o.user, o.group, o.verbose = ":861", "nobody", "nogroup", 2
		}},
	} {
		want := c.base
		want.foreground = true
		c.change(&want)
		got, err := parse(strings.Fields(c.args))
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		got.confDir = want.confDir
		if d := cmp.Diff(want, *got, cmp.AllowUnexported(options{})); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.args, d)
		}
	}
}

func TestConfTooLong(t *testing.T) {
	for text, want := range map[string]string{
		"verbose\ndatadir " + strings.Repeat("x", maxLine):                               "conf:2: want lines of at most 65536 octets",
		"verbose\n\nsrcnode \\\n" + strings.Repeat(strings.Repeat(" ", 1000)+"\\\n", 70): "conf:3: want lines of at most 65536 octets",
	} {
		if err := readConf("conf", strings.NewReader(text), &options{}); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// FuzzConf: a file is refused in one line that says where, or is worth the same
// without its comments and empty lines.
func FuzzConf(f *testing.F) {
	f.Add(conf)
	for _, s := range []string{"", "\\\n", "#\\\nverbose", "verbose\\\n\\\n", "enddelay 1e999", "testports 1 2", "dieby\x00 1", "user \xff", "controltimeout 0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var o options
		if err := readConf("conf", strings.NewReader(text), &o); err != nil {
			var line int
			if n, _ := fmt.Sscanf(err.Error(), "conf:%d: ", &line); n != 1 || line < 1 || line > strings.Count(text, "\n")+1 || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %q: want one line that says where", err)
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
		var again options
		if err := readConf("conf", strings.NewReader(bare.String()), &again); err != nil {
			t.Fatalf("%q without what says nothing: %v", text, err)
		}
		if d := cmp.Diff(o, again, cmp.AllowUnexported(options{})); d != "" {
			t.Fatalf("%q without what says nothing (-with +without):\n%s", text, d)
		}
	})
}

// FuzzOptions: whatever the command line, it is refused in one line, or says
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
		o, err := parse(args)
		if err != nil {
			if s := err.Error(); s == "" || strings.Contains(s, "\n") {
				t.Fatalf("%q: error %q: want one line", line, s)
			}
			return
		}
		if !o.Help && !o.Version && (!o.foreground || o.endDelay != time.Second || o.ports.Low > o.ports.High || o.modes&^owamp.ModeOpen != 0 && len(o.remarks) == 0) {
			t.Fatalf("%q: %+v", line, o)
		}
	})
}
