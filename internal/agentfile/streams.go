package agentfile

import (
	"maps"
	"path/filepath"

	"owl/internal/cli"
	"owl/owamp"
	"owl/sessions/policy"
)

// A template is a stream whose direction may be both.
type template struct {
	Stream
	direction Direction
	delayed   bool // its EndDelay was given
}

// newTemplate returns what a stream has if nobody says otherwise: what powstream
// has.
func newTemplate() template {
	return template{
		direction: Receive,
		Stream: Stream{
			Packets:  300,
			Interval: owamp.IntervalSeconds(0.1),
			Timeout:  owamp.IntervalSeconds(10),
			Retry:    owamp.IntervalSeconds(60),
			Bucket:   0.0001,
		},
	}
}

// common returns the keys that streams, groups and their defaults have.
func (p *parser) common(t *template) []field {
	c := &t.Client
	return []field{
		{name: "direction", read: func(n *node) {
			t.direction = Direction(p.option(n, string(Receive), string(Send), string(both)))
		}},
		{name: "packets", read: func(n *node) { t.Packets = p.count(n, 1, 1<<31) }},
		{name: "interval", read: func(n *node) { t.Interval = p.interval(n, leastTime) }},
		{name: "schedule", read: func(n *node) { t.Periodic = p.option(n, "poisson", "periodic") == "periodic" }},
		{name: "timeout", read: func(n *node) { t.Timeout = p.interval(n, leastTime) }},
		{name: "padding", read: func(n *node) { t.Padding = p.count(n, 0, cli.MaxPadding) }},
		{name: "dscp", read: func(n *node) { t.DSCP = p.dscp(n) }},
		{name: "end_delay", read: func(n *node) { t.EndDelay, t.delayed = p.interval(n, 0), true }},
		{name: "retry", read: func(n *node) { t.Retry = p.interval(n, 0.5) }},
		{name: "dir", read: func(n *node) { t.Dir = p.text(n) }},
		{name: "part", read: func(n *node) { t.Part = p.count(n, 0, 1<<31) }},
		{name: "bucket", read: func(n *node) { t.Bucket = p.seconds(n, leastTime) }},
		{name: "unix_times", read: func(n *node) { t.UnixTimes = p.flag(n) }},
		{name: "output_raw", read: func(n *node) { t.Raw = p.flag(n) }},
		{name: "ip_version", read: func(n *node) {
			if s := p.option(n, "4", "6"); s != "" {
				c.Family = cli.Family(s[0] - '0')
			}
		}},
		{name: "source", read: func(n *node) { c.Source = p.text(n) }},
		{name: "device", read: func(n *node) { c.Device = p.text(n) }},
		{name: "modes", read: func(n *node) { c.Modes = p.modes(n) }},
		{name: "user", read: func(n *node) { c.User = p.user(n) }},
		{name: "key_file", read: func(n *node) { c.KeyFile = p.text(n) }},
		{name: "max_pbkdf2_count", read: func(n *node) { c.MaxCount = p.count(n, 1024, 1<<32-1) }},
		{name: "labels", read: func(n *node) { t.Labels = p.labels(n, t.Labels) }},
	}
}

func (p *parser) dscp(n *node) uint8 {
	s := p.text(n)
	v, err := owamp.ParseDSCP(s)
	if s != "" && err != nil {
		p.fail(n, "%s: %w", n.key, err)
	}
	return v
}

func (p *parser) user(n *node) string {
	s := p.text(n)
	if s == "" {
		return ""
	}
	if err := policy.CheckUser(s); err != nil {
		p.fail(n, "%s: %q: %w", n.key, short(s), err)
	}
	return s
}

// labels adds labels to those that there are.
func (p *parser) labels(n *node, to map[string]string) map[string]string {
	to = maps.Clone(to)
	if to == nil {
		to = make(map[string]string)
	}
	values := p.entries(n, "labels: ")
	for i := range values {
		v := &values[i]
		switch {
		case !labelName.MatchString(v.key):
			p.fail(v, "labels: %q: want a name of letters, digits and underscores", short(v.key))
		case reserved[v.key]:
			p.fail(v, "labels: %s: want another name, each stream has this one already", v.key)
		default:
			to[v.key] = p.text(v)
		}
	}
	if len(to) > maxLabels {
		p.fail(n, "labels: want at most %d", maxLabels)
	}
	return to
}

