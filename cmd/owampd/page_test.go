package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"owl/internal/testprog"
)

func TestPage(t *testing.T) {
	testprog.Documented(t, "../../packaging/man/man8/owampd.8", letters, long)
}

// TestConfPage: the page of the conf file has each key, its option, and, where
// that is so, that a change of it needs a restart.
func TestConfPage(t *testing.T) {
	page, err := os.ReadFile("../../packaging/man/man5/owamp-server.conf.5")
	if err != nil {
		t.Fatal(err)
	}
	_, restart, found := strings.Cut(string(page), "These need a restart to change:\n")
	if !found {
		t.Fatal("the page does not tell what needs a restart")
	}
	restart, _, _ = strings.Cut(restart, ".Sh ")
	needs := strings.Fields(restart)
	for _, k := range keys {
		_, entry, found := strings.Cut(string(page), "\n.It Cm "+k.name)
		if !found {
			t.Errorf("the page has no key %s", k.name)
			continue
		}
		entry, _, _ = strings.Cut(entry, "\n.It ")
		option := ""
		if _, text, found := strings.Cut(entry, "The option\n.Fl "); found {
			option, _, _ = strings.Cut(text, "\n")
		}
		if option != k.letter {
			t.Errorf("%s: the page tells of the option %q, want %q", k.name, option, k.letter)
		}
		if bounds := fmt.Sprintf("from %d to %d", leastIterations, mostIterations); k.name == "pbkdf2_count" && !strings.Contains(entry, bounds) {
			t.Errorf("%s: the page does not say %s", k.name, bounds)
		}
		if told := slices.Contains(needs, k.name); told != k.restart {
			t.Errorf("%s needs a restart: the page says %v, want %v", k.name, told, k.restart)
		}
	}
}
