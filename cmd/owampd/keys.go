package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"owl/internal/cli"
	"owl/owamp"
	"owl/probe"
)

// A key is one of those that owamp-server.conf may have. Most have a letter on
// the command line, too.
type key struct {
	name    string
	letter  string // of the option that says the same; "": there is none
	flag    bool   // it has no value
	restart bool   // a change takes effect when owampd is started again
	set     func(o *options, value string) error
	// text returns what is in force as the file would say it: "" where a flag
	// is not set, or where there is no value.
	text func(o *options) string
}

// keys are in the order in which --check prints them.
var keys = []key{
	{name: "srcnode", letter: "S", restart: true, set: (*options).setListen, text: func(o *options) string { return o.listen }},
	{name: "authmode", letter: "a", restart: true, set: (*options).setModes, text: func(o *options) string { return o.wanted().String() }},
	{name: "testports", letter: "P", set: (*options).setPorts, text: func(o *options) string { return o.ports.String() }},
	{name: "datadir", letter: "d", restart: true, set: (*options).setDataDir, text: func(o *options) string { return o.dataDir }},
	{name: "vardir", letter: "R", restart: true, set: (*options).setVarDir, text: func(o *options) string { return o.varDir }},
	{name: "user", letter: "U", restart: true, set: func(o *options, v string) error { o.user = v; return nil }, text: func(o *options) string { return o.user }},
	{name: "group", letter: "G", restart: true, set: func(o *options, v string) error { o.group = v; return nil }, text: func(o *options) string { return o.group }},
	{name: "rootfolly", letter: "f", flag: true, restart: true, set: func(o *options, _ string) error { o.rootFolly = true; return nil }, text: func(o *options) string { return flagText(o.rootFolly) }},
	{name: "maxcontrolsessions", set: (*options).setMaxConnections, text: func(o *options) string { return strconv.Itoa(o.maxConnections) }},
	{name: "controltimeout", set: (*options).setControlTimeout, text: func(o *options) string { return secondsText(o.controlTimeout) }},
	{name: "enddelay", set: (*options).setEndDelay, text: func(o *options) string { return secondsText(o.endDelay) }},
	{name: "diskfudge", set: (*options).setDiskFudge, text: func(o *options) string { return strconv.FormatFloat(o.diskFudge, 'f', -1, 64) }},
	{name: "retention", set: (*options).setRetention, text: func(o *options) string { return secondsText(o.retention) }},
	{name: "dieby", set: (*options).setDieBy, text: func(o *options) string { return secondsText(o.dieBy) }},
	{name: "facility", letter: "e", restart: true, set: (*options).setFacility, text: func(o *options) string { return o.facility.String() }},
	{name: "loglevel", set: (*options).setLevel, text: func(o *options) string { return cli.LevelName(o.logLevel()) }},
	{name: "loglocation", flag: true, restart: true, set: func(o *options, _ string) error { o.location = true; return nil }, text: func(o *options) string { return flagText(o.location || o.verbose > 1) }},
	{name: "verbose", letter: "v", flag: true, set: func(o *options, _ string) error { o.verbose++; return nil }, text: func(o *options) string { return flagText(o.verbose > 0) }},
	{name: "pbkdf2_count", set: (*options).setIterations, text: func(o *options) string { return strconv.FormatUint(uint64(o.iterations), 10) }},
}

// keyBy returns the key for which is holds, nil if there is none.
func keyBy(is func(*key) bool) *key {
	for i := range keys {
		if is(&keys[i]) {
			return &keys[i]
		}
	}
	return nil
}

func flagText(on bool) string {
	if on {
		return "on"
	}
	return ""
}

func secondsText(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

// The defaults of the C suite's owampd. Its own "no limit" of control sessions
// is the most that this one takes.
const (
	defaultMaxConnections = 4096
	defaultControlTimeout = 1800 * time.Second
	defaultEndDelay       = time.Second
	defaultDieBy          = 5 * time.Second
	defaultDiskFudge      = 1.0
	defaultIterations     = 2048
	leastIterations       = 1024    // RFC 4656 section 3.1
	mostIterations        = 1 << 20 // that Owl's clients do, unless told otherwise
)

func (o *options) setModes(s string) (err error) {
	o.modes, err = owamp.ParseMode(s)
	return err
}

func (o *options) setListen(s string) error {
	_, _, err := cli.ParseHostPort(s, cli.DefaultPort)
	o.listen = s
	return err
}

func (o *options) setPorts(s string) (err error) {
	o.ports, err = probe.ParsePortRange(s)
	return err
}

func (o *options) setDataDir(s string) error { return setDir(&o.dataDir, s) }

func (o *options) setVarDir(s string) error { return setDir(&o.varDir, s) }

func setDir(dir *string, s string) error {
	if s == "" {
		return errors.New("want the name of a directory")
	}
	*dir = s
	return nil
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
	if o.maxConnections = int(n); n == 0 {
		o.maxConnections = defaultMaxConnections
	}
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

func (o *options) setControlTimeout(s string) error { return setSeconds(&o.controlTimeout, s, 1) }

func (o *options) setDieBy(s string) error { return setSeconds(&o.dieBy, s, 0) }

func (o *options) setRetention(s string) error { return setSeconds(&o.retention, s, 0) }

// setSeconds takes over a whole number of seconds.
func setSeconds(d *time.Duration, s string, least uint64) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n < least {
		return fmt.Errorf("%q: want seconds, %d or more", s, least)
	}
	*d = time.Duration(n) * time.Second
	return nil
}

func (o *options) setDiskFudge(s string) error {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(1 <= f && f <= 10) {
		return fmt.Errorf("%q: want a factor from 1.0 to 10.0", s)
	}
	o.diskFudge = f
	return nil
}

func (o *options) setIterations(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n < leastIterations || n > mostIterations {
		return fmt.Errorf("%q: want a number of iterations, %d to %d", s, leastIterations, mostIterations)
	}
	o.iterations = uint32(n)
	return nil
}
