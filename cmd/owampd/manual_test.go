package main

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"owl/sessions/policy"
)

func manual(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestManualExample: the limits file that the manual shows says what the manual
// says of it.
func TestManualExample(t *testing.T) {
	_, rest, _ := strings.Cut(manual(t, "limits.md"), "<!-- The tests read this file. -->\n```\n")
	example, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("there is no example")
	}
	limits, err := policy.Parse("example", strings.NewReader(example))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"192.0.2.1": "root/partners", "2001:db8:1:2::3": "root/partners", "::ffff:192.0.2.1": "root/partners",
		"192.0.2.66": "root/others/nobody", "198.51.100.1": "root/others", "2001:db8:2::1": "root/others",
	} {
		c := limits.Class(netip.MustParseAddr(addr), "")
		if got := c.Path(); got != want {
			t.Errorf("%s is of class %s, want %s", addr, got, want)
		}
		if open := want != "root/others/nobody"; c.AllowOpen() != open {
			t.Errorf("%s: open mode %v", addr, c.AllowOpen())
		}
		if partner := want == "root/partners"; c.ThirdParty() != partner || c.DeleteOnFetch() != partner {
			t.Errorf("%s: third_party %v, delete_on_fetch %v", addr, c.ThirdParty(), c.DeleteOnFetch())
		}
	}
	others := policy.NewLedger(limits).Account(policy.Peer{Addr: netip.MustParseAddr("198.51.100.1")})
	held, err := others.Reserve(policy.Request{Bandwidth: 19_992_000})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	_, err = others.Reserve(policy.Request{Bandwidth: 33_600})
	if err == nil || !strings.Contains(manual(t, "limits.md"), err.Error()) {
		t.Errorf("%v: the manual's is another", err)
	}
}

// TestManualKeys: the manual has each key of the conf file, with its option, its
// default and whether it needs a restart.
func TestManualKeys(t *testing.T) {
	type entry struct {
		option, preset string
		restart        bool
	}
	told := make(map[string]entry)
	for line := range strings.Lines(manual(t, "owampd.md")) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		names, options := strings.Split(cells[1], ","), strings.Split(cells[2], ",")
		for i, name := range names {
			told[strings.Trim(name, " `")] = entry{
				option:  strings.Trim(options[min(i, len(options)-1)], " `"),
				preset:  strings.Trim(cells[3], " `"),
				restart: strings.HasSuffix(cells[4], "* "),
			}
		}
	}
	o := preset()
	for _, k := range keys {
		want := entry{preset: k.text(&o), restart: k.restart}
		if k.letter != "" {
			want.option = "-" + k.letter
		}
		if k.name == "loglocation" {
			want.option = "-vv"
		}
		if got := told[k.name]; got != want {
			t.Errorf("%s: the manual has %+v, want %+v", k.name, got, want)
		}
	}
	if len(told) != len(keys) {
		t.Errorf("the manual has %d keys, want %d", len(told), len(keys))
	}
}
