package cli

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
)

// A Facility is a syslog facility (RFC 3164 section 4.1.1), shifted as the
// priority of a message wants it. The zero Facility means no syslog at all.
type Facility int

// FacilityUser is where powstream logs unless it is told otherwise, and
// FacilityDaemon where owampd does.
const (
	FacilityUser   Facility = 1 << 3
	FacilityDaemon Facility = 3 << 3
)

// facilities are the names that the C suite knows. "kern" is reserved for the
// kernel: the C library turns it into "user", and so do we.
var facilities = map[string]Facility{
	"kern": FacilityUser, "user": FacilityUser, "mail": 2 << 3, "daemon": FacilityDaemon,
	"auth": 4 << 3, "security": 4 << 3, "syslog": 5 << 3, "lpr": 6 << 3, "news": 7 << 3,
	"uucp": 8 << 3, "cron": 9 << 3, "authpriv": 10 << 3, "ftp": 11 << 3,
	"local0": 16 << 3, "local1": 17 << 3, "local2": 18 << 3, "local3": 19 << 3,
	"local4": 20 << 3, "local5": 21 << 3, "local6": 22 << 3, "local7": 23 << 3,
}

// String returns the name of f that [ParseFacility] reads.
func (f Facility) String() string {
	for name, is := range facilities {
		if is == f && name != "kern" && name != "security" {
			return name
		}
	}
	return fmt.Sprintf("facility %d", int(f))
}

// ParseFacility reads the name of a syslog facility, in either case. The
// error's text is the C suite's.
func ParseFacility(s string) (Facility, error) {
	f, ok := facilities[strings.ToLower(s)]
	if !ok {
		return 0, fmt.Errorf("Syslog facility %q unknown", s) //nolint:staticcheck // the C suite's words, which scripts look for
	}
	return f, nil
}

// The levels of -g and of loglevel that are more and less than slog's own.
const (
	LevelAll  = slog.Level(math.MinInt32)
	LevelNone = slog.Level(math.MaxInt32)
)

var levels = map[string]slog.Level{
	"none": LevelNone, "fatal": slog.LevelError, "warning": slog.LevelWarn, "warn": slog.LevelWarn,
	"info": slog.LevelInfo, "debug": slog.LevelDebug, "all": LevelAll,
}

// ParseLevel reads a log level as -g and loglevel write it, in either case:
// none, fatal, warning (or warn), info, debug or all. "fatal" is
// [slog.LevelError]. The error's text is the C suite's.
func ParseLevel(s string) (slog.Level, error) {
	l, ok := levels[strings.ToLower(s)]
	if !ok {
		return 0, fmt.Errorf("Log level %q invalid", s) //nolint:staticcheck // the C suite's words, which scripts look for
	}
	return l, nil
}

// LevelName returns the name of a level that [ParseLevel] reads.
func LevelName(l slog.Level) string {
	for name, is := range levels {
		if is == l && name != "warn" {
			return name
		}
	}
	return l.String()
}

// severity is the syslog severity of a level (RFC 3164 section 4.1.1).
func severity(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}
