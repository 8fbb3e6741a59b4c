package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testprog"
)

// written returns the paths of the pages that there are.
func written(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("man*/*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no pages (%v)", err)
	}
	return paths
}

func TestPagesAreCurrent(t *testing.T) {
	facts, err := gather(func(program string) string { return testprog.Build(t, "owl/cmd/"+program) })
	if err != nil {
		t.Fatal(err)
	}
	pages, err := makePages(facts)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range written(t) {
		want, made := pages[path]
		if !made {
			t.Errorf("%s has no source", path)
			continue
		}
		delete(pages, path)
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); d != "" {
			t.Errorf("%s is stale: run make man (-as it would be +as it is):\n%s", path, d)
		}
	}
	for path := range pages {
		t.Errorf("%s is missing: run make man", path)
	}
}

func TestEachProgramHasAPage(t *testing.T) {
	dirs, err := os.ReadDir("../../cmd")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range dirs {
		if d.Name() != "internal" { // what programs share
			names = append(names, d.Name())
		}
	}
	if d := cmp.Diff(names, programs()); d != "" {
		t.Errorf("-programs +pages:\n%s", d)
	}
}

// What pages refer to is there.
func TestReferences(t *testing.T) {
	reference := regexp.MustCompile(`(?m)(?:^\.| )Xr (\S+) ([1-8])`)
	foreign := []string{"flent.1", "ping.8"}
	paths := written(t)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := reference.FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s refers to no page", path)
		}
		for _, m := range found {
			page := m[1] + "." + m[2]
			if !slices.Contains(paths, "man"+m[2]+"/"+page) && !slices.Contains(foreign, page) {
				t.Errorf("%s refers to %s, which there is not", path, page)
			}
		}
	}
}

// What pages share is used.
func TestCommon(t *testing.T) {
	all := sources()
	defined := regexp.MustCompile(`{{define ("[^"]+")}}`).FindAllStringSubmatch(all[commonName], -1)
	if len(defined) == 0 {
		t.Fatal("nothing is common to pages")
	}
	for _, m := range defined {
		users := 0
		for _, source := range all {
			users += strings.Count(source, "{{template "+m[1]+"}}")
		}
		if users < 2 {
			t.Errorf("%s is used %d times, want 2 or more", m[1], users)
		}
	}
}

// TestLint has those look at the pages who show them.
func TestLint(t *testing.T) {
	for _, c := range []struct{ name, command string }{
		{"mandoc", "mandoc -T lint -W warning"},
		{"groff", "groff -ww -mandoc -Tutf8 -z"},
		{"man", "man --warnings=w -l"},
	} {
		t.Run(c.name, func(t *testing.T) {
			words := strings.Fields(c.command)
			program, err := exec.LookPath(words[0])
			if err != nil {
				t.Skipf("SKIPPED: there is no %s, which checks manual pages", words[0])
			}
			for _, path := range written(t) {
				cmd := exec.Command(program, append(words[1:], path)...)
				cmd.Env = append(cmd.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8", "PAGER=cat")
				var said strings.Builder
				cmd.Stderr = &said
				if c.name == "mandoc" { // which tells what is wrong on stdout
					cmd.Stdout = &said
				}
				if err := cmd.Run(); err != nil || said.Len() > 0 {
					t.Errorf("%s %s: %v\n%s", c.command, path, err, said.String())
				}
			}
		})
	}
}
