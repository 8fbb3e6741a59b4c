package getopt

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const spec = "46A:c:v::pR"

var long = []Long{{"metrics", true}, {"check", false}}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name     string
		args     string
		opts     []Option
		operands []string
	}{
		{name: "nothing"},
		{"operands", "a b", nil, []string{"a", "b"}},
		{"flags", "-p -R", []Option{{"p", ""}, {"R", ""}}, nil},
		{"bundle", "-pR4", []Option{{"p", ""}, {"R", ""}, {"4", ""}}, nil},
		{"argument behind", "-c 300 a", []Option{{"c", "300"}}, []string{"a"}},
		{"argument attached", "-c300 a", []Option{{"c", "300"}}, []string{"a"}},
		{"argument at a bundle's end", "-pc 300", []Option{{"p", ""}, {"c", "300"}}, nil},
		{"argument attached to a bundle's end", "-pc300", []Option{{"p", ""}, {"c", "300"}}, nil},
		{"an argument may look like an option", "-c -p", []Option{{"c", "-p"}}, nil},
		{"an argument may be two dashes", "-c -- -p", []Option{{"c", "--"}, {"p", ""}}, nil},
		{"optional argument absent", "-v 7", []Option{{"v", ""}}, []string{"7"}},
		{"optional argument attached", "-v7", []Option{{"v", "7"}}, nil},
		{"optional argument of a bundle", "-pv7R", []Option{{"p", ""}, {"v", "7R"}}, nil},
		{"end of options", "-p -- -R", []Option{{"p", ""}}, []string{"-R"}},
		{"a dash is an operand", "-p - a", []Option{{"p", ""}}, []string{"-", "a"}},
		{"name with argument behind", "--metrics :9 a", []Option{{"metrics", ":9"}}, []string{"a"}},
		{"name with argument attached", "--metrics=a=b", []Option{{"metrics", "a=b"}}, nil},
		{"name with an empty argument", "--metrics=", []Option{{"metrics", ""}}, nil},
		{"named flag", "--check -p", []Option{{"check", ""}, {"p", ""}}, nil},
		{"repeated", "-c1 -c 2", []Option{{"c", "1"}, {"c", "2"}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := strings.Fields(tt.args)
			for _, parse := range []func([]string, string, []Long) ([]Option, []string, error){Parse, ParseMixed} {
				opts, operands, err := parse(args, spec, long)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(tt.opts, opts); d != "" {
					t.Errorf("options (-want +got):\n%s", d)
				}
				if !slices.Equal(operands, tt.operands) {
					t.Errorf("operands %q, want %q", operands, tt.operands)
				}
			}
		})
	}
}

func TestOptionsBehindOperands(t *testing.T) {
	args := []string{"-p", "a", "-R", "b", "--check", "--", "-c"}
	opts, operands, err := Parse(args, spec, long)
	if err != nil || !slices.Equal(opts, []Option{{"p", ""}}) || !slices.Equal(operands, args[1:]) {
		t.Errorf("Parse: %v, %q, %v; want -p and the rest as operands", opts, operands, err)
	}
	opts, operands, err = ParseMixed(args, spec, long)
	if err != nil || !slices.Equal(opts, []Option{{"p", ""}, {"R", ""}, {"check", ""}}) || !slices.Equal(operands, []string{"a", "b", "-c"}) {
		t.Errorf("ParseMixed: %v, %q, %v; want -p, -R and --check, and the operands a, b and -c", opts, operands, err)
	}
}

func TestErrors(t *testing.T) {
	for args, want := range map[string]string{
		"-x":           "unknown option -x",
		"-px":          "unknown option -x",
		"-:":           "unknown option -:",
		"-é":           "unknown option -é",
		"-\xff":        "unknown option -\xff",
		"-c":           "option -c needs an argument",
		"-pc":          "option -c needs an argument",
		"--metrics":    "option --metrics needs an argument",
		"--check=1":    "option --check takes no argument",
		"--chec":       "unknown option --chec",
		"--nonsense=1": "unknown option --nonsense",
		"--=1":         "unknown option --",
	} {
		opts, operands, err := Parse(strings.Fields(args), spec, long)
		if err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %q", args, err, want)
		}
		if opts != nil || operands != nil {
			t.Errorf("%q: %v and %q beside an error", args, opts, operands)
		}
	}
}

// FuzzParse: what was understood, written out again in the long way, is
// understood as the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"-pR a", "-c 300 -v7 --check -- b", "--metrics=x", "-v", "-\xff", "- --"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		opts, operands, err := ParseMixed(args, spec, long)
		if err != nil {
			return
		}
		var again []string
		for _, o := range opts {
			switch {
			case len(o.Name) > 1 && o.Name == "metrics":
				again = append(again, "--"+o.Name+"="+o.Value)
			case len(o.Name) > 1:
				again = append(again, "--"+o.Name)
			case o.Name == "v" || o.Value == "" && !strings.Contains("Ac", o.Name):
				again = append(again, "-"+o.Name+o.Value)
			default:
				again = append(again, "-"+o.Name, o.Value)
			}
		}
		again = append(append(again, "--"), operands...)
		opts2, operands2, err := Parse(again, spec, long)
		if err != nil || !slices.Equal(opts, opts2) || !slices.Equal(operands, operands2) {
			t.Fatalf("%q: %v %q, then %v %q, %v", args, opts, operands, opts2, operands2, err)
		}
	})
}
