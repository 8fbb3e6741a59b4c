package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"owl/internal/cli"
	"owl/internal/command"
	"owl/internal/getopt"
	"owl/owamp"
	"owl/probe"
	"owl/sessions/policy"
	"owl/sessions/server"
)

var program = command.Program{Name: "owampd", Usage: `usage: owampd [arguments]
[arguments] are as follows:

   -a authmode    offered modes: letters of A [authenticated], E [encrypted], O [open]
                  (default AEO)
   -c confdir     directory of owamp-server.conf, owamp-server.limits and
                  owamp-server.pfs (default: the current one)
   -d datadir     directory of the sessions that are received (default: the current one)
   -e facility    syslog facility of messages (default daemon)
   -f             run as root, which is folly
   -G group       run as this group: a name or -gid
   -P low-high    UDP ports for test packets (default: any)
   -R vardir      directory of owamp-server.pid and owamp-server.info (default: the current one)
   -S node:port   listen there (default: all addresses, port 861)
   -U user        run as this user: a name or -uid
   -v             messages of level debug, too, unless loglevel says otherwise;
                  twice: and where in the code they come from
   -Z             stay in the foreground
   --metrics ADDR show live metrics to Prometheus at http://ADDR/metrics
` + cli.EngineUsage + cli.ClockUsage + `   --strict       do not start if others can read the pass-phrases
   --check        print what would be in force, and where it comes from; start nothing
   -h             print this message
   --version      print the version

owampd answers OWAMP clients: it sends test packets to those who ask for them and
records those that come. Without -Z it goes to the background as soon as it
listens. SIGHUP has it read its files again.
`}

const (
	confName   = "owamp-server.conf"
	limitsName = "owamp-server.limits"
	keysName   = "owamp-server.pfs"
)

// options are what the conf file and the command line say.
type options struct {
	command.Standard
	confDir        string
	modes          owamp.Mode // 0: not given
	listen         string     // srcnode
	ports          probe.PortRange
	dataDir        string
	varDir         string
	endDelay       time.Duration
	controlTimeout time.Duration
	maxConnections int
	diskFudge      float64
	retention      time.Duration // 0: for ever
	dieBy          time.Duration // 0: as long as it takes
	iterations     uint32        // pbkdf2_count
	facility       cli.Facility
	level          slog.Level
	levelGiven     bool
	location       bool
	verbose        int
	user, group    string
	rootFolly      bool
	foreground     bool
	strict         bool
	check          bool
	metrics        string
	engine         cli.EngineOptions
	clock          cli.ClockOptions

	from        map[string]string // where the value of a key comes from, if it is not the default
	limitsFile  string            // "": there is none
	limits      *policy.Limits
	keysFile    string // "": there is none
	passphrases *policy.Passphrases
	unreadable  error    // why the pass-phrase file may not be read
	remarks     []string // to be said once at the start
}

const letters = "a:c:d:e:fG:hP:R:S:U:vZ"

var long = slices.Concat([]getopt.Long{
	{Name: "metrics", Arg: true},
	{Name: "strict"},
	{Name: "check"},
}, cli.EngineLong, cli.ClockLong, command.StandardLong)

// parse reads the command line and the files that it names. What the command
// line says goes before what the conf file says. A confdir that is relative is
// below dir. The error may join several.
func parse(dir string, args []string) (*options, error) {
	o := &options{
		listen:         ":" + cli.DefaultPort,
		dataDir:        ".",
		varDir:         ".",
		endDelay:       defaultEndDelay,
		controlTimeout: defaultControlTimeout,
		maxConnections: defaultMaxConnections,
		diskFudge:      defaultDiskFudge,
		dieBy:          defaultDieBy,
		iterations:     defaultIterations,
		passphrases:    new(policy.Passphrases),
		facility:       cli.FacilityDaemon,
		from:           make(map[string]string),
	}
	opts, rest, err := getopt.Parse(args, letters, long)
	if err != nil {
		return o, &command.UsageError{Err: err}
	}
	if len(rest) > 0 {
		return o, &command.UsageError{Err: fmt.Errorf("%q: want no argument", rest[0])}
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
	if !filepath.IsAbs(o.confDir) {
		o.confDir = filepath.Join(dir, o.confDir)
	}
	errs := []error{o.readConf(confGiven)}
	for _, opt := range opts {
		if ok, err := o.engine.Set(opt.Name, opt.Value); ok {
			errs = append(errs, err)
			continue
		}
		if ok, err := o.clock.Set(opt.Name, opt.Value); ok {
			errs = append(errs, err)
			continue
		}
		if err := o.set(opt.Name, opt.Value); err != nil {
			errs = append(errs, fmt.Errorf("%s%s: %w", strings.Repeat("-", min(len(opt.Name), 2)), opt.Name, err))
		}
	}
	errs = append(errs, o.readPassphrases(), o.readLimits())
	return o, errors.Join(errs...)
}

// set takes one option of the command line over.
func (o *options) set(name, value string) (err error) {
	switch name {
	case "Z":
		o.foreground = true
	case "check":
		o.check = true
	case "strict":
		o.strict = true
	case "metrics":
		o.metrics, err = value, cli.CheckMetrics(value)
	default:
		if k := keyBy(func(k *key) bool { return k.letter == name }); k != nil {
			o.from[k.name] = "-" + name
			return k.set(o, value)
		}
	}
	return err
}

// path returns the name of a file in the conf directory.
func (o *options) path(name string) string { return filepath.Join(o.confDir, name) }

// readConf reads the conf file; without -c there need not be one.
func (o *options) readConf(must bool) error {
	name := o.path(confName)
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

// readLimits reads the limits file; without one there are no limits.
func (o *options) readLimits() error {
	name := o.path(limitsName)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		o.limits = policy.Unlimited()
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if o.limits, err = policy.Parse(name, f); err != nil {
		return err
	}
	o.limitsFile = name
	return nil
}

// remark keeps what is to be said once at the start.
func (o *options) remark(s string) {
	if !slices.Contains(o.remarks, s) {
		o.remarks = append(o.remarks, s)
	}
}

// logLevel returns the least level that is logged.
func (o *options) logLevel() slog.Level {
	if o.verbose > 0 && !o.levelGiven {
		return slog.LevelDebug
	}
	return o.level
}

// settings returns what can change while the server runs.
func (o *options) settings() server.Settings {
	return server.Settings{
		Ports:          o.ports,
		EndDelay:       o.endDelay,
		IdleTimeout:    o.controlTimeout,
		MaxConnections: o.maxConnections,
		DiskFudge:      o.diskFudge,
		Retention:      o.retention,
		Passphrases:    o.passphrases,
		Derivation:     o.iterations,
	}
}
