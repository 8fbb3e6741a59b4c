package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive/dest/flent/datafile"
	"owl/internal/testserver"
	"owl/owamp"
)

// flent runs Flent and returns what it prints.
func flent(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "flent", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("flent %v: %v\n%s%s", args, err, out.String(), errs.String())
	}
	return out.String()
}

func needFlent(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("flent"); err != nil {
		t.Skip("SKIPPED: there is no flent")
	}
}

// makeFlent has owstats make a data file, and returns its name.
func makeFlent(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.flent.gz")
	code, stdout, stderr := owstats(t, append([]string{"--flent", path}, args...)...)
	if code != 0 || stderr != "" || stdout != path+"\n" {
		t.Fatalf("owstats --flent %v: exit code %d, %q, %s", args, code, stdout, stderr)
	}
	return path
}

func readFlent(t *testing.T, path string) *datafile.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := datafile.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sessionsIn returns the session files of directories of golden ones.
func sessionsIn(t *testing.T, dirs ...string) (paths []string) {
	t.Helper()
	for _, dir := range dirs {
		found, err := filepath.Glob("testdata/golden/" + dir + "/*.owp")
		if err != nil || len(found) == 0 {
			t.Fatalf("no golden files in %s: %v", dir, err)
		}
		paths = append(paths, found...)
	}
	return paths
}

