package main

import (
	"errors"
	"fmt"
	"slices"

	"owl/internal/command"
	"owl/internal/getopt"
	"owl/internal/report"
)

var program = command.Program{Name: "owstats", Usage: `usage: owstats [arguments] sessionfile [sessionfile]*
[arguments] are as follows:

   -h             print this message and exit
   --version      print the version and exit

` + fmt.Sprintf(report.Usage, "ignore -v and -M") + report.UsageJSON + `   --salvage      read damaged files: use the records that can be right, say on standard error what is
                  wrong, and exit with status 3 if something is
` + flentUsage}

// options are what the command line asks for.
type options struct {
	command.Standard
	report report.Options
	flent  flentOptions
	files  []string
}

// letters are the reference's; f, t and T belong to owping and say nothing here.
const letters = report.Letters + "hftT:"

var long = slices.Concat(command.StandardLong, report.Long, []getopt.Long{report.LongSalvage}, flentLong)

// parse reads a command line. Options may stand behind files, as GNU getopt
// has it for the reference.
func parse(args []string) (*options, error) {
	o := &options{report: report.Options{SinglePrecision: true}}
	opts, files, err := getopt.ParseMixed(args, letters, long)
	if err != nil {
		return nil, &command.UsageError{Err: err}
	}
	for _, opt := range opts {
		if o.SetStandard(opt.Name) {
			continue
		}
		if ok, err := o.flent.set(opt.Name, opt.Value); ok || err != nil {
			if err != nil {
				return nil, fmt.Errorf("option --%s: %w", opt.Name, err)
			}
			continue
		}
		if _, err := o.report.Set(opt.Name, opt.Value); err != nil {
			return nil, err
		}
	}
	if o.Asked() {
		return o, nil
	}
	if len(files) == 0 {
		return nil, &command.UsageError{Err: errors.New("no session file given")}
	}
	o.files = files
	if err := o.flent.validate(&o.report); err != nil {
		return nil, err
	}
	return o, o.report.Validate()
}
