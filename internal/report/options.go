// Package report prints what .owp files say of sessions, as the output options
// that owstats, owping and owfetch share ask for it: statistics for people or
// for programs, of the whole session or part by part, and single records.
package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"owl/internal/getopt"
	"owl/owamp/stats"
)

// Options are the output options of a command line. The zero Options ask for a
// report for people, on standard output.
type Options struct {
	Text        stats.ReportOptions
	BucketWidth float64 // s; 0: the default
	Dir         string  // of the files of Save; empty: the current one
	Machine     bool    // summaries are for programs
	Part        uint32  // packets per summary; 0: all in one
	Save        bool    // summaries go to files of their own
	Quiet       bool
	Raw         bool // records instead of summaries
	Verbose     bool // records before summaries
	Limit       int64
	JSON        bool // one document instead of all that
	// Salvage has files read that are damaged, for what is undamaged of them.
	Salvage bool
	// SinglePrecision rounds bucket widths as the reference's owstats, though
	// none of its other programs, does.
	SinglePrecision bool
}

// Letters declares the options to package getopt.
const Letters = "a:b:d:Mn:N:pQRv::U"

// Long declares the options with a name.
var Long = []getopt.Long{{Name: "json"}}

// LongSalvage declares the one that is for programs which read files that
// others have written.
var LongSalvage = getopt.Long{Name: "salvage"}

// Usage describes the options.
const Usage = `              [Output Args]

   -a alpha       report additional percentiles of the delays: numbers from 0 to 100, separated by commas
   -b bucketwidth bin size for histogram calculations (seconds, default 0.0001)
   -d dir         directory for the files of -p (default: the current one)
   -M             print machine (perl) readable summary
   -n units       'n','u','m', or 's' (default 'm')
   -N count       number of test packets (to summarize per sub-session)
   -p             write each summary to a file, START_END.sum with -M and START_END.txt without,
                  and print the file's name
   -Q             %s
   -R             print RAW data: "SEQNO STIME SS SERR RTIME RS RERR TTL\n"
   -v[N]          print out individual delays. You can supply an optional N here to read only the first N records
   -U             add UNIX timestamps to individual delays and to machine readable summaries
`

// UsageJSON describes [Long].
const UsageJSON = `   --json         print one JSON document, with the parts of -N and the packets of -v
`

// Set takes over one option as package getopt gives it. It reports whether the
// option is one of [Letters] or has a name that is declared here.
func (o *Options) Set(name, value string) (ok bool, err error) {
	switch name {
	case "a":
		o.Text.Percentiles, err = parsePercentiles(value)
	case "b":
		o.BucketWidth, err = o.parseWidth(value)
	case "d":
		o.Dir = value
	case "M":
		o.Machine = true
	case "n":
		if o.Text.Unit, err = stats.ParseUnit(value); err != nil {
			err = fmt.Errorf("option -n: %w", err)
		}
	case "N":
		o.Part, err = parseCount("option -N: %q: want a number of packets", value)
	case "p":
		o.Save = true
	case "Q":
		o.Quiet = true
	case "R":
		o.Raw = true
	case "v":
		o.Verbose = true
		if value != "" {
			var n uint32
			n, err = parseCount("option -v: %q: want a number of records", value)
			o.Limit = int64(n)
		}
	case "U":
		o.Text.Unix = true
	case "json":
		o.JSON = true
	case LongSalvage.Name:
		o.Salvage = true
	default:
		return false, nil
	}
	return true, err
}

// Validate refuses what does not go together.
func (o *Options) Validate() error {
	if !o.JSON {
		return nil
	}
	for _, other := range []struct {
		given  bool
		letter string
		why    string
	}{
		{o.Machine, "M", "the document is for programs"},
		{o.Raw, "R", "it has the records with -v"},
		{o.Quiet, "Q", "it goes to standard output"},
		{o.Save, "p", "it goes to standard output"},
		{o.Dir != "", "d", "it goes to standard output"},
		{o.Text.Unit != stats.Unit{}, "n", "its units are in its keys"},
	} {
		if other.given {
			return fmt.Errorf("options --json and -%s: want one of them: %s", other.letter, other.why)
		}
	}
	return nil
}

func (o *Options) parseWidth(s string) (float64, error) {
	w, err := strconv.ParseFloat(s, 64)
	if o.SinglePrecision {
		w = float64(float32(w))
	}
	if err != nil || !(w > 0) || math.IsInf(w, 1) {
		return 0, fmt.Errorf("option -b: bucket width %q: want a number of seconds above 0", s)
	}
	return w, nil
}

func parseCount(format, s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf(format, s)
	}
	return uint32(n), nil
}

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

// Settle resolves what contradicts itself, and says what it dropped.
func (o *Options) Settle() (notes []string) {
	quiet := o.Quiet || o.Raw
	if o.Verbose && quiet {
		o.Verbose = false
		notes = append(notes, "Ignoring '-v', '-Q' set")
	}
	if o.Machine && quiet {
		o.Machine = false
		notes = append(notes, "Ignoring '-M', '-Q' set")
	}
	if o.Verbose && o.Machine {
		o.Verbose = false
		notes = append(notes, "Ignoring '-v', '-M' set")
	}
	if o.Dir != "" && !o.Save {
		notes = append(notes, "Ignoring '-d', '-p' not set")
	}
	return notes
}

// bucketWidth returns the width of the bins of a summary's histogram.
func (o *Options) bucketWidth() float64 {
	switch {
	case o.BucketWidth != 0:
		return o.BucketWidth
	case o.SinglePrecision:
		return float64(float32(stats.DefaultBucketWidth))
	}
	return stats.DefaultBucketWidth
}
