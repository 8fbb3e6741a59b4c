package testprog

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"owl/internal/getopt"
)

var (
	// itemLine is an option in the list of options of a page, or several.
	itemLine = regexp.MustCompile(`(?m)^\.It ((?:Fl|Cm) .*)$`)
	flag     = regexp.MustCompile(`^Fl (\S+)( Ns Op Ar \w+| Ar \S+)?$`)
	mention  = regexp.MustCompile(`(?m)^\.Fl (\S+)(?: Ar \S+)?`)
)

// Documented fails the test unless the manual page at path tells of each option
// that package getopt is told of by letters and long, and of no other, with an
// argument where there is one. Options without an effect it may tell of in the
// section COMPATIBILITY only.
func Documented(t *testing.T, path, letters string, long []getopt.Long) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, options, _ := strings.Cut(string(page), "\n.Sh OPTIONS\n")
	options, rest, _ := strings.Cut(options, "\n.Sh ")
	told := make(map[string]string) // the option, and : or :: behind it as getopt has it
	for _, item := range itemLine.FindAllStringSubmatch(options, -1) {
		for form := range strings.SplitSeq(item[1], " , ") {
			m := flag.FindStringSubmatch(form)
			switch {
			case m == nil:
			case strings.HasPrefix(m[2], " Ns"):
				told[m[1]] = "::"
			case m[2] != "":
				told[m[1]] = ":"
			default:
				told[m[1]] = ""
			}
		}
	}
	_, compatibility, _ := strings.Cut(rest, "COMPATIBILITY\n")
	compatibility, _, _ = strings.Cut(compatibility, "\n.Sh ")
	var without []string
	for _, m := range mention.FindAllStringSubmatch(compatibility, -1) {
		without = append(without, m[1])
	}

	takes := make(map[string]string)
	for i := 0; i < len(letters); {
		end := i + 1
		for end < len(letters) && letters[end] == ':' {
			end++
		}
		takes[letters[i:i+1]] = letters[i+1 : end]
		i = end
	}
	for _, l := range long {
		takes["-"+l.Name] = ""
		if l.Arg {
			takes["-"+l.Name] = ":"
		}
	}
	for name, argument := range takes {
		got, ok := told[name]
		switch {
		case !ok && !slices.Contains(without, name):
			t.Errorf("%s does not tell of -%s", path, name)
		case ok && got != argument:
			t.Errorf("%s tells of -%s%s, the program takes -%s%s", path, name, got, name, argument)
		}
	}
	for name := range told {
		if _, ok := takes[name]; !ok {
			t.Errorf("%s tells of -%s, which the program does not take", path, name)
		}
	}
}
