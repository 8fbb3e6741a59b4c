package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"owl/cmd/internal/archiving"
	"owl/internal/cli"
	"owl/internal/command"
	"owl/internal/getopt"
	"owl/internal/report"
	"owl/owamp"
	"owl/owamp/stats"
	"owl/probe"
)

var program = command.Program{Name: "owping", Usage: `usage: owping [arguments] testaddr [servaddr]
[arguments] are as follows:

   -h             print this message and exit
   --version      print the version and exit

              [Test Args]

   -c count       number of test packets (default 100)
   -D DSCP        differentiated services code point: a number up to 0x3f, or
                  none, default, df, ef, cs0 to cs7, af11 to af43
   -E endDelay    wait before the end of the test, after its last time-out
                  (s, default 1 if this host sends, else 0)
   -f | -F file   perform one-way test from testhost [and save results to file]
   -i wait        time between packets (s, default 0.1): the mean of exponentially distributed ones,
                  or a list of them, each with f behind it if it is fixed: 0.1,0.2f
   -L timeout     after this time a packet is lost (s, default 2 and a round trip)
   -P low-high    UDP ports for the test packets (default 8760-9960, 0: any)
   -s padding     octets added to each test packet (default 0)
   -t | -T file   perform one-way test to testhost [and save results to file]
   -z delayStart  wait before the test (s)
` + cli.EngineUsage + `
Without any of -f, -F, -t and -T both directions are tested.

` + cli.ClientUsage + "\n" + fmt.Sprintf(report.Usage, "run the test and report nothing") + report.UsageJSON + `
              [Archive Args]

` + archiving.Usage("~/.local/state/owl/owping-queue.db")}

// options are a command line.
type options struct {
	command.Standard
	test, server     string // as given; server empty: the same as test
	conn             cli.ClientOptions
	report           report.Options
	packets          uint32
	dscp             uint8
	endDelay         time.Duration // negative: not given
	to, from         bool
	toFile, fromFile string // where to save the sessions; empty: nowhere
	slots            []owamp.Slot
	timeout          float64 // s; 0: not given
	ports            probe.PortRange
	padding          uint32
	delay            time.Duration
	engine           cli.EngineOptions
	archive          archiving.Options
}

// letters are the reference's, which takes w, too, and gives it no meaning.
const letters = cli.ClientLetters + report.Letters + "c:D:E:fF:hi:L:P:s:tT:wz:"

var long = slices.Concat(archiving.Long, cli.EngineLong, cli.ClientLong, report.Long, command.StandardLong)

// maxPadding is the reference's.
const maxPadding = 65000

// parse reads a command line. Options may stand behind addresses, as GNU getopt
// has it for the reference.
func parse(args []string) (*options, error) {
	o := &options{
		packets:  100,
		slots:    []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalSeconds(0.1)}},
		ports:    cli.TestPorts,
		endDelay: -1,
	}
	opts, rest, err := getopt.ParseMixed(args, letters, long)
	if err != nil {
		return nil, &command.UsageError{Err: err}
	}
	for _, opt := range opts {
		if err := o.set(opt.Name, opt.Value); err != nil {
			return nil, err
		}
	}
	if o.Asked() {
		return o, nil
	}
	if len(rest) < 1 || len(rest) > 2 {
		return nil, &command.UsageError{Err: errors.New("want a testaddr, and after it at most a servaddr")}
	}
	o.test = rest[0]
	if len(rest) == 2 {
		o.server = rest[1]
	}
	o.complete()
	return o, cmp.Or(o.conn.Validate(), o.report.Validate(), o.validate())
}

// set takes one option over.
func (o *options) set(name, value string) (err error) {
	if ok, err := o.conn.Set(name, value); ok || err != nil {
		return err
	}
	if ok, err := o.report.Set(name, value); ok || err != nil {
		return err
	}
	if ok, err := o.engine.Set(name, value); ok || err != nil {
		return err
	}
	if ok, err := o.archive.Set(name, value); ok || err != nil {
		return err
	}
	switch name {
	case "c":
		o.packets, err = parseCount("-c", value, 1, math.MaxUint32, "a number of packets")
	case "D":
		if o.dscp, err = owamp.ParseDSCP(value); err != nil {
			err = fmt.Errorf("option -D: %w", err)
		}
	case "E":
		o.endDelay, err = parseDelay("-E", value)
	case "f":
		o.from = true
	case "F":
		o.from, o.fromFile = true, value
	case "i":
		if o.slots, err = owamp.ParseSlots(value); err != nil {
			err = fmt.Errorf("option -i: %w", err)
		}
	case "L":
		if o.timeout, err = strconv.ParseFloat(value, 64); err != nil || !(o.timeout > 0 && o.timeout < math.MaxUint32) {
			err = fmt.Errorf("option -L: %q: want a number of seconds above 0", value)
		}
	case "P":
		if o.ports, err = probe.ParsePortRange(value); err != nil {
			err = fmt.Errorf("option -P: %w", err)
		}
	case "s":
		o.padding, err = parseCount("-s", value, 0, maxPadding, "a number of octets")
	case "t":
		o.to = true
	case "T":
		o.to, o.toFile = true, value
	case "z":
		o.delay, err = parseDelay("-z", value)
	default:
		o.SetStandard(name)
	}
	return err
}

func parseCount(option, s string, least, most uint32, what string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || uint32(n) < least || uint32(n) > most {
		return 0, fmt.Errorf("option %s: %q: want %s from %d to %d", option, s, what, least, most)
	}
	return uint32(n), nil
}

// maxDelay bounds the delays that a command line can ask for.
const maxDelay = 30 * 24 * time.Hour

func parseDelay(option, s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f <= maxDelay.Seconds()) {
		return 0, fmt.Errorf("option %s: %q: want a number of seconds from 0 to %.0f", option, s, maxDelay.Seconds())
	}
	return owamp.IntervalSeconds(f).Duration(), nil
}

// complete gives what follows from the other options.
func (o *options) complete() {
	if !o.to && !o.from {
		o.to, o.from = true, true
	}
	if o.endDelay < 0 {
		// A receiver takes a packet that was sent less than a time-out before
		// Stop-Sessions for one that it need not know of. The default is the
		// reference's for hosts whose clocks differ.
		o.endDelay = 0
		if o.to {
			o.endDelay = time.Second
		}
	}
}

// validate finds what is wrong with options that are each right.
func (o *options) validate() error {
	if o.timeout != 0 {
		return o.checkTimeout(o.timeout)
	}
	return nil
}

// checkTimeout refuses a time-out in seconds that a histogram cannot show.
func (o *options) checkTimeout(timeout float64) error {
	width := cmp.Or(o.report.BucketWidth, stats.DefaultBucketWidth)
	if timeout < width {
		//nolint:staticcheck // the C suite's words
		return fmt.Errorf("Invalid test specification: LossThreshold(%f) '-L' < BucketWidth (%f) '-b'", timeout, width)
	}
	return nil
}

// reports tells whether the program prints anything about sessions.
func (o *options) reports() bool { return !o.report.Quiet || o.report.Raw }
