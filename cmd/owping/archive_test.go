package main

import (
	"path/filepath"
	"strings"
	"testing"

	"owl/cmd/internal/archiving/archivingtest"
	"owl/sessions/ping/pingtest"
)

// Each direction is a result, whether the test could be made or not.
func TestArchive(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{})
	to := archivingtest.New(t)
	args := []string{"-Q", "--output-raw", "--archive", to.Spec(), "--queue", filepath.Join(t.TempDir(), "state", "q.db")}
	if code, stdout, stderr := owping(t, with("", append(args, peer.Addr)...)...); code != 0 || stdout != "" || complaints(stderr) != "" {
		t.Fatalf("code %d\n%s%s", code, stdout, stderr)
	}
	code, _, stderr := owping(t, with("-f", append(args, "127.0.0.1:1")...)...)
	if code != 1 || strings.Count(complaints(stderr), "\n") != 1 {
		t.Errorf("without a peer: code %d\n%s", code, stderr)
	}
	got := to.Await(t, 3, archivingtest.All)
	if got[0].Test.Spec.Flip { // several are on their way at once
		got[0], got[1] = got[1], got[0]
	}
	for i, r := range got[:2] {
		if s := r.Result; r.Test.Type != "latency" || r.Test.Spec.Flip != (i == 1) || !s.Succeeded || s.Sent != 20 || s.Received != 20 || len(s.Raw) != 20 {
			t.Errorf("%+v", r)
		}
	}
	if r := got[2]; r.Result.Succeeded || !r.Test.Spec.Flip || !strings.HasPrefix(r.Result.Error, "peer_unreachable: Unable to open control connection") {
		t.Errorf("%+v", r)
	}
	if to.Count() != 3 {
		t.Errorf("%d results", to.Count())
	}
}
