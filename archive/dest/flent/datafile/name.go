package datafile

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Suffix is how the names of files end; OldSuffix is how they did before Flent
// had its name.
const (
	Suffix    = ".flent.gz"
	OldSuffix = ".json.gz"
)

// longestName bounds the name of a file, as Flent does.
const longestName = 250

// FileName returns the format's own name of a file: the test, its time, of this
// host's zone, and the title, if it has one. Of the title only letters, digits and
// hyphens of ASCII stay.
func FileName(test string, start time.Time, title, suffix string) string {
	name := test + "-" + start.Local().Format(nameForm)
	if title != "" {
		title = strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
				return r
			}
			return '_'
		}, title)
		name += "." + title[:min(len(title), longestName-len(name)-len(suffix)-1)]
	}
	return name + suffix
}

// Label returns name as a label that plots find: Flent looks for series by
// patterns that do not match a colon, and splits lists of labels at commas as a
// shell does at spaces.
func Label(name string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == ':':
			return '-'
		case strings.ContainsRune(`,;"'\#*?`, r) || r < ' ' || r == 0x7f:
			return '_'
		}
		return r
	}, name))
}

// Labels makes labels of names that differ: where two would be the same, the
// later get a number.
func Labels(names []string) []string {
	taken := make(map[string]bool)
	labels := make([]string, len(names))
	for i, name := range names {
		base := Label(name)
		labels[i] = base
		for n := 2; taken[labels[i]]; n++ {
			labels[i] = fmt.Sprintf("%s %d", base, n)
		}
		taken[labels[i]] = true
	}
	return labels
}

// timeForm is how the format has times, always of UTC: neither more digits nor
// fewer may there be.
const timeForm = "2006-01-02T15:04:05.000000Z"

// ParseStep reads the length of a step, in seconds, as Flent's option has it.
func ParseStep(s string) (time.Duration, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= minStep.Seconds() && v <= maxStep.Seconds()) {
		return 0, fmt.Errorf("%q: want a number of seconds from %v to %v", s, minStep.Seconds(), maxStep.Seconds())
	}
	return time.Duration(math.Round(v * 1e9)), nil
}

// Bounds of a step.
const (
	minStep = time.Millisecond
	maxStep = 24 * time.Hour
)

// NameTime returns the time in the name of a file about a test; ok is false if it
// is none.
func NameTime(name, test string) (at time.Time, ok bool) {
	rest, ok := strings.CutPrefix(name, test+"-")
	if !ok || len(rest) <= len(nameForm) || !strings.HasSuffix(name, Suffix) && !strings.HasSuffix(name, OldSuffix) {
		return time.Time{}, false
	}
	at, err := time.ParseInLocation(nameForm, rest[:len(nameForm)], time.Local)
	return at, err == nil
}

// nameForm is how names have times.
const nameForm = "2006-01-02T150405.000000"
