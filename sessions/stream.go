// Package sessions measures over time. A [Stream] is what powstream does: it
// asks a server for session after session of test packets, from it or to it,
// each beginning where the one before it ends, so that the measurement has no
// holes; it keeps what a broken session had measured, and accounts for every
// second in which there was nothing to keep.
package sessions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/bits"
	"net"
	"net/netip"
	"sync"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/schedule"
	"owl/owamp/stats"
	"owl/owamp/window"
	"owl/probe"
	"owl/probe/clock"
	"owl/sessions/ports"
	"owl/sessions/result"
)

const (
	// lead is how long before its start a session is to be set up, so that it is
	// in time also for a peer whose clock is ahead of ours.
	lead = 10 * time.Second
	// setupTrips are the round trips that the setting up takes.
	setupTrips = 5
	// shortLead and leadTrips round trips are the lead of the first session and
	// of the first after an outage: enough for what is still to be exchanged for
	// it and, if it lasts shortestTrips round trips, for the session behind it.
	shortLead = time.Second
	leadTrips = 4
	// maxOverlap bounds the sessions of one stream that exist at once.
	maxOverlap = 64
	// maxUnfit bounds the test ports that are tried for one session.
	maxUnfit = 8
	// firstRetry is the first wait after a failure; each failure doubles it.
	firstRetry = 500 * time.Millisecond
	// setupTimeout bounds the setting up of a session.
	setupTimeout = 30 * time.Second
	// farewell is how long a peer is waited for when the stream ends: powstream
	// has 0.4 s for all it does then.
	farewell = 150 * time.Millisecond
)

// A Path is a fresh control connection, and the addresses between which the
// test packets shall go.
type Path struct {
	Conn  net.Conn
	Local netip.Addr // this host's test address
	Peer  netip.Addr // the peer's
}

// A Clock is the clock that stamps and schedules refer to; *clock.Clock is one.
type Clock interface {
	Now() owamp.Timestamp
	Error(stamping time.Duration) owamp.ErrorEstimate
	// Steps says how often the clock was set, and by how much.
	Steps() clock.Steps
}

// StreamConfig describes a stream. Broker or Dial, Clock, Prober or Pool, Random
// and Log are needed, as are Packets, Slots and Timeout.
type StreamConfig struct {
	// Broker has the control connections that streams share. Without one each
	// session has its own, of Dial and Control.
	Broker *Broker
	// Dial opens a control connection. It is called for each session, so that
	// a peer that has moved to another address is found again.
	Dial func(context.Context) (Path, error)
	// Control is how control connections are set up: in which modes, and as
	// whom. Its clock is the stream's.
	Control control.ClientConfig
	Clock   Clock
	// Pool has the test ports that streams share; who made it closes it. Without
	// one the stream has its own, of Prober, Ports and Device.
	Pool   *ports.Pool
	Prober ports.Prober
	Ports  probe.PortRange // for the test packets; zero: any
	Device string          // bind test sockets to this device, if not empty
	Random io.Reader
	Log    *slog.Logger
	Host   Host // says what this host did when packets were lost; may be nil

	// Send makes this host the sender. The peer records, and what it has
	// recorded of a session is fetched when that has ended, over a control
	// connection of its own, and again until it has come.
	Send bool

	Packets  uint32 // per session
	Slots    []owamp.Slot
	Timeout  owamp.Interval // after it a packet is lost
	Padding  uint32         // octets
	DSCP     uint8
	Part     uint32        // packets per sub-session; 0 or Packets: none
	Delay    time.Duration // before the first session
	EndDelay time.Duration // between the end of a session's time-out and Stop-Sessions
	// RetryCap is the longest wait for a peer that is away, or, with a Broker,
	// that refuses; 0: 60 s.
	RetryCap time.Duration

	// Directory is where the files go; nil: none are wanted. Then records are in
	// memory while their session runs, those of long ones in files without
	// a name in the directory Scratch, and there are no parts but for results.
	Directory   *Directory
	Scratch     string
	BucketWidth float64 // s, of the summaries' histograms; 0: 0.0001
	UnixTimes   bool    // write UNIX_START_TIME and UNIX_END_TIME too
	// Names gives the names of sender and receiver that summaries show.
	Names func(sender, receiver netip.Addr) stats.Names
	// Written is told each final file's path; calls do not overlap. May be nil.
	Written func(path string)
	// Sink, if it is not nil, gets a result of each session, or of each part if
	// Each says so, and of times in which nothing is measured. Task says what they
	// have in common: the stream adds what it knows itself, which is all from
	// Packets on, Test and Receives. Raw says that they have their packets.
	Sink Sink
	Task result.TaskConfig
	Each Each
	Raw  bool
	// Seen is told of the records as they come, or are fetched: received,
	// duplicate and lost. Calls of overlapping sessions may overlap. May be nil.
	Seen func([]owamp.Record)
}

// A Stream is a continuous measurement from a peer to this host, or from this
// host to a peer.
type Stream struct {
	cfg     StreamConfig
	log     *slog.Logger
	pool    *ports.Pool
	broker  *Broker
	tally   *Tally
	restart chan struct{}
	writing sync.Mutex // orders Written
	fetcher *fetcher   // nil: this host receives
	results *reporter  // nil: nobody wants them
}

