// Package argparse reads command lines as Python's argparse does, for programs
// that stand in for such of Python: options have a letter and a name, of which
// the beginning is enough; arguments are attached (-T5, -T=5, --threshold=5) or
// behind (-T 5, --threshold -5); letters may be clustered (-sN). What is wrong is
// said in argparse's words.
package argparse

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"owl/internal/getopt"
)

// An Option is one that a program takes.
type Option struct {
	Letter string // without the dash; empty: it has none
	Name   string // without the dashes
	Arg    bool   // it needs an argument
	// Whole says that the beginning of the name is not enough: of an option that
	// the program stood in for does not have, so that beginnings mean the same.
	Whole bool
}

// String returns the option as errors have it: -d/--directory.
func (o *Option) String() string {
	if o.Letter == "" {
		return "--" + o.Name
	}
	return "-" + o.Letter + "/--" + o.Name
}

// Options are those that a program takes.
type Options []Option

// Letters and Long declare the options as package getopt has them.
func (all Options) Letters() string {
	var b strings.Builder
	for _, o := range all {
		b.WriteString(o.Letter)
		if o.Arg && o.Letter != "" {
			b.WriteByte(':')
		}
	}
	return b.String()
}

// Long is said of at [Options.Letters].
func (all Options) Long() (long []getopt.Long) {
	for _, o := range all {
		long = append(long, getopt.Long{Name: o.Name, Arg: o.Arg})
	}
	return long
}

// A word is an argument of a command line.
type word struct {
	text     string
	dashed   bool    // it is an option
	option   *Option // nil: one that is not known
	short    bool    // by its letter
	attached bool
	value    string // that is attached
}

// Parse returns the options that args have, in order and by their names, and the
// words that are neither options nor their arguments. An error comes with the
// options before the one that it is of.
func (all Options) Parse(args []string) (given []getopt.Option, others []string, err error) {
	words, rest, err := all.words(args)
	if err != nil {
		return nil, nil, err
	}
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		if w.option == nil {
			others = append(others, w.text)
			continue
		}
		for w.short && w.attached && !w.option.Arg {
			next := all.letter(firstRune(w.value))
			if next == nil {
				return given, nil, ignored(w)
			}
			given = append(given, getopt.Option{Name: w.option.Name})
			w.value = w.value[len(next.Letter):]
			w.option, w.attached = next, w.value != ""
		}
		switch {
		case w.attached && !w.option.Arg:
			return given, nil, ignored(w)
		case w.option.Arg && !w.attached:
			if len(words) == 0 || words[0].dashed {
				return given, nil, fmt.Errorf("argument %v: expected one argument", w.option)
			}
			w.value, words = words[0].text, words[1:]
		}
		given = append(given, getopt.Option{Name: w.option.Name, Value: w.value})
	}
	return given, append(others, rest...), nil
}

func ignored(w word) error {
	return fmt.Errorf("argument %v: ignored explicit argument %s", w.option, Quote(w.value))
}

func firstRune(s string) string {
	for i := range s {
		if i > 0 {
			return s[:i]
		}
	}
	return s
}

// words says what each argument is, and returns what is behind --.
func (all Options) words(args []string) (words []word, rest []string, err error) {
	for i, text := range args {
		if text == "--" {
			return words, args[i+1:], nil
		}
		w, err := all.word(text)
		if err != nil {
			return nil, nil, err
		}
		words = append(words, w)
	}
	return words, nil, nil
}

var negative = regexp.MustCompile(`^-(\d+|\d*\.\d+)$`)

// word says what an argument is.
func (all Options) word(text string) (word, error) {
	w := word{text: text}
	if len(text) < 2 || text[0] != '-' {
		return w, nil
	}
	name, value, attached := strings.Cut(text, "=")
	found := all.begun(name)
	switch {
	case len(found) == 1:
		w.dashed, w.option, w.value, w.attached = true, found[0], value, attached
		w.short = name[1] != '-'
		return w, nil
	case len(found) > 1:
		var names []string
		for _, o := range found {
			names = append(names, "--"+o.Name)
		}
		return w, fmt.Errorf("ambiguous option: %s could match %s", text, strings.Join(names, ", "))
	}
	if text[1] != '-' {
		if o := all.letter(firstRune(text[1:])); o != nil {
			w.dashed, w.short, w.option = true, true, o
			w.value = text[1+len(o.Letter):]
			w.attached = true
			return w, nil
		}
	}
	w.dashed = !negative.MatchString(text) && !strings.Contains(text, " ")
	return w, nil
}

// begun returns the options that are called -x, --name or the beginning of it. A
// whole name is that option.
func (all Options) begun(name string) (found []*Option) {
	for i := range all {
		o := &all[i]
		switch {
		case o.Letter != "" && name == "-"+o.Letter, name == "--"+o.Name:
			return []*Option{o}
		case len(name) > 1 && !o.Whole && strings.HasPrefix("--"+o.Name, name):
			found = append(found, o)
		}
	}
	return found
}

func (all Options) letter(letter string) *Option {
	for i := range all {
		if all[i].Letter == letter && letter != "" {
			return &all[i]
		}
	}
	return nil
}

// Missing says which of some options, that are needed, are not given; nil: none.
func (all Options) Missing(given []getopt.Option, needed ...string) error {
	var missing []string
	for _, name := range needed {
		has := false
		for _, g := range given {
			has = has || g.Name == name
		}
		for i := range all {
			if !has && all[i].Name == name {
				missing = append(missing, all[i].String())
			}
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("the following arguments are required: %s", strings.Join(missing, ", "))
}

// Int reads the argument of an option, a whole number. One beyond 64 bits is the
// nearest that is not.
func (all Options) Int(given getopt.Option) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(given.Value), 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		if n < 0 {
			return math.MinInt64, nil
		}
		return math.MaxInt64, nil
	}
	if err == nil {
		return n, nil
	}
	for i := range all {
		if all[i].Name == given.Name {
			return 0, fmt.Errorf("argument %v: invalid int value: %s", &all[i], Quote(given.Value))
		}
	}
	return 0, err
}

// Quote returns s as Python's repr writes most strings.
func Quote(s string) string {
	q := strconv.Quote(s)
	return "'" + strings.NewReplacer(`\"`, `"`, `'`, `\'`).Replace(q[1:len(q)-1]) + "'"
}
