package transform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive/member"
)

func read(t *testing.T, text string) (*Transform, error) {
	t.Helper()
	o, err := member.Parse("/transform", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Read(o), o.Err()
}

// seven are the examples of the archiver reference.
var seven = []string{
	`{"script": "\"Ran \\(.test.type) with \\(.tool.name)\"", "output-raw": true}`,
	`{"script": "{ \"foo\": 123456, \"type\": .test.type, \"tool\": .tool.name }"}`,
	`{"script": "if (.test.type == \"trace\") then . else null end"}`,
	`{"script": "if (.test.type == \"trace\") then . else \"Discarded unwanted \\(.test.type) test.\" end"}`,
	`{"script": "if (.test.type == \"idle\") then null else { \"foo\": 123456, \"type\": .test.type, \"tool\": .tool.name } end"}`,
	`{"script": "if (.test.type == \"trace\") then \"Trace to \\(.test.spec.dest), \\(.result.paths[0] | length) hops\" else null end"}`,
	`{"script": "if (.test.type == \"trace\") then { \"test\": .test.type, \"from\": .participants[0], \"to\": .test.spec.dest,  \"id\": .id, \"start\": .schedule.start, \"ips\": [ .result.paths[0] | .[].ip ] } else null end"}`,
}

// The examples do what jq makes of them.
func TestSeven(t *testing.T) {
	jq, err := exec.LookPath("jq")
	if err != nil {
		t.Skip("SKIPPED: there is no jq:", err)
	}
	inputs, err := filepath.Glob("testdata/*.json")
	if err != nil || len(inputs) != 3 {
		t.Fatalf("inputs %v, %v, want 3", inputs, err)
	}
	for _, name := range inputs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var input struct{ Result json.RawMessage }
		if err := json.Unmarshal(text, &input); err != nil {
			t.Fatal(err)
		}
		for i, text := range seven {
			tr, err := read(t, text)
			if err != nil {
				t.Fatal(err)
			}
			var spec struct{ Script string }
			if err := json.Unmarshal([]byte(text), &spec); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(jq, "-c", spec.Script)
			cmd.Stdin = bytes.NewReader(input.Result)
			want, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			got, err := tr.Apply(t.Context(), input.Result)
			if errors.Is(err, ErrDiscarded) {
				got, err = []byte("null"), nil
			}
			if err != nil {
				t.Errorf("%s, example %d: %v", name, i, err)
				continue
			}
			if d := cmp.Diff(decoded(t, want), decoded(t, got)); d != "" {
				t.Errorf("%s, example %d:\n%s", name, i, d)
			}
		}
	}
}

