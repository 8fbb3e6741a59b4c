package esmond

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive"
	"owl/histogram"
	"owl/sessions/result"
)

// What Owl measures is one series in the archive: successes and failures of a
// stream are registered alike, and so is what pScheduler's powstream has measured
// there.
func TestOwlResults(t *testing.T) {
	task, err := result.NewTask(result.TaskConfig{
		Test: result.LatencyBG, Tool: "powstream", Host: "ps1.example.net", Local: "192.0.2.10", Remote: "198.51.100.20",
		Packets: 600, Interval: 1 << 32 / 10, Timeout: 1 << 32, Raw: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	made := time.Date(2026, 5, 1, 12, 1, 5, 0, time.UTC)
	delays := histogram.NewFixed(0.0001)
	delays.AddBin(343, 598)
	delays.AddBin(-2, 1)
	good := &result.Result{
		ID: "a", Task: task, Time: made.Add(-time.Minute), Made: made, Succeeded: true, Delays: delays, TTL: &[256]uint64{59: 599},
		Sent: 600, Received: 599, Lost: 1, Duplicates: 2, Reordered: 3, MaxError: 120 * time.Microsecond, Part: -1,
	}
	const at = (1777636805 + 2208988800) << 32 // the same second, as time stamps have it
	bad := result.Failed(task, at, result.Gap{Reason: "peer_unreachable", Start: at, Open: true}, "no answer", made)
	rec := newRecorder(t)
	var all []request
	for _, r := range []*result.Result{good, bad} {
		b, err := r.JSON("", false)
		if err != nil {
			t.Fatal(err)
		}
		d := openTest(t, rec.URL, nil, findHost) // which knows no key yet
		if err := d.Deliver(t.Context(), &archive.Item{Payload: b, RunHref: r.RunHref("")}); err != nil {
			t.Fatal(err)
		}
		all = append(all, rec.take()...)
	}
	if got := methods(all); got != "POST PUT POST PUT" {
		t.Fatal(got)
	}
	if diff := cmp.Diff(all[0].Body, all[2].Body); diff != "" {
		t.Errorf("a failure is registered otherwise than a success:\n%s", diff)
	}
	theirs, ours := golden(t, "01-success")[0].Body.(map[string]any), all[0].Body.(map[string]any)
	ofTask := func(name string, _ any) bool { // the reference, and the length of a run
		return name == "time-duration" || strings.HasPrefix(name, "pscheduler-reference-")
	}
	maps.DeleteFunc(theirs, ofTask)
	maps.DeleteFunc(ours, ofTask)
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("not registered as from pScheduler (-), but (+):\n%s", diff)
	}
	for i, want := range []string{
		`[{"ts":1777636805,"val":[{"event-type":"histogram-owdelay","val":{"-0.2":1,"34.3":598}},{"event-type":"histogram-ttl","val":{"59":599}},` +
			`{"event-type":"packet-count-sent","val":600},{"event-type":"packet-count-lost","val":1},{"event-type":"packet-reorders","val":3},` +
			`{"event-type":"packet-duplicates","val":2},{"event-type":"time-error-estimates","val":0.12},{"event-type":"packet-loss-rate","val":{"denominator":600,"numerator":1}},` +
			`{"event-type":"pscheduler-run-href","val":{"href":"` + good.RunHref("") + `"}}]}]`,
		`[{"ts":1777636805,"val":[{"event-type":"failures","val":{"error":"no answer","gaps":[{"reason":"peer_unreachable","seconds":null,"start":"2026-05-01T12:00:05Z"}]}},{"event-type":"pscheduler-run-href","val":{"href":"` + bad.RunHref("") + `"}}]}]`,
	} {
		got, err := json.Marshal(all[2*i+1].Body.(map[string]any)["data"])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Error(diff)
		}
	}
}
