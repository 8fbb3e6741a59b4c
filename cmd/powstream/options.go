package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"owl/cmd/internal/archiving"
	"owl/internal/cli"
	"owl/internal/command"
	"owl/internal/getopt"
	"owl/owamp"
	"owl/probe"
)

var program = command.Program{Name: "powstream", Usage: `usage: powstream [arguments] testaddr [servaddr]
[arguments] are as follows:

  Connection:
   -4             use IPv4 only
   -6             use IPv6 only
   -A authmode    acceptable modes: letters of A [authenticated], E [encrypted], O [open];
                  the strictest that the server offers is taken (default AEO with -u, else O)
   -k pffile      pass-phrase file for the user of -u (default: ask at the terminal)
   -S srcaddr     use this local address, or that of this interface
   -B interface   bind to this device
   -u username    user whose pass-phrase authenticates this host
   --max-pbkdf2-count N
                  refuse a server that wants more iterations of the key derivation
                  (default 1048576, which take about a second)
   -I retryDelay  longest wait between tries when the peer is away (s, default 60,
                  at most the length of a session)

  Test:
   -c count       packets per session (default 300)
   -D DSCP        differentiated services code point: a number up to 0x3f, or
                  none, default, df, ef, cs0 to cs7, af11 to af43
   -E endDelay    wait before the end of a session, after its last time-out
                  (s, default 0, with -t 1)
   -i wait        mean time between packets, exponentially distributed (s, default 0.1)
   -L timeout     after this time a packet is lost (s, default 10)
   -P low-high    UDP ports for the test packets (default 8760-9960, 0: any)
   -s padding     octets added to each test packet (default 0)
   -t             send to the peer instead of receiving from it, and fetch what
                  it has received
   -z delayStart  wait before the first session (s)
` + cli.EngineUsage + cli.ClockUsage + `
  Output:
   -b bucketWidth width of the histogram's bins (s, default 0.0001)
   -d dir         directory of the files (default: the current one)
   -e facility    syslog facility of messages (default user)
   -g loglevel    none, fatal, warning, info, debug or all (default info)
   -N count       packets per sub-session, a divisor of -c (default: none)
   -p             print the names of files as they are completed
   -R             print no messages to stderr, only to syslog
   -U             add UNIX_START_TIME and UNIX_END_TIME to summaries
   -v             messages of level debug, too, unless -g says otherwise; twice:
                  and where in the code they come from
   --metrics ADDR show live metrics to Prometheus at http://ADDR/metrics
   --check        check the arguments and the directory, and do not measure
   -h             print this message
   --version      print the version

  Archiving:
` + archiving.Usage("."+queueName+" in -d") + archiving.UsageEach + `
powstream measures one-way latency from testaddr to this host, or with -t from
this host to testaddr, session after session without holes, and writes
START_END.owp and START_END.sum for each.
`}

// options are a command line.
type options struct {
	command.Standard
	conn         cli.ClientOptions
	test, server string // as given; server empty: the same as test
	retry        time.Duration
	packets      uint32
	dscp         uint8
	endDelay     time.Duration
	interval     float64 // s
	timeout      float64 // s
	ports        probe.PortRange
	padding      uint32
	send         bool
	delay        time.Duration
	engine       cli.EngineOptions
	clock        cli.ClockOptions
	bucket       float64 // s
	dir          string
	facility     cli.Facility
	level        slog.Level
	part         uint32 // 0: none
	print        bool
	quiet        bool
	unix         bool
	verbose      int
	metrics      string
	check        bool
	archive      archiving.Options
}

// queueName is the file in -d in which results wait, behind a dot.
const queueName = "owl-queue.db"

const letters = cli.ClientLetters + "I:c:D:E:i:L:s:tz:P:b:d:e:g:N:pRvUhw"

var long = slices.Concat([]getopt.Long{
	{Name: "metrics", Arg: true},
	{Name: "check"},
}, archiving.Long, archiving.LongEach, cli.EngineLong, cli.ClockLong, cli.ClientLong, command.StandardLong)

const (
	// maxSession bounds a session: times more than 68 years apart cannot be
	// told from each other in which is first.
	maxSession = 30 * 365 * 24 * time.Hour
	// maxSeconds bounds each option that is a time.
	maxSeconds = float64(maxSession / time.Second)
	// sendEndDelay is how long a sender waits for a receiver whose clock is
	// behind to know by itself that all time-outs are over (-E).
	sendEndDelay = time.Second
	// minRetry is the longest wait for a peer where none was asked for (-I 0).
	minRetry = 500 * time.Millisecond
)

