package manual

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRunning(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"one  two":                            "one two\n",
		"as -u, or (-k) or --metrics has it.": "as\n.Fl u ,\nor (-k) or\n.Fl -metrics\nhas it.\n",
		"A sentence. Another one.":            "A sentence.\nAnother one.\n",
		`'q' .x a\n`:                          "\\&'q' .x a\\en\n",
		strings.Repeat("word ", 20):           strings.Repeat("word ", 15) + "word\nword word word word\n",
		"1.5 - 2":                             "1.5 - 2\n",
	} {
		if d := cmp.Diff(want, running(text)); d != "" {
			t.Errorf("%q: -want +got:\n%s", text, d)
		}
	}
}

func facts(t *testing.T) *Facts {
	t.Helper()
	u, err := ParseUsage(usageText)
	if err != nil {
		t.Fatal(err)
	}
	return &Facts{
		Date:  "May 1, 2026",
		Usage: map[string]*Usage{"prog": u},
		Lists: map[string][]Item{"keys": {
			{Name: "size", Term: "Cm size Pq default: 1"},
			{Name: "name", Term: "Cm name", Text: "what it is called"},
		}},
	}
}

func TestPage(t *testing.T) {
	got, err := facts(t).Page("prog.1", `{{define "-4"}}
No other.
{{end}}
{{define "-f"}}{{template "file"}}{{end}}

.Sh SYNOPSIS
{{synopsis}}
.Ar host
.Sh DESCRIPTION
{{about}}
.Sh OPTIONS
{{options}}
.Bd -literal
a

b
.Ed
`, `{{define "file"}}A file.
{{end}}{{define "-A"}}All have it.{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := `.\" Made by "make man" from packaging/man/source/prog.1, which is what to edit.
.Dd May 1, 2026
.Dt PROG 1
.Os Owl
.Sh SYNOPSIS
.Op Fl 4
.Op Fl A Ar authmode
.Op Fl -metrics Ar ADDR
.Op Fl b Ar bucketwidth
.Op Fl f | Fl F Ar file
.Op Fl v Ns Op Ar N
.Op Fl h | Fl -help
.Op Fl -version
.Ar host
.Sh DESCRIPTION
.Nm
does a thing to a host.
.Sh OPTIONS
.Ss Connection
.Bl -tag -width Ds
.It Fl 4
use IPv4 only
.Pp
No other.
.It Fl A Ar authmode
letters of A [authenticated], or O
.Pp
All have it.
.It Fl -metrics Ar ADDR
show metrics at http://ADDR/metrics
.El
.Ss Output Args
.Bl -tag -width Ds
.It Fl b Ar bucketwidth
width of bins
.It Fl f , Fl F Ar file
to this host [and save it]
.Pp
A file.
.It Fl v Ns Op Ar N
each packet, or
.Fl v
first ones
.It Fl h , Fl -help
print this
.It Fl -version
print the version
.El
.Pp
Without
.Fl f
and
.Fl F
nothing is saved.
.Bd -literal
a

b
.Ed
`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestPageOfList(t *testing.T) {
	got, err := facts(t).Page("prog.conf.5", `{{define "size"}}Octets.{{end}}{{list "keys"}}`, "")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(got), ".Os Owl\n")
	want := `.Bl -tag -width Ds
.It Cm size Pq default: 1
Octets.
.It Cm name
what it is called
.El
`
	if d := cmp.Diff(want, body); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if !strings.Contains(string(got), ".Dt PROG.CONF 5\n") {
		t.Errorf("%s\nwant the title PROG.CONF of section 5", got)
	}
}

func TestPageErrors(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"prog", "", "page prog: want a name, a dot and a section"},
		{".1", "", "want a name, a dot and a section"},
		{"prog.1", `{{define "-x"}}gone{{end}}{{options}}`, `page prog.1: it defines "-x", which is none`},
		{"prog.1", `{{define "-4"}}not shown{{end}}`, `it defines "-4"`},
		{"prog.1", `{{list "size"}}`, "want a list that there is"},
		{"prog.1", `{{list "keys"}}`, `want a definition of "size"`},
		{"prog.1", `{{options`, "page prog.1: "},
		{"other.1", `{{options}}`, `function "options" not defined`},
	} {
		_, err := facts(t).Page(c.name, c.source, "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want an error with %q", c.name, c.source, err, c.want)
		}
	}
}