// delays returns the delays of the packets in session files, in nanoseconds and
// ascending, and how many packets were lost; computed here from the records, the
// slow way.
func delays(t *testing.T, paths []string) (all []int64, lost int) {
	t.Helper()
	for _, path := range paths {
		first := make(map[uint32]bool)
		s := &flentSession{path: path}
		if _, err := s.each(t.Context(), func(r *owamp.Record) {
			switch {
			case r.Lost():
				lost++
			case !first[r.Seq]:
				first[r.Seq] = true
				sent, sentNs := r.Sent.Unix()
				recv, recvNs := r.Recv.Unix()
				all = append(all, (recv-sent)*1e9+recvNs-sentNs)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	return all, lost
}

// rough allows for a nanosecond by which times are rounded, in milliseconds, and
// for what is printed.
func rough(a, b float64) bool { return math.Abs(a-b) < 2.5e-6 }

// The numbers of a file, as Flent prints them, as owstats prints them, and as they
// come from the records.
func TestFlentNumbers(t *testing.T) {
	t.Parallel()
	needFlent(t)
	cases := [][]string{{"powstream-s2c-N", "powstream-c2s-noN"}, {"loss10"}, {"dup10"}, {"neg-delay"}, {"ipv6-mixed"}}
	if testing.Short() {
		cases = cases[:1] // Flent takes its time to start
	}
	for _, dirs := range cases {
		t.Run(dirs[0], func(t *testing.T) {
			t.Parallel()
			sessions := sessionsIn(t, dirs...)
			path := makeFlent(t, append([]string{"--title", "numbers of " + dirs[0], "--note", "ein Vermerk, größer"}, sessions...)...)
			stats := flentStats(t, flent(t, "-i", path, "-f", "stats"))
			d := readFlent(t, path)
			if len(stats) != len(d.Series) {
				t.Errorf("Flent knows of %d series, owstats of %d", len(stats), len(d.Series))
			}
			seen := 0
			for _, s := range d.Series {
				got := stats[s.Name]
				for name, want := range map[string]float64{
					"Data points": float64(s.Points), "Min": s.Min, "Median": s.Median, "99th %": s.P99, "Max": s.Max, "Mean": s.Mean, "Std dev": s.Deviation,
				} {
					// Flent says nothing of a mean of 0.
					if v, ok := got[name]; (!ok || math.Abs(v-want) > 1.5e-6) && s.Mean != 0 {
						t.Errorf("%s: %s is %v, owstats says %v", s.Name, name, v, want)
					}
				}
				if !strings.HasPrefix(s.Name, "Ping (ms) ICMP ") {
					continue
				}
				seen++
				from, to, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(s.Name, "Ping (ms) ICMP "), " (extra)"), " to ")
				all, lost := delays(t, between(t, sessions, from, to))
				sum := 0.0
				for _, v := range all {
					sum += float64(v) / 1e6
				}
				if s.Points != len(all) || s.Lost != lost || !rough(s.Min, float64(all[0])/1e6) || !rough(s.Max, float64(all[len(all)-1])/1e6) ||
					!rough(s.Mean, sum/float64(len(all))) || !rough(s.Median, float64(all[(len(all)-1)/2]+all[len(all)/2])/2e6) {
					t.Errorf("%+v; the records say %d packets and %d lost, %d to %d ns", s, len(all), lost, all[0], all[len(all)-1])
				}
			}
			if seen != 2 {
				t.Errorf("%d series of delays, want 2", seen)
			}
		})
	}
}

// between returns those of session files that go from one host to another, as
// labels call them.
func between(t *testing.T, sessions []string, from, to string) (paths []string) {
	t.Helper()
	for _, path := range sessions {
		s := &document(t, 0, path).Sessions[0]
		if datafile.Label(s.Sender.Address) == from && datafile.Label(s.Receiver.Address) == to {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		t.Fatalf("no session from %s to %s", from, to)
	}
	return paths
}

var (
	statsSeries = regexp.MustCompile(`^ (\S.*):$`)
	statsValue  = regexp.MustCompile(`^  (\S[^:]*): +(\S+)`)
)

// flentStats reads what Flent prints in the format stats.
func flentStats(t *testing.T, text string) map[string]map[string]float64 {
	t.Helper()
	all := make(map[string]map[string]float64)
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := statsSeries.FindStringSubmatch(line); m != nil {
			name = m[1]
			all[name] = make(map[string]float64)
		} else if m := statsValue.FindStringSubmatch(line); m != nil && name != "" {
			v, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				t.Fatal(err)
			}
			all[name][m[1]] = v
		}
	}
	return all
}

// The other formats: the summary, the table, and the metadata.
func TestFlentFormats(t *testing.T) {
	t.Parallel()
	needFlent(t)
	path := makeFlent(t, append([]string{"--title", "formats", "--step-size", "0.1", "--extended-metadata"}, sessionsIn(t, "loss10")...)...)
	d := readFlent(t, path)
	t.Run("summary", func(t *testing.T) {
		t.Parallel()
		if testing.Short() {
			t.Skip("SKIPPED: TestFlentDocs has it print one")
		}
		text := flent(t, "-i", path, "-f", "summary")
		for _, s := range d.Series {
			want := regexp.MustCompile(fmt.Sprintf(`(?m)^ %s *: +%.2f +%.2f +%.2f %s +%d$`, regexp.QuoteMeta(s.Name), s.Mean, s.Median, s.P99, s.Unit, s.Points))
			if !want.MatchString(text) {
				t.Errorf("no %s in\n%s", want, text)
			}
		}
		if !strings.Contains(text, "Title: 'formats'") {
			t.Errorf("no title in\n%s", text)
		}
	})
	t.Run("csv", func(t *testing.T) {
		t.Parallel()
		_, text, _ := strings.Cut(flent(t, "-i", path, "-f", "csv"), "ping,")
		rows, err := csv.NewReader(strings.NewReader("ping," + text)).ReadAll()
		if err != nil || len(rows) != d.Steps+1 || len(rows[0]) != len(d.Series)+1 {
			t.Fatalf("%d rows, want %d: %v", len(rows), d.Steps+1, err)
		}
		for column, name := range rows[0] {
			if !strings.HasPrefix(name, "Loss (packets) ") {
				continue
			}
			lost := 0.0
			for _, row := range rows[1:] {
				v, _ := strconv.ParseFloat(row[column], 64) // nothing was sent in an empty one
				lost += v
			}
			if lost != 23 {
				t.Errorf("%s: %v in all, want 23", name, lost)
			}
		}
	})
	t.Run("metadata", func(t *testing.T) {
		t.Parallel()
		_, text, _ := strings.Cut(flent(t, "-i", path, "-f", "metadata"), "\n[")
		var all []map[string]any
		decoder := json.NewDecoder(strings.NewReader("[" + text))
		decoder.UseNumber()
		if err := decoder.Decode(&all); err != nil || len(all) != 1 {
			t.Fatalf("%v in [%s", err, text)
		}
		byValue := cmp.Comparer(func(a, b json.Number) bool {
			x, _ := a.Float64()
			y, _ := b.Float64()
			return x == y
		})
		if diff := cmp.Diff(d.Metadata, all[0], byValue); diff != "" {
			t.Errorf("(-file +Flent)\n%s", diff)
		}
		for _, name := range []string{"KERNEL_NAME", "SYSCTLS", "IP_ADDRS", "GATEWAYS", "EGRESS_INFO", "WIFI_DATA", "MODULE_VERSIONS"} {
			if _, ok := d.Metadata[name]; !ok {
				t.Errorf("there is no %s", name)
			}
		}
	})
}

// Plots show the series: there is something of their colours where the axes are.
func TestFlentPlots(t *testing.T) {
	t.Parallel()
	needFlent(t)
	ping := makeFlent(t, append([]string{"--title", "plots"}, sessionsIn(t, "powstream-s2c-N", "powstream-c2s-noN")...)...)
	voip := makeFlent(t, append([]string{"--title", "plots", "--test-name", "voip"}, sessionsIn(t, "powstream-s2c-N")...)...)
	for _, c := range []struct {
		file, plot string
		least      int  // coloured pixels
		long       bool // there is one of its kind without it
	}{
		{ping, "ping", 5000, false}, {ping, "ping_cdf", 600, false}, {ping, "ping_extra_combine", 600, false},
		{voip, "voip_delay", 1500, true}, {voip, "voip_delay_box", 200, false}, {voip, "voip_loss", 600, true},
	} {
		t.Run(c.plot, func(t *testing.T) {
			t.Parallel()
			if c.long && testing.Short() {
				t.Skip("SKIPPED: Flent takes its time to start")
			}
			path := filepath.Join(t.TempDir(), "x.png")
			flent(t, "-i", c.file, "-p", c.plot, "-o", path)
			if n := coloured(t, path); n < c.least {
				t.Errorf("%d coloured pixels, want %d at least", n, c.least)
			}
		})
	}
}

// coloured returns how many pixels in the left half of an image, where no legend
// is, are not grey.
func coloured(t *testing.T, path string) (n int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	image, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v of %d octets", err, len(text))
	}
	b := image.Bounds()
	for x := b.Min.X; x < b.Min.X+b.Dx()/2; x++ {
		for y := b.Min.Y; y < b.Max.Y; y++ {
			red, green, blue, _ := image.At(x, y).RGBA()
			if max(red, green, blue)-min(red, green, blue) > 0x5000 {
				n++
			}
		}
	}
	return n
}

