package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"owl/internal/getopt"
	"owl/owamp/stats"
)

const usage = `usage: owstats [arguments] sessionfile [sessionfile]*
[arguments] are as follows:

   -h             print this message and exit
   --version      print the version and exit

              [Output Args]

   -a alpha       report additional percentiles of the delays: numbers from 0 to 100, separated by commas
   -b bucketwidth bin size for histogram calculations (seconds, default 0.0001)
   -d dir         directory for the files of -p (default: the current one)
   -M             print machine (perl) readable summary
   -n units       'n','u','m', or 's' (default 'm')
   -N count       number of test packets (to summarize per sub-session)
   -p             write each summary to a file, START_END.sum with -M and START_END.txt without,
                  and print the file's name
   -Q             ignore -v and -M
   -R             print RAW data: "SEQNO STIME SS SERR RTIME RS RERR TTL\n"
   -v[N]          print out individual delays. You can supply an optional N here to read only the first N records
   -U             add UNIX timestamps to individual delays and to machine readable summaries
`

// options are what the command line asks for.
type options struct {
	report  stats.ReportOptions
	bucket  float64 // s
	dir     string
	machine bool
	part    uint32 // packets per summary; 0: all in one
	files   []string
	save    bool // summaries go to files of their own
	quiet   bool
	raw     bool
	verbose bool
	limit   int64 // records to read at most; 0: all
	help    bool
	version bool
}

// letters are the reference's; f, t and T belong to owping and say nothing here.
const letters = "a:b:d:Mn:N:pQRv::UhftT:"

var long = []getopt.Long{{Name: "help"}, {Name: "version"}}

// parse reads a command line. Options may stand behind files, as GNU getopt
// has it for the reference.
func parse(args []string) (*options, error) {
	o := &options{bucket: bucketWidth(stats.DefaultBucketWidth)}
	opts, files, err := getopt.ParseMixed(args, letters, long)
	if err != nil {
		return nil, err
	}
	for _, opt := range opts {
		if err := o.set(opt.Name, opt.Value); err != nil {
			return nil, err
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

// set takes one option over.
func (o *options) set(name, value string) (err error) {
	switch name {
	case "a":
		o.report.Percentiles, err = parsePercentiles(value)
	case "b":
		w, e := strconv.ParseFloat(value, 64)
		if o.bucket = bucketWidth(w); e != nil || !(o.bucket > 0) || math.IsInf(o.bucket, 1) {
			return fmt.Errorf("option -b: bucket width %q: want a number of seconds above 0", value)
		}
	case "d":
		o.dir = value
	case "M":
		o.machine = true
	case "n":
		if o.report.Unit, err = stats.ParseUnit(value); err != nil {
			return fmt.Errorf("option -n: %w", err)
		}
	case "N":
		n, e := strconv.ParseUint(value, 10, 32)
		if e != nil {
			return fmt.Errorf("option -N: %q: want a number of packets", value)
		}
		o.part = uint32(n)
	case "p":
		o.save = true
	case "Q":
		o.quiet = true
	case "R":
		o.raw = true
	case "v":
		o.verbose = true
		if value == "" {
			return nil
		}
		n, e := strconv.ParseUint(value, 10, 32)
		if e != nil {
			return fmt.Errorf("option -v: %q: want a number of records", value)
		}
		o.limit = int64(n)
	case "U":
		o.report.Unix = true
	case "h", "help":
		o.help = true
	case "version":
		o.version = true
	}
	return err
}

// bucketWidth rounds a width as the reference's owstats, though none of its
// other programs, does: to single precision.
func bucketWidth(w float64) float64 { return float64(float32(w)) }

func parsePercentiles(s string) ([]float32, error) {
	var list []float32
	for f := range strings.SplitSeq(s, ",") {
		p, err := strconv.ParseFloat(f, 64)
		if err != nil || !(p >= 0 && p <= 100) {
			return nil, fmt.Errorf("option -a: percentile %q: want a number from 0 to 100", f)
		}
		list = append(list, float32(p))
	}
	return list, nil
}

// settle resolves what contradicts itself, and says what it dropped.
func (o *options) settle() (notes []string) {
	quiet := o.quiet || o.raw
	if o.verbose && quiet {
		o.verbose = false
		notes = append(notes, "Ignoring '-v', '-Q' set")
	}
	if o.machine && quiet {
		o.machine = false
		notes = append(notes, "Ignoring '-M', '-Q' set")
	}
	if o.verbose && o.machine {
		o.verbose = false
		notes = append(notes, "Ignoring '-v', '-M' set")
	}
	if o.dir != "" && !o.save {
		notes = append(notes, "Ignoring '-d', '-p' not set")
	}
	return notes
}
