package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"owl/internal/cli"
	"owl/internal/getopt"
	"owl/owamp"
	"owl/probe"
)

var program = cli.Program{Name: "owampd", Usage: `usage: owampd [arguments]
[arguments] are as follows:

   -a authmode   offered modes: letters of A [authenticated], E [encrypted], O [open]
   -c confdir    directory of owamp-server.conf (default: the current one)
   -d datadir    directory of the sessions that are received (default: the current one)
   -e facility   syslog facility of messages (default daemon)
   -f            run as root, which is folly
   -G group      run as this group: a name or -gid
   -P low-high   UDP ports for test packets (default: any)
   -R vardir     directory of owamp-server.pid and owamp-server.info (default: the current one)
   -S node:port  listen there (default: all addresses, port 861)
   -U user       run as this user: a name or -uid
   -v            messages of level debug, too, unless loglevel says otherwise;
                 twice: and where in the code they come from
   -Z            stay in the foreground
   --metrics ADDR  show live metrics to Prometheus at http://ADDR/metrics
   -h            print this message
   --version     print the version

owampd answers OWAMP clients: it sends test packets to those who ask for them and
records those that come.
`}

const (
	confName   = "owamp-server.conf"
	limitsName = "owamp-server.limits"
	keysName   = "owamp-server.pfs"
)

// options are what the conf file and the command line say.
type options struct {
	cli.Standard
	confDir        string
	modes          owamp.Mode // 0: not given
	listen         string     // srcnode
	ports          probe.PortRange
	dataDir        string
	varDir         string
	endDelay       time.Duration
	controlTimeout time.Duration // 0: the default
	maxConnections int           // 0: the default
	facility       cli.Facility
	level          slog.Level
	levelGiven     bool
	location       bool
	verbose        int
	user, group    string
	rootFolly      bool
	foreground     bool
	metrics        string
	remarks        []string // to be said once at the start
}

const letters = "a:c:d:e:fG:hP:R:S:U:vwZ"

var long = append([]getopt.Long{
	{Name: "metrics", Arg: true},
}, cli.StandardLong...)

// parse reads the command line and the conf file that it names. What the
// command line says goes before what the file says.
func parse(args []string) (*options, error) {
	o := &options{
		confDir:  ".",
		dataDir:  ".",
		varDir:   ".",
		endDelay: time.Second,
		facility: cli.FacilityDaemon,
	}
	opts, rest, err := getopt.Parse(args, letters, long)
	if err != nil {
		return o, &cli.UsageError{Err: err}
	}
	if len(rest) > 0 {
		return o, &cli.UsageError{Err: fmt.Errorf("%q: want no argument", rest[0])}
	}
	confGiven := false
	for _, opt := range opts {
		switch opt.Name {
		case "c":
			o.confDir, confGiven = opt.Value, true
		default:
			o.SetStandard(opt.Name)
		}
	}
	if o.Asked() {
		return o, nil
	}
	if err := o.readConf(confGiven); err != nil {
		return o, err
	}
	for _, opt := range opts {
		if err := o.set(opt.Name, opt.Value); err != nil {
			return o, fmt.Errorf("-%s: %w", opt.Name, err)
		}
	}
	if o.verbose > 0 && !o.levelGiven {
		o.level = slog.LevelDebug
	}
	return o, o.validate()
}

// readConf reads the conf file; without -c there need not be one.
func (o *options) readConf(must bool) error {
	name := filepath.Join(o.confDir, confName)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) && !must {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return readConf(name, f, o)
}

// set takes one option of the command line over.
func (o *options) set(name, value string) (err error) {
	switch name {
	case "a":
		err = o.setModes(value)
	case "d":
		o.dataDir = value
	case "e":
		err = o.setFacility(value)
	case "f":
		o.rootFolly = true
	case "G":
		o.group = value
	case "P":
		err = o.setPorts(value)
	case "R":
		o.varDir = value
	case "S":
		o.listen = value
	case "U":
		o.user = value
	case "v":
		o.verbose++
	case "Z":
		o.foreground = true
	case "metrics":
		o.metrics = value
	}
	return err
}

func (o *options) setModes(s string) (err error) {
	o.modes, err = owamp.ParseMode(s)
	return err
}

func (o *options) setPorts(s string) (err error) {
	o.ports, err = probe.ParsePortRange(s)
	return err
}

func (o *options) setFacility(s string) (err error) {
	o.facility, err = cli.ParseFacility(s)
	return err
}

func (o *options) setLevel(s string) (err error) {
	o.level, err = cli.ParseLevel(s)
	o.levelGiven = true
	return err
}

func (o *options) setMaxConnections(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return fmt.Errorf("%q: want a number, 0 for no limit but owampd's own", s)
	}
	o.maxConnections = int(n)
	return nil
}

func (o *options) setEndDelay(s string) error {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0) || f > math.MaxUint32 {
		return fmt.Errorf("%q: want seconds, 0 or more", s)
	}
	o.endDelay = owamp.IntervalSeconds(f).Duration()
	return nil
}

func (o *options) setControlTimeout(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return fmt.Errorf("%q: want seconds, 1 or more", s)
	}
	o.controlTimeout = time.Duration(n) * time.Second
	return nil
}

// validate refuses what this owampd cannot do, rather than do less than it was
// told.
func (o *options) validate() error {
	switch {
	case !o.foreground:
		return errors.New("owampd stays in the foreground: say so with -Z")
	case o.modes != 0 && o.modes&owamp.ModeOpen == 0:
		return fmt.Errorf("authmode %v: only open mode (O) is to be had", o.modes)
	case o.modes&^owamp.ModeOpen != 0:
		o.remarks = append(o.remarks, fmt.Sprintf("authmode %v: only open mode (O) is offered", o.modes))
	}
	for _, name := range []string{limitsName, keysName} {
		if name == keysName && o.modes == owamp.ModeOpen {
			continue // nobody asks for keys
		}
		path := filepath.Join(o.confDir, name)
		if _, err := os.Stat(path); err == nil {
			return fmt.Errorf("%s: this owampd has no limits and no keys, and does not run as if it had: move the file away", path)
		}
	}
	return nil
}
