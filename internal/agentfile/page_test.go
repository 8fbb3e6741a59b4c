package agentfile

import (
	"os"
	"strings"
	"testing"
)

// TestPage: the manual page tells of each key that streams and groups have.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../packaging/man/man1/owagent.1")
	if err != nil {
		t.Fatal(err)
	}
	_, streams, found := strings.Cut(string(page), "\n.Ss Streams\n")
	if !found {
		t.Fatal("the page does not tell of streams")
	}
	streams, _, _ = strings.Cut(streams, "\n.Ss ")
	for _, f := range new(parser).common(new(template)) {
		if !strings.Contains(streams, "\n.It Cm "+f.name+"\n") {
			t.Errorf("the page does not tell of %s", f.name)
		}
	}
}
