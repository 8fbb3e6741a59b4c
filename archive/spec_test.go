package archive

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The verdicts are those of pScheduler, which are in the comments where Owl's
// differ.
func TestParseSpec(t *testing.T) {
	for text, want := range map[string]string{ // empty: it is one
		`{"archiver": "x", "data": {}}`:                                                   "",
		`{"archiver": "x", "data": {}, "runs": "all"}`:                                    `/runs: want "schema": 2`,
		`{"schema": 2, "archiver": "x", "data": {}, "runs": "all", "uri-host": "h:8443"}`: "",
		`{"schema": 2, "archiver": "x", "data": {}, "label": "l"}`:                        `/label: want "schema": 3`,
		`{"schema": 3, "archiver": "x", "data": {}, "label": "l"}`:                        "",
		`{"archiver": "x", "data": {}, "output-raw": true}`:                               "",
		`{"archiver": "x", "data": {}, "output-raw": "yes"}`:                              "/output-raw:",
		`{"schema": 4, "archiver": "x", "data": {}}`:                                      "/schema: 4: want a whole number from 1 to 3",
		`{"archiver": "x"}`:               "/data: is missing",
		`{"archiver": "x", "data": null}`: "",
		`{"archiver": "x", "data": {}, "transform": {"script": ".", "raw-output": true}}`: "", // refused there, and in the reference's own example
		`{"archiver": "x", "data": {}, "transform": {"script": ".", "output-raw": true}}`: "",
		`{"archiver": "x", "data": {}, "transform": {}}`:                                  "/transform/script: is missing",
		`{"archiver": "x", "data": {}, "ttl": "P1M"}`:                                     `/ttl: "P1M": want an ISO 8601 duration`,
		`{"archiver": "x", "data": {}, "ttl": "PT12H"}`:                                   "",
		`{"archiver": "x", "data": {}, "ttl": "P1W2DT1.5H"}`:                              "",
		`{"archiver": "x", "data": {}, "ttl": "P"}`:                                       `/ttl: "P": want`, // accepted there, and fails later
		`{"archiver": "x", "data": {}, "ttl": "PT0S"}`:                                    "/ttl: want more than nothing",
		`{"archiver": "x", "data": {}, "tll": "PT12H", "#ttl": 3}`:                        "/tll: is unknown: want one of archiver, data,",
		`{"archiver": "", "data": {}}`:                                                    `/archiver: "": want a string that is not empty`,
		`{"schema": 2, "archiver": "x", "data": {}, "runs": "most"}`:                      `/runs: "most": want one of succeeded, failed, all`,
		`{"schema": 2, "archiver": "x", "data": {}, "uri-host": "a b"}`:                   "/uri-host:",
		`{"schema": 2, "archiver": "x", "data": {}, "uri-host": "[2001:db8::1]:443"}`:     "",
		`[]`:                                 "/: an array: want an object",
		"{\"archiver\": \"x\",\n\"data\": }": "no JSON: line 2",
		`{"archiver": "x", "data": {}} {}`:   "more behind the JSON value",
	} {
		s, err := ParseSpec([]byte(text))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, %v, want %s", text, s, err, want)
		}
	}
}

func TestSpec(t *testing.T) {
	s, err := ParseSpec([]byte(`{
		"# what": "comments are not for the archiver",
		"schema": 3, "archiver": "http", "label": "mine", "runs": "failed", "ttl": "PT5M", "uri-host": "h",
		"data": {"_url": "http://user:secret@h/", "_headers": {"A": "secret"}, "deep": [{"_b": "secret", "#c": 1}], "n": 12345678901234567890}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Spec{Archiver: "http", Label: "mine", Runs: RunsFailed, TTL: 5 * time.Minute, URIHost: "h",
		Data: []byte(`{"_headers":{"A":"secret"},"_url":"http://user:secret@h/","deep":[{"_b":"secret"}],"n":12345678901234567890}`)}
	want.transform = []byte("null")
	want.masked = []byte(`{"archiver":"http","data":{"_headers":null,"_url":null,"deep":[{"_b":null}],"n":12345678901234567890},` +
		`"label":"mine","runs":"failed","schema":3,"ttl":"PT5M","uri-host":"h"}`)
	if d := cmp.Diff(want, s, cmp.AllowUnexported(Spec{})); d != "" {
		t.Error(d)
	}
	if s.Name() != "mine" || (&Spec{Archiver: "tcp"}).Name() != "tcp" {
		t.Error("a specification is called by its label, or else by its archiver")
	}
}

func TestParseSpecs(t *testing.T) {
	names := func(text string) string {
		all, err := ParseSpecs([]byte(text))
		if err != nil {
			return err.Error()
		}
		var names []string
		for _, s := range all {
			names = append(names, s.Archiver)
		}
		return strings.Join(names, " ")
	}
	for text, want := range map[string]string{
		`{"archiver": "a", "data": {}}`:                                                                              "a",
		`[{"archiver": "a", "data": {}}, {"archiver": "b", "data": {}}]`:                                             "a b",
		`{"one": {"archiver": "a", "data": {}, "_meta": {"x": 1}}, "#two": 3, "two": {"archiver": "b", "data": {}}}`: "a b",
		`[{"archiver": "a", "data": {}}, {"archiver": "b"}, 7]`:                                                      "/1/data: is missing\n/2: 7: want an object",
		`{"one": {"archiver": "a"}}`:                                                                                 "/one/data: is missing",
		`{"archiver": "a", "data": {}, "_meta": {}}`:                                                                 "/_meta: is unknown: want one of archiver, data, label, output-raw, runs, schema, transform, ttl, uri-host",
		`"a"`: `"a": want an archive specification, or an array of them`,
		`{}`:  "/archiver: is missing\n/data: is missing",
	} {
		if got := names(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestRunsWants(t *testing.T) {
	for r, want := range map[Runs][2]bool{"": {true, true}, RunsAll: {true, true}, RunsSucceeded: {false, true}, RunsFailed: {true, false}} {
		if got := [2]bool{r.Wants(false), r.Wants(true)}; got != want {
			t.Errorf("%q: %v, want %v", r, got, want)
		}
	}
}

func FuzzParseSpecs(f *testing.F) {
	f.Add([]byte(`[{"schema": 3, "archiver": "a", "data": {"_x": [1]}, "transform": {"script": ["."], "args": {"x": 1}}, "ttl": "PT1S"}]`))
	f.Add([]byte(`{"a": {"archiver": "b", "data": null, "_meta": 1}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := ParseSpecs(text)
		if err != nil {
			return
		}
		for _, s := range all {
			if again, err := ParseSpecs([]byte(s.String())); err == nil && (len(again) != 1 || again[0].Archiver != s.Archiver || again[0].TTL != s.TTL) {
				t.Errorf("%s is not what %s says", s, text)
			}
		}
	})
}
