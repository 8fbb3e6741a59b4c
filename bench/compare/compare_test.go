package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"owl/owamp/owp"
)

func TestSettle(t *testing.T) {
	yes, no := true, false
	number := func(v float64) *float64 { return &v }
	for _, tc := range []struct {
		name string
		f    figure
		want figure
	}{
		{"median and ratio", figure{values: [2][]float64{{9, 1, 2}, {4, 8}}},
			figure{Owl: 2, Reference: number(6), Ratio: number(2.0 / 6)}},
		{"Owl alone", figure{values: [2][]float64{{3}, nil}, most: 0.25}, figure{Owl: 3}},
		{"aim held", figure{values: [2][]float64{{1}, {4}}, most: 0.25},
			figure{Owl: 1, Reference: number(4), Ratio: number(0.25), Aim: "≤ 0.25 ×", Holds: &yes}},
		{"aim missed", figure{values: [2][]float64{{2}, {4}}, most: 0.25},
			figure{Owl: 2, Reference: number(4), Ratio: number(0.5), Aim: "≤ 0.25 ×", Holds: &no}},
		{"many times", figure{values: [2][]float64{{200}, {2}}, least: 100},
			figure{Owl: 200, Reference: number(2), Ratio: number(100), Aim: "≥ 100 ×", Holds: &yes}},
		{"limit", figure{values: [2][]float64{{11}, {4}}, Limit: 10, Unit: "µs"},
			figure{Unit: "µs", Owl: 11, Reference: number(4), Ratio: number(2.75), Aim: "≤ 10 µs", Holds: &no, Limit: 10}},
		{"none", figure{values: [2][]float64{{0, 0, 3}}, none: true}, figure{Aim: "0", Holds: &yes}},
		{"nothing to divide by", figure{values: [2][]float64{{1}, {0}}, most: 1}, figure{Owl: 1, Reference: number(0)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.f.settle()
			if d := cmp.Diff(tc.want, tc.f, cmpopts.IgnoreUnexported(figure{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestReport(t *testing.T) {
	r := newReport()
	for _, f := range []figure{
		{Section: "delay", Name: "1000 packets/s: median", Unit: "µs", rate: 1000, most: 0.25, values: [2][]float64{{4}, {12}}},
		{Section: "delay", Name: "10000 packets/s: median", Unit: "µs", rate: 10000, values: [2][]float64{{3}, {15}}},
		{Section: "high", Name: "lost", Unit: "packets", none: true, values: [2][]float64{{0}}},
	} {
		f.settle()
		r.Figures = append(r.Figures, f)
	}
	r.end()
	var table bytes.Buffer
	if err := r.write(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{{"1000 packets/s: median", "4 µs", "12", "0.333", "≤ 0.25 × missed"}, {"lost", "0 packets", "0"}} {
		found := false
		for line := range strings.Lines(table.String()) {
			rest, ok := line, true
			for _, w := range want {
				var has bool
				_, rest, has = strings.Cut(rest, w)
				ok = ok && has
			}
			found = found || ok
		}
		if !found {
			t.Errorf("no line with %q:\n%s", want, &table)
		}
	}

	file := filepath.Join(t.TempDir(), "compare.json")
	if err := r.writeJSON(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, &back, cmpopts.IgnoreUnexported(figure{}), cmpopts.IgnoreFields(figure{}, "Limit")); d != "" {
		t.Error(d)
	}

	for _, name := range []string{"compare.svg", "compare.png"} {
		file := filepath.Join(t.TempDir(), name)
		if err := r.draw(file); err != nil {
			t.Fatal(err)
		}
		picture, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(name) == ".svg" {
			for _, want := range []string{"owl, median", "reference, median", "packets/s"} {
				if !bytes.Contains(picture, []byte(want)) {
					t.Errorf("%s does not show %q", name, want)
				}
			}
		} else if !bytes.HasPrefix(picture, []byte("\x89PNG")) {
			t.Errorf("%s is no PNG", name)
		}
	}
}

func TestFileKind(t *testing.T) {
	name := filepath.Join(t.TempDir(), "records.owp")
	const packets = 20_000
	if err := (fileKind{rate: 1000, timeout: 2}).write(name, packets); err != nil {
		t.Fatal(err)
	}
	r, err := owp.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := read(name)
	if err != nil {
		t.Fatal(err)
	}
	if r.Len() != packets || p.sent != packets || p.lost != 0 || p.slips.Max() != 0 {
		t.Errorf("%d records, %d packets, %d lost, slips up to %d ns; want %d packets, none lost, no slip", r.Len(), p.sent, p.lost, p.slips.Max(), packets)
	}
	if least := p.delays.Min(); least < 19_000 || least > 21_000 {
		t.Errorf("least delay %d ns, want 20 µs", least)
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("SKIPPED: there is no sleep:", err)
	}
	if sleep, err = filepath.EvalSymlinks(sleep); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "sleep")
	if err := os.WriteFile(own, text, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		cmd := exec.Command(own, "100")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer end(cmd)
	}
	u, err := usageOf(dir)
	if err != nil || u.processes != 2 || u.memory == 0 {
		t.Errorf("%+v, %v, want 2 processes that have some memory", u, err)
	}
}

func TestOptions(t *testing.T) {
	for args, want := range map[string]string{
		"-only (":                  "-only",
		"-reference /nonexistent":  "/nonexistent/owampd",
		"-plot x.gif":              ".svg or .png",
		"-rounds 0":                "at least 1",
		"-reference= other":        "options only",
		"-no-such-option -rounds1": "help",
	} {
		err := run(context.Background(), strings.Fields(args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) && !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}
