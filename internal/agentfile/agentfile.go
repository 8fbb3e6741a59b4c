// Package agentfile reads the file of owagent: what one host measures, with all
// errors of the file at once, each with its line.
//
// The file is one YAML document, a mapping with the keys
//
//	host      how this host is called in groups and metrics; its own name
//	metrics   host:port at which Prometheus finds them; none
//	budget    packets a second of all streams together, at most; 10000
//	ports     UDP ports that the streams share, low-high; 8760-9960
//	run_as    user, or user:group, that a process of root's goes on as; itself
//	engine    how test packets are sent and received, see [cli.EngineOptions]
//	clock     who is asked how good this host's clock is, beside its kernel:
//	          chrony (auto), ntp (a list of servers), every (64 s), see [clock.Sources]
//	server    the server half, see [Server]; none
//	archive   the archive half, see [MeasurementArchive]; none
//	archives  where results go: archive specifications, a list or an object of them, see [Archive]
//	archive_each  what makes a result: a session, or a subsession; session
//	default_archives  directories of more archives; those of the host
//	queue     the file where results wait, or path, max_size, max_age, full and keep, see [Queue]
//	defaults  what streams and members of groups have unless they say otherwise
//	streams   a list of streams, see [Stream]
//	groups    a list of groups of hosts that measure to each other
//
// YAML's anchors are refused: defaults do what they would be used for.
package agentfile

import (
	"fmt"
	"io"
	"os"

	"owl/internal/cli"
	"owl/owamp"
	"owl/probe"
	"owl/probe/clock"
)

// DefaultBudget is how many packets a second all streams of a file may have
// together unless it has a budget.
const DefaultBudget = 10_000

// Bounds of a file.
const (
	maxSize    = 16 << 20 // octets
	maxStreams = 20_000
	maxMembers = 5_000 // of a group
	maxLabels  = 16    // of a stream
	maxErrors  = 50    // that are told; the others are counted
	maxText    = 1024  // octets of a value
)

// A Config is what a file says.
type Config struct {
	Host      string
	Metrics   string // empty: none
	Budget    uint64 // packets/s
	Ports     probe.PortRange
	RunAs     string // user or user:group, by their names or -NUMBER; empty: nobody else
	Engine    cli.EngineOptions
	Clock     clock.Sources
	Archiving Archiving
	Server    *Server             // nil: none
	Archive   *MeasurementArchive // nil: none
	Streams   []Stream            // those of groups behind the others; no two have the same Key
	Remarks   []string            // what is no error, and to be said
}

// A Server is the server half: what owampd is by itself.
type Server struct {
	Listen      string     // host:port or :port
	Data        string     // directory of the sessions that it receives
	Modes       owamp.Mode // offered
	Limits      string     // file of limits; empty: none
	Passphrases string     // file of pass-phrases; empty: none
	Ports       probe.PortRange
}

// A Direction says which way test packets go.
type Direction string

// The directions of a stream.
const (
	Receive Direction = "receive" // from the peer to this host
	Send    Direction = "send"    // from this host to the peer
	both    Direction = "both"    // two streams
)

// A Key names a stream for as long as there is a stream of that name.
type Key struct {
	Name string
	Direction
}

func (k Key) String() string { return k.Name + " " + string(k.Direction) }

// A Stream is a continuous measurement in one direction. Two Streams that are
// equal measure the same.
type Stream struct {
	Key
	Local  string            // this host, as metrics have it
	Remote string            // the other one
	Peer   string            // test address of the other host
	Server string            // its control server; empty: Peer
	Client cli.ClientOptions // of the control connection; a user has a KeyFile

	Packets   uint32 // per session
	Interval  owamp.Interval
	Periodic  bool // intervals are all the same, not exponentially distributed
	Timeout   owamp.Interval
	Padding   uint32 // octets
	DSCP      uint8
	EndDelay  owamp.Interval
	Retry     owamp.Interval // the longest wait for a peer that is away
	Dir       string         // of the files; empty: there are none
	Part      uint32         // packets per sub-session; 0: none
	Bucket    float64        // s
	UnixTimes bool
	Raw       bool // results have all packets
	Labels    map[string]string
}

