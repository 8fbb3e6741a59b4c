package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of a conf file.
const (
	maxLine   = 64 << 10 // octets of a line, its continuations included
	maxErrors = 20       // errors after which nothing more is read
)

// readConf reads owamp-server.conf into o. Keys are written "key value", in any
// case; "#" begins a comment, and a backslash at the end of a line continues
// it. The error joins one for each line that is wrong, which begins with the
// name and the line.
func readConf(name string, r io.Reader, o *options) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxLine)
	var line strings.Builder
	first, n := 1, 0 // the line that line begins in, and the last one read
	var errs []error
	fail := func(err error) error {
		errs = append(errs, fmt.Errorf("%s:%d: %w", name, first, err))
		return errors.Join(errs...)
	}
	for sc.Scan() {
		n++
		text, _, comment := strings.Cut(sc.Text(), "#")
		more := false
		if !comment { // one does not go on in the next line
			text, more = strings.CutSuffix(text, `\`)
		}
		if line.Len()+len(text) > maxLine {
			return fail(errTooLong)
		}
		line.WriteString(text)
		if more {
			line.WriteByte(' ')
			continue
		}
		if err := confLine(line.String(), fmt.Sprintf("%s:%d", name, first), o); err != nil {
			if all := fail(err); len(errs) == maxErrors {
				return all
			}
		}
		line.Reset()
		first = n + 1
	}
	switch err := sc.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fail(errTooLong)
	case err != nil:
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	case first <= n:
		return fail(errors.New("the last line ends with a backslash: want another one after it"))
	}
	return errors.Join(errs...)
}

var errTooLong = fmt.Errorf("want lines of at most %d octets", maxLine)

// confLine takes over a line, which is at where, without its comment.
func confLine(line, where string, o *options) error {
	words := strings.Fields(line)
	switch len(words) {
	case 0:
		return nil
	case 1:
		words = append(words, "")
	case 2:
	default:
		return fmt.Errorf("%q: want one key and one value", strings.Join(words, " "))
	}
	name, value := words[0], words[1]
	k := keyBy(func(k *key) bool { return strings.EqualFold(k.name, name) })
	switch {
	case k == nil:
		return fmt.Errorf("Unknown key=%s", name) //nolint:staticcheck // the C suite's words
	case k.flag && value != "":
		return fmt.Errorf("%s %s: want no value", name, value)
	case !k.flag && value == "":
		return fmt.Errorf("%s: want a value", name)
	}
	if err := k.set(o, value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	o.from[k.name] = where
	return nil
}
