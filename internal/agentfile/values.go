package agentfile

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"owl/internal/cli"
	"owl/owamp"
	"owl/probe"
)

// text reads a value that is text, and not empty.
func (p *parser) text(n *node) string {
	switch {
	case !p.plain(n):
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "":
		p.fail(n, "%s: want a value, not %s", n.key, kind(n))
	case len(n.Value) > maxText:
		p.fail(n, "%s: want at most %d octets", n.key, maxText)
	default:
		return n.Value
	}
	return ""
}

// names are what files, labels and lines of a log can have.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// name reads the name of a stream, a group or a host.
func (p *parser) name(n *node) string {
	s := p.text(n)
	if s != "" && !names.MatchString(s) {
		p.fail(n, "%s: %q: want at most 64 letters, digits, dots, dashes and underscores", n.key, short(s))
		return ""
	}
	return s
}

// address reads where a peer is.
func (p *parser) address(n *node) string {
	s := p.text(n)
	if s == "" {
		return ""
	}
	switch host, _, err := cli.ParseHostPort(s, cli.DefaultPort); {
	case err != nil:
		p.fail(n, "%s: %w", n.key, err)
	case host == "":
		p.fail(n, "%s: %q: want a host", n.key, s)
	default:
		return s
	}
	return ""
}

// listenAddress reads where to listen.
func (p *parser) listenAddress(n *node) string {
	s := p.text(n)
	if _, _, err := net.SplitHostPort(s); s != "" && err != nil {
		p.fail(n, "%s: %q: want host:port or :port", n.key, short(s))
		return ""
	}
	return s
}

// labelName is what Prometheus takes, but for what it keeps to itself.
var labelName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,63}$`)

// reserved are the labels that each stream has.
var reserved = map[string]bool{"source": true, "destination": true, "direction": true, "stream": true}

// count reads a number from least to most.
func (p *parser) count(n *node, least, most uint32) uint32 {
	s := p.text(n)
	v, err := strconv.ParseUint(s, 10, 32)
	if s != "" && (err != nil || uint32(v) < least || uint32(v) > most) {
		p.fail(n, "%s: %q: want a number from %d to %d", n.key, short(s), least, most)
	}
	return uint32(v)
}

// maxSeconds bounds each time, as powstream has it.
const maxSeconds = 30 * 365 * 24 * 3600

// seconds reads a time of at least least: a number of seconds, or one with a
// unit.
func (p *parser) seconds(n *node, least float64) float64 {
	s := p.text(n)
	if s == "" {
		return least
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		var d time.Duration
		d, err = time.ParseDuration(s)
		v = d.Seconds()
	}
	if err != nil || !(v >= least && v <= maxSeconds) {
		p.fail(n, "%s: %q: want a time of at least %v and at most 30 years, as 0.1, 100ms or 1m30s", n.key, short(s), time.Duration(least*1e9))
		return least
	}
	return v
}

// leastTime is the least time that is more than none.
const leastTime = 1e-6

func (p *parser) interval(n *node, least float64) owamp.Interval {
	return owamp.IntervalSeconds(p.seconds(n, least))
}

// flag reads true or false.
func (p *parser) flag(n *node) bool {
	s := p.text(n)
	if s != "" && s != "true" && s != "false" {
		p.fail(n, "%s: %q: want true or false", n.key, short(s))
	}
	return s == "true"
}

// option reads one of a few words.
func (p *parser) option(n *node, words ...string) string {
	s := p.text(n)
	if slices.Contains(words, s) {
		return s
	}
	last := len(words) - 1
	if s != "" {
		p.fail(n, "%s: %q: want %s or %s", n.key, short(s), strings.Join(words[:last], ", "), words[last])
	}
	return ""
}

func (p *parser) modes(n *node) owamp.Mode {
	s := p.text(n)
	m, err := owamp.ParseMode(s)
	if s != "" && (err != nil || m == 0) {
		p.fail(n, "%s: %q: want letters out of A, E and O", n.key, short(s))
	}
	return m
}

func (p *parser) portRange(n *node) probe.PortRange {
	s := p.text(n)
	r, err := probe.ParsePortRange(s)
	if s != "" && err != nil {
		p.fail(n, "%s: %w", n.key, err)
	}
	return r
}

// account is the name of a user or a group of a host, or -NUMBER.
const account = `(?:[A-Za-z_][A-Za-z0-9_.-]{0,63}|-[0-9]{1,10})`

var runAs = regexp.MustCompile("^" + account + "(?::" + account + ")?$")

// runAs reads a user, and perhaps a group.
func (p *parser) runAs(n *node) string {
	s := p.text(n)
	if s != "" && !runAs.MatchString(s) {
		p.fail(n, "%s: %q: want user or user:group, names or numbers behind a minus sign", n.key, short(s))
	}
	return s
}
