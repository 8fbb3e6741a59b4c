package main

import (
	"strings"
	"testing"
)

// TestDescribe: what --check prints reads as the files that it stands for.
func TestDescribe(t *testing.T) {
	for _, text := range []string{"", conf, "verbose\nauthmode O\n"} {
		want := preset()
		want.from, want.modes = make(map[string]string), 0
		if err := readConf("conf", strings.NewReader(text), &want); err != nil {
			t.Fatal(err)
		}
		var printed strings.Builder
		want.describe(&printed)
		confPart, _, found := strings.Cut(printed.String(), "\n\n")
		if !found {
			t.Fatalf("no limits in\n%s", &printed)
		}
		got := preset()
		got.from = make(map[string]string)
		if err := readConf("printed", strings.NewReader(confPart), &got); err != nil {
			t.Fatalf("%v, in\n%s", err, confPart)
		}
		// Only these two cannot tell their default from the same value given.
		want.modes, want.level, want.levelGiven = got.modes, want.logLevel(), true
		want.remarks = got.remarks
		if d := sameOptions(want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", text, d)
		}
	}
}
