// Package getopt reads command lines as POSIX getopt does: options are single
// letters, may be bundled (-pv) and have their argument attached (-c300) or
// behind them (-c 300), and -- ends them. Options with a name (--metrics ADDR or
// --metrics=ADDR) come beside them.
package getopt

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Long describes an option with a name.
type Long struct {
	Name string // without the dashes
	Arg  bool   // it needs an argument
}

// An Option is an option as it was given: a letter or a name, without dashes,
// and its argument, empty without one.
type Option struct{ Name, Value string }

// Parse splits args, the command line without the program's name, into options
// and operands. The first operand ends the options.
//
// Letters are declared in spec as getopt has it: c is a flag, c: needs an
// argument, and c:: has one only if it is attached. An error names the option
// in one line.
func Parse(args []string, spec string, long []Long) (opts []Option, operands []string, err error) {
	return parse(args, spec, long, false)
}

// ParseMixed is [Parse] for programs whose options may stand between and behind
// the operands too, as GNU getopt has it.
func ParseMixed(args []string, spec string, long []Long) (opts []Option, operands []string, err error) {
	return parse(args, spec, long, true)
}

func parse(args []string, spec string, long []Long, mixed bool) (opts []Option, operands []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		var o []Option
		switch {
		case arg == "--":
			return opts, append(operands, args[1:]...), nil
		case len(arg) < 2 || arg[0] != '-':
			if !mixed {
				return opts, args, nil
			}
			operands = append(operands, arg)
			args = args[1:]
			continue
		case arg[1] == '-':
			o, args, err = named(args, long)
		default:
			o, args, err = bundled(args, spec)
		}
		if err != nil {
			return nil, nil, err
		}
		opts = append(opts, o...)
	}
	return opts, operands, nil
}

// named reads the option with a name that args begin with.
func named(args []string, long []Long) (opts []Option, rest []string, err error) {
	name, value, attached := strings.Cut(args[0][2:], "=")
	rest = args[1:]
	for _, l := range long {
		if l.Name != name {
			continue
		}
		switch {
		case attached && !l.Arg:
			return nil, nil, fmt.Errorf("option --%s takes no argument", name)
		case l.Arg && !attached && len(rest) == 0:
			return nil, nil, fmt.Errorf("option --%s needs an argument", name)
		case l.Arg && !attached:
			value, rest = rest[0], rest[1:]
		}
		return []Option{{name, value}}, rest, nil
	}
	return nil, nil, fmt.Errorf("unknown option --%s", name)
}

// bundled reads the letters that args begin with, and the last one's argument.
func bundled(args []string, spec string) (opts []Option, rest []string, err error) {
	letters := args[0][1:]
	rest = args[1:]
	for letters != "" {
		r, size := utf8.DecodeRuneInString(letters)
		name := letters[:size]
		letters = letters[size:]
		at := strings.IndexRune(spec, r)
		if at < 0 || r == ':' || r == utf8.RuneError {
			return nil, nil, fmt.Errorf("unknown option -%s", name)
		}
		o := Option{Name: name}
		switch after := spec[at+size:]; {
		case strings.HasPrefix(after, "::"):
			o.Value, letters = letters, ""
		case strings.HasPrefix(after, ":") && letters != "":
			o.Value, letters = letters, ""
		case strings.HasPrefix(after, ":"):
			if len(rest) == 0 {
				return nil, nil, fmt.Errorf("option -%s needs an argument", name)
			}
			o.Value, rest = rest[0], rest[1:]
		}
		opts = append(opts, o)
	}
	return opts, rest, nil
}
