package manual

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Usage is what a help text says.
type Usage struct {
	Program string
	Groups  []Group // in order; there is at least one
	About   string  // the paragraph that begins with the program's name, if there is one
}

// A Group is a part of the options under a title, which may be empty.
type Group struct {
	Title   string
	Options []Option
	Text    string // a paragraph behind them
}

// An Option is a line of a help text: an option, several that are told of
// together, or a command.
type Option struct {
	Forms []Form // at least one
	Text  string // plain text, in one line
}

// A Form is one way to write an option: with one dash and a letter, with two
// and a name, or a command without any.
type Form struct {
	Name     string // with its dashes
	Argument string // empty: it has none
	Optional bool   // the argument can be left out
}

// The layout of help texts: options stand behind two to eight blanks, their
// descriptions behind them and, indented deeper, in the lines that follow. One
// blank is in front of an argument, more than one in front of the description
// of what has none.
var (
	optionLine   = regexp.MustCompile(`^ {2,8}(-\S.*)$`)
	optionForm   = regexp.MustCompile(`^(-[[:alnum:]]|--[[:alpha:]][[:alnum:]-]*)(?:\[(\w+)\]| (\S+))?(?:$|( \| |, | +))`)
	commandLine  = regexp.MustCompile(`^ {2,8}([[:alpha:]][[:alpha:]-]*)  +(\S.*)$`)
	continuation = regexp.MustCompile(`^ {10,}([^ \[].*)$`)
	titleLine    = regexp.MustCompile(`^ +(?:\[([^\]]+)\]|([^:]+):)$`)
)

// maxUsage bounds a help text in octets.
const maxUsage = 64 << 10

// ParseUsage reads a help text. An error names the line that is not in the
// layout of help texts.
func ParseUsage(text string) (*Usage, error) {
	if len(text) > maxUsage {
		return nil, fmt.Errorf("help text of %d octets: want at most %d", len(text), maxUsage)
	}
	first, rest, _ := strings.Cut(text, "\n")
	words := strings.Fields(first)
	if len(words) < 2 || words[0] != "usage:" {
		return nil, fmt.Errorf("help text begins with %q: want usage: and the program's name", first)
	}
	u := &Usage{Program: words[1], Groups: make([]Group, 1)}
	rest = strings.TrimPrefix(rest, "[arguments] are as follows:\n")
	open := false // whether the line before goes on
	for line := range strings.Lines(rest) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			open = false
			continue
		}
		if err := u.add(line, open); err != nil {
			return nil, fmt.Errorf("help text of %s: %q: %w", u.Program, line, err)
		}
		open = true
	}
	u.findAbout()
	if u.Groups[0].Title == "" && len(u.Groups[0].Options) == 0 && len(u.Groups) > 1 {
		u.Groups = u.Groups[1:]
	}
	return u, nil
}

var errLayout = errors.New("want an option and its description, the rest of one, a title or a paragraph")

// add takes over a line; open says that it may continue the one before.
func (u *Usage) add(line string, open bool) error {
	g := &u.Groups[len(u.Groups)-1]
	if line[0] != ' ' {
		separator := "\n"
		if open {
			separator = " "
		}
		g.Text = strings.TrimPrefix(g.Text+separator+line, separator)
		return nil
	}
	if m := optionLine.FindStringSubmatch(line); m != nil {
		o, err := parseOption(m[1])
		g.Options = append(g.Options, o)
		return err
	}
	if m := continuation.FindStringSubmatch(line); m != nil && open && len(g.Options) > 0 {
		o := &g.Options[len(g.Options)-1]
		o.Text = strings.TrimSpace(o.Text + " " + m[1])
		return nil
	}
	if m := commandLine.FindStringSubmatch(line); m != nil {
		g.Options = append(g.Options, Option{Forms: []Form{{Name: m[1]}}, Text: m[2]})
		return nil
	}
	if m := titleLine.FindStringSubmatch(line); m != nil {
		u.Groups = append(u.Groups, Group{Title: m[1] + m[2]})
		return nil
	}
	return errLayout
}

// parseOption reads the line of an option without its indentation.
func parseOption(s string) (Option, error) {
	var o Option
	for {
		m := optionForm.FindStringSubmatch(s)
		if m == nil {
			return o, errLayout
		}
		f := Form{Name: m[1], Argument: m[2] + m[3], Optional: m[2] != ""}
		s = s[len(m[0]):]
		if f.Argument == "|" { // "-f | -F file": the blank belongs to the bar
			f.Argument, m[4] = "", " | "
		}
		o.Forms = append(o.Forms, f)
		if m[4] != " | " && m[4] != ", " {
			o.Text = s
			return o, nil
		}
	}
}

// findAbout moves the paragraph about the program out of its group.
func (u *Usage) findAbout() {
	for i := range u.Groups {
		var keep []string
		for p := range strings.SplitSeq(u.Groups[i].Text, "\n") {
			if strings.HasPrefix(p, u.Program+" ") {
				u.About = p
			} else {
				keep = append(keep, p)
			}
		}
		u.Groups[i].Text = strings.Join(keep, "\n")
	}
}

// Options returns the options of all groups.
func (u *Usage) Options() []Option {
	var all []Option
	for _, g := range u.Groups {
		all = slices.Concat(all, g.Options)
	}
	return all
}
