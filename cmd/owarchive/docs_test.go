package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"owl/archive/store"
)

// TestDocs: each command line of owarchive in its page is one, and so are the rules
// of retention in it.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/owarchive.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)(?:^ *(?:\$ |PGPASSFILE=\S+ )?|\$\()owarchive (--store [^\n)&]*)`)
	word := regexp.MustCompile(`'([^']*)'|\S+`)
	n := 0
	for _, m := range line.FindAllStringSubmatch(string(page), -1) {
		var args []string
		for _, w := range word.FindAllStringSubmatch(m[1], -1) {
			args = append(args, strings.Trim(w[0], "'"))
		}
		n++
		o, _, err := parse(args)
		if err != nil {
			t.Errorf("owarchive %s: %v", m[1], err)
			continue
		}
		if !strings.HasPrefix(o.retention, "@") {
			if _, err := store.ParseRetention(o.retention); err != nil {
				t.Errorf("owarchive %s: %v", m[1], err)
			}
		}
	}
	if n < 10 {
		t.Errorf("the page has %d command lines, want more", n)
	}
}
