// Package metrics shows streams to Prometheus while they measure: the one-way
// delay packet by packet, and what each stream knows of itself at the moment
// of the scrape.
//
// A [Collector] is registered once for a program. Each stream gets a [Stream]
// from it, pushes what it receives with [Stream.Observe], and is asked for a
// [sessions.Snapshot] at every scrape, so that the counters of a scrape belong
// together. [Handler] serves the result.
//
// # Cardinality
//
// A classic histogram costs a series for each bucket, so only the first
// streams have one ([MaxClassic]); all have a native histogram, whose size is
// bounded whatever the delays are. Beyond [MaxStreams] further streams are
// added up in one group whose labels are all "other". Streams with equal labels
// are added up as well.
package metrics

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"owl/owamp"
	"owl/sessions"
)

// The values of [Labels.Direction], as seen from this host.
const (
	To   = "to"   // test packets come to this host
	From = "from" // test packets go out from this host
)

const (
	defaultMaxStreams = 1000
	defaultMaxClassic = 200
)

// other names the group of the streams that are too many for series of their
// own.
var other = Labels{"other", "other", "other", "other"}

// Labels name the series of a stream.
type Labels struct {
	Source, Destination string // hosts, as configured or as addresses
	Direction           string // To or From
	Stream              string // the stream's name, may be empty
}

// values returns the labels in the order of labelNames.
func (l *Labels) values() []string {
	return []string{l.Source, l.Destination, l.Direction, l.Stream}
}

// A Collector holds the metrics of a program's streams. It may be used by many
// goroutines at once.
type Collector struct {
	maxStreams, maxClassic int
	version                string

	mu      sync.Mutex
	groups  map[Labels]*group
	classic int // how many of groups have a classic histogram
}

// An Option changes a Collector from its defaults.
type Option func(*Collector)

// MaxStreams bounds how many streams have series of their own, 1000 unless
// said otherwise. The others are added up in the group "other".
func MaxStreams(n int) Option { return func(c *Collector) { c.maxStreams = n } }

// MaxClassic bounds how many streams have a classic histogram beside the native
// one, 200 unless said otherwise.
func MaxClassic(n int) Option { return func(c *Collector) { c.maxClassic = n } }

// Version is what owl_build_info says, instead of the version that the
// toolchain recorded.
func Version(v string) Option { return func(c *Collector) { c.version = v } }

// New returns a Collector that is registered with reg, which must not have one
// already.
func New(reg prometheus.Registerer, options ...Option) (*Collector, error) {
	c := &Collector{
		maxStreams: defaultMaxStreams,
		maxClassic: defaultMaxClassic,
		groups:     make(map[Labels]*group),
	}
	for _, o := range options {
		o(c)
	}
	if err := reg.Register(c); err != nil {
		return nil, fmt.Errorf("registering the metrics of streams: %w", err)
	}
	if err := reg.Register(buildInfo(c.version)); err != nil {
		reg.Unregister(c)
		return nil, fmt.Errorf("registering owl_build_info: %w", err)
	}
	return c, nil
}

// Stream adds a stream, whose series exist from now until [Stream.Close].
//
// Each scrape calls snapshot once, from another goroutine. It must be quick and
// must not call into the Collector.
func (c *Collector) Stream(l Labels, snapshot func() sessions.Snapshot) *Stream {
	l = l.valid()
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.group(l)
	s := &Stream{collector: c, group: g, delays: g.share(), snapshot: snapshot}
	g.members[s] = struct{}{}
	return s
}

// Between is [Collector.Stream] of the tests that a server makes between two
// addresses, and this host receives or else sends.
func (c *Collector) Between(sender, receiver netip.Addr, receives bool, snapshot func() sessions.Snapshot) *Stream {
	l := Labels{Source: sender.String(), Destination: receiver.String(), Direction: From}
	if receives {
		l.Direction = To
	}
	return c.Stream(l, snapshot)
}

