package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"owl/internal/cli"
)

// maxLine bounds a line of a conf file, its continuations included.
const maxLine = 64 << 10

// readConf reads owamp-server.conf into o. Keys are written "key value", in any
// case; "#" begins a comment, and a backslash at the end of a line continues
// it.
func readConf(name string, r io.Reader, o *options) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxLine)
	var line string
	for n := 1; sc.Scan(); n++ {
		line += sc.Text()
		if rest, more := strings.CutSuffix(line, `\`); more && len(line) < maxLine {
			line = rest + " "
			continue
		}
		if err := confLine(line, o); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
		line = ""
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if line != "" {
		return fmt.Errorf("%s: the last line ends in a backslash", name)
	}
	return nil
}

func confLine(line string, o *options) error {
	line, _, _ = strings.Cut(line, "#")
	words := strings.Fields(line)
	switch len(words) {
	case 0:
		return nil
	case 1, 2:
	default:
		return fmt.Errorf("%q: want one key and one value", strings.TrimSpace(line))
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
	"authmode":       (*options).setModes,
	"srcnode":        func(o *options, v string) error { o.listen = v; return nil },
	"testports":      (*options).setPorts,
	"datadir":        func(o *options, v string) error { o.dataDir = v; return nil },
	"vardir":         func(o *options, v string) error { o.varDir = v; return nil },
	"enddelay":       (*options).setEndDelay,
	"verbose":        func(o *options, _ string) error { o.verbose++; return nil },
	"facility":       (*options).setFacility,
	"loglevel":       func(o *options, v string) (err error) { o.level, err = cli.ParseLevel(v); return err },
	"loglocation":    func(o *options, _ string) error { o.location = true; return nil },
	"user":           func(o *options, v string) error { o.user = v; return nil },
	"group":          func(o *options, v string) error { o.group = v; return nil },
	"rootfolly":      func(o *options, _ string) error { o.rootFolly = true; return nil },
	"controltimeout": (*options).setControlTimeout,
	"maxcontrolsessions": func(o *options, v string) error {
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			return fmt.Errorf("%q: want a number, 0 for no limit", v)
		}
		o.maxConnections = int(n)
		return nil
	},
	"dieby":        without("dieby", "owampd ends at once"),
	"diskfudge":    without("diskfudge", "there are no disk limits"),
	"pbkdf2_count": without("pbkdf2_count", "open mode has no pass-phrases"),
}

// without takes a key for the sake of old files that has no effect, which is
// said once at the start.
func without(key, why string) func(*options, string) error {
	return func(o *options, _ string) error {
		o.remarks = append(o.remarks, fmt.Sprintf("%s has no effect: %s", key, why))
		return nil
	}
}
