package manual

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const usageText = `usage: prog [arguments] host
[arguments] are as follows:

  Connection:
   -4             use IPv4 only
   -A authmode    letters of A [authenticated],
                  or O
   --metrics ADDR show metrics at http://ADDR/metrics

              [Output Args]

   -b bucketwidth width of bins
   -f | -F file   to this host [and save it]
   -v[N]          each packet, or
                  -v first ones
   -h, --help     print this
   --version      print the version

Without -f and -F
nothing is saved.

prog does a thing
to a host.
`

func TestParseUsage(t *testing.T) {
	got, err := ParseUsage(usageText)
	if err != nil {
		t.Fatal(err)
	}
	want := &Usage{
		Program: "prog",
		Groups: []Group{
			{Title: "Connection", Options: []Option{
				{Forms: []Form{{Name: "-4"}}, Text: "use IPv4 only"},
				{Forms: []Form{{Name: "-A", Argument: "authmode"}}, Text: "letters of A [authenticated], or O"},
				{Forms: []Form{{Name: "--metrics", Argument: "ADDR"}}, Text: "show metrics at http://ADDR/metrics"},
			}},
			{Title: "Output Args", Options: []Option{
				{Forms: []Form{{Name: "-b", Argument: "bucketwidth"}}, Text: "width of bins"},
				{Forms: []Form{{Name: "-f"}, {Name: "-F", Argument: "file"}}, Text: "to this host [and save it]"},
				{Forms: []Form{{Name: "-v", Argument: "N", Optional: true}}, Text: "each packet, or -v first ones"},
				{Forms: []Form{{Name: "-h"}, {Name: "--help"}}, Text: "print this"},
				{Forms: []Form{{Name: "--version"}}, Text: "print the version"},
			}, Text: "Without -f and -F nothing is saved."},
		},
		About: "prog does a thing to a host.",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestParseUsageOfCommands(t *testing.T) {
	got, err := ParseUsage("usage: prog show\n\n   show        show it, until\n               Ctrl-C\n   -h, --help  print this\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Option{
		{Forms: []Form{{Name: "show"}}, Text: "show it, until Ctrl-C"},
		{Forms: []Form{{Name: "-h"}, {Name: "--help"}}, Text: "print this"},
	}
	if d := cmp.Diff(want, got.Options()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestParseUsageErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "want usage: and the program's name",
		"usage:":                     "want usage: and the program's name",
		"synopsis: prog":             "want usage: and the program's name",
		"usage: prog\n   -":          "want an option",
		"usage: prog\n   -ab  x":     "want an option",
		"usage: prog\n   -a | b  x":  "want an option",
		"usage: prog\n   word alone": "want an option",
		"usage: prog\n" + usageText:  "",
		"usage: p" + strings.Repeat("p", maxUsage): "want at most 65536",
		"usage: prog\n             more":           "want an option", // of what?
	} {
		_, err := ParseUsage(text)
		if want == "" {
			if err != nil {
				t.Errorf("%.40q: %v", text, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want an error with %q", text, err, want)
		}
	}
}

// FuzzParseUsage: what was read can be written as a page, in lines of which none
// but those of macros begin with a dot.
func FuzzParseUsage(f *testing.F) {
	f.Add(usageText)
	f.Add("usage: prog\n   -a  .dot 'quote \\ -x, --long.\n")
	f.Add("usage: p\n  T:\n   -v[N]  x\np .\n")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseUsage(text)
		if err != nil {
			return
		}
		if len(u.Groups) == 0 {
			t.Fatal("no group")
		}
		for _, o := range u.Options() {
			if len(o.Forms) == 0 || strings.Contains(o.Text, "\n") {
				t.Fatalf("option %+v", o)
			}
			for line := range strings.Lines(running(o.Text)) {
				if line[0] == '\'' || line[0] == '.' && !strings.HasPrefix(line, ".Fl ") || line == "\n" {
					t.Fatalf("%q has the line %q", o.Text, line)
				}
			}
		}
		_, _ = u.synopsis(), u.about()
	})
}
