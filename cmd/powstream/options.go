package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"

	"owl/internal/cli"
	"owl/internal/getopt"
	"owl/owamp"
	"owl/probe"
)

const usage = `usage: powstream [arguments] testaddr [servaddr]
[arguments] are as follows:

  Connection:
   -4             use IPv4 only
   -6             use IPv6 only
   -A authmode    acceptable modes: letters of A [authenticated], E [encrypted], O [open]
   -k pffile      pass-phrase file for the user of -u
   -S srcaddr     use this local address, or that of this interface
   -B interface   bind to this device
   -u username    name of the pass-phrase
   -I retryDelay  longest wait between tries when the peer is away (s, default 60,
                  at most the length of a session)

  Test:
   -c count       packets per session (default 300)
   -D DSCP        differentiated services code point: a number up to 0x3f, or
                  none, default, df, ef, cs0 to cs7, af11 to af43
   -E endDelay    wait before the end of a session, after its last time-out (s)
   -i wait        mean time between packets, exponentially distributed (s, default 0.1)
   -L timeout     after this time a packet is lost (s, default 10)
   -P low-high    UDP ports for the test packets (default 8760-9960, 0: any)
   -s padding     octets added to each test packet (default 0)
   -t             send to the peer instead of receiving from it
   -z delayStart  wait before the first session (s)

  Output:
   -b bucketWidth width of the histogram's bins (s, default 0.0001)
   -d dir         directory of the files (default: the current one)
   -e facility    syslog facility of messages (default user)
   -g loglevel    none, fatal, warning, info, debug or all (default info)
   -N count       packets per sub-session, a divisor of -c (default: none)
   -p             print the names of files as they are completed
   -R             print no messages to stderr, only to syslog
   -U             add UNIX_START_TIME and UNIX_END_TIME to summaries
   -v             more in each message; twice: where in the code, too
   --metrics ADDR show live metrics to Prometheus at http://ADDR/metrics
   --check        check the arguments, and do not measure
   -h             print this message
   --version      print the version

powstream measures one-way latency from testaddr to this host, session after
session without holes, and writes START_END.owp and START_END.sum for each.
`

// options are a command line.
type options struct {
	test, server string // as given; server empty: the same as test
	family       cli.Family
	modes        owamp.Mode
	user         string
	keyFile      string
	source       string
	device       string
	retry        time.Duration // 0: not given
	packets      uint32
	dscp         uint8
	endDelay     time.Duration
	interval     float64 // s
	timeout      float64 // s
	ports        probe.PortRange
	padding      uint32
	send         bool
	delay        time.Duration
	bucket       float64 // s
	dir          string
	facility     cli.Facility
	level        slog.Level
	part         uint32
	print        bool
	quiet        bool
	unix         bool
	verbose      int
	metrics      string
	check        bool
	help         bool
	version      bool
}

// A usageError is answered with the usage text.
type usageError struct{ error }

// A loggedError is told by the logger, as the reference does from the moment
// on that its options are read.
type loggedError struct{ error }

const letters = "46A:k:S:B:u:I:c:D:E:i:L:s:tz:P:b:d:e:g:N:pRvUhw"

var long = []getopt.Long{
	{Name: "metrics", Arg: true},
	{Name: "check"},
	{Name: "help"},
	{Name: "version"},
}

// parse reads a command line.
func parse(args []string) (*options, error) {
	o := &options{
		packets:  300,
		interval: 0.1,
		timeout:  10,
		bucket:   0.0001,
		ports:    probe.PortRange{Low: 8760, High: 9960},
		facility: cli.FacilityUser,
		dir:      ".",
	}
	opts, rest, err := getopt.Parse(args, letters, long)
	if err != nil {
		return o, usageError{err}
	}
	given := make(map[string]bool)
	for _, opt := range opts {
		given[opt.Name] = true
		if err := o.set(opt.Name, opt.Value); err != nil {
			return o, err
		}
	}
	if o.help || o.version {
		return o, nil
	}
	if len(rest) < 1 || len(rest) > 2 {
		return o, usageError{errors.New("want a testaddr, and after it at most a servaddr")}
	}
	o.test = rest[0]
	if len(rest) == 2 {
		o.server = rest[1]
	}
	return o, o.validate(given)
}