// Rate returns how many packets a second the stream has on average.
func (s *Stream) Rate() float64 {
	// An interval is a whole number of 2^-32 s, and so 0.1 s a little less.
	return 1 / s.Interval.Duration().Seconds()
}

// Rate returns how many packets a second all streams have on average.
func (c *Config) Rate() float64 {
	sum := 0.0
	for i := range c.Streams {
		sum += c.Streams[i].Rate()
	}
	return sum
}

// Load reads the file called name; host is how this host is called if the file
// does not say. The error joins one for each thing that is wrong.
func Load(name, host string) (*Config, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	return Parse(name, text, host)
}

// Parse is [Load] of a file that has been read.
func Parse(name string, text []byte, host string) (*Config, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("%s: want at most %d octets", name, maxSize)
	}
	p := &parser{file: name, lines: make(map[Key]int), dirs: make(map[string]int), cfg: &Config{
		Host:   host,
		Budget: DefaultBudget,
		Clock:  clock.Sources{Chrony: clock.ChronyAuto},
		Ports:  cli.TestPorts,
	}}
	if root := p.document(text); root != nil {
		p.config(root)
	}
	if p.failed > 0 {
		return nil, p.err()
	}
	return p.cfg, nil
}

// config reads the whole file. What others need of it is read first.
func (p *parser) config(root *node) {
	c := p.cfg
	base := newTemplate()
	p.mapping(root, "", []field{
		{name: "host", read: func(n *node) { c.Host = p.name(n) }},
		{name: "metrics", read: func(n *node) { c.Metrics = p.listenAddress(n) }},
		{name: "budget", read: func(n *node) { c.Budget = uint64(p.count(n, 1, 1<<31)) }},
		{name: "ports", read: func(n *node) { c.Ports = p.portRange(n) }},
		{name: "run_as", read: func(n *node) { c.RunAs = p.runAs(n) }},
		{name: "engine", read: p.engine},
		{name: "clock", read: p.clock},
		{name: "server", read: p.server},
		{name: "archive", read: p.measurementArchive},
		{name: "archives", read: p.archives},
		{name: "archive_each", read: func(n *node) { c.Archiving.Parts = p.option(n, "session", "subsession") == "subsession" }},
		{name: "default_archives", read: p.defaultArchives},
		{name: "queue", read: p.queue},
		{name: "defaults", read: func(n *node) { p.mapping(n, "defaults: ", p.common(&base)) }},
		{name: "streams", read: func(n *node) { p.streams(n, &base) }},
		{name: "groups", read: func(n *node) { p.groups(n, &base) }},
	})
	if p.failed > 0 {
		return // a sum of what is wrong is wrong
	}
	if len(c.Streams) == 0 && c.Server == nil && c.Archive == nil && len(c.Remarks) == 0 {
		p.fail(root, "nothing to do: want streams, groups, a server or an archive")
	}
	p.checkBudget(root)
}

// server reads the server half.
func (p *parser) server(n *node) {
	s := &Server{Listen: ":" + cli.DefaultPort, Modes: owamp.ModeOpen | owamp.ModeAuthenticated | owamp.ModeEncrypted}
	p.cfg.Server = s
	modes := false
	p.mapping(n, "server: ", []field{
		{name: "listen", read: func(n *node) { s.Listen = p.listenAddress(n) }},
		{name: "data", read: func(n *node) { s.Data = p.text(n) }},
		{name: "modes", read: func(n *node) { s.Modes, modes = p.modes(n), true }},
		{name: "limits", read: func(n *node) { s.Limits = p.text(n) }},
		{name: "passphrases", read: func(n *node) { s.Passphrases = p.text(n) }},
		{name: "ports", read: func(n *node) { s.Ports = p.portRange(n) }},
	})
	if n.Kind != yamlMapping {
		return // which was told
	}
	if !n.has("data") {
		p.fail(n, "server: want data, the directory of what it receives")
	}
	switch {
	case s.Passphrases != "":
	case modes && s.Modes != owamp.ModeOpen:
		p.fail(n, "server: modes %v: want passphrases, too, or open mode (O), which has no users", s.Modes)
	default:
		s.Modes = owamp.ModeOpen
	}
}