// Names of files are the format's own in a directory, and one file for each
// period, or direction.
func TestFlentFiles(t *testing.T) {
	for args, want := range map[string][]string{
		"":                              {"ping-2026-11-21T051126.638647.flent.gz"},
		"--title a/b --suffix .json.gz": {"ping-2026-11-21T051126.638647.a_b.json.gz"},
		"--period PT20S":                {"ping-2026-11-21T051126.638647.flent.gz", "ping-2026-11-21T051142.406223.flent.gz", "ping-2026-11-21T051204.399068.flent.gz"},
		"--test-name voip":              {"voip-2026-11-21T051126.638647.10_98_0_2_to_10_98_0_1.flent.gz", "voip-2026-11-21T051126.861275.10_98_0_1_to_10_98_0_2.flent.gz"},
	} {
		dir := t.TempDir()
		code, stdout, stderr := owstats(t, append(append([]string{"--flent", dir}, strings.Fields(args)...), sessionsIn(t, "powstream-s2c-N", "powstream-c2s-noN")...)...)
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit code %d, %s", args, code, stderr)
		}
		var names []string
		for line := range strings.Lines(stdout) {
			names = append(names, filepath.Base(strings.TrimSpace(line)))
		}
		slices.Sort(names)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var there []string
		for _, e := range entries {
			there = append(there, e.Name())
			if f := readFlent(t, filepath.Join(dir, e.Name())); f.Metadata["DATA_FILENAME"] != e.Name() {
				t.Errorf("%s says that it is called %v", e.Name(), f.Metadata["DATA_FILENAME"])
			}
		}
		if !slices.Equal(names, want) || !slices.Equal(there, want) {
			t.Errorf("%s: printed %q, there is %q, want %q", args, names, there, want)
		}
	}
}

