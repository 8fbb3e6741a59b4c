package cli

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"owl/internal/getopt"
	"owl/probe/clock"
)

// ClockOptions are what a command line says of who knows how good the clock is,
// beside the kernel.
type ClockOptions struct{ Sources clock.Sources }

// ClockLong declares the options to package getopt.
var ClockLong = []getopt.Long{
	{Name: "ntp", Arg: true},
	{Name: "chrony", Arg: true},
}

// ClockUsage describes them.
const ClockUsage = `   --ntp SERVER   ask this NTP server every 64 s how far this host's clock is off, and
                  say so if that is more than the kernel says; for each server once
   --chrony WHERE ask chronyd there, too: auto (default), off, host:port or the path
                  of its socket
`

// Set takes over one option as package getopt gives it. It reports whether the
// option is one of [ClockLong].
func (o *ClockOptions) Set(name, value string) (ok bool, err error) {
	switch name {
	case "ntp":
		o.Sources.NTP = append(o.Sources.NTP, value)
	case "chrony":
		o.Sources.Chrony = value
	default:
		return false, nil
	}
	if err = o.Sources.Check(); err == nil && value == "" {
		err = errors.New("want a value")
	}
	if err != nil {
		err = fmt.Errorf("option --%s: %w", name, err)
	}
	return true, err
}

// Open returns the clock that the options describe, by the environment perhaps
// wrong on purpose.
func (o *ClockOptions) Open(getenv func(string) string, log *slog.Logger) (*clock.Clock, error) {
	sources := o.Sources
	if sources.Chrony == "" {
		sources.Chrony = clock.ChronyAuto
	}
	shift, err := TimeShift(getenv)
	if err != nil {
		return nil, err
	}
	return clock.New(clock.Config{Shift: shift, Sources: sources, Log: log}), nil
}

// Describe says in a line each what is not as it would be without options.
func (o *ClockOptions) Describe() []string {
	var lines []string
	if len(o.Sources.NTP) > 0 {
		every := cmp.Or(o.Sources.Every, clock.DefaultEvery)
		lines = append(lines, fmt.Sprintf("NTP servers are asked every %v: %s", every, strings.Join(o.Sources.NTP, ", ")))
	}
	switch o.Sources.Chrony {
	case "", clock.ChronyAuto:
	case clock.ChronyOff:
		lines = append(lines, "chronyd is not asked")
	default:
		lines = append(lines, "chronyd is asked at "+o.Sources.Chrony)
	}
	return lines
}

// TimeShift reads OWAMP_DEBUG_TIMEOFFSET: the seconds by which a program's
// clock shall be wrong on purpose.
func TimeShift(getenv func(string) string) (time.Duration, error) {
	const name, limit = "OWAMP_DEBUG_TIMEOFFSET", 1e9 // 31 years
	s := getenv(name)
	if s == "" {
		return 0, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f > -limit && f < limit) {
		return 0, fmt.Errorf("%s=%q: want seconds, as 0.0055 or -2", name, s)
	}
	return time.Duration(f * float64(time.Second)), nil
}

// WarnClock says, once at the start and in one line, what it means that nobody
// vouches for this host's clock.
func WarnClock(synchronized bool, log *slog.Logger) {
	if !synchronized {
		log.Warn("NTP: Status UNSYNC (clock offset issues likely): nothing synchronizes this host's clock, so delays are off by as much as it is; loss and delay variation are right")
	}
}
