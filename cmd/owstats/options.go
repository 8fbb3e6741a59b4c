package main

import (
	"errors"
	"fmt"

	"owl/internal/getopt"
	"owl/internal/report"
)

var usage = `usage: owstats [arguments] sessionfile [sessionfile]*
[arguments] are as follows:

   -h             print this message and exit
   --version      print the version and exit

` + fmt.Sprintf(report.Usage, "ignore -v and -M")

// options are what the command line asks for.
type options struct {
	report  report.Options
	files   []string
	help    bool
	version bool
}

// letters are the reference's; f, t and T belong to owping and say nothing here.
const letters = report.Letters + "hftT:"

var long = []getopt.Long{{Name: "help"}, {Name: "version"}}

// parse reads a command line. Options may stand behind files, as GNU getopt
// has it for the reference.
func parse(args []string) (*options, error) {
	o := &options{report: report.Options{SinglePrecision: true}}
	opts, files, err := getopt.ParseMixed(args, letters, long)
	if err != nil {
		return nil, err
	}
	for _, opt := range opts {
		switch opt.Name {
		case "h", "help":
			o.help = true
		case "version":
			o.version = true
		default:
			if _, err := o.report.Set(opt.Name, opt.Value); err != nil {
				return nil, err
			}
		}
	}
	if o.help || o.version {
		return o, nil
	}
	if len(files) == 0 {
		return nil, errors.New("no session file given")
	}
	o.files = files
	return o, nil
}
