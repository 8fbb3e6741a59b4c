package agentfile_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/internal/agentfile"
)

// TestDocs: the files of docs/owagent.md are right, and have the streams that it
// says.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/owagent.md")
	if err != nil {
		t.Fatal(err)
	}
	files := regexp.MustCompile("(?s)<!-- The tests read this file. -->\n```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	want := [][]string{
		{"paris receive", "paris send", "rome receive"},
		{"backbone/rome receive", "backbone/oslo receive", "branches/ulm receive", "branches/ulm send", "branches/graz receive", "branches/graz send"},
		{"paris receive"},
		{"paris receive", "paris send"},
	}
	if len(files) != len(want) {
		t.Fatalf("%d files, want %d", len(files), len(want))
	}
	for i, f := range files {
		c, err := agentfile.Parse("docs/owagent.md", f[1], "bern")
		if err != nil {
			t.Error(err)
			continue
		}
		var got []string
		for _, s := range c.Streams {
			got = append(got, s.String())
		}
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Errorf("file %d: -want +got\n%s", i, diff)
		}
	}
}
