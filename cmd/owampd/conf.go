package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds a line of a conf file, its continuations included, in octets.
const maxLine = 64 << 10

// readConf reads owamp-server.conf into o. Keys are written "key value", in any
// case; "#" begins a comment, and a backslash at the end of a line continues
// it. Errors begin with the name and the line.
func readConf(name string, r io.Reader, o *options) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxLine)
	var line strings.Builder
	first, n := 1, 0 // the line that line begins in, and the last one read
	at := func(err error) error { return fmt.Errorf("%s:%d: %w", name, first, err) }
	for sc.Scan() {
		n++
		text, _, comment := strings.Cut(sc.Text(), "#")
		more := false
		if !comment { // one does not go on in the next line
			text, more = strings.CutSuffix(text, `\`)
		}
		if line.Len()+len(text) > maxLine {
			return at(errTooLong)
		}
		line.WriteString(text)
		if more {
			line.WriteByte(' ')
			continue
		}
		if err := confLine(line.String(), o); err != nil {
			return at(err)
		}
		line.Reset()
		first = n + 1
	}
	switch err := sc.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return at(errTooLong)
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case first <= n:
		return at(errors.New("the last line ends with a backslash: want another one after it"))
	}
	return nil
}

var errTooLong = fmt.Errorf("want lines of at most %d octets", maxLine)

// confLine takes over a line without its comment.
func confLine(line string, o *options) error {
	words := strings.Fields(line)
	switch len(words) {
	case 0:
		return nil
	case 1, 2:
	default:
		return fmt.Errorf("%q: want one key and one value", strings.Join(words, " "))
	}
	key := strings.ToLower(words[0])
	set, ok := confKeys[key]
	if !ok {
		return fmt.Errorf("Unknown key=%s", words[0]) //nolint:staticcheck // the C suite's words
	}
	if len(words) == 1 {
		if !flags[key] {
			return fmt.Errorf("%s: want a value", words[0])
		}
		words = append(words, "")
	} else if flags[key] {
		return fmt.Errorf("%s %s: want no value", words[0], words[1])
	}
	if err := set(o, words[1]); err != nil {
		return fmt.Errorf("%s: %w", words[0], err)
	}
	return nil
}

// flags are the keys without a value.
var flags = map[string]bool{"verbose": true, "rootfolly": true, "loglocation": true}

// confKeys take the value of a key over.
var confKeys = map[string]func(*options, string) error{
	"authmode":           (*options).setModes,
	"srcnode":            func(o *options, v string) error { o.listen = v; return nil },
	"testports":          (*options).setPorts,
	"datadir":            func(o *options, v string) error { o.dataDir = v; return nil },
	"vardir":             func(o *options, v string) error { o.varDir = v; return nil },
	"enddelay":           (*options).setEndDelay,
	"verbose":            func(o *options, _ string) error { o.verbose++; return nil },
	"facility":           (*options).setFacility,
	"loglevel":           (*options).setLevel,
	"loglocation":        func(o *options, _ string) error { o.location = true; return nil },
	"user":               func(o *options, v string) error { o.user = v; return nil },
	"group":              func(o *options, v string) error { o.group = v; return nil },
	"rootfolly":          func(o *options, _ string) error { o.rootFolly = true; return nil },
	"controltimeout":     (*options).setControlTimeout,
	"maxcontrolsessions": (*options).setMaxConnections,
	"dieby":              without("dieby", "owampd ends at once"),
	"diskfudge":          without("diskfudge", "there are no disk limits"),
	"pbkdf2_count":       without("pbkdf2_count", "open mode has no pass-phrases"),
}

// without takes a key for the sake of old files that has no effect, which is
// said once at the start.
func without(key, why string) func(*options, string) error {
	return func(o *options, _ string) error {
		o.remarks = append(o.remarks, fmt.Sprintf("%s has no effect: %s", key, why))
		return nil
	}
}