// parse reads a command line.
func parse(args []string) (*options, error) {
	o := &options{
		retry:    time.Minute,
		packets:  300,
		interval: 0.1,
		timeout:  10,
		bucket:   0.0001,
		ports:    cli.TestPorts,
		facility: cli.FacilityUser,
		dir:      ".",
	}
	opts, rest, err := getopt.Parse(args, letters, long)
	if err != nil {
		return nil, &command.UsageError{Err: err}
	}
	levelGiven := false
	for _, opt := range opts {
		if err := o.set(opt.Name, opt.Value); err != nil {
			return nil, err
		}
		levelGiven = levelGiven || opt.Name == "g"
	}
	if o.verbose > 0 && !levelGiven {
		o.level = slog.LevelDebug
	}
	if o.Asked() {
		return o, nil
	}
	if len(rest) < 1 || len(rest) > 2 || slices.Contains(rest, "") {
		return nil, &command.UsageError{Err: errors.New("want a testaddr, and after it at most a servaddr")}
	}
	o.test = rest[0]
	if len(rest) == 2 {
		o.server = rest[1]
	}
	return o, o.validate()
}

// set takes one option over.
func (o *options) set(name, value string) (err error) {
	if ok, err := o.conn.Set(name, value); ok || err != nil {
		return err
	}
	if ok, err := o.engine.Set(name, value); ok || err != nil {
		return err
	}
	if ok, err := o.clock.Set(name, value); ok || err != nil {
		return err
	}
	if ok, err := o.archive.Set(name, value); ok || err != nil {
		return err
	}
	switch name {
	case "I":
		o.retry, err = whole(name, value)
	case "c":
		o.packets, err = count(name, value)
		if o.packets == 0 {
			err = wantInteger(name, value)
		}
	case "D":
		if o.dscp, err = owamp.ParseDSCP(value); err != nil {
			err = fmt.Errorf("option -D: %w", err)
		}
	case "E":
		var s float64
		s, err = seconds(name, value)
		o.endDelay = owamp.IntervalSeconds(s).Duration()
	case "i":
		o.interval, err = seconds(name, value)
	case "L":
		o.timeout, err = seconds(name, value)
	case "s":
		o.padding, err = count(name, value)
		if o.padding > cli.MaxPadding {
			err = fmt.Errorf("option -s: padding of %d octets: want at most %d, for more does not fit into a packet", o.padding, cli.MaxPadding)
		}
	case "t":
		o.send = true
	case "z":
		o.delay, err = whole(name, value)
	case "P":
		o.ports, err = portRange(value)
	case "b":
		o.bucket, err = seconds(name, value)
	case "d":
		o.dir = value
	case "e":
		if o.facility, err = cli.ParseFacility(value); err != nil {
			err = fmt.Errorf("Invalid -e: %w", err) //nolint:staticcheck // the C suite's words
		}
	case "g":
		o.level, err = cli.ParseLevel(value)
	case "N":
		o.part, err = count(name, value)
	case "p":
		o.print = true
	case "R":
		o.quiet = true
	case "U":
		o.unix = true
	case "v":
		o.verbose++
	case "metrics":
		o.metrics, err = value, cli.CheckMetrics(value)
	case "check":
		o.check = true
	default: // of them is -w: the reference takes it, and gives it no meaning
		o.SetStandard(name)
	}
	return err
}

// validate finds what is wrong with options that are each right.
func (o *options) validate() error {
	length := float64(o.packets) * o.interval
	switch {
	case o.part != 0 && o.packets%o.part != 0:
		//nolint:staticcheck // the C suite's words
		return fmt.Errorf("Number of summary packets (-N %d) must be a divisor of the number of session packets (-c %d).", o.part, o.packets)
	case length > maxSeconds:
		return fmt.Errorf("-c %d packets each -i %g s: want sessions of at most 30 years", o.packets, o.interval)
	}
	if o.send && o.endDelay == 0 {
		o.endDelay = sendEndDelay
	}
	// As the reference has it, nobody waits longer for a peer than a session.
	if session := time.Duration(length) * time.Second; session > 0 {
		o.retry = min(o.retry, session)
	}
	o.retry = max(o.retry, minRetry)
	return o.conn.Validate()
}

// count reads a number that is not negative.
func count(option, s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, wantInteger(option, s)
	}
	return uint32(n), nil
}

// whole reads a whole number of seconds that is not negative.
func whole(option, s string) (time.Duration, error) {
	n, err := count(option, s)
	return time.Duration(n) * time.Second, err
}

func wantInteger(option, s string) error {
	return fmt.Errorf("Invalid (-%s) value %q. Positive integer expected", option, s) //nolint:staticcheck // the C suite's words
}

// seconds reads a number of seconds greater than 0.
func seconds(option, s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f > 0) {
		return 0, fmt.Errorf("Invalid (-%s) value %q. Positive float expected", option, s) //nolint:staticcheck // the C suite's words
	}
	if f > maxSeconds {
		return 0, fmt.Errorf("option -%s: %s s: want at most 30 years", option, s)
	}
	return f, nil
}

// portRange reads a range of test ports. One port alone would do for Owl, but
// then the same command would fail with the reference.
func portRange(s string) (probe.PortRange, error) {
	r, err := probe.ParsePortRange(s)
	switch {
	case err != nil:
		return r, fmt.Errorf("Invalid test port range specified. %w", err) //nolint:staticcheck // the C suite's words
	case r.Low == r.High && r.Low != 0:
		return r, errors.New("Invalid test port range specified: must contain at least 2 ports.") //nolint:staticcheck // the C suite's words
	}
	return r, nil
}