// valid returns l with what is not UTF-8, and so could fail a whole scrape,
// replaced.
func (l Labels) valid() Labels {
	for _, s := range []*string{&l.Source, &l.Destination, &l.Direction, &l.Stream} {
		*s = strings.ToValidUTF8(*s, "\uFFFD")
	}
	return l
}

// group returns the group that a stream named l joins. The caller holds c.mu.
func (c *Collector) group(l Labels) *group {
	if g := c.groups[l]; g != nil {
		return g
	}
	streams := len(c.groups)
	if c.groups[other] != nil {
		streams--
	}
	if streams >= c.maxStreams && l != other {
		return c.group(other)
	}
	g := newGroup(l, c.classic < c.maxClassic)
	if g.classic {
		c.classic++
	}
	c.groups[l] = g
	return g
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	// The channel's reader may be slow, and streams must come and go meanwhile.
	for _, t := range c.totals() {
		t.collect(ch)
	}
}

func (c *Collector) totals() []total {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]total, 0, len(c.groups))
	for _, g := range c.groups {
		all = append(all, g.total())
	}
	return all
}

// A Stream is one stream's part of a Collector.
type Stream struct {
	collector *Collector
	group     *group
	delays    *delays // the group's, or a part of them
	snapshot  func() sessions.Snapshot
	closed    bool // guarded by collector.mu
}

// Observe adds the delays of recs to owamp_one_way_delay_seconds. Lost and
// duplicate records are passed over. It keeps nothing of recs, does not
// allocate once a range of delays has been seen, and waits for a scrape no
// longer than it takes to copy one histogram.
func (s *Stream) Observe(recs []owamp.Record) { s.delays.add(recs) }

// Close takes a last snapshot and removes the stream: its series go away, or,
// where it shares them, what it counted stays in their sums. The snapshot
// function is not called after Close has returned, and what it locks must not
// be held across the call. Closing twice is closing once.
func (s *Stream) Close() {
	c := s.collector
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	g := s.group
	delete(g.members, s)
	if len(g.members) > 0 {
		g.keep(s.snapshot())
		return
	}
	delete(c.groups, g.labels)
	if g.classic {
		c.classic--
	}
}

// A group is what one set of series shows: a stream, several with equal
// labels, or those of "other". The Collector's mutex guards it, except for
// delays, which guards itself.
type group struct {
	labels  Labels
	created time.Time
	members map[*Stream]struct{}
	past    sessions.Snapshot // what members that have left counted
	classic bool              // it has a classic histogram
	delays  []delays          // one, or the parts of many streams
	joined  int               // streams that have ever joined
}

// parts is in how many parts many streams count their delays: if thousands did so
// in one place they would wait for each other.
const parts = 64

func newGroup(l Labels, classic bool) *group {
	g := &group{labels: l, created: time.Now(), members: make(map[*Stream]struct{}), classic: classic}
	n := 1
	if l == other {
		n = parts
	}
	g.delays = make([]delays, n)
	for i := range g.delays {
		g.delays[i].init(classic)
	}
	return g
}

// share returns where one more stream of the group counts its delays.
func (g *group) share() *delays {
	g.joined++
	return &g.delays[g.joined%len(g.delays)]
}

// delayed returns the delays of all of the group's streams.
func (g *group) delayed() *delays {
	if len(g.delays) == 1 {
		return &g.delays[0]
	}
	sum := new(delays)
	sum.init(g.classic)
	for i := range g.delays {
		sum.merge(&g.delays[i])
	}
	return sum
}

// keep adds a leaving member's counters to what stays.
func (g *group) keep(s sessions.Snapshot) {
	past := total{Snapshot: g.past}
	past.addCounters(&s)
	g.past = past.Snapshot
}

// total adds up the group's members as they are now.
func (g *group) total() total {
	t := total{group: g, inState: make(map[sessions.State]int)}
	t.addCounters(&g.past)
	first := true
	for m := range g.members {
		s := m.snapshot()
		t.addCounters(&s)
		t.addGauges(&s, first)
		first = false
	}
	return t
}
