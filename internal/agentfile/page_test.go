package agentfile

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestPage: the manual page tells of each key that streams and groups have, and a
// measurement archive.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../packaging/man/man1/owagent.1")
	if err != nil {
		t.Fatal(err)
	}
	for section, fields := range map[string][]field{
		"Streams": new(parser).common(new(template)),
		"Archive": new(parser).archiveFields(new(MeasurementArchive)),
	} {
		_, text, found := strings.Cut(string(page), "\n.Ss "+section+"\n")
		if !found {
			t.Fatalf("the page has no section %s", section)
		}
		text, _, _ = strings.Cut(text, "\n.S")
		for _, f := range fields {
			if !regexp.MustCompile(`(?m)^\.It Cm (?:.* , )?` + f.name + `(?: , .*)?$`).MatchString(text) {
				t.Errorf("section %s does not tell of %s", section, f.name)
			}
		}
	}
}