// set takes one option over.
func (o *options) set(name, value string) (err error) {
	switch name {
	case "4", "6":
		// Both together are told of when the rest is known to be right.
		o.family = cli.Family(name[0] - '0')
	case "A":
		if o.modes, err = owamp.ParseMode(value); err != nil {
			return loggedError{usageError{fmt.Errorf("Invalid -authmode %s", value)}} //nolint:staticcheck // the C suite's words
		}
	case "k":
		o.keyFile = value
	case "S":
		o.source = value
	case "B":
		o.device = value
	case "u":
		o.user = value
	case "I":
		n, err := count("(-I) ", value)
		if err != nil {
			return err
		}
		o.retry = time.Duration(n) * time.Second
	case "c":
		o.packets, err = count("", value)
	case "D":
		if o.dscp, err = owamp.ParseDSCP(value); err != nil {
			return usageError{err}
		}
	case "E":
		s, err := positive("(-E) ", value)
		if err != nil {
			return err
		}
		o.endDelay = owamp.IntervalSeconds(s).Duration()
	case "i":
		o.interval, err = positive("", value)
	case "L":
		o.timeout, err = positive("(-L) ", value)
	case "s":
		o.padding, err = whole("", value)
		if o.padding > math.MaxUint16 {
			return usageError{fmt.Errorf("Invalid (-s) value %s. At most %d octets of padding fit into a packet", value, math.MaxUint16)} //nolint:staticcheck // as its neighbours
		}
	case "t":
		o.send = true
	case "z":
		n, err := whole("(-z) ", value)
		if err != nil {
			return err
		}
		o.delay = time.Duration(n) * time.Second
	case "P":
		if o.ports, err = portRange(value); err != nil {
			return loggedError{err}
		}
	case "b":
		o.bucket, err = positive("(-b) ", value)
	case "d":
		o.dir = value
	case "e":
		if o.facility, err = cli.ParseFacility(value); err != nil {
			return fmt.Errorf("Invalid -e: %w", err) //nolint:staticcheck // the C suite's words
		}
	case "g":
		o.level, err = cli.ParseLevel(value)
	case "N":
		o.part, err = count("(-N) ", value)
	case "p":
		o.print = true
	case "R":
		o.quiet = true
	case "U":
		o.unix = true
	case "v":
		o.verbose++
	case "metrics":
		o.metrics = value
	case "check":
		o.check = true
	case "h", "help":
		o.help = true
	case "version":
		o.version = true
	case "w": // the reference takes it, too, and gives it no meaning
	}
	return err
}

// validate finds what is wrong with options that are each right.
func (o *options) validate(given map[string]bool) error {
	switch {
	case given["4"] && given["6"]:
		return loggedError{errors.New("-4 and -6 flags cannot be set together")}
	case o.part != 0 && o.packets%o.part != 0:
		//nolint:staticcheck // the C suite's words
		return loggedError{fmt.Errorf("Number of summary packets (-N %d) must be a divisor of the number of session packets (-c %d).", o.part, o.packets)}
	case o.send:
		return loggedError{errors.New("-t: sending to the peer is not to be had; without -t the peer sends to this host")}
	case o.modes != 0 && o.modes&owamp.ModeOpen == 0:
		return loggedError{fmt.Errorf("-A %v: only open mode (O) is to be had", o.modes)}
	case o.user != "" || o.keyFile != "":
		return loggedError{errors.New("-u and -k: only open mode is to be had, which has no users")}
	}
	// As the reference has it, nobody waits longer for a peer than a session.
	session := time.Duration(float64(o.packets) * o.interval * float64(time.Second)).Truncate(time.Second)
	if o.retry == 0 {
		o.retry = time.Minute
	}
	if session > 0 {
		o.retry = min(o.retry, session)
	}
	return nil
}

// whole reads a number that is not negative.
func whole(option, s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, usageError{fmt.Errorf("Invalid %svalue. Positive integer expected", option)} //nolint:staticcheck // the C suite's words
	}
	return uint32(n), nil
}

// count reads a number greater than 0.
func count(option, s string) (uint32, error) {
	n, err := whole(option, s)
	if err == nil && n == 0 {
		_, err = whole(option, "")
	}
	return n, err
}

// positive reads a number of seconds greater than 0.
func positive(option, s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f > 0) || math.IsInf(f, 0) {
		return 0, usageError{fmt.Errorf("Invalid %svalue. Positive float expected", option)} //nolint:staticcheck // the C suite's words
	}
	return f, nil
}

// portRange reads a range of test ports. One port alone would do for Owl, but then
// the same command would fail with the reference.
func portRange(s string) (probe.PortRange, error) {
	r, err := probe.ParsePortRange(s)
	switch {
	case err != nil:
		return r, errors.New("Invalid test port range specified.") //nolint:staticcheck // the C suite's words
	case r.Low == r.High && r.Low != 0:
		return r, errors.New("Invalid test port range specified: must contain at least 2 ports.") //nolint:staticcheck // the C suite's words
	}
	return r, nil
}
