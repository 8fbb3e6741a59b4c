package ui_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"owl/archive/api/ui"
	"owl/archive/api/ui/internal/demo"
	"owl/archive/store"
)

// now is a stream that always measures the same.
type now struct{}

func (now) Streams() []ui.LiveStream {
	return []ui.LiveStream{{
		Source: demo.Hosts[0].Address, Destination: demo.Hosts[3].Address, Direction: "receive", Received: 10, Lost: 1,
		Median: 1500 * time.Microsecond, P95: 2 * time.Millisecond, Max: 9 * time.Millisecond,
	}}
}

// TestBrowser uses the page in a browser.
func TestBrowser(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED: chromium is not installed, so the page is not tried in a browser")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("SKIPPED: node is not installed, so the page is not tried in a browser")
	}
	cache, err := os.UserCacheDir()
	playwright := filepath.Join(cache, "owl", "browser", "node_modules", "playwright-core")
	if err != nil || exec.CommandContext(t.Context(), node, "-e", "require(process.argv[1])", playwright).Run() != nil {
		t.Skipf("SKIPPED: %s has no playwright-core that %s can load (make tools brings it there), so the page is not tried in a browser", playwright, node)
	}
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mesh := &demo.Mesh{Hosts: demo.Hosts, End: time.Now(), Long: 7 * time.Hour, Short: 70 * time.Minute, Seed: 1}
	if err := mesh.Fill(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(ui.New(s, ui.Options{Live: now{}}))
	defer srv.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	profile, err := os.MkdirTemp("", "owl-browser") //nolint:usetesting // a browser may still write when it has ended for us, which is no failure
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(profile)
	cmd := exec.CommandContext(ctx, node, filepath.Join("testdata", "browser", "page.cjs"), playwright, chromium, profile, srv.URL+"/")
	cmd.Env = append(os.Environ(), "TMPDIR="+profile, "HOME="+profile)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var wrong []string
	if err := json.Unmarshal(out, &wrong); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, line := range wrong {
		t.Error(line)
	}
}
