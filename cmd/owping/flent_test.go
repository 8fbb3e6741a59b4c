package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"owl/archive/dest/flent/datafile"
	"owl/sessions/ping/pingtest"
)

// Each direction becomes a data file of Flent, whose numbers are those of the
// result to the nanosecond, and those that Flent prints.
func TestArchiveFlent(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{})
	dir, results := t.TempDir(), filepath.Join(t.TempDir(), "results.jsonl")
	specs := fmt.Sprintf(`[{"archiver": "flent", "data": {"dir": %q, "note": "of a test"}}, {"archiver": "file", "data": {"path": %q}}]`, dir, results)
	args := []string{"-Q", "--archive", specs, "--queue", filepath.Join(t.TempDir(), "q.db"), peer.Addr}
	if code, stdout, stderr := owping(t, with("", args...)...); code != 0 || stdout != "" || complaints(stderr) != "" {
		t.Fatalf("code %d\n%s%s", code, stdout, stderr)
	}
	text, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(dir + "/ping-*.flent.gz")
	if err != nil || len(paths) != 2 || strings.Count(string(text), "\n") != 2 {
		t.Fatalf("data files %q, %v, results\n%s", paths, err, text)
	}
	var summary string
	if _, err := exec.LookPath("flent"); err != nil {
		t.Log("SKIPPED: there is no flent to look at the files")
	} else {
		out, err := exec.CommandContext(t.Context(), "flent", "-i", paths[0], "-i", paths[1], "-f", "summary").CombinedOutput()
		if err != nil {
			t.Errorf("flent: %v: %s", err, out)
		}
		summary = string(out)
	}
	for line := range strings.Lines(string(text)) {
		var r struct {
			ID     string
			Test   struct{ Spec struct{ Source, Dest string } }
			Result struct {
				Received int `json:"packets-received"`
				Owl      struct {
					Delay struct{ Min, Max, Mean float64 } `json:"delay-ms"`
				}
			}
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		f := flentFileOf(t, paths, r.ID)
		name := fmt.Sprintf("Ping (ms) ICMP %s (extra)", datafile.Label(r.Test.Spec.Source+" to "+r.Test.Spec.Dest))
		seen := false
		for _, s := range f.Series {
			if s.Name != name {
				continue
			}
			seen = true
			d := r.Result.Owl.Delay
			if s.Points != r.Result.Received || s.Points != 20 || s.Min != d.Min || s.Max != d.Max || math.Abs(s.Mean-d.Mean) > 1e-6 {
				t.Errorf("%+v, the result says %+v", s, r.Result)
			}
			want := regexp.MustCompile(fmt.Sprintf(`(?m)^ %s +: +%.2f +%.2f +%.2f ms +20$`, regexp.QuoteMeta(name), s.Mean, s.Median, s.P99))
			if summary != "" && !want.MatchString(summary) {
				t.Errorf("flent does not print %s:\n%s", want, summary)
			}
		}
		if !seen {
			t.Errorf("there is no series %q", name)
		}
		if f.Text("NOTE") != "of a test" || f.Metadata["EGRESS_INFO"] == nil {
			t.Errorf("metadata %v", f.Metadata)
		}
	}
}

// flentFileOf returns the data file of a result.
func flentFileOf(t *testing.T, paths []string, id string) *datafile.File {
	t.Helper()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		d, err := datafile.Read(f)
		if err != nil {
			t.Fatal(err)
		}
		if ids, _ := d.Metadata["OWAMP_RESULTS"].([]any); len(ids) == 1 && ids[0] == id {
			return d
		}
	}
	t.Fatalf("there is no data file of result %s", id)
	return nil
}
