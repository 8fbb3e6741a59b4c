package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"
)

// esmond's own client, of which ESMOND_CLIENT_DIR has the package esmond_client,
// registers, writes and reads, page by page.
func TestInteropEsmondClient(t *testing.T) {
	dir := os.Getenv("ESMOND_CLIENT_DIR")
	if dir == "" {
		t.Skip("SKIPPED: ESMOND_CLIENT_DIR does not say where the Python package esmond_client is")
	}
	const points = 2345 // three of its pages
	a := newArchive(t, 100_000)
	server := httptest.NewServer(a.handler)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "python3", "testdata/client.py", server.URL, a.secret, fmt.Sprint(points))
	c.Env = append(os.Environ(), "PYTHONPATH="+dir, "PYTHONDONTWRITEBYTECODE=1")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Key   string
		Found []struct {
			Key, Source  string
			TimeDuration string `json:"time-duration"`
			Total        int
			Series       map[string][][2]any
		}
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if len(got.Found) != 1 || got.Key == "" || got.Found[0].Key != got.Key || got.Found[0].Source != "10.10.0.1" || got.Found[0].TimeDuration != "60" || got.Found[0].Total != 1 {
		t.Fatalf("%.1000s", out)
	}
	of := got.Found[0].Series
	for name, n := range map[string]int{
		"failures": 1, "packet-loss-rate": points, "packet-count-sent": points, "histogram-owdelay": points, "histogram-owdelay statistics 0": points,
		"packet-count-sent aggregation 300": 8, "packet-count-sent aggregation 3600": 1, "histogram-owdelay aggregation 300": 8, "histogram-owdelay statistics 300": 8,
	} {
		if len(of[name]) != n {
			t.Errorf("%s has %d points, want %d", name, len(of[name]), n)
		}
	}
	for name, want := range map[string]string{
		"failures":                           "[3900 map[error:no route]]",
		"packet-loss-rate":                   "[3900 0]",
		"packet-count-sent":                  "[3900 600]",
		"packet-count-sent aggregation 3600": fmt.Sprintf("[3600 %v]", 600.*points),
		"histogram-owdelay":                  "[3900 map[34.30:599 34.40:1]]",
		"histogram-owdelay aggregation 300":  "[3900 map[34.30:179700 34.40:300]]",
	} {
		if first := fmt.Sprint(of[name][0]); first != want {
			t.Errorf("the first of %s is %s, want %s", name, first, want)
		}
	}
}
