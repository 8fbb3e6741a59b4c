package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
)

// names is what a text says of hosts' names, which depend on who resolves them.
var names = regexp.MustCompile(`(?m)^(FROM_HOST|TO_HOST)\t.*$|from \[.*\]:(\d+) to \[.*\]:(\d+)`)

// The reference prints the same of files that it has never seen.
func TestInteropOwstats(t *testing.T) {
	dir := os.Getenv("OWAMP_REFERENCE_DIR")
	if dir == "" {
		t.Skip("SKIPPED: not compared with the C suite: OWAMP_REFERENCE_DIR is not set")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for name, n := range map[string]network{
		"clean":           {packets: 500, interval: 0.01, timeout: 1},
		"rough":           {packets: 2000, interval: 0.01, timeout: 1, loss: 0.1, duplicate: 0.1, displace: 0.1, unsynced: 0.01},
		"much lost":       {packets: 300, interval: 0.1, timeout: 2, loss: 0.6, duplicate: 0.1, displace: 0.1},
		"much reordering": {packets: 1000, interval: 0.002, timeout: 0.5, displace: 0.9, duplicate: 0.3},
		"time-out short":  {packets: 1000, interval: 0.01, timeout: 0.02, loss: 0.05, displace: 0.01},
		"receiver behind": {packets: 500, interval: 0.01, timeout: 1, loss: 0.02, offset: -0.4, unsynced: 1, displace: 0.2},
		"receiver ahead":  {packets: 500, interval: 0.05, timeout: 1, offset: 0.3, displace: 0.2},
		"skips":           {packets: 500, interval: 0.01, timeout: 1, loss: 0.2, skips: []owamp.SkipRange{{First: 0, Last: 9}, {First: 100, Last: 100}, {First: 400, Last: 499}}},
		"incomplete":      {packets: 500, interval: 0.01, timeout: 1, loss: 0.1, displace: 0.1, incomplete: true},
		"one packet":      {packets: 1, interval: 0.01, timeout: 1},
		"high rate":       {packets: 20000, interval: 0.00005, timeout: 0.2, loss: 0.01, duplicate: 0.02, displace: 0.3},
	} {
		t.Run(name, func(t *testing.T) {
			hold(t, dir, n.record(t, rng))
		})
	}
	old := filepath.Join(t.TempDir(), "version2.owp")
	for _, name := range []string{"loss10/s2c", "mix-sync/c2s", "dup10/s2c", "all-lost/s2c", "one-packet/c2s"} {
		t.Run("version 2 of "+name, func(t *testing.T) {
			b := inVersion2(t, "testdata/golden/"+name+".owp")
			for _, cut := range []int{0, 1, 23, 24} {
				if err := os.WriteFile(old, b[:len(b)-cut], 0o644); err != nil {
					t.Fatal(err)
				}
				hold(t, dir, old)
			}
		})
	}
}

// hold holds what owstats says of a file against what the one in dir does.
func hold(t *testing.T, dir, path string) {
	t.Helper()
	for _, args := range []string{
		"-M", "-M -U", "-M -b 0.00001", "-M -b 0.003", "-M -b 1e-7", "-M -b 5e9", "-M -b 2e7", "-M -N 50", "-M -N 333", "-M -v20",
		"-R", "", "-n n", "-n s -a 0,1,33.3,50,99.9,100", "-v -n u", "-v -U", "-v -U -n s", "-v13", "-N 77 -v", "-N 40 -v30", "-Q -M",
	} {
		full := append(strings.Fields(args), path)
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "owstats"), full...)
		cmd.Env = append(os.Environ(), "TZ=UTC", "RES_OPTIONS=timeout:1 attempts:1")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		wantCode := 0
		if err := cmd.Run(); err != nil {
			wantCode = cmd.ProcessState.ExitCode()
		}
		code, got, stderr := owstats(t, full...)
		if code != wantCode {
			t.Errorf("owstats %s: exit code %d, %s; the reference's is %d, %s", args, code, stderr, wantCode, errs.String())
			continue
		}
		const hosts = "${1}from $2 to $3"
		if d := cmp.Diff(names.ReplaceAllString(out.String(), hosts), names.ReplaceAllString(got, hosts)); d != "" {
			t.Errorf("owstats %s (-reference +got):\n%s", args, d)
		}
	}
}
