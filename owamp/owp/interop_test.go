package owp

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"owl/owamp"
)

// TestInterop lets the reference's owstats read what a Writer and Store have
// written, finished or not.
func TestInterop(t *testing.T) {
	dir := os.Getenv("OWAMP_REFERENCE_DIR")
	if dir == "" {
		t.Skip("SKIPPED: set OWAMP_REFERENCE_DIR to the directory of the C suite's programs")
	}
	const n = 5000
	recs := randomRecords(n)
	spec := testSpec(n)
	skips := []owamp.SkipRange{{First: 10, Last: 20}, {First: 4000, Last: 4000}}
	half := spec.Start.Add(spec.Timeout) + n/2<<32

	files := map[string][]byte{"stored": stored(t, recs, skips)}
	for name, end := range map[string]func(*Writer) error{
		"running":    (*Writer).Flush,
		"incomplete": (*Writer).FinishIncomplete,
		"finished":   func(w *Writer) error { return w.Finish(n, nil, never(&spec)) },
		"skipped":    func(w *Writer) error { return w.Finish(n, skips, never(&spec)) },
		"stopped":    func(w *Writer) error { return w.Finish(n-7, skips, half) },
		"empty":      func(w *Writer) error { return w.Finish(0, nil, half) },
	} {
		f := emptyFile(t)
		w, err := Create(f, &spec)
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, w, recs...)
		if err := end(w); err != nil {
			t.Fatal(err)
		}
		files[name] = octets(t, f.Name())
	}
	files["version 2"], files["version 0"], _ = older(t, octets(t, "testdata/mix-sync/s2c.owp"))
	files["version 2, torn"] = files["version 2"][:len(files["version 2"])-1]
	for name, file := range files {
		path := filepath.Join(t.TempDir(), name+".owp")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, r := range collect(t, mustParse(t, file).Records()) {
			want = append(want, fmt.Sprintf("%d %s %s %d", r.Seq, stamp(r.Sent, r.SentErr), stamp(r.Recv, r.RecvErr), r.TTL))
		}
		var stderr bytes.Buffer
		cmd := exec.Command(filepath.Join(dir, "owstats"), "-R", path)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: owstats: %v\n%s", name, err, stderr.String())
			continue
		}
		got := strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
		if len(got) != len(want) {
			t.Errorf("%s: owstats finds %d records, want %d\n%s", name, len(got), len(want), stderr.String())
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: record %d is %s to owstats, want %s", name, i, got[i], want[i])
				break
			}
		}
	}
}
