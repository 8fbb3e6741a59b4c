package argparse

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/internal/getopt"
)

var options = Options{
	{Letter: "h", Name: "help"}, {Letter: "d", Name: "directory", Arg: true}, {Letter: "T", Name: "threshold", Arg: true},
	{Letter: "t", Name: "transport", Arg: true}, {Letter: "S", Name: "sensor", Arg: true}, {Letter: "s", Name: "single"},
	{Letter: "N", Name: "no-transport"}, {Name: "version", Whole: true}, {Letter: "v", Name: "verbose"},
}

// form writes options and other words in one line.
func form(given []getopt.Option, others []string) string {
	var all []string
	for _, g := range given {
		all = append(all, g.Name+"="+g.Value)
	}
	return strings.Join(append(all, others...), " ")
}

// TestParse: what Python's argparse makes of command lines; their words have |
// between them.
func TestParse(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"":                       "",
		"-d|w|-N":                "directory=w no-transport=",
		"--dir|w|--thr|0|--no-t": "directory=w threshold=0 no-transport=",
		"--dir=w=x":              "directory=w=x",
		"-dw":                    "directory=w",
		"-d=w":                   "directory=w",
		"-sN":                    "single= no-transport=",
		"-sNT5":                  "single= no-transport= threshold=5",
		"-T|-1":                  "threshold=-1",
		"-T-1":                   "threshold=-1",
		"-T0":                    "threshold=0",
		"-S|":                    "sensor=",
		"-S|-a b":                "sensor=-a b",
		"-S|-":                   "sensor=-",
		"--ver":                  "verbose=",
		"--version":              "version=",
		"foo|-N":                 "no-transport= foo",
		"--bits|5":               "--bits 5",
		"-x":                     "-x",
		"-N|--|-s|x":             "no-transport= -s x",
		"-5":                     "-5",
		"--s":                    "ambiguous option: --s could match --sensor, --single",
		"--s=x|-h":               "ambiguous option: --s=x could match --sensor, --single",
		"-=x":                    "-=x",
		"--=x":                   "ambiguous option: --=x could match --help, --directory, --threshold, --transport, --sensor, --single, --no-transport, --verbose",
		"-d":                     "argument -d/--directory: expected one argument",
		"-d|-N":                  "argument -d/--directory: expected one argument",
		"-S|-x":                  "argument -S/--sensor: expected one argument",
		"--single=x":             "argument -s/--single: ignored explicit argument 'x'",
		"-sx":                    "argument -s/--single: ignored explicit argument 'x'",
		"-s=N":                   "single= no-transport=",
		"-sN=x":                  "argument -N/--no-transport: ignored explicit argument '=x'",
		"-d|--|w":                "argument -d/--directory: expected one argument",
	} {
		var words []string
		if args != "" {
			words = strings.Split(args, "|")
		}
		given, others, err := options.Parse(words)
		got := form(given, others)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", words, got, want)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	given := []getopt.Option{{Name: "directory"}}
	if err := options.Missing(given, "directory"); err != nil {
		t.Error(err)
	}
	want := "the following arguments are required: -d/--directory, -S/--sensor"
	if err := options.Missing(nil, "directory", "sensor"); fmt.Sprint(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestInt(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"5": "5", "-1": "-1", " +7 ": "7",
		"99999999999999999999":  fmt.Sprint(int64(math.MaxInt64)),
		"-99999999999999999999": fmt.Sprint(int64(math.MinInt64)),
		"0.5":                   "argument -T/--threshold: invalid int value: '0.5'",
		"":                      "argument -T/--threshold: invalid int value: ''",
		`i"t's`:                 `argument -T/--threshold: invalid int value: 'i"t\'s'`,
	} {
		n, err := options.Int(getopt.Option{Name: "threshold", Value: value})
		got := fmt.Sprint(n)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestDeclarations(t *testing.T) {
	t.Parallel()
	if got := options.Letters(); got != "hd:T:t:S:sNv" {
		t.Error(got)
	}
	if d := cmp.Diff(getopt.Long{Name: "directory", Arg: true}, options.Long()[1]); d != "" {
		t.Error(d)
	}
}

// FuzzParse: options with their whole names are read as they are written.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"-d|w|-N", "--dir=w|foo", "-sNT5|-T|-1", "--|x", "-é", "-s\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		given, others, err := options.Parse(strings.Split(line, "|"))
		if err != nil {
			return
		}
		var again []string
		for _, g := range given {
			word := "--" + g.Name
			for _, o := range options {
				if o.Name == g.Name && o.Arg {
					word += "=" + g.Value
				}
			}
			again = append(again, word)
		}
		given2, others2, err := options.Parse(append(append(again, "--"), others...))
		if err != nil || form(given, others) != form(given2, others2) {
			t.Errorf("%q: %q, then %q, %v", line, form(given, others), form(given2, others2), err)
		}
	})
}
