// Package iso8601 reads and writes durations of ISO 8601 as pScheduler has them:
// weeks, days, hours, minutes and seconds, any of them with a fraction. Years and
// months, which have no certain length, are refused.
package iso8601

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
	"time"
)

const number = `([0-9]+(?:[.,][0-9]+)?)`

var form = regexp.MustCompile(`^P(?:` + number + `W)?(?:` + number + `D)?(T(?:` + number + `H)?(?:` + number + `M)?(?:` + number + `S)?)?$`)

// units are the groups of form, in nanoseconds.
var units = [...]struct {
	group int
	unit  time.Duration
}{
	{1, 7 * 24 * time.Hour},
	{2, 24 * time.Hour},
	{4, time.Hour},
	{5, time.Minute},
	{6, time.Second},
}

// maxLength bounds what is looked at, in octets.
const maxLength = 64

// ParseDuration reads a duration such as P1W, P1DT12H or PT0.5S. What it says
// beyond whole nanoseconds is cut off.
func ParseDuration(s string) (time.Duration, error) {
	m := form.FindStringSubmatch(s)
	if len(s) > maxLength || m == nil || s == "P" {
		return 0, fmt.Errorf("%.*q: want an ISO 8601 duration of weeks, days, hours, minutes or seconds, such as P1DT12H or PT30S", maxLength, s)
	}
	sum := new(big.Rat)
	for _, u := range units {
		if m[u.group] == "" {
			continue
		}
		n, _ := new(big.Rat).SetString(strings.Replace(m[u.group], ",", ".", 1)) // digits, as form has seen
		sum.Add(sum, n.Mul(n, new(big.Rat).SetInt64(int64(u.unit))))
	}
	ns := new(big.Int).Quo(sum.Num(), sum.Denom())
	if !ns.IsInt64() {
		return 0, fmt.Errorf("%q: want a duration of at most %d days", s, int64(math.MaxInt64/(24*time.Hour)))
	}
	return time.Duration(ns.Int64()), nil
}