// NewStream checks cfg and returns its stream.
func NewStream(cfg StreamConfig) (*Stream, error) {
	spec := owamp.SessionSpec{Slots: cfg.Slots}
	switch {
	case cfg.Packets == 0:
		return nil, errors.New("a session needs at least 1 packet")
	case spec.MeanInterval() == 0:
		return nil, errors.New("the mean interval must be greater than 0")
	case cfg.Timeout == 0:
		return nil, errors.New("the loss time-out must be greater than 0")
	case cfg.Part != 0 && cfg.Packets%cfg.Part != 0:
		return nil, fmt.Errorf("the %d packets of a sub-session do not divide the %d of a session", cfg.Part, cfg.Packets)
	}
	gen, err := schedule.New(owamp.SID{}, cfg.Slots)
	if err != nil {
		return nil, err
	}
	if _, err := window.New(gen, 0, cfg.Packets, cfg.Timeout); err != nil {
		return nil, err
	}
	if cfg.Part == cfg.Packets || cfg.Directory == nil && (cfg.Sink == nil || cfg.Each != EachPart) {
		cfg.Part = 0
	}
	if cfg.RetryCap <= 0 {
		cfg.RetryCap = time.Minute
	}
	s := &Stream{
		cfg:     cfg,
		log:     cfg.Log,
		pool:    cfg.Pool,
		broker:  cfg.Broker,
		tally:   NewTally(cfg.Clock),
		restart: make(chan struct{}, 1),
	}
	s.tally.Attribute(cfg.Host, cfg.Log)
	if s.pool == nil {
		s.pool = ports.NewPool(cfg.Prober, cfg.Ports, cfg.Device)
	}
	if s.broker == nil {
		s.broker = newLoner(BrokerConfig{Dial: cfg.Dial, Control: cfg.Control, Clock: cfg.Clock, RetryCap: cfg.RetryCap})
	}
	if cfg.Send {
		s.fetcher = newFetcher(s)
	}
	if cfg.Sink != nil {
		if s.results, err = newReporter(&cfg); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Restart ends the running sessions, keeping what they measured, and begins
// anew with fresh connections.
func (s *Stream) Restart() {
	select {
	case s.restart <- struct{}{}:
	default:
	}
}

// Snapshot returns what the stream knows of itself now.
func (s *Stream) Snapshot() Snapshot { return s.tally.Snapshot() }

// Run measures until ctx is done; then it ends the running sessions, writes
// what they have and returns.
func (s *Stream) Run(ctx context.Context) {
	if s.cfg.Pool == nil {
		defer s.pool.Close()
	}
	if s.cfg.Broker == nil {
		defer s.broker.Close()
	}
	defer s.tally.SetState(StateStopped)
	defer s.tally.Close()
	if s.length() < shortest {
		s.warnShort()
	}
	if s.results != nil {
		s.results.run(ctx)
		defer s.results.finish()
	}
	var fetching sync.WaitGroup
	if s.fetcher != nil {
		fetching.Go(func() { s.fetcher.run(ctx) })
	}
	p := newPlanner(s)
	for p.run(ctx) {
	}
	if s.fetcher != nil {
		s.fetcher.finish()
	}
	fetching.Wait()
}

// shortest is how long a session should last, and at least shortestTrips round
// trips.
const shortest = time.Second

// shortestTrips returns how many round trips a session should last, in which
// the next one is set up: as far as to learn its end, which is known from the
// start if this host makes the session ID.
func (s *Stream) shortestTrips() time.Duration {
	if s.cfg.Send {
		return 4
	}
	return 3
}

// length returns how long a session is expected to last.
func (s *Stream) length() time.Duration {
	spec := owamp.SessionSpec{Slots: s.cfg.Slots}
	hi, lo := bits.Mul64(uint64(spec.MeanInterval()), uint64(s.cfg.Packets))
	if hi != 0 {
		lo = math.MaxUint64
	}
	// An interval such as 0.1 s is a little less in units of 2^-32 s.
	return owamp.Interval(lo).Duration().Round(time.Millisecond)
}

func (s *Stream) warnShort() {
	s.log.Warn(fmt.Sprintf("Holes in data are likely because a session lasts only about %v: it should last 1 s and %d round trips", s.length(), s.shortestTrips()))
}

// spec returns the specification of a session that begins at start, and the
// scheduled time of its last packet. Of a session that this host sends the
// latter is not known before the peer has made the session ID; else local is
// this host's address.
func (s *Stream) spec(start owamp.Timestamp, local netip.Addr) (owamp.SessionSpec, owamp.Timestamp, error) {
	spec := owamp.SessionSpec{
		ConfSender:   !s.cfg.Send,
		ConfReceiver: s.cfg.Send,
		Slots:        s.cfg.Slots,
		Packets:      s.cfg.Packets,
		Padding:      s.cfg.Padding,
		Start:        start,
		Timeout:      s.cfg.Timeout,
		TypeP:        owamp.TypePOf(s.cfg.DSCP),
	}
	if s.cfg.Send {
		return spec, 0, nil
	}
	var err error
	if spec.SID, err = owamp.NewSID(local, s.cfg.Clock.Now(), s.cfg.Random); err != nil {
		return spec, 0, err
	}
	end, err := schedule.End(&spec)
	return spec, end, err
}

// tellGap logs, and reports, a time that no session covers. Why may be empty; told
// says that results have told of it while it went on.
func (s *Stream) tellGap(reason GapReason, from, to owamp.Timestamp, why string, told bool) {
	if !from.Before(to) {
		return
	}
	if s.results != nil {
		s.results.gap(reason, from, to, why, told)
	}
	s.log.Warn(fmt.Sprintf("no data for %.3f s from %s: %s", to.Sub(from).Seconds(), logTime(from), reason))
}

// logTime returns t as log lines have it.
func logTime(t owamp.Timestamp) string { return t.Time().Format("2006-01-02T15:04:05.000Z") }