// streams reads the list of streams.
func (p *parser) streams(n *node, base *template) {
	for _, e := range p.list(n) {
		t := *base
		fields := []field{
			{name: "name", read: func(n *node) { t.Name = p.name(n) }},
			{name: "peer", read: func(n *node) { t.Peer = p.address(n) }},
			{name: "server", read: func(n *node) { t.Server = p.address(n) }},
		}
		failed := p.failed
		p.mapping(e, "stream: ", append(fields, p.common(&t)...))
		for _, key := range []string{"name", "peer"} {
			if e.Kind == yamlMapping && !e.has(key) {
				p.fail(e, "stream: want a %s", key)
			}
		}
		if p.failed > failed {
			continue // what follows from an error is none
		}
		t.Remote, _, _ = cli.ParseHostPort(t.Peer, cli.DefaultPort) // which it is
		p.add(e.Line, &t)
	}
}

// add adds the streams of a template that is complete, and begins at line.
func (p *parser) add(line int, t *template) {
	if !p.valid(line, t) {
		return
	}
	directions := []Direction{t.direction}
	if t.direction == both {
		directions = []Direction{Receive, Send}
	}
	for _, d := range directions {
		s := t.Stream
		s.Direction, s.Local = d, p.cfg.Host
		if s.Direction == Send && !t.delayed {
			s.EndDelay = owamp.IntervalSeconds(1) // for receivers whose clock is behind
		}
		if s.Dir != "" {
			s.Dir = filepath.Join(s.Dir, s.Name, string(d))
		}
		if first, twice := p.lines[s.Key]; twice {
			p.failAt(line, "stream %s: want another name, a stream in line %d has it", s.Name, first)
			return
		}
		if first, twice := p.dirs[s.Dir]; twice && s.Dir != "" {
			p.failAt(line, "stream %s: %s: want another directory, a stream in line %d writes there", s.Name, s.Dir, first)
			return
		}
		if len(p.cfg.Streams) == maxStreams {
			p.failAt(line, "stream %s: want at most %d streams", s.Name, maxStreams)
			return
		}
		p.lines[s.Key], p.dirs[s.Dir] = line, line
		p.cfg.Streams = append(p.cfg.Streams, s)
	}
}

// valid finds what is wrong with values that are each right.
func (p *parser) valid(line int, t *template) bool {
	c, failed := &t.Client, p.failed
	if t.Part != 0 && t.Packets%t.Part != 0 {
		p.failAt(line, "stream %s: part %d: want a divisor of packets, %d", t.Name, t.Part, t.Packets)
	}
	if t.Part != 0 && t.Dir == "" && !p.cfg.Archiving.Parts {
		p.failAt(line, "stream %s: part %d: want dir, too, for the summaries of parts are files, or archive_each: subsession", t.Name, t.Part)
	}
	if t.UnixTimes && t.Dir == "" {
		p.failAt(line, "stream %s: unix_times: want dir, too, for they are in files", t.Name)
	}
	if float64(t.Packets)*t.Interval.Seconds() > maxSeconds {
		p.failAt(line, "stream %s: %d packets each %v: want sessions of at most 30 years", t.Name, t.Packets, t.Interval.Duration())
	}
	switch {
	case c.User != "" && c.KeyFile == "":
		p.failAt(line, "stream %s: user %s: want key_file, too, which has the pass-phrase", t.Name, c.User)
	case c.User == "" && c.KeyFile != "":
		p.failAt(line, "stream %s: key_file: want user, too, for whose pass-phrase it is", t.Name)
	case c.User == "" && c.Modes != 0 && c.Modes&owamp.ModeOpen == 0:
		p.failAt(line, "stream %s: modes %v: want user, too, or open mode (O), which has no users", t.Name, c.Modes)
	}
	return p.failed == failed
}
