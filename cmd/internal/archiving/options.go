// Package archiving is what the programs share that bring their results to
// archives: the options, the queue, and the directories of default archives.
package archiving

import (
	"errors"
	"fmt"
	"strings"

	"owl/archive"
	"owl/archive/atfile"
	"owl/archive/dest"
	"owl/internal/getopt"
	"owl/sessions"
)

// Options are what a command line says of archiving.
type Options struct {
	Archives []string      // specifications in JSON, or @ and the name of a file with some
	Defaults []string      // directories of archives that every program of the host is to use
	Each     sessions.Each // what makes a result
	Raw      bool          // results have all their packets
	Queue    string        // file of the results that wait; empty: the program's default
}

// Long declares the options to package getopt, and LongEach that of what has
// sub-sessions.
var (
	Long = []getopt.Long{
		{Name: "archive", Arg: true},
		{Name: "default-archives", Arg: true},
		{Name: "queue", Arg: true},
		{Name: "output-raw"},
	}
	LongEach = []getopt.Long{{Name: "archive-each", Arg: true}}
)

// Usage describes them; queue is where results wait unless --queue says so.
func Usage(queue string) string {
	return `   --archive SPEC bring each result to an archive: SPEC is an archive specification
                  of pScheduler in JSON, an array of them, or @FILE that holds one;
                  may be given more than once
   --default-archives DIR
                  also bring results to the archives of the files in DIR
   --queue FILE   where results wait that are not delivered (default
                  ` + queue + `)
   --output-raw   results have all their packets
`
}

// UsageEach describes the option of [LongEach].
const UsageEach = `   --archive-each WHAT
                  a result is that of a session (default), or of a subsession (-N)
`

// Set takes over one option as package getopt gives it. It reports whether the
// option is one of [Long] or [LongEach].
func (o *Options) Set(name, value string) (ok bool, err error) {
	switch name {
	case "archive":
		o.Archives = append(o.Archives, value)
	case "archive-each":
		switch value {
		case "session":
			o.Each = sessions.EachSession
		case "subsession":
			o.Each = sessions.EachPart
		default:
			err = fmt.Errorf("%q: want session or subsession", value)
		}
	case "default-archives":
		if value == "" {
			err = errors.New("want the name of a directory")
		}
		o.Defaults = append(o.Defaults, value)
	case "output-raw":
		o.Raw = true
	case "queue":
		if o.Queue = value; value == "" {
			err = errors.New("want the name of a file")
		}
	default:
		return false, nil
	}
	if err != nil {
		err = fmt.Errorf("option --%s: %w", name, err)
	}
	return true, err
}

// Wanted reports whether any result is to be archived.
func (o *Options) Wanted() bool { return len(o.Archives)+len(o.Defaults) > 0 }

// Specs returns the specifications of --archive, each as its destination wants
// it. The error tells of all that is wrong, a line each.
func (o *Options) Specs() ([]*archive.Spec, error) {
	var specs []*archive.Spec
	var errs []error
	for _, text := range o.Archives {
		read, err := Read(text)
		if err != nil {
			errs = append(errs, prefixed("option --archive", err))
			continue
		}
		specs = append(specs, read...)
	}
	return specs, errors.Join(errs...)
}

// Read reads specifications, in JSON or, as @FILE, in a file, and asks their
// destinations whether they could be used.
func Read(value string) ([]*archive.Spec, error) {
	text, err := atfile.Read(value)
	if err != nil {
		return nil, err
	}
	specs, err := parse([]byte(text))
	if strings.HasPrefix(value, "@") {
		err = prefixed(value[1:], err)
	}
	return specs, err
}

// parse reads specifications as [archive.ParseSpecs] does, and asks their
// destinations whether they could be used.
func parse(text []byte) ([]*archive.Spec, error) {
	specs, err := archive.ParseSpecs(text)
	if err != nil {
		return nil, err
	}
	var errs []error
	for i, s := range specs {
		d, err := dest.Open(s)
		switch {
		case err == nil:
			err = d.Close()
		case len(specs) > 1:
			err = prefixed(fmt.Sprintf("/%d", i), err)
		}
		errs = append(errs, err)
	}
	return specs, errors.Join(errs...)
}

// prefixed returns err with where before each of its lines, which are errors of
// their own.
func prefixed(where string, err error) error {
	if err == nil {
		return nil
	}
	var errs []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		errs = append(errs, errors.New(where+": "+line))
	}
	return errors.Join(errs...)
}
