package hostfacts

import (
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAnswer: what a router with busybox, fq_codel and a radio answers.
func TestAnswer(t *testing.T) {
	text, err := os.ReadFile("testdata/router.txt")
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseAnswer(string(text), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("192.168.1.20"))
	if err != nil {
		t.Fatal(err)
	}
	got := decoded(t, h.metadata(true))
	got["INGRESS_INFO"] = decoded(t, map[string]any{"x": h.ingress.metadata(true)})["x"]
	text, err = os.ReadFile("testdata/router.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// FuzzAnswer: whatever a host answers, there is an error or metadata that JSON can
// have.
func FuzzAnswer(f *testing.F) {
	text, err := os.ReadFile("testdata/router.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("@@ owl egress-route\n1 dev\n@@ owl egress-qdiscs\nqdisc a b root 1\n@@ owl end\n")
	f.Add("@@ owl wifi\nInterface a\nchannel (\n@@ owl modules\nx 00\n@@ owl end\n")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseAnswer(text, loopback, loopback)
		if err != nil {
			return
		}
		for _, m := range []any{h.metadata(true), h.ingress.metadata(false)} {
			if _, err := json.Marshal(m); err != nil {
				t.Error(err)
			}
		}
	})
}
