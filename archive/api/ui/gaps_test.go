package ui

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive/series"
)

func jsonValue(t testing.TB, text string) (series.Value, bool) {
	t.Helper()
	v, err := series.Parse(series.JSON, []byte(text))
	return v, err == nil
}

func TestFailures(t *testing.T) {
	t.Parallel()
	const at = 1_777_600_000 // 2026-05-01T01:46:40Z
	for text, want := range map[string][]failure{
		`{"error": "no route to host"}`:     {{at, at, at, "failed", "no route to host"}},
		`{"error": {"a": [1]}}`:             {{at, at, at, "failed", `{"a":[1]}`}},
		`{"error": null}`:                   {{at, at, at, "failed", ""}},
		`[1, "x"]`:                          {{at, at, at, "failed", ""}},
		`{"error": "e", "gaps": "strange"}`: {{at, at, at, "failed", ""}},
		`{"error": "e", "gaps": [{"reason": "refused", "start": "2026-05-01T01:46:10.5Z", "seconds": 29.7}, {"reason": "restarted", "start": "2026-05-01T01:46:40Z", "seconds": null}]}`: {
			{at - 30, at + 1, at, "refused", "e"}, {at, endless, at, "restarted", "e"},
		},
		`{"gaps": [{"reason": "x", "start": "2026-05-01T01:46:40Z", "seconds": 1e300}]}`: {{at, endless, at, "x", ""}},
		`{"error": "` + strings.Repeat("é", 400) + `"}`:                                  {{at, at, at, "failed", strings.Repeat("é", 250) + "…"}},
	} {
		v, ok := jsonValue(t, text)
		if !ok {
			t.Fatal(text)
		}
		if diff := cmp.Diff(want, failuresOf(at, v), cmp.AllowUnexported(failure{})); diff != "" {
			t.Errorf("%s (-want +got)\n%s", text, diff)
		}
	}
}

func TestGaps(t *testing.T) {
	t.Parallel()
	every := func(step int64, from, to int64) (times []int64) {
		for at := from; at < to; at += step {
			times = append(times, at)
		}
		return times
	}
	closed := failure{from: 1200, to: 1500, at: 1500, reason: "refused", text: "no"}
	open := failure{from: 1200, to: endless, at: 1260, reason: "peer_unreachable", text: "away"}
	for _, test := range []struct {
		name  string
		times []int64
		span  span
		now   int64
		told  []failure
		want  []gap
	}{
		{"none", every(60, 1000, 4600), span{1000, 4600}, 9999, nil, nil},
		{"a span within a session", every(60, 1030, 4600), span{1000, 4600}, 9999, nil, nil},
		{"sessions that are not quite of a length", []int64{1000, 1055, 1121, 1190, 1240, 1298}, span{1000, 1350}, 9999, nil, nil},
		{"nothing at all", nil, span{1000, 4600}, 9999, nil, []gap{{From: 1000, To: 4600}}},
		{"nothing yet", nil, span{1000, 4600}, 900, nil, nil},
		{"one is missing", []int64{1000, 1060, 1180, 1240}, span{1000, 1300}, 9999, nil, []gap{{From: 1120, To: 1180}}},
		{"it began later", every(60, 2000, 4600), span{1000, 4600}, 9999, nil, []gap{{From: 1000, To: 2000}}},
		{"it has stopped", every(60, 1000, 2020), span{1000, 4600}, 4000, nil, []gap{{From: 2020, To: 4000}}},
		{"the last one is on its way", every(60, 1000, 2020), span{1000, 4600}, 2100, nil, nil},
		{"a reason with an end", []int64{1000, 1060, 1120, 1500, 1560}, span{1000, 1620}, 9999, []failure{closed}, []gap{{1180, 1500, "refused", "no"}}},
		{"a reason that lasts", []int64{1000, 1060, 1120, 1500, 1560}, span{1000, 1620}, 9999, []failure{open, open}, []gap{{1180, 1500, "peer_unreachable", "away"}}},
		{"two reasons", []int64{1000, 1060, 1120, 1500, 1560}, span{1000, 1620}, 9999, []failure{open, closed}, []gap{{1180, 1500, "peer_unreachable, refused", "away\nno"}}},
		{"a failure of others", []int64{1000, 1060, 1180}, span{1000, 1240}, 9999, []failure{{1120, 1120, 1120, "failed", "x"}}, []gap{{1120, 1180, "failed", "x"}}},
		{"a failure elsewhere", []int64{1000, 1060, 1180}, span{1000, 1240}, 9999, []failure{{1239, 1239, 1239, "failed", "x"}}, []gap{{From: 1120, To: 1180}}},
		{"shorter than a step", every(60, 1000, 1600), span{1000, 1600}, 9999, []failure{{1010, 1025, 1060, "control_lost", "x"}}, []gap{{1010, 1025, "control_lost", "x"}}},
		{"one that began before", every(60, 1000, 1600), span{1000, 1600}, 9999, []failure{{400, 1002, 1060, "restarted", "x"}}, []gap{{1000, 1002, "restarted", "x"}}},
	} {
		got, omitted := gapsOf(test.times, 60, test.span, test.now, test.told)
		if diff := cmp.Diff(test.want, got); diff != "" || omitted != 0 {
			t.Errorf("%s: %d omitted (-want +got)\n%s", test.name, omitted, diff)
		}
	}
	var many []int64
	for i := range int64(2000) {
		many = append(many, i*(1000+i))
	}
	got, omitted := gapsOf(many, 60, span{0, 6_000_000}, 9_000_000, nil)
	if len(got) != mostGaps || omitted != 2000-mostGaps {
		t.Errorf("%d gaps and %d omitted, want %d in all", len(got), omitted, 2000)
	}
}

