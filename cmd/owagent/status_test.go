package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"owl/internal/table"
)

// Of thousands of streams people see those that are worst off, and what all of
// them are like; who asks for some sees those.
func TestStatusOfMany(t *testing.T) {
	st := &status{Host: "here", Started: time.Now(), Rate: 100_000, Budget: 100_000, Count: 10_000}
	for i := range 10_000 {
		s := streamStatus{Name: fmt.Sprintf("s%04d", i), Direction: "receive", Peer: "192.0.2.1", State: "running", Received: 1000, Completeness: new(1.0)}
		switch i {
		case 7000:
			s.State = "waiting"
		case 8000:
			s.Lost, s.Received = 10, 990
		case 8001:
			s.Lost, s.Received = 20, 980
		case 9000:
			*s.Completeness = 0.5
		}
		st.Streams = append(st.Streams, s)
	}
	var text strings.Builder
	if err := st.print(&text, false); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text.String(), "\n")
	for _, want := range []string{
		"10000 streams, 100000 packets/s of 100000",
		"9999 running, 1 waiting; packets: " + table.Count(9_999_970) + " received, 30 lost (<0.001 %), 0 not sent",
		"the 50 that are worst off, of 10000; --stream PATTERN shows others, --json all",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, strings.Join(lines[:10], "\n"))
		}
	}
	var shown []string
	for _, line := range lines {
		if name, _, found := strings.Cut(line, "   receive  "); found {
			shown = append(shown, name)
		}
	}
	if want := "s7000 s8001 s8000 s9000 s0000 s0001"; len(shown) != 50 || strings.Join(shown[:6], " ") != want {
		t.Errorf("%d streams, at first %v, want 50: %s", len(shown), shown[:min(6, len(shown))], want)
	}
	text.Reset()
	if err := st.print(&text, true); err != nil || strings.Count(text.String(), "\n") != 10_000+5 {
		t.Errorf("%d lines, %v; want one for each stream that was asked for", strings.Count(text.String(), "\n"), err)
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "any", true},
		{"rome", "rome", true},
		{"rome", "romeo", false},
		{"r*", "rome", true},
		{"mesh/*", "mesh/rome", true},
		{"*", "mesh/rome", true},
		{"m*e", "mesh/rome", true},
		{"s00?[0-4]", "s0013", true},
		{"s00?[0-4]", "s0015", false},
	} {
		if got, err := matches(test.pattern, test.name); got != test.want || err != nil {
			t.Errorf("%q, %q: %v, %v, want %v", test.pattern, test.name, got, err, test.want)
		}
	}
	if _, err := matches("a[", "a"); !errors.Is(err, errPattern) {
		t.Errorf("a[: %v", err)
	}
}
