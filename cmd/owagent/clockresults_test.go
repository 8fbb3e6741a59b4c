package main

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive/dest/esmond/mapping"
	"owl/probe/clock"
)

// What servers have said since the last result is in the next one, and becomes
// the figures of an archive, by server; of one that does not answer there is why.
func TestClockResult(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 5e8, time.UTC)
	state := clock.State{Synchronized: true, Sources: []clock.Source{
		{Via: clock.ViaNTP, Name: "ntp1.example.net", Synchronized: true, Last: now.Add(-10 * time.Second),
			Figures: clock.Figures{Stratum: 2, Offset: -250 * time.Microsecond, Delay: 30 * time.Millisecond, Reach: 255}},
		{Via: clock.ViaNTP, Name: "ntp2.example.net", Last: now.Add(-61 * time.Second)},
		{Via: clock.ViaNTP, Name: "ntp3.example.net", Last: now.Add(-61 * time.Second), Err: errors.New("no answer")},
	}}
	r, err := clockResultOf("192.0.2.1", state, now.Add(-time.Minute), now)
	if err != nil {
		t.Fatal(err)
	}
	records, err := (&mapping.Mapper{Policy: mapping.PreferMapped}).Records(r.Body, r.RunHref)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]map[string]string) // figures by server
	for _, rec := range records {
		if rec.Source != "192.0.2.1" || rec.Destination != "" || rec.Time != now.Unix() {
			t.Errorf("%+v", rec)
		}
		figures := make(map[string]string)
		for _, v := range rec.Values {
			b, err := json.Marshal(v.Val)
			if err != nil {
				t.Fatal(err)
			}
			figures[v.EventType] = string(b)
		}
		if figures["pscheduler-run-href"] != `{"href":"`+r.RunHref+`"}` {
			t.Errorf("run %s, want %s", figures["pscheduler-run-href"], r.RunHref)
		}
		got[rec.Metadata["clock-server"].(string)] = map[string]string{
			"stratum": figures["ntp-stratum"], "offset": figures["ntp-offset"], "delay": figures["ntp-delay"], "reach": figures["ntp-reach"], "failure": figures["failures"],
		}
	}
	want := map[string]map[string]string{
		"ntp1.example.net": {"stratum": "2", "offset": "-0.25", "delay": "30.0", "reach": "377", "failure": ""},
		"ntp3.example.net": {"stratum": "0", "offset": "", "delay": "", "reach": "0", "failure": `{"error":"no answer"}`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r, err := clockResultOf("192.0.2.1", clock.State{Sources: state.Sources[1:2]}, now.Add(-time.Minute), now); r != nil || err != nil {
		t.Errorf("of nothing new there is %+v, %v", r, err)
	}
	if again, err := clockResultOf("192.0.2.1", state, now.Add(-time.Minute), now); err != nil || again.ID == r.ID || again.TaskHref != r.TaskHref {
		t.Errorf("another result of the same clock: %+v, %v", again, err)
	}
}