// FuzzFailures has whatever a client may have stored read as a failure, and gaps
// made with it: in order, within the span, of a length.
func FuzzFailures(f *testing.F) {
	f.Add(`{"error": "e", "gaps": [{"reason": "refused", "start": "2026-05-01T01:46:10.5Z", "seconds": 29.7}]}`, int64(60), int64(3600))
	f.Add(`{"error": {"x": 1}, "gaps": [{"start": "0000-01-01T00:00:00Z", "seconds": 5}, {"start": "9999-01-01T00:00:00Z"}]}`, int64(1), int64(10))
	f.Fuzz(func(t *testing.T, text string, step, length int64) {
		v, ok := jsonValue(t, text)
		if !ok {
			t.Skip()
		}
		step, length = 1+(step&0xffff), 1+(length&0xffffff)
		const at = 1_777_600_000
		s := span{at - length, at + length}
		told := failuresOf(at, v)
		gaps, _ := gapsOf([]int64{at - length/2, at, at + length/3}, step, s, at+length, told)
		for i, g := range gaps {
			if g.From >= g.To || g.From < s.From || g.To > s.To || i > 0 && g.From < gaps[i-1].From || len(g.Reason) > 5*70 {
				t.Errorf("gap %d of %v: %+v", i, s, g)
			}
		}
		if _, err := json.Marshal(gaps); err != nil {
			t.Error(err)
		}
	})
}

// FuzzQuery has any query answered.
func FuzzQuery(f *testing.F) {
	f.Add("grid", "from=1&to=2")
	f.Add("pair.csv", "source=192.0.2.1&destination=::1&from=0&to=99999999")
	f.Add("heatmap", "test=x&from=%31&to=9")
	w := newWorld(f, 1_777_600_000)
	key := w.register(registration{source: "192.0.2.1", destination: "::1"})
	w.write(key, 1_777_599_000, map[string]string{"histogram-owdelay": `{"1": 2}`, "packet-loss-rate": `{"numerator": 1, "denominator": 3}`})
	f.Add("heatmap", "test="+key)
	f.Fuzz(func(t *testing.T, path, query string) {
		r := w.ask("/api/" + path + "?" + query)
		if r.Code >= 500 || r.Code == 200 && r.Body.Len() == 0 {
			t.Errorf("%s?%s: %d %s", path, query, r.Code, r.Body)
		}
	})
}