// A report on a data file, also between reports on sessions.
func TestFlentReport(t *testing.T) {
	path := makeFlent(t, append([]string{"--title", "seen", "--note", "so"}, sessionsIn(t, "loss10")...)...)
	code, stdout, stderr := owstats(t, "testdata/golden/one-packet/c2s.owp", path, "testdata/golden/one-packet/c2s.owp")
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	parts := strings.Split(stdout, "--- Flent data file "+path+" ---\n")
	if len(parts) != 2 || strings.Count(parts[0], "1 sent") != 1 || strings.Count(parts[1], "1 sent") != 1 {
		t.Fatalf("printed %s", stdout)
	}
	report, _, _ := strings.Cut(parts[1], "\n--- owping")
	const want = `test:   ping
title:  seen
time:   2026-11-21T05:09:35.219773Z
from:   10.98.0.1
to:     10.98.0.2
note:   so
by:     Owl devel
steps:  11 of 0.2 s

        min     median       mean       99%       max  points  lost  series
  -1.206000   0.016000   0.015694  0.972720  1.683000     157     -  IPDV (ms) 10.98.0.1 to 10.98.0.2, ms
  -3.776000  -0.028000  -0.054571  0.877050  0.905000     156     -  IPDV (ms) 10.98.0.2 to 10.98.0.1, ms
   0.000000   2.500000   2.300000  4.820000  5.000000      10     -  Loss (packets) 10.98.0.1 to 10.98.0.2, packets
   0.000000   2.000000   2.090909  4.900000  5.000000      11     -  Loss (packets) 10.98.0.2 to 10.98.0.1, packets
   2.068000   2.647000   2.650983  3.351360  4.176000     177    23  Ping (ms) ICMP 10.98.0.1 to 10.98.0.2 (extra), ms
   2.086000   2.662000   2.755667  6.538440  7.941000     177    23  Ping (ms) ICMP 10.98.0.2 to 10.98.0.1 (extra), ms
`
	if d := cmp.Diff(want, report); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// What docs/flent.md shows is printed, and it tells of each option.
func TestFlentDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/flent.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range flentLong {
		if !strings.Contains(string(page), "`--"+l.Name) {
			t.Errorf("there is nothing of --%s", l.Name)
		}
	}
	dir := t.TempDir()
	sessions, err := filepath.Abs("testdata/golden/loss10")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	code, stdout, stderr := owstats(t, "--flent", "loss.flent.gz", "--title", "loss of 10 %", sessions+"/c2s.owp", sessions+"/s2c.owp")
	if code != 0 || stderr != "" || stdout != "loss.flent.gz\n" {
		t.Fatalf("exit code %d, %q, %s", code, stdout, stderr)
	}
	_, printed, _ := owstats(t, "loss.flent.gz")
	if _, err := exec.LookPath("flent"); err != nil {
		t.Log("SKIPPED: there is no flent, so what it prints is not looked at")
	} else {
		printed += flent(t, "-i", "loss.flent.gz", "-f", "summary")
	}
	shown := 0
	for line := range strings.Lines(string(page)) {
		line, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if !ok || !strings.Contains(line, "10.98.0.") {
			continue
		}
		ours := strings.HasSuffix(line, ", ms") || strings.HasSuffix(line, ", packets") || strings.Contains(line, ":   ")
		if shown++; !strings.Contains(printed, line+"\n") && (ours || strings.Contains(printed, "Summary of")) {
			t.Errorf("nobody prints %q", line)
		}
	}
	if shown != 14 {
		t.Errorf("%d lines of examples, want 14", shown)
	}
}