func decoded(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func TestApply(t *testing.T) {
	const input = `{"test": {"type": "latencybg"}, "result": {"a": true, "n": null, "big": 17036461199999999999, "s": "é<"}}`
	for text, want := range map[string]string{
		`{"script": ".test.type", "output-raw": true}`:                      `"latencybg"`,
		`{"script": ".test.type", "raw-output": true}`:                      `"latencybg"`,
		`{"script": ".test.type", "raw-output": true, "output-raw": false}`: `"latencybg"`,
		`{"script": ".result.a, .result.n, 1, \"x\"", "output-raw": true}`:  `"true\n1\nx"`,
		`{"script": ".result.a | {a: .}", "output-raw": true}`:              `"{\"a\":true}"`,
		`{"script": "null", "output-raw": true}`:                            "discarded",
		`{"script": "empty", "output-raw": true}`:                           "discarded",
		`{"script": "null"}`:                 "discarded",
		`{"script": "empty"}`:                "has no output",
		`{"script": ["1", "| 2"]}`:           `2`,
		`{"script": "1, 2"}`:                 `1`,
		`{"script": "$x", "args": {"x": 5}}`: `5`,
		`{"script": "[$x, $y]", "args": {"y": {"#c": 1, "a": [1]}, "x": 1}}`: `[1,{"a":[1]}]`,
		`{"script": ".result.big"}`:      `17036461199999999999`,
		`{"script": ".result.s"}`:        `"é<"`,
		`{"script": "error(\"no\")"}`:    "transform: error: no",
		`{"script": ".test.type.x"}`:     "transform: expected an object",
		`{"script": "env"}`:              `{}`,
		`{"script": "\"x\" * 17000000"}`: "too long",
		`{"script": "def f: f; f"}`:      "has not ended",
		`{"script": "import \"pscheduler/iso8601\" as iso8601; iso8601::duration_as_seconds(\"p1dt2.5h\")"}`:               `95400`,
		`{"script": "import \"pscheduler/iso8601\" as iso8601; iso8601::duration_as_seconds(\"P\")"}`:                      "want an ISO 8601 duration",
		`{"script": "import \"pscheduler/iso8601\" as iso8601; iso8601::duration_as_seconds(7)"}`:                          "want an ISO 8601 duration",
		`{"script": "import \"pscheduler/iso8601\" as iso8601; iso8601::timestamp_parsed(\"2026-11-21T12:00:01-01:30\")"}`: `{"day":21,"hour":12,"minute":0,"month":11,"offset_hr":-1,"offset_min":-30,"second":1,"year":2026}`,
		`{"script": "import \"pscheduler/iso8601\" as iso8601; iso8601::timestamp_parsed(\"2026-11-21T12:00Z\")"}`:         `{"day":21,"hour":12,"minute":0,"month":11,"offset_hr":0,"offset_min":0,"year":2026}`,
		`{"script": "import \"pscheduler/iso8601\" as iso8601; iso8601::timestamp_parsed(\"20261121\")"}`:                  `{"day":21,"month":11,"year":2026}`,
		`{"script": "import \"pscheduler/si\" as si; [\"12ki\", \"1.5M\", \"7\", \"2 G\", 9.5] | map(si::as_integer(.))"}`: `[12288,1500000,7,2000000000,9.5]`,
		`{"script": "import \"pscheduler/si\" as si; si::multiplier(\"mi\")"}`:                                             `1048576`,
		`{"script": "import \"pscheduler/si\" as si; si::as_integer(\"12x\")"}`:                                            "want a number",
	} {
		tr, err := read(t, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if want == "has not ended" {
			tr.limit = 50 * time.Millisecond
		}
		switch got, err := tr.Apply(t.Context(), []byte(input)); {
		case err != nil && (strings.HasPrefix(want, `"`) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", text, err, want)
		case err == nil && string(got) != want:
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestRead(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                    "/transform/script: is missing",
		`{"script": 1}`:                         "/transform/script: 1: want a string",
		`{"script": ["1", 2]}`:                  "/transform/script: line 1: 2: want a string",
		`{"script": ".", "output_raw": true}`:   "/transform/output_raw: is unknown",
		`{"script": ".", "output-raw": "yes"}`:  `/transform/output-raw: "yes": want true or false`,
		`{"script": "if"}`:                      "/transform/script: no jq",
		`{"script": "$x"}`:                      "/transform/script: no jq",
		`{"script": "import \"x\" as x; 1"}`:    `module "x": want one of pscheduler/iso8601, pscheduler/si`,
		`{"script": ".", "args": []}`:           "/transform/args: an array: want an object",
		`{"script": ".", "args": {"x": 1e999}}`: "/transform/args/x: number 1e999",
	} {
		if tr, err := read(t, text); err == nil || tr != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// The end of the caller ends a script, too.
func TestCancelled(t *testing.T) {
	tr, err := read(t, `{"script": "def f: f; f"}`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := tr.Apply(ctx, []byte("1")); err == nil {
		t.Errorf("%s, want an error", got)
	}
}

func FuzzApply(f *testing.F) {
	for _, text := range seven {
		f.Add(text, `{"test": {"type": "trace"}}`)
	}
	f.Fuzz(func(t *testing.T, text, input string) {
		o, err := member.Parse("/transform", []byte(text))
		if err != nil {
			return
		}
		tr := Read(o)
		if tr == nil != (o.Err() != nil) {
			t.Fatalf("%v, and errors %v", tr, o.Err())
		}
		if len(text) > 200 || tr == nil || strings.ContainsAny(text, "*@") || strings.Contains(text, "range") || strings.Contains(text, "repeat") {
			return // it may take long
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1e8)
		defer cancel()
		if got, err := tr.Apply(ctx, []byte(input)); err == nil && !json.Valid(got) {
			t.Errorf("%s of %s: %q is no JSON", text, input, got)
		}
	})
}
