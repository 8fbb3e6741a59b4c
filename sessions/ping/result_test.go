package ping_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"
	"owl/sessions/fetch"
	"owl/sessions/ping"
	"owl/sessions/ping/pingtest"
	"owl/sessions/result"
)

var resultConfig = &ping.ResultConfig{
	Task: result.TaskConfig{Tool: "owping", ToolVersion: "1.0", Host: "here.example", Remote: "there.example"},
	Raw:  true,
}

// member returns what a document has at a path.
func member(t *testing.T, r *result.Result, path ...string) any {
	t.Helper()
	text, err := r.JSON("", true)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	for _, name := range path {
		v = v.(map[string]any)[name]
	}
	return v
}

// resultOf returns the result of the session in a file.
func (f *fixture) resultOf(t *testing.T, receives bool, path string) *result.Result {
	t.Helper()
	r, err := owp.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	res, err := ping.Result(&f.cfg, resultConfig, receives, r)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// Each direction makes a result of its own.
func TestResults(t *testing.T) {
	t.Parallel()
	f := newFixture(t, pingtest.New(t, pingtest.Config{}))
	f.cfg.DSCP = 8
	test := f.begin(t)
	if err := test.Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "to.owp"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := fetch.Whole(t.Context(), f.client, test.To().SID, file); err != nil {
		t.Fatal(err)
	}
	to, from := f.resultOf(t, false, file.Name()), f.resultOf(t, true, f.cfg.From.Name())
	if to.ID == from.ID || to.Task.ID() == from.Task.ID() {
		t.Errorf("results %s and %s of tasks %s and %s: want different ones", to.ID, from.ID, to.Task.ID(), from.Task.ID())
	}
	for _, d := range []struct {
		name         string
		r            *result.Result
		source, dest string
		flip         bool
		sid          owamp.SID
	}{
		{"to", to, "here.example", "there.example", false, test.To().SID},
		{"from", from, "there.example", "here.example", true, test.From().SID},
	} {
		if !d.r.Succeeded || d.r.Received+d.r.Lost != 20 || d.r.Sent != 20 || d.r.SID != d.sid.String() || d.r.Part != -1 {
			t.Errorf("%s: %+v", d.name, d.r)
		}
		if c, ok := d.r.Completeness(); !ok || c != 1 {
			t.Errorf("%s: completeness %v", d.name, c)
		}
		spec := member(t, d.r, "test", "spec").(map[string]any)
		if spec["source"] != d.source || spec["dest"] != d.dest || spec["flip"] != d.flip || spec["ip-tos"] != 32.0 || spec["packet-count"] != 20.0 || spec["packet-timeout"] != 2.0 || spec["packet-interval"] != 0.01 {
			t.Errorf("%s: specification %v", d.name, spec)
		}
		if packets := member(t, d.r, "result", "raw-packets").([]any); len(packets) < 20 {
			t.Errorf("%s: %d packets", d.name, len(packets))
		}
		if what := member(t, d.r, "test", "type"); what != "latency" {
			t.Errorf("%s: test %v", d.name, what)
		}
		if full := member(t, d.r, "run", "result-full").([]any); len(full) != 1 || member(t, d.r, "run", "state") != "finished" {
			t.Errorf("%s: run has %d results", d.name, len(full))
		}
	}
}

// A session that broke off is told of as far as it came.
func TestResultOfBroken(t *testing.T) {
	t.Parallel()
	peer := pingtest.New(t, pingtest.Config{})
	f := newFixture(t, peer)
	f.long()
	test := f.begin(t)
	go func() {
		recorded(t, f.cfg.From)
		peer.Cut()
	}()
	if err := test.Run(t.Context(), nil); err == nil {
		t.Fatal("no error")
	}
	r := f.resultOf(t, true, f.cfg.From.Name())
	if c, ok := r.Completeness(); !ok || c <= 0 || c >= 1 || !r.Succeeded || r.Received == 0 || r.Sent >= r.Packets || r.NotSent != 0 {
		t.Errorf("completeness %v of %+v", c, r)
	}
}

func TestFailedResult(t *testing.T) {
	t.Parallel()
	f := newFixture(t, pingtest.New(t, pingtest.Config{}))
	broken := &control.ConnError{Step: "reading Stop-Sessions", Err: errors.New("reset")}
	for _, test := range []struct {
		why   error
		begun bool
		want  string
	}{
		{&control.DeniedError{Step: "Accept-Session", Accept: owamp.AcceptReject}, false, "refused"},
		{broken, false, "handshake_failed"},
		{broken, true, "control_lost"},
		{errors.New("no route to host"), false, "peer_unreachable"},
		{errors.New("no space left on device"), true, "local_overload"},
	} {
		r, err := ping.Failed(&f.cfg, resultConfig, true, test.begun, test.why)
		if err != nil {
			t.Fatal(err)
		}
		if r.Succeeded || r.Gaps[0].Reason != test.want || r.Error != test.want+": "+test.why.Error() || member(t, r, "run", "state") != "failed" {
			t.Errorf("%v: %+v", test.why, r)
		}
	}
}