// Whatever a file says, a terminal does not obey it.
func TestFlentTerminal(t *testing.T) {
	path := makeFlent(t, "--title", "a\x1b[31mb", "--note", "c\nd\u202ee", "testdata/golden/one-packet/c2s.owp")
	code, stdout, stderr := owstats(t, path)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "title:  a?[31mb\n") || !strings.Contains(stdout, "note:   c?d?e\n") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestFlentRefuses(t *testing.T) {
	const file = "testdata/golden/one-packet/c2s.owp"
	dir := t.TempDir()
	good := makeFlent(t, file)
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(dir, "torn.flent.gz")
	if err := os.WriteFile(torn, text[:len(text)-20], 0o644); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--title x " + file:                                       "option --title: want --flent, too",
		"--flent x.flent.gz -M " + file:                           "options --flent and -M: want one of them",
		"--flent x.flent.gz --json " + file:                       "options --flent and --json: want one of them",
		"--flent= " + file:                                        "option --flent: want the name of a file or a directory",
		"--flent x --test-name rrul " + file:                      `option --test-name: "rrul": want ping or voip`,
		"--flent x --step-size 0 " + file:                         `option --step-size: "0": want a number of seconds from 0.001 to 86400`,
		"--flent x --period 1h " + file:                           `option --period: "1h": want `,
		"--flent x --suffix .zip " + file:                         `option --suffix: ".zip": want .flent.gz or .json.gz`,
		"--flent x --remote-metadata -x " + file:                  `option --remote-metadata: "-x": want a host`,
		"--flent " + dir + "/x.json " + file:                      dir + "/x.json: want a directory, or a name that ends in .flent.gz or .json.gz",
		"--flent " + dir + "/x.json.gz --suffix .json.gz " + file: dir + "/x.json.gz: option --suffix: want a directory that is there",
		"--flent " + dir + "/no/x.json.gz " + file:                "open " + dir + "/no/",
		"--flent " + dir + "/x.flent.gz main.go":                  "main.go: octet 0: ",
		"--flent " + dir + "/x.flent.gz " + good:                  good + ": octet 0: ",
		"--flent " + dir + "/x.flent.gz --period PT1S testdata/golden/loss10/c2s.owp testdata/golden/dup10/c2s.owp": dir + "/x.flent.gz: 2 data files: want a directory that is there",
		"-M " + good: good + " is a data file of Flent, of which option -M can tell nothing",
		torn:         torn + ": no data file: it ends too early",
	} {
		code, stdout, stderr := owstats(t, strings.Fields(args)...)
		if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "owstats: "+want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("owstats %s: exit code %d, %q, %q; want %q", args, code, stdout, stderr, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v is left over", entries, err)
	}
}

// What another host says comes by ssh, with its user's configuration.
func TestFlentRemote(t *testing.T) {
	s := testserver.StartSSHD(t)
	// OpenSSH asks the system, not the environment, for its user's files.
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ssh"), fmt.Appendf(nil, "#!/bin/sh\nexec %s -F %s \"$@\"\n", ssh, s.Config), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	path := filepath.Join(dir, "x.flent.gz")
	code, _, stderr := owstats(t, "--flent", path, "--remote-metadata", "router", "--remote-metadata", "stranger", "testdata/golden/one-packet/c2s.owp")
	if code != 0 || !strings.HasPrefix(stderr, "owstats: metadata of stranger: exit status 255: ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	m := readFlent(t, path).Metadata
	remote, _ := m["REMOTE_METADATA"].(map[string]any)
	router, _ := remote["router"].(map[string]any)
	if _, ok := router["INGRESS_INFO"]; !ok || router["KERNEL_RELEASE"] != m["KERNEL_RELEASE"] || len(remote) != 2 || remote["stranger"] != nil {
		t.Errorf("of others: %v", remote)
	}
}
