package cli

import (
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

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
