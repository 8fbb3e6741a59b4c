package main

import (
	"bytes"
	"strings"
	"testing"
)

// The benchmark says what it is to say, of an archive that is soon filled.
func TestRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), strings.Fields("-values 12000 -streams 30 -rate 6000 -time 300ms -readers 2 -bins 5"), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"values stored                                11520,", "octets a value, summaries included", "  of these in summaries ", "a day of a stream of one session a minute ",
		"writes a minute ", "  until it is on the disk ",
		"a day of histograms of 60 s                  1440,", "a year of daily statistics                   1,", "a page of 1500 measurements                  30 of 30,",
		"memory of this process at most",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing of %q in\n%s", want, &out)
		}
	}
}
