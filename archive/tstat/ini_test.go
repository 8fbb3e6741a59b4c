package tstat

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nobody is an environment with nothing in it.
func nobody(string) (string, bool) { return "", false }

// said returns all that a config says, a key in a line.
func said(c *Config) string {
	var b strings.Builder
	var names []string
	for name := range c.stanzas {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, key := range c.own(name) {
			fmt.Fprintf(&b, "%s.%s=%q\n", name, key, c.stanzas[name][key])
		}
	}
	return b.String()
}

// TestParseConfig: what Python's ConfigParser(interpolation=None) reads.
func TestParseConfig(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                    "",
		"# c\n; c\n\n[a]\n":                   "",
		"[a]\nK = v\nl:w\nm=\nn = a = b : c":  "a.k=\"v\"\na.l=\"w\"\na.m=\"\"\na.n=\"a = b : c\"\n",
		"[a]\nk = v # not a comment\n":        "a.k=\"v # not a comment\"\n",
		"[a]\nk = 1\n  2\n\t# c\n\n  3\nl=4":  "a.k=\"1\\n2\\n\\n3\"\na.l=\"4\"\n",
		"[a]\nk =\n  1\n":                     "a.k=\"\\n1\"\n",
		"[a]\n  k = 1\n  l = 2\n    3\n":      "a.k=\"1\"\na.l=\"2\\n3\"\n",
		"[a]\nk = 100%\r\n[A]\r\nk = %(x)s\n": "A.k=\"%(x)s\"\na.k=\"100%\"\n",
		"[a b] tail\nthe key = v\n":           "a b.the key=\"v\"\n",
		"[DEFAULT]\nk=1\n[DEFAULT]\nl=2\n":    "DEFAULT.k=\"1\"\nDEFAULT.l=\"2\"\n",
		"[a]\nk=1\n\n\n":                      "a.k=\"1\"\n",
		"[a]\nk=1\n [b]\nl=2\n":               "a.k=\"1\\n[b]\"\na.l=\"2\"\n",
	} {
		c, err := ParseConfig(text, nobody)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if d := cmp.Diff(want, said(c)); d != "" {
			t.Errorf("%q (-want +got):\n%s", text, d)
		}
	}
	for text, want := range map[string]string{
		"k = v\n":                 "line 1: want a stanza such as [rabbit] before the first key",
		"[a]\nk = sesame\nK: 2\n": "line 3: the key k is there twice in its stanza",
		"[a]\n[a]\n":              "line 2: the stanza [a] is there twice",
		"[a]\nsesame\n":           "line 2: want KEY = VALUE, or an indented line that continues one",
		"[a]\n= sesame\n":         "line 2: want a key before the =",
		"[]\n":                    "line 1: want a stanza such as [rabbit] before the first key",
		"[a]\n" + strings.Repeat("#", maxConfig+1): "want at most 1048576 octets",
	} {
		if _, err := ParseConfig(text, nobody); fmt.Sprint(err) != want {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

// TestValue: defaults, and what comes from the environment.
func TestValue(t *testing.T) {
	t.Parallel()
	env := map[string]string{"SET": "set", "EMPTY": ""}
	c, err := ParseConfig(`[DEFAULT]
everywhere = d
own = d
[a]
own = o
set = ${SET}
other = ${UNSET:a:b}
nothing = ${UNSET:}
empty = ${EMPTY:x}
middle = x${SET}
unset = ${UNSET}
open = ${SET
`, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"everywhere": "d", "own": "o", "set": "set", "other": "a:b", "nothing": "", "empty": "", "middle": "x${SET}",
		"unset": "[a] unset: the environment has no UNSET, and there is no other value",
		"open":  "[a] open: want ${NAME} or ${NAME:OTHERWISE}",
	} {
		got, ok, err := c.value("a", key)
		if err != nil {
			got = err.Error()
		}
		if got != want || ok == (err != nil) {
			t.Errorf("%s: %q, %v; want %q", key, got, ok, want)
		}
	}
	if v, ok, err := c.value("a", "absent"); v != "" || ok || err != nil {
		t.Errorf("%q, %v, %v", v, ok, err)
	}
	if c.Has(defaultStanza) || !c.Has("a") || c.Has("b") {
		t.Error("a stanza that there is not, or none that there is")
	}
}

// TestSpec: the specification that a stanza is.
func TestSpec(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		"[tcp]\nhost = h\nport = 5\n":                                                        `{"host":"h","port":5}`,
		"[tcp]\na = True\nb = false\nc = [1, 2]\nd = \"5\"\ne = 5 ":                          `{"a":true,"b":false,"c":[1,2],"d":"5","e":5}`,
		"[tcp]\na = {\"b\":\n  1}\n[DEFAULT]\nz = é\n":                                       `{"a":{"b":1},"z":"é"}`,
		"[tcp]\na = ${A:5}\n":                                                                `{"a":5}`,
		"[tcp]\nspec = {\"archiver\": \"tcp\", \"data\": {\"x\": null}}\n[DEFAULT]\nz = 1\n": `{"x":null}`,
	} {
		c, err := ParseConfig(config, nobody)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Spec("tcp")
		if err != nil || s.Archiver != "tcp" || string(s.Data) != want {
			t.Errorf("%q: %v, %v; want %s", config, s, err, want)
		}
	}
	for config, want := range map[string]string{
		"[a]\n":                        "tcp selected as transport, but there is no [tcp] stanza",
		"[tcp]\nspec = {}\nhost = h\n": "[tcp] spec: want no other key beside it",
		"[tcp]\nspec = {}\n":           "[tcp] /archiver: is missing; /data: is missing",
		"[tcp]\nspec = @/nowhere\n":    "[tcp] spec: open /nowhere: no such file or directory",
		"[tcp]\na = ${A}\n":            "[tcp] a: the environment has no A, and there is no other value",
	} {
		c, err := ParseConfig(config, nobody)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = c.Spec("tcp"); fmt.Sprint(err) != want {
			t.Errorf("%q: %v, want %s", config, err, want)
		}
	}
}

// FuzzParseConfig: what was read, written as plainly as can be, is read as the
// same.
func FuzzParseConfig(f *testing.F) {
	f.Add("[a]\nK = v\nl:w\n\n  x\n# c\n[DEFAULT]\nm =\n")
	f.Add("[a]]\nk = ${A:b}\n[b\n = ")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConfig(text, nobody)
		if err != nil {
			return
		}
		var b strings.Builder
		for name, values := range c.stanzas {
			fmt.Fprintf(&b, "[%s]\n", name)
			for key, value := range values {
				fmt.Fprintf(&b, "%s = %s\n", key, strings.ReplaceAll(value, "\n", "\n\t"))
			}
		}
		again, err := ParseConfig(b.String(), nobody)
		if err != nil {
			t.Fatalf("%q, written as %q: %v", text, b.String(), err)
		}
		if d := cmp.Diff(c.stanzas, again.stanzas); d != "" {
			t.Errorf("%q, written as %q (-want +got):\n%s", text, b.String(), d)
		}
	})
}
